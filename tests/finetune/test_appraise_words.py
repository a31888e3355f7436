"""The words appraiser's two sets are made again byte for byte, from a few rows of each corpus."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from affectgpt.appraise import low_rank
from affectgpt.appraise.heads import load_head
from finetune import appraise_words
from finetune.fitting import threads
from finetune.word_corpora import dialogues, drawn, read_parts

N_LINES = {
    "goemotions/train.tsv": 250, "goemotions/dev.tsv": 120, "meld/train_sent_emo.csv": 200,
    "meld/dev_sent_emo.csv": 120, "empathetic_dialogues/ed_valid.jsonl": 200,
}  # fmt: skip
"""Lines that are kept of each file; EmoBank keeps one sentence of 15, RECCON 12 dialogues."""


@pytest.fixture(scope="module")
def few(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the shared one, with a few rows of each corpus."""
    text, out = shared_data / "text", tmp_path_factory.mktemp("shared") / "text"
    for name, n in N_LINES.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        lines = (text / name).read_text("utf-8").splitlines(keepends=True)
        (out / name).write_text("".join(lines[:n]), "utf-8")
    (out / "emobank").mkdir()
    for name in ("emobank.csv", "reader.csv", "writer.csv"):
        lines = (text / "emobank" / name).read_text("utf-8").splitlines(keepends=True)
        kept = lines if name != "emobank.csv" else [lines[0], *lines[1::15]]
        (out / "emobank" / name).write_text("".join(kept), "utf-8")
    (out / "reccon").mkdir()
    for name in ("dailydialog_train.json", "dailydialog_valid.json"):
        whole = json.loads((text / "reccon" / name).read_text("utf-8"))
        (out / "reccon" / name).write_text(json.dumps(dict(list(whole.items())[:12])), "utf-8")
    return out.parent


def contents(folder: Path) -> dict[str, str]:
    """Each file's hash; of a card, all but the day and the commit that it was made at."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if path.suffix == ".json":
            data = json.dumps({**json.loads(data), "date": "", "commit": ""}).encode()
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


@pytest.mark.slow
@pytest.mark.shared
def test_one_seed_makes_the_same_files_on_any_threads_and_another_seed_others(few: Path, tmp_path: Path) -> None:
    for name, seed, n_threads in (("first", 0, 1), ("again", 0, 2), ("other", 1, 1)):
        with threads(n_threads):
            appraise_words.train(few, tmp_path / name, seed)
    first, again, other = (contents(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again
    assert set(first) == set(other)
    differ = {name for name in first if first[name] != other[name]}
    # The centres of the lexicon's nodes are means: nothing is drawn for them.
    assert {n for n in first if n.endswith(".safetensors")} - differ == {
        f"{side}/words_unlisted_nodes.safetensors" for side in ("default", "permissive")
    }
    for side in ("default", "permissive"):
        update = low_rank.load_update(folder=tmp_path / "first" / side)
        assert set(update.card["licence"].values()) == {"Apache-2.0", "CC BY-SA 4.0"}
        head = load_head("words_goemotions28", folder=tmp_path / "first" / side)
        assert head.card["input"]["update"] == update.card["sha256"]


@pytest.mark.shared
def test_no_dialogue_is_on_two_sides(shared_data: Path) -> None:
    for name, parts in read_parts(shared_data / "text", 0).items():
        fitted, held, judged = (set(dialogues(rows)) for rows in (parts.fitted, parts.held, parts.judged))
        assert not fitted & held, name
        # MELD counts the dialogues of each side from 0.
        assert name == "MELD" or not (fitted | held) & judged, name
        assert len(held) / len(fitted | held) == pytest.approx(0.1, abs=0.015), name


def test_names_are_drawn_whole() -> None:
    names = [f"d{k % 50}" for k in range(1000)]
    aside = drawn(names, 0.2, 0)
    assert len({n for n, a in zip(names, aside, strict=True) if a}) == 10
    assert not {n for n, a in zip(names, aside, strict=True) if a} & {
        n for n, a in zip(names, aside, strict=True) if not a
    }
    assert (drawn(names, 0.2, 0) == aside).all()
    assert (drawn(names, 0.2, 1) != aside).any()
