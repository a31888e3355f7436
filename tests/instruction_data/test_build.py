"""Builds: the same recipe gives the same rows, killed or not, and what is dropped is counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from affectgpt.errors import InputError, MediaNotFound, OptionError
from affectgpt.parsing import parse_text
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Explanation
from instruction_data.build import build
from instruction_data.card import describe
from instruction_data.journal import Journal, Try
from instruction_data.recipe import Recipe, load_recipe, shipped_recipes
from instruction_data.store import read_rows

WORDS = {
    "joy": "What a lovely day in the garden we had, number {}",
    "anger": "How dare they take my parking place again, number {}",
    "sadness": "I miss the old house by the sea so much, number {}",
    "neutral": "The bus to the station leaves at ten past, number {}",
}


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A folder with a GoEmotions file of 400 comments and a MELD table of 60 utterances."""
    names = ("joy", "anger", "sadness", "neutral")
    ids = {"joy": 17, "anger": 2, "sadness": 25, "neutral": 27}
    lines = [f"{WORDS[n].format(i)}\t{ids[n]}\tg{i}{n}" for i in range(100) for n in names]
    folder = tmp_path / "corpora"
    folder.mkdir()
    (folder / "go.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    meld = ["Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID"]
    for i in range(60):
        meld.append(f'"{WORDS["joy"].format(i)} said she",Speaker{i % 12},joy,positive,{i // 3},{i % 3}')
    (folder / "meld.csv").write_text("\n".join(meld) + "\n", encoding="utf-8")
    return folder


def recipe(corpora: Path | None, out: Path, *more: str) -> Recipe:
    given = [f"out={out}", "rows.train=40", "rows.dev=8", "workers=1", f"tracks={out}-tracks"]
    if corpora is not None:
        sources = [{"set": "goemotions", "path": "go.tsv"}, {"set": "meld", "path": "meld.csv"}]
        given += [f"data={corpora}", f"sources={json.dumps(sources)}", "splits={train: 0.7, dev: 0.3}"]
    return load_recipe("drawn", [*given, *more])


def texts(out: Path, split: str = "train") -> str:
    return (out / f"{split}.jsonl").read_text("utf-8")


def test_the_same_recipe_gives_the_same_rows_on_one_process_and_on_two(corpora: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    build(recipe(corpora, one))
    build(recipe(corpora, two, "workers=2"))
    assert texts(one) == texts(two)
    assert texts(one, "dev") == texts(two, "dev")
    assert texts(one) != texts(build(recipe(corpora, tmp_path / "three", "seed=8")))


def test_every_row_is_sound_and_says_where_it_comes_from(corpora: Path, tmp_path: Path) -> None:
    rows = list(read_rows(build(recipe(corpora, tmp_path / "out")) / "train.jsonl"))
    assert len(rows) == len({r.id for r in rows}) == 40
    for row in rows:
        assert row.id.startswith(f"{row.task}/train/")
        assert row.provenance.writer == "composer"
        assert "duplicate" in row.provenance.filters
        assert {s.set for s in row.provenance.sources} <= {"drawn", "goemotions", "meld"}
        assert all(s.licence for s in row.provenance.sources)


def test_what_is_trained_is_what_is_asked(tmp_path: Path) -> None:
    template = PromptLibrary().get("explain")
    rows = list(read_rows(build(recipe(None, tmp_path / "out", "tasks={explain: 1}")) / "train.jsonl"))
    for row in rows:
        assert row.messages[0].content == template.system
        assert row.provenance.prompt_version == template.version
        assert isinstance(parse_text(row.answer), Explanation)
        assert row.opening == "" or row.opening.endswith("**Interpretation**\n")
    assert 0 < sum(not r.opening for r in rows) < len(rows) / 2


def test_no_speaker_and_no_dialogue_stands_in_two_splits(corpora: Path, tmp_path: Path) -> None:
    told = describe(build(recipe(corpora, tmp_path / "out", "rows.train=150", "rows.dev=60", "scenes.real=1")))
    assert set(told["shared_by_splits"]["speakers"].values()) == {0}
    assert set(told["shared_by_splits"]["dialogues"].values()) == {0}
    assert told["splits"]["train"]["n_speakers"] > 0
    assert told["left_out"]["meld: between two splits"] > 0
    seen = {
        split: {r.messages[-2].content for r in read_rows(tmp_path / "out" / f"{split}.jsonl")}
        for split in ("train", "dev")
    }
    assert not seen["train"] & seen["dev"]


def test_the_card_counts_what_is_there_and_what_is_not(corpora: Path, tmp_path: Path) -> None:
    out = build(
        recipe(corpora, tmp_path / "out", "filters.words={explain: [90, 400], default: [1, 99]}", "tasks={explain: 1}")
    )
    told = json.loads((out / "card.json").read_text())
    train = told["splits"]["train"]
    assert train["rows"] == 40 == sum(train["labels"].values())
    dropped = told["dropped"]["train"]
    assert dropped["explain: length: short"] > 0
    assert dropped["tried"] == 40 + sum(n for reason, n in dropped.items() if reason != "tried")
    assert train["words_of_an_answer"]["explain"]["least"] >= 90
    page = (out / "card.md").read_text()
    assert "explain: length: short" in page
    assert "GPL-3.0" in page or "Apache-2.0" in page


def test_a_finished_build_is_left_alone_and_another_recipe_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(recipe(None, out))
    before = (out / "train.jsonl").stat().st_mtime_ns
    build(recipe(None, out))
    assert (out / "train.jsonl").stat().st_mtime_ns == before
    with pytest.raises(OptionError, match="another recipe"):
        build(recipe(None, out, "seed=9"))
    build(recipe(None, out, "seed=9"), fresh=True)
    assert len(list(read_rows(out / "train.jsonl"))) == 40


def test_a_resolved_recipe_builds_the_same_again(tmp_path: Path) -> None:
    out = build(recipe(None, tmp_path / "out", "restated=0.5"))
    again = load_recipe(out / "recipe.yaml", [f"out={tmp_path / 'again'}"])
    assert texts(build(again)) == texts(out)


def test_a_build_killed_again_and_again_comes_to_the_same_rows(tmp_path: Path) -> None:
    more = ("rows.train=160", "rows.dev=20")
    whole, broken = build(recipe(None, tmp_path / "whole", *more)), tmp_path / "broken"
    journal = broken / ".build" / "train.jsonl"
    program = "from affectgpt.cli import main; main()"
    command = [sys.executable, "-c", program, "data", "build", "drawn", f"out={broken}", *more]
    command += ["workers=1", f"tracks={tmp_path / 'broken-tracks'}"]
    for n_lines in (2, 40):
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        until = time.monotonic() + 120
        while time.monotonic() < until and running.poll() is None:
            if journal.is_file() and journal.read_bytes().count(b"\n") > n_lines:
                break
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        assert not (broken / "train.jsonl").is_file(), "it was faster than the test"
    with journal.open("ab") as file:
        file.write(b'{"k": 99999, "task": "explain", "ro')
    build(recipe(None, broken, *more, f"tracks={tmp_path / 'broken-tracks'}"))
    assert texts(broken) == texts(whole)
    assert texts(broken, "dev") == texts(whole, "dev")
    assert describe(broken)["dropped"] == describe(whole)["dropped"]


def test_a_recipe_that_cannot_be_filled_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"only 0 of 8 train rows.*v-reg: material"):
        build(recipe(None, tmp_path / "out", "rows={train: 8}", "tasks={v-reg: 1}"))


def test_rows_that_stand_in_the_test_files_are_dropped(corpora: Path, tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test.jsonl").write_text(
        "\n".join(json.dumps({"text": WORDS["joy"].format(i), "y": 1}) for i in range(100)) + "\n"
    )
    (tests / "other.csv").write_text('id,said\n1,"' + WORDS["anger"].format(3).upper() + '!"\n')
    out = build(recipe(corpora, tmp_path / "out", f"test_files={tests}", "scenes.real=1", "rows.train=80"))
    told = describe(out)
    assert sum(n for r, n in told["dropped"]["train"].items() if "contamination: a text" in r) > 0
    left = [line for line in texts(out).splitlines() if "said she" not in line]
    assert not any("What a lovely day in the garden" in line for line in left)


def test_a_journal_of_another_recipe_or_with_a_torn_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a" / ".build" / "train.jsonl"
    with Journal(path, "one") as journal:
        journal.add([Try(0, "explain", "{}", text="t"), Try(1, "label", dropped="length: long")])
    with Journal(path, "one") as journal:
        assert (journal.n_tried, journal.n_kept, journal.dropped) == (2, 1, {"label: length: long": 1})
        assert list(journal.kept()) == [("{}", "t")]
    with pytest.raises(OptionError, match="another recipe"), Journal(path, "two"):
        pass
    path.write_text(path.read_text().replace('"k": 0', '"k": '))
    with pytest.raises(InputError, match="line 2 is damaged"), Journal(path, "one"):
        pass


# ---------------------------------------------------------------- recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_loads_and_says_all_of_itself(name: str) -> None:
    loaded = load_recipe(name)
    again = yaml.safe_load(yaml.safe_dump(loaded.plain()))
    assert load_recipe(shipped_recipes()[name]).fingerprint() == loaded.fingerprint()
    assert set(again) >= {"tasks", "sources", "filters", "scenes"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["colour=red"], "no key 'colour'"),
        (["scenes.reel=1"], "no key 'reel' in scenes"),
        (["rows.train=many"], "give a whole number"),
        (["rows.train=true"], "give a whole number"),
        (["rows=3"], "give keys with values"),
        (["tasks.dance=1"], "no task 'dance'"),
        (["tasks={explain: 0}"], "weight above 0"),
        (["writer.kind=poet"], "composer, teacher"),
        (["sources=[{set: iemocap, path: x}]"], "no set 'iemocap'"),
        (["sources=[{set: meld}]"], "lacks a key"),
        (["splits={train: 0.5}", "rows={train: 1}"], "add up to 1"),
        (["filters.words={explain: [1]}"], "a list of 2"),
        (["seed"], "overrides nothing"),
        (["seed=[1"], "not YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(overrides: Sequence[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=said.replace("[", r"\[")):
        build(load_recipe("drawn", [*overrides, f"out={tmp_path / 'out'}"]))


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFound, match="explain"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="no recipe"):
        load_recipe(tmp_path / "list.yaml")
    (tmp_path / "torn.yaml").write_text("a: [1\n")
    with pytest.raises(InputError, match="not YAML"):
        load_recipe(tmp_path / "torn.yaml")


@pytest.mark.shared
@pytest.mark.slow
def test_the_explain_recipe_over_real_words(shared_data: Path, tmp_path: Path) -> None:
    sources = [
        {"set": "goemotions", "path": "text/goemotions/dev.tsv"},
        {"set": "meld", "path": "text/meld/dev_sent_emo.csv"},
    ]
    given = [f"data={shared_data}", f"out={tmp_path}", f"tracks={tmp_path}/t", f"sources={json.dumps(sources)}"]
    out = build(load_recipe("explain", [*given, "rows={train: 60, dev: 10}"]))
    rows = list(read_rows(out / "train.jsonl"))
    assert len(rows) == 60
    asked = [row for row in rows if row.task == "yes-no"]
    assert any(len(row.messages) > 2 for row in asked)
    answers = [m.content for row in asked for m in row.messages if m.role == "assistant"]
    assert {"Ye", "No"} < {answer[:2] for answer in answers}
    for row in rows:
        answer = parse_text(row.answer)
        assert isinstance(answer, Explanation) is (row.task == "explain")
        assert not isinstance(answer, Explanation) or answer.conclusion.label is None or answer.claims


@pytest.mark.slow
def test_the_panel_may_read_the_evidence_in_place_of_the_prototypes(tmp_path: Path) -> None:
    out = build(recipe(None, tmp_path / "out", "appraiser=panel", "rows={train: 8}", "tasks={explain: 1}"))
    rows = list(read_rows(out / "train.jsonl"))
    assert len(rows) == 8
    for row in rows:
        answer = parse_text(row.answer)
        assert isinstance(answer, Explanation)
        shortlist = row.messages[-2].content.partition("Shortlist: ")[2].split(",")[0]
        assert answer.conclusion.label is None or shortlist.startswith(answer.conclusion.label)
