"""Feedback to rows: what somebody corrected in the store, through a file, into a build; nothing without consent."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from affectgpt.cli.feedback import feedback as command
from affectgpt.record_json import to_json
from affectgpt.records import Observations, Outcome, Transcript, TranscriptSource, Utterance
from affectgpt.textualize import Sensed, tell
from instruction_data.build import build
from instruction_data.corrections import CORRECTION, read_corrections
from instruction_data.evidence import draw_face, draw_voice
from instruction_data.material import Origin, gather
from instruction_data.recipe import load_recipe
from instruction_data.splits import Splitter
from instruction_data.store import read_rows
from serve.store import Answered, Asked, Feedback, KeptAttachment, open_store
from serve.store.feedback import CORRECTION as WRITTEN

QUOTE = "I never said that I would come back here again"


def observed(seed: int) -> Observations:
    rng = random.Random(seed)
    words = Transcript((Utterance(f"{QUOTE} {seed}", 0.1, 1.2),), TranscriptSource.SIDECAR)
    return tell(Sensed(draw_face(rng, "happy", 3.0), draw_voice(rng, "happy", 3.0), words))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A store with twenty corrected answers in ten conversations, and twenty that may not be reused."""
    path = tmp_path / "h.sqlite"
    with open_store(str(path)) as store:
        for i in range(40):
            if i % 4 == 0:
                conversation = store.create("anna")
            asked = Asked("a private message", (KeptAttachment("a.mp4", "video", f"{i // 2:064x}"),))
            begun = store.begin("anna", conversation.id, asked)
            outcome = to_json(Outcome(None, observed(i), None))
            store.finish("anna", begun.id, Answered("reasoning", "reply", "m", outcome=outcome))
            words = ("let down",) if i % 3 else ()
            store.rate("anna", begun.turn_id, Feedback("down", "sad", words, "a private remark", may_reuse=i % 2 == 0))
    return path


def test_corrections_become_rows_with_the_gold_that_was_given(database: Path, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(command)
    file = tmp_path / "corrections.jsonl"
    ran = CliRunner().invoke(app, ["--database", str(database), "--out", str(file)])
    assert ran.exit_code == 0, ran.output
    assert "20 corrections" in ran.stderr
    assert "private" not in file.read_text("utf-8")
    given = [f"data={tmp_path}", f"out={tmp_path / 'rows'}", "workers=1", f"tracks={tmp_path / 'tracks'}"]
    out = build(load_recipe("corrected", [*given, "rows.train=60", "rows.dev=10", "splits={train: 0.7, dev: 0.3}"]))
    rows = {
        split: [r for r in read_rows(out / f"{split}.jsonl") if r.task == "corrected"] for split in ("train", "dev")
    }
    assert len(rows["train"]) >= 5
    assert rows["dev"]
    shown = {seed: "\n".join(o.line for o in observed(seed).items) for seed in range(40)}
    media: dict[str, set[str]] = {}
    for split, kept in rows.items():
        for row in kept:
            assert row.answer == ("sad" if row.provenance.prompt_id == "label" else "let down")
            seed = next(s for s, text in shown.items() if text in row.messages[-2].content)
            assert seed % 2 == 0, "no consent"
            assert row.provenance.observations == tuple(o.id for o in observed(seed).items)
            assert [(s.set, "agreed" in s.licence) for s in row.provenance.sources] == [("feedback", True)]
            media.setdefault(split, set()).update(row.provenance.media_sha256)
    assert media["train"].isdisjoint(media["dev"])
    assert {"label", "words"} == {r.provenance.prompt_id for r in rows["train"]}


def good(**changed: Any) -> dict[str, Any]:
    seen = to_json(Outcome(None, observed(1), None))["observations"]
    row = {"kind": CORRECTION, "id": "x", "consent_to_reuse": True, "label": "sad", "words": ["low"],
           "observations": seen, "media_sha256": [], "dialogue": "d"}  # fmt: skip
    return {**row, **changed}


def read(tmp_path: Path, *rows: Any) -> Any:
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return read_corrections(path)


def test_a_line_comes_back_as_it_was_observed(tmp_path: Path) -> None:
    [example] = read(tmp_path, good()).usable
    assert example.observations == observed(1).items
    assert (example.label, example.labels, example.group["dialogue"]) == ("sad", ("low",), "d")
    assert WRITTEN == CORRECTION, "what the server writes is what is read here"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"consent_to_reuse": False}, "consent"),
        ({"consent_to_reuse": "yes"}, "consent"),
        ({"consent_to_reuse": None}, "consent"),
        ({"kind": "affectgpt.correction/2"}, "no line of"),
        ({"label": "furious"}, "unknown label"),
        ({"label": ["sad"]}, "unknown label"),
        ({"label": None, "words": []}, "nothing was corrected"),
        ({"words": [1]}, "words"),
        ({"words": ["x" * 101]}, "words"),
        ({"words": "sad"}, "words"),
        ({"observations": []}, "observations"),
        ({"observations": None}, "observations"),
        ({"observations": [{"id": "F1"}]}, "observations"),
        ({"observations": [{"id": "F1", "modality": "smell", "cue": "x", "text": "y"}]}, "observations"),
        ({"observations": [{"id": "F1", "modality": "face", "cue": "x", "text": "y", "value": "9"}]}, "observations"),
        ({"observations": [{"id": "F1", "modality": "face", "cue": "x", "text": "y" * 2001}]}, "observations"),
    ],
)
def test_what_is_no_correction_is_left_out_and_counted(tmp_path: Path, changed: dict[str, Any], fault: str) -> None:
    corpus = read(tmp_path, good(id="fine"), good(**changed))
    assert [e.id for e in corpus.usable] == ["fine"]
    [told] = corpus.faults.values()
    assert fault in told
    origin = Origin("feedback", tmp_path / "c.jsonl")
    materials = gather([origin], Splitter({"train": 1.0}, 7), tmp_path)
    assert materials["train"].left_out == {"feedback: faulty rows": 1}
    assert len(materials["train"].said["feedback"]) == 1


@given(st.dictionaries(st.sampled_from([*good()]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6,
)))  # fmt: skip
def test_no_line_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]) -> None:
    corpus = read(tmp_path_factory.mktemp("c"), good(**changed))
    for example in corpus.usable:
        assert example.observations
        assert example.label or example.labels
