"""Replies compared: BLEU equals sacrebleu's, retrieval never looks at its own dialogue, and a suite runs whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.corpora import Example
from affectgpt.errors import InputError, OptionError
from affectgpt.evaluation import run
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.predictors import open_predictor
from affectgpt.evaluation.repliers import dialogue_lines
from affectgpt.evaluation.reply_metrics import count_bleu, distinct
from affectgpt.evaluation.samples import Prediction, read_samples
from affectgpt.evaluation.suite import PredictorSpec, load_suite, parse_suite
from affectgpt.evaluation.task import Place
from finetune.judging import distinct_2

LABELS = LabelSet("empathetic32")
WORDS = st.lists(st.sampled_from(["I", "am", "so", "sorry", "glad", "that", "you", "won", ".", "!"]), max_size=12)
TEXTS = st.lists(st.tuples(WORDS.map(" ".join), WORDS.filter(bool).map(" ".join)), min_size=1, max_size=12)


# ---------------------------------------------------------------- figures over texts


@given(TEXTS, st.sampled_from([2, 4]))
def test_bleu_from_counts_is_sacrebleus_own(texts: list[tuple[str, str]], order: int) -> None:
    from sacrebleu.metrics.bleu import BLEU

    said, given_ = [list(side) for side in zip(*texts, strict=True)]
    ours = count_bleu(said, [[g] for g in given_]).bleu(np.arange(len(said)), order)
    theirs = BLEU(lowercase=True, max_ngram_order=order).corpus_score(said, [given_]).score
    assert ours == pytest.approx(theirs)


def test_bleu_over_some_is_that_of_these_alone() -> None:
    said, given_ = ["I am glad", "no", "how sad that is"], [["I am glad"], ["yes indeed"], ["how sad it is"]]
    some = np.array([0, 2, 2])
    alone = count_bleu([said[i] for i in some], [given_[i] for i in some])
    assert count_bleu(said, given_).bleu(some, 2) == pytest.approx(alone.bleu(np.arange(3), 2))
    assert count_bleu(["I am glad"], [["I am glad"]]).bleu(np.arange(1), 2) == pytest.approx(100)


@given(st.lists(WORDS.map(" ".join), max_size=8))
def test_distinct_counts_words_and_pairs(texts: list[str]) -> None:
    ours, theirs = distinct(texts, 2), distinct_2(texts)
    assert ours == theirs or (ours != ours and theirs != theirs)
    words = [w for t in texts for w in t.lower().split()]
    assert not words or distinct(texts, 1) == len(set(words)) / len(words)
    assert distinct([], 1) != distinct([], 1)


# ---------------------------------------------------------------- who replies


def told(name: str, text: str, reply: str, *context: str) -> Example:
    group = {"dialogue": name}
    return Example(f"{name}:{len(context)}", text, None, "proud", ("proud",), {}, group, context, (), (reply,))


KNOWN = (
    told("a", "My dog died last night.", "I am so sorry about your dog."),
    told("b", "I passed the exam with the best mark!", "Congratulations, well done!"),
    told("c", "The train was late again this morning.", "How annoying."),
)


def test_the_nearest_turn_of_another_dialogue_lends_its_reply() -> None:
    nearest = open_predictor(PredictorSpec("retrieval"), LABELS, KNOWN)
    asked = [told("x", "Our old dog passed away yesterday.", ""), told("y", "I got the top mark in my exam!", "")]
    assert [a.text for a in nearest.predict(asked) if isinstance(a, Prediction)] == [
        "I am so sorry about your dog.",
        "Congratulations, well done!",
    ]
    own = nearest.predict([KNOWN[0]])[0]
    assert isinstance(own, Prediction)
    assert own.text != KNOWN[0].references[0]
    assert "3 replies" in nearest.origin  # type: ignore[attr-defined]


def test_retrieval_without_replies_is_refused() -> None:
    with pytest.raises(OptionError, match="no replies"):
        open_predictor(PredictorSpec("retrieval"), LABELS, [Example("a", "text")])
    with pytest.raises(OptionError, match="n_before"):
        open_predictor(PredictorSpec("retrieval", {"n_before": -1}), LABELS, KNOWN)


def test_the_dialogue_is_shown_as_in_the_rows_that_models_are_taught() -> None:
    from instruction_data.drafts import Workbench
    from instruction_data.material import Material, Said
    from instruction_data.tasks.talking import reply

    long = told("d", 'So I said "no" to <|im_end|>\nthem.', "Good.", *(f"line {k}" for k in range(14)))
    for example in (KNOWN[0], long):
        said = Said("empathetic_dialogues", None, "", "d", example)
        bench = Workbench(Material("train", {"empathetic_dialogues": (said,)}), None, None)  # type: ignore[arg-type]
        taught = reply(random.Random(0), bench)
        assert taught is not None
        assert dialogue_lines(example) in taught.prompt.messages[-1].content


def test_a_model_is_asked_by_the_librarys_prompt_and_stops_at_the_next_turn() -> None:
    spec = PredictorSpec("reply", {"scripted": ["How sad. \nspeaker: and then", "  "]})
    first, second = open_predictor(spec, LABELS, ()).predict(KNOWN[:2])
    assert isinstance(first, Prediction)
    assert first.text == "How sad."
    assert first.facts == {"model": "echo:echo-scripted", "prompt": "1"}
    assert isinstance(second, Prediction)
    assert second.text == ""
    with pytest.raises(OptionError, match="more than a dialogue"):
        open_predictor(PredictorSpec("reply", {"scripted": ["x"], "prompt": "explain"}), LABELS, ())
    with pytest.raises(OptionError, match="takes no 'engines'"):
        open_predictor(PredictorSpec("reply", {"engines": "echo"}), LABELS, ())


# ---------------------------------------------------------------- a suite from end to end


@pytest.fixture
def data(tmp_path: Path) -> Path:
    stories = [(e.text, e.references[0], "sad" if k % 3 == 0 else "proud") for k, e in enumerate(KNOWN * 20)]
    lines = [
        {"conv_id": f"v:{k}", "emotion": "sad" if label == "sad" else "proud",
         "turns": [{"role": "speaker", "text": text}, {"role": "listener", "text": reply}]}
        for k, (text, reply, label) in enumerate(stories)
    ]  # fmt: skip
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ed.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return tmp_path / "data"


def task(name: str, predictor: dict[str, object], scorer: str) -> dict[str, object]:
    dataset = {"reader": "replies", "path": "ed.jsonl"}
    return {
        "name": name, "dataset": {**dataset, "side": "dev"}, "fit": {**dataset, "side": "train"},
        "labels": "empathetic32", "predictor": predictor, "scorers": [scorer], "cluster": "dialogue",
    }  # fmt: skip


def figures(report: dict, name: str) -> dict:  # type: ignore[type-arg]
    found = next(t for t in report["tasks"] if t["task"] == name)
    return {f["name"]: f for f in found["figures"]}


def test_a_suite_of_replies_and_judged_pairs_runs_and_is_scored_again(data: Path) -> None:
    out = data.parent / "out"
    judge = {"kind": "judged", "ours": "given", "theirs": "constant", "scripted": ["Better: A"]}
    tasks = [
        task("given", {"kind": "given_replies"}, "reply"),
        task("nearest", {"kind": "retrieval"}, "reply"),
        task("constant", {"kind": "constant", "text": "I see."}, "reply"),
        task("judged", judge, "judged"),
    ]
    suite = parse_suite({"name": "s", "n_resamples": 100, "tasks": tasks})
    report = run.run_suite(suite, Place(data, out))
    given_ = figures(report, "given")
    assert [given_[name]["value"] for name in ("BLEU-2", "BLEU-4")] == pytest.approx([100, 100])
    assert [given_[name]["value"] for name in ("emotion match", "emotion overlap")] == pytest.approx([1, 1])
    # The same three replies stand in the training side, so that the nearest is the person's own.
    assert figures(report, "nearest")["BLEU-2"]["value"] == pytest.approx(100)
    constant = figures(report, "constant")
    assert constant["BLEU-4"]["value"] < 20
    assert constant["distinct-1"]["value"] < given_["distinct-1"]["value"]
    assert constant["distinct-1"]["low"] is None
    assert constant["BLEU-2"]["low"] is not None
    judged = figures(report, "judged")
    assert (judged["ours preferred"]["value"], judged["orders agree"]["value"], judged["first place"]["value"]) == (
        0.5, 0.0, 1.0,
    )  # fmt: skip
    assert json.dumps(run.rescore_suite(suite, Place(data, out))["tasks"]) == json.dumps(report["tasks"])
    kept = next(iter(read_samples(out / "judged" / "samples.jsonl").values())).answer.facts
    assert kept["model"] == "echo:echo-scripted"
    assert kept["raw"] == ["Better: A", "Better: A"]


def test_a_judge_needs_runs_that_are_there(data: Path) -> None:
    place = Place(data, data.parent / "out")
    for predictor, error, what in (
        ({"kind": "judged", "ours": "a", "theirs": "b", "scripted": ["x"]}, InputError, "no samples of a run"),
        ({"kind": "judged", "scripted": ["x"]}, OptionError, "two tasks"),
    ):
        with pytest.raises(error, match=what):
            run.run_suite(parse_suite({"name": "s", "tasks": [task("t", predictor, "judged")]}), place)


def test_an_unread_verdict_is_counted_and_not_weighed(data: Path) -> None:
    judge = {"kind": "judged", "ours": "given", "theirs": "constant", "scripted": ["I like both."]}
    tasks = [
        task("given", {"kind": "given_replies"}, "reply"),
        task("constant", {"kind": "constant", "text": "I see."}, "reply"),
        task("judged", judge, "judged"),
    ]
    report = run.run_suite(parse_suite({"name": "s", "n_resamples": 100, "tasks": tasks}), Place(data, data.parent))
    counts = next(t for t in report["tasks"] if t["task"] == "judged")["counts"]
    assert (counts["unparsed"], counts["scored"]) == (counts["asked"], 0)
    assert list(counts["reasons"]) == ["no verdict"]
    assert figures(report, "judged") == {}


@pytest.mark.parametrize("name", ["replies", "replies_judged"])
def test_the_shipped_suites_are_read(repo: Path, name: str) -> None:
    suite = load_suite(repo / "examples" / "suites" / f"{name}.yaml")
    assert yaml.safe_load((repo / "examples" / "suites" / f"{name}.yaml").read_text("utf-8"))["name"] == suite.name
    kinds = {t.predictor.kind for t in suite.tasks}
    assert kinds <= {"given_replies", "constant", "retrieval", "reply", "judged"}
