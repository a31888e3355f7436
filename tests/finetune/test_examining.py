"""Examining an adapter: what each figure counts, that flips change one cue alone, and that a judge is asked fairly."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from trainings import write_rows
from typer.testing import CliRunner

from affectgpt.answers import open_answer
from affectgpt.appraise.prototypes import appraise
from affectgpt.cli import app
from affectgpt.engines import adapter
from affectgpt.engines.echo import EchoEngine
from affectgpt.engines.engine import stamp
from affectgpt.errors import InputError, ModelError, OptionError
from affectgpt.evaluation import pairs
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Completion, Message, Observations, Prompt, Sampling
from affectgpt.textualize import restate
from finetune.examining import Examination, examine, read_examination
from finetune.examining_answers import Who
from finetune.examining_bars import BARS, Case, measure
from finetune.examining_flips import Flip, decisive, draw_flips, follow, rebuild
from finetune.examining_page import page
from finetune.judging import judge
from finetune.observed import read_observations
from finetune.rows import Row
from instruction_data.composer import compose
from instruction_data.evidence import draw
from instruction_data.rewording import reword

QUOTES = {
    "neutral": ["The meeting starts at nine in the morning.", "A blue car."],
    "happy": ["That was the best day, I am happy!"],
    "angry": ["How dare they, I am angry"],
    **{label: [] for label in ("sad", "fearful", "disgusted", "surprised", "contemptuous")},
}
LIBRARY = PromptLibrary()


def seen(i: int) -> Observations:
    return draw(random.Random(f"examining/{i}"), QUOTES).observations


def explain_row(i: int) -> dict[str, object]:
    """A composed row; every other one told in the second vocabulary, every fifth not opened."""
    told = reword(seen(i)) if i % 2 else seen(i)
    read = appraise(told)
    prompt = LIBRARY.render("explain", told, read)
    said = {"role": "assistant", "content": compose(told, read, random.Random(i))}
    return {
        "id": f"explain/dev/{i}", "task": "explain", "split": "dev",
        "messages": [*({"role": m.role, "content": m.content} for m in prompt.messages), said],
        "opening": open_answer([restate(o) for o in told.items]) if i % 5 else "",
        "provenance": {"prompt_id": "explain", "prompt_version": prompt.version,
                       "wording": "second" if i % 2 else ""},
    }  # fmt: skip


def question_row(i: int) -> dict[str, object]:
    asked = f"Observations\n[F1] a line {i}\n\nDo the observations report a smile? Answer yes or no."
    messages = [("user", asked), ("assistant", "Yes, in [F1]." if i % 2 else "No.")]
    return {
        "id": f"yes-no/dev/{i}", "task": "yes-no", "split": "dev",
        "messages": [{"role": role, "content": text} for role, text in messages],
        "provenance": {"prompt_id": "yes-no", "prompt_version": "1", "wording": ""},
    }  # fmt: skip


class Writer:
    """An engine that writes what the composer would over whatever prompt it is shown, or `spoil`s it."""

    name = "writer"
    model = "composer"

    def __init__(self, spoiled: str = "") -> None:
        self.spoiled = spoiled
        self.n_asked = 0
        self.largest_batch = 0
        self.stops_after = 10**9

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        self.largest_batch = max(self.largest_batch, len(prompts))
        written = []
        for prompt in prompts:
            self.n_asked += 1
            if self.n_asked > self.stops_after:
                raise KeyboardInterrupt
            written.append(stamp(self, prompt, self.spoiled or self._write(prompt), (0, 0)))
        return written

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        yield self.generate([prompt], sampling)[0].text

    def _write(self, prompt: Prompt) -> str:
        if prompt.prompt_id == "yes-no":
            return "Yes." if int(prompt.messages[-1].content.split("line ")[1].split("\n")[0]) % 2 else "No."
        shown = read_observations(prompt.messages)
        return compose(shown, appraise(shown), random.Random(1))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [explain_row(i) for i in range(24)] + [question_row(i) for i in range(6)]
    write_rows(tmp_path / "data" / "dev.jsonl", rows)
    return tmp_path / "data"


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "adapter"
    folder.mkdir(parents=True)
    (folder / adapter.WEIGHTS).write_bytes(b"weights")
    (folder / adapter.CONFIG).write_text("{}")
    (folder / "config.json").write_text("{}")
    adapter.write_manifest(folder, "tiny", "base/model", folder, {})
    return folder


def engines(writer: Writer, judge_: EchoEngine | None = None) -> object:
    def opened(who: Who) -> object:
        given = {"adapter": writer, "untuned": Writer("I feel fine."), "copier": EchoEngine(), "judge": judge_}
        return given[who]

    return opened


def values(report: dict, who: str, vocabulary: str = "all") -> dict[str, float]:
    return {f["name"]: f["value"] for f in report["figures"][vocabulary][who]}


def test_a_faultless_writer_meets_every_bar_and_the_others_are_told_apart(data: Path, sealed: Path) -> None:
    writer = Writer()
    how = Examination(str(data), resamples=40, untuned=10, flips=5, batch_size=7)
    report = examine(sealed, how, engines(writer))  # type: ignore[arg-type]
    ours, figures = values(report, "adapter"), {f["name"]: f for f in report["figures"]["all"]["adapter"]}
    for bar in BARS:
        if bar.aim is not None and figures[bar.name]["n"]:
            assert figures[bar.name]["met"], bar.name
    assert report["flips"]["asked"] == 5
    assert figures["one cue flipped: the interpretation follows"]["n"] == 5
    assert writer.largest_batch == 7
    untuned, copier = values(report, "untuned"), values(report, "copier")
    assert untuned["answers read"] == untuned["planted cues rejected"] == 0.0
    assert not untuned["one cue flipped: the label follows"]
    assert (copier["answers read"], copier["claims supported"]) == (1.0, 1.0)
    assert copier["label is the appraisal's"] < 0.2
    assert copier["one cue flipped: the label follows"] == 0.0
    assert ours["cues imagined"] == 0.0
    # Where all is right the interval still says how few rows that were.
    assert 0.8 < figures["answers read"]["low"] < 1.0
    assert {f["n"] for f in report["figures"]["second"]["adapter"] if f["name"] == "answers read"} == {12}
    out = sealed.parent / "examination"
    assert json.loads((out / "report.json").read_text())["pairs"] is None
    text = (out / "report.md").read_text()
    assert "Not run: no judge was at hand" in text
    assert len(report["interpretations"]) == 20
    assert text.count("*\n") >= 20


def test_it_goes_on_where_it_was_stopped_and_asks_nothing_twice(data: Path, sealed: Path) -> None:
    how = Examination(str(data), resamples=40, untuned=0, flips=4, batch_size=5)
    stopped, lines = Writer(), []
    stopped.stops_after = 13
    with pytest.raises(KeyboardInterrupt):
        examine(sealed, how, engines(stopped), lines.append)  # type: ignore[arg-type]
    assert lines[0].startswith("adapter: 5 of 24 answers, ")
    kept = sealed.parent / "examination" / "answers" / "adapter.jsonl"
    n_kept = len(kept.read_text().splitlines())
    assert n_kept in (9, 10)
    with kept.open("a") as file:
        file.write('{"id": "explain/dev/0", "te')
    writer = Writer()
    report = examine(sealed, how, engines(writer))  # type: ignore[arg-type]
    assert writer.n_asked == 24 - n_kept + 6 + 4
    assert examine(sealed, how, engines(Writer())) == report  # type: ignore[arg-type]
    (data / "dev.jsonl").write_text((data / "dev.jsonl").read_text() + json.dumps(question_row(9)) + "\n")
    with pytest.raises(OptionError, match="another examination"):
        examine(sealed, how, engines(writer))  # type: ignore[arg-type]


def test_what_cannot_be_examined_is_named(data: Path, sealed: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no rows"):
        examine(sealed, Examination())
    with pytest.raises(ModelError, match="has no"):
        examine(tmp_path, Examination(str(data)))
    twice = [question_row(1), question_row(1)]
    write_rows(tmp_path / "twice" / "dev.jsonl", twice)
    with pytest.raises(InputError, match="stands twice"):
        examine(sealed, Examination(str(tmp_path / "twice")))
    for text, said in (("colour=red", "unknown key"), ("flips=many", "does not fit"), ("limit=-1", "does not fit")):
        with pytest.raises(OptionError, match=said):
            read_examination([text])
    how = read_examination(["data=a=b", "limit=null", "flips=3"])
    assert (how.data, how.limit, how.flips) == ("a=b", None, 3)
    result = CliRunner().invoke(app, ["finetune", "examine", str(sealed), "colour=red"])
    assert result.exit_code != 0


# ---------------------------------------------------------------- flips


def rows() -> list[Row]:
    made = [explain_row(i) for i in range(60)]
    return [
        Row(i, tuple(Message(m["role"], m["content"]) for m in r["messages"]), r["opening"], "explain", r["id"],  # type: ignore
            r["provenance"])  # type: ignore[arg-type]
        for i, r in enumerate(made, 1)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def flips() -> list[Flip]:
    found, counts = draw_flips(rows(), 1000, 0, LIBRARY)
    assert counts["rows"] == 60 == counts["not rebuilt"] + counts["no decisive cue"] + counts["with a decisive cue"]
    # A voice near its baseline and a firm quote do not show all their numbers.
    assert counts["not rebuilt"] < 15
    assert len(found) == counts["with a decisive cue"] > 10
    return found


def test_a_flip_changes_one_cue_and_the_label(flips: Sequence[Flip]) -> None:
    for flip in flips:
        before, after = read_observations(flip.row.messages), read_observations(flip.prompt.messages)
        n = len(before.items) - (flip.kind == "removed")
        assert len(after.items) == n
        told = {o.text for o in after.items}
        assert sum(o.text not in told for o in before.items) == 1
        assert (
            sum(o.cue != p.cue for o, p in zip(before.items, after.items, strict=False)) > 0
            or n < len(before.items)
            or flip.kind == "turned"
        )
        assert flip.before != flip.after == flip.appraisal.fused.top
        assert appraise(after).fused.top == flip.after
        ids = [o.id for o in after.items if o.id[0] == "F"]
        assert ids == [f"F{i}" for i in range(1, len(ids) + 1)]
        # The vocabulary of the row is kept.
        assert ("confidence" in flip.prompt.messages[-1].content.split("Appraisal")[0]) == (
            "confidence" in flip.row.messages[-2].content.split("Appraisal")[0]
        )
        assert bool(flip.prompt.opening) == bool(flip.row.opening)


def test_the_composer_follows_and_an_unchanged_answer_does_not(flips: Sequence[Flip]) -> None:
    for i, flip in enumerate(flips):
        own = Completion(flip.row.answer, "composer", "composer", "explain", "4")
        text = compose(read_observations(flip.prompt.messages), flip.appraisal, random.Random(i))
        followed = follow(flip, own, replace(own, text=text))
        assert followed.interpretation, (followed.why_not, text)
        assert not follow(flip, own, own).label
        # The new label under the old account is not enough.
        old, new = flip.row.answer.split("**Conclusion**")[0], text.split("**Conclusion**")[1]
        assert follow(flip, own, replace(own, text=f"{old}**Conclusion**{new}")).label
    mixed = [
        follow(f, Completion(f.row.answer, "", "", "", ""), Completion(
            f.row.answer.split("**Conclusion**")[0] + "**Conclusion**" + compose(
                read_observations(f.prompt.messages), f.appraisal, random.Random(0)
            ).split("**Conclusion**")[1], "", "", "", "",
        ))
        for f in flips
    ]  # fmt: skip
    assert sum(m.interpretation for m in mixed) < 0.2 * len(mixed)
    assert not follow(flips[0], own, replace(own, text="nothing")).label


def test_evidence_that_does_not_come_out_the_same_is_not_used() -> None:
    row = rows()[0]
    assert rebuild(row, LIBRARY) is not None
    asked = row.messages[-2].content
    other = replace(row, messages=(*row.messages[:-2], Message("user", asked + " "), row.messages[-1]))
    assert rebuild(other, LIBRARY) is None
    plain = Row(1, (Message("user", "Which emotion?"), Message("assistant", "Happy")))
    assert rebuild(plain, LIBRARY) is None
    evidence = rebuild(row, LIBRARY)
    assert evidence is not None
    flip = decisive(row, evidence, LIBRARY)
    assert flip is None or flip.row is row


# ---------------------------------------------------------------- figures


def test_an_answer_of_nothing_is_a_miss_wherever_it_is_asked_for() -> None:
    cases = [Case(judge(row, Completion("I feel fine", "", "", "", ""))) for row in rows()[:6]]
    told = {f["name"]: f for f in measure({"adapter": cases}, 50)["all"]["adapter"]}
    assert told["answers read"]["value"] == told["label is the appraisal's"]["value"] == 0.0
    assert told["observations covered"]["value"] == 0.0
    assert told["claims supported"]["n"] == 0
    assert told["no conflict named where none is"]["met"] is False
    report = {
        "adapter": "tiny", "rows": 6, "asked": {"adapter": 6}, "dtype": "float32", "answer_tokens": 640,
        "base_model": "b", "figures": measure({"adapter": cases}, 50), "faults": {}, "interpretations": [],
        "flips": {"rows": 6, "not rebuilt": 0, "with a decisive cue": 0, "asked": 0}, "pairs": None,
    }  # fmt: skip
    assert "| claims supported | ≥ 99 % | – |" in page(report)


# ---------------------------------------------------------------- a judge


def pair(i: int, ours: str = "ours", theirs: str = "theirs") -> pairs.Pair:
    return pairs.Pair(f"r{i}", "Observations\n[F1] x", f"{ours} {i}", f"{theirs} {i}")


class Judge(Writer):
    """Prefers the text that holds `favourite`; the first place where there is none."""

    def __init__(self, favourite: str) -> None:
        super().__init__()
        self.favourite = favourite
        self.asked: list[str] = []

    def _write(self, prompt: Prompt) -> str:
        text = prompt.messages[-1].content
        self.asked.append(text)
        first, second = text.split("Account A\n")[1].split("\n\nAccount B\n")
        if self.favourite == "nobody":
            return "Both are poor."
        place = "A" if not self.favourite or self.favourite in first else "B" if self.favourite in second else "equal"
        return f"I weighed them. Better: A at first sight.\nBetter: {place}"


def test_a_fair_judge_is_taken_at_its_word() -> None:
    told = pairs.summarise(pairs.compare(Judge("ours"), [pair(i) for i in range(6)], LIBRARY))
    assert (told["ours"], told["theirs"], told["equal"], told["agreement"]) == (6, 0, 0, 1.0)
    assert told["ours_preferred"][0] == 1.0
    assert told["first_place"] == 0.5
    told = pairs.summarise(pairs.compare(Judge("theirs"), [pair(i) for i in range(6)], LIBRARY))
    assert (told["ours"], told["theirs"], told["ours_preferred"][0]) == (0, 6, 0.0)


def test_a_judge_of_places_decides_nothing() -> None:
    told = pairs.summarise(pairs.compare(Judge(""), [pair(i) for i in range(6)], LIBRARY))
    assert (told["equal"], told["agreement"], told["first_place"]) == (6, 0.0, 1.0)
    assert told["ours_preferred"][0] == 0.5
    assert told["kappa"] is not None
    assert told["kappa"] <= 0.0


def test_a_judge_is_blind_is_asked_in_both_orders_and_what_it_mumbles_is_counted() -> None:
    asked = Judge("ours")
    compared = pairs.compare(asked, [pair(0), pair(1, "same", "same")], LIBRARY)
    assert len(asked.asked) == 2
    assert {text.split("Account A\n")[1].split()[0] for text in asked.asked} == {"ours", "theirs"}
    system = LIBRARY.get("compare").system
    assert not {"model", "composer", "adapter"} & set(" ".join([*asked.asked, system]).lower().split())
    assert [c.winner for c in compared] == ["ours", "equal"]
    assert pairs.summarise(compared)["same_text"] == 1
    assert all(c.raw and c.judge == "writer:composer" for c in compared[:1])
    mumbled = pairs.summarise(pairs.compare(Judge("nobody"), [pair(0)], LIBRARY))
    assert (mumbled["unread"], mumbled["equal"]) == (1, 0)
    assert pairs.read_verdict("**Better:** B.") == "B"
    assert pairs.read_verdict("It is better than a poem") == "unread"


def test_the_examination_asks_a_judge_where_there_is_one(data: Path, sealed: Path) -> None:
    how = Examination(str(data), resamples=40, untuned=0, flips=0, pairs=4, judge_url="http://127.0.0.1:9/v1")
    report = examine(sealed, how, engines(Writer(), Judge("")))  # type: ignore[arg-type]
    assert report["pairs"]["pairs"] == 4
    assert report["pairs"]["judge"] == "writer:composer"
    assert len((sealed.parent / "examination" / "pairs.jsonl").read_text().splitlines()) == 4
    assert "each in both orders" in page(report)


def test_variety_is_set_beside_the_composers_with_a_standard_error_that_holds_it() -> None:
    composed = [Case(judge(row, Completion(row.answer, "", "", "", ""))) for row in rows()[:12]]
    stiff = [replace(c, judged=replace(c.judged, interpretation="The face shows joy.")) for c in composed]
    figures = measure({"adapter": stiff, "composer": composed}, 20)["all"]
    ours = {f["name"]: f for f in figures["adapter"]}
    assert ours["distinct-2"]["value"] == pytest.approx(3 / 36)
    assert ours["distinct-2"]["met"] is False
    less = ours["distinct-2 less the composer's"]
    assert less["value"] == pytest.approx(ours["distinct-2"]["value"] - ours["distinct-2"]["aim"])
    assert less["low"] < less["value"] < less["high"] < 0
    assert "distinct-2 less the composer's" not in {f["name"] for f in figures["composer"]}
