"""A task from end to end: counts that add up, resuming, scoring again, and comparing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from affectgpt.corpora import Example
from affectgpt.errors import EngineUnreachable, InputError, OptionError
from affectgpt.evaluation import run, samples
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.page import verdict
from affectgpt.evaluation.samples import Answer, Prediction, Sample, read_samples
from affectgpt.evaluation.suite import Suite, load_suite, parse_suite
from affectgpt.evaluation.task import Place

ROWS = [
    {"id": i, "s": text, "e": emotion, "v": v, "who": "ab"[i % 2]}
    for i, (text, emotion, v) in enumerate(
        [
            ("I am so happy", "happy", 1),
            ("this is sad", "sad", -1),
            ("the door", "neutral", 0),
            ("furious!", "angry", -1),
        ]
        * 20
    )
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return folder


COLUMNS = {"id": "id", "text": "s", "label": "e", "values.sentiment": "v", "group.who": "who"}


def suite(**changed: object) -> dict[str, object]:
    task = {
        "name": "t",
        "dataset": {"reader": "jsonl", "path": "x.jsonl", "columns": COLUMNS},
        "predictor": {"kind": "prototypes"},
        "scorers": ["classification", "calibration", "distribution", "sentiment", "open_vocabulary"],
        **changed,
    }
    return {"name": "s", "n_resamples": 100, "tasks": [task]}


def place(data: Path, **changed: object) -> Place:
    out = data.parent / "out"
    out.mkdir(exist_ok=True)
    return Place(data, out, **changed)  # type: ignore[arg-type]


def figure(report: dict, name: str) -> dict:  # type: ignore[type-arg]
    return next(f for f in report["tasks"][0]["figures"] if f["name"] == name)


def test_a_run_gives_figures_beside_their_baselines_and_a_page(data: Path) -> None:
    report = run.run_suite(parse_suite(suite(coverage=0.8)), place(data))
    task = report["tasks"][0]
    assert task["counts"]["asked"] == task["counts"]["scored"] == 80
    assert figure(report, "accuracy")["value"] > figure(report, "accuracy")["majority"]["value"] == 0.25
    assert figure(report, "kl skill")["majority"]["value"] == pytest.approx(0)
    assert task["conformal"]["figures"][0]["value"] >= 0.7
    assert task["versions"]["python"]
    page = (data.parent / "out" / "report.html").read_text(encoding="utf-8")
    assert "majority" in page
    assert "http://" not in page.split("<script")[0]
    assert json.loads((data.parent / "out" / "report.json").read_text())["suite"] == "s"


@pytest.mark.slow
def test_groups_are_told_apart_and_small_ones_named(data: Path) -> None:
    with (data / "x.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"id": 900, "s": "sad", "e": "sad", "v": -1, "who": "c"}))
    task = run.run_suite(parse_suite(suite(groups=["who"], scorers=["classification"])), place(data))["tasks"][0]
    (groups,) = task["groups"]
    assert {g["group"]: g["n"] for g in groups["groups"]} == {"a": 40, "b": 40}
    assert groups["too_small"] == {"c": 1}
    a, b = (g["accuracy"]["value"] for g in groups["groups"])
    assert groups["gap"]["accuracy"]["value"] == pytest.approx(abs(a - b))
    assert all(g["accuracy"]["low"] <= g["accuracy"]["value"] <= g["accuracy"]["high"] for g in groups["groups"])


def test_bad_rows_are_counted_and_named_and_never_dropped(data: Path) -> None:
    bad = [
        {"id": 900, "s": "x", "e": "zorbled", "v": 0, "who": "a"},
        {"id": 0, "s": "again", "e": "sad", "v": 0, "who": "a"},
        {"id": 901, "s": "x", "e": "sad", "v": None, "who": "a"},
        {"id": 902, "s": "", "e": "sad", "v": 0, "who": "a"},
    ]
    with (data / "x.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(map(json.dumps, bad)))
    task = run.run_suite(parse_suite(suite()), place(data))["tasks"][0]
    counts = task["counts"]
    assert counts["asked"] == 84 == counts["scored"] + counts["unparsed"] + counts["failed"]
    assert counts["failed"] == counts["without_usable_gold"] == 4
    assert {s["id"]: s["reason"] for s in task["not_scored"]} == {
        "900": "unknown label 'zorbled' in the gold",
        "0#2": "repeats the id 0",
        "901": "sentiment is not a finite number",
        "902": "neither text nor media",
    }
    assert all(f["n"] == 80 for f in task["figures"] if f["name"] == "accuracy")


def test_a_missing_media_file_is_counted(data: Path) -> None:
    (data / "labels.csv").write_text("image,emotion\nnone.png,happy\n", encoding="utf-8")
    spec = suite(dataset={"reader": "image_folder", "path": ".", "labels": "labels.csv"}, scorers=["classification"])
    task = run.run_suite(parse_suite(spec), place(data))["tasks"][0]
    assert task["not_scored"] == [{"id": "none.png", "status": "failed", "reason": "missing media file 'none.png'"}]
    assert task["figures"][0]["value"] is None


class Half:
    """Answers texts of an even length, gives nothing for the others, and counts what it was asked."""

    asked: list[str]

    def __init__(self, fail_after: int | None = None) -> None:
        self.asked = []
        self.fail_after = fail_after

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise EngineUnreachable("gone")
        self.asked += [e.id for e in examples]
        nan = Prediction("sad", values={"valence": float("nan")})
        return [
            Prediction("sad")
            if len(e.text or "") % 2
            else (OptionError("no") if e.id == "2" else Prediction() if e.id == "6" else nan)
            for e in examples
        ]


@pytest.fixture
def half() -> Half:
    return Half()


def with_half(spec: Suite, where: Place, half: Half) -> dict:  # type: ignore[type-arg]
    return run.run_suite(spec, where, opener=lambda *_: half)


def test_an_empty_answer_and_a_nan_are_unparsed_and_wrong(data: Path, half: Half) -> None:
    report = with_half(parse_suite(suite(scorers=["classification"])), place(data), half)
    counts = report["tasks"][0]["counts"]
    assert counts["asked"] == counts["scored"] + counts["unparsed"] + counts["failed"] == 80
    assert counts["failed"] == 1
    assert counts["unparsed"] > 1
    assert counts["without_usable_gold"] == 0
    assert figure(report, "accuracy")["n"] == 80


def test_a_run_that_died_goes_on_where_it_stopped(data: Path, half: Half) -> None:
    spec = parse_suite(suite(scorers=["classification"], batch_size=8))
    half.fail_after = 40
    with pytest.raises(EngineUnreachable):
        with_half(spec, place(data), half)
    path = data.parent / "out" / "t" / "samples.jsonl"
    with path.open("a") as file:
        file.write('{"id": "torn')
    half.fail_after = None
    with_half(spec, place(data), half)
    assert sorted(half.asked, key=int) == [str(i) for i in range(80)]
    assert len(read_samples(path)) == 80
    with_half(spec, place(data), half)
    assert len(half.asked) == 80
    with_half(spec, place(data, fresh=True), half)
    assert len(half.asked) == 160


def test_stored_samples_are_scored_again_without_asking(data: Path, half: Half) -> None:
    first = with_half(parse_suite(suite(scorers=["classification"])), place(data), half)
    again = run.rescore_suite(parse_suite(suite(scorers=["open_vocabulary", "classification"])), place(data))
    assert len(half.asked) == 80
    assert figure(again, "accuracy") == figure(first, "accuracy")
    assert figure(again, "words F")


def test_samples_of_another_configuration_are_not_mixed_in(data: Path) -> None:
    run.run_suite(parse_suite(suite()), place(data))
    with pytest.raises(OptionError, match="another configuration"):
        run.run_suite(parse_suite(suite(predictor={"kind": "constant", "label": "sad"})), place(data))


def test_the_limit_is_drawn_by_the_seed_and_grows(data: Path) -> None:
    task = run.run_suite(parse_suite(suite()), place(data, limit=10))["tasks"][0]
    assert task["counts"]["asked"] == 10
    again = run.run_suite(parse_suite(suite()), place(data, limit=10, fresh=True))["tasks"][0]
    assert again["figures"] == task["figures"]


def test_who_answered_is_kept_when_a_run_goes_on(data: Path) -> None:
    class Told(Half):
        origin = "a head: fitted on x"

    run.run_suite(parse_suite(suite(scorers=["classification"])), place(data), opener=lambda *_: Told())
    again = with_half(parse_suite(suite(scorers=["classification"])), place(data), Half())
    assert again["tasks"][0]["origin"] == "a head: fitted on x"
    assert "fitted on x" in (data.parent / "out" / "report.html").read_text(encoding="utf-8")


def test_answers_of_another_program_are_scored(data: Path) -> None:
    path = data / "answers.jsonl"
    rows: list[dict[str, object]] = [{"id": str(r["id"]), "label": "joyful"} for r in ROWS[:40]]
    rows[0] |= {"origin": "a table of guesses"}
    rows[1] = {"id": "1", "probabilities": {"sadness": 0.9, "joy": 0.1}}
    rows[2] = {"id": "2", "label": "zorbled"}
    rows[3] = {"id": "3", "probabilities": {"sad": None}}
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec = suite(predictor={"kind": "answers", "path": str(path)}, scorers=["classification"])
    task = run.run_suite(parse_suite(spec), place(data))["tasks"][0]
    assert (task["counts"]["scored"], task["counts"]["unparsed"], task["counts"]["failed"]) == (38, 2, 40)
    assert task["origin"] == "a table of guesses"
    assert "answers.jsonl has no answer for it" in next(iter(task["counts"]["reasons"]))
    assert figure({"tasks": [task]}, "accuracy")["value"] == pytest.approx(11 / 80)
    path.write_text(json.dumps({"id": 1}) + "\n" + json.dumps({"id": "1"}), encoding="utf-8")
    with pytest.raises(OptionError, match="a second answer to 1"):
        run.run_suite(parse_suite(spec), place(data, fresh=True))


def test_two_runs_are_compared_over_shared_samples(data: Path) -> None:
    left, right = (Place(data, data.parent / name) for name in ("a", "b"))
    run.run_suite(parse_suite(suite()), left)
    run.run_suite(parse_suite(suite(predictor={"kind": "majority"})), right)
    found = run.compare(left.out, right.out, n_resamples=200)
    task = found["tasks"][0]
    accuracy = next(r for r in task["differences"] if r["figure"]["name"] == "accuracy")
    assert task["n_shared"] == 80
    assert accuracy["figure"]["low"] > 0
    assert accuracy["p"] < 0.05
    with pytest.raises(InputError, match="no task in common"):
        run.compare(left.out, data)


def test_answers_that_cannot_be_scored_say_why() -> None:
    row = Example("a", "x", label="sad")
    said = {"no word": Prediction(unparsed="no word"), "an empty prediction": Prediction(text=" "),
            "valence is not a finite number": Prediction("sad", values={"valence": float("inf")})}  # fmt: skip
    for reason, answer in said.items():
        sample = samples.of(row, "", answer)
        assert (sample.status, sample.reason) == ("unparsed", reason)
    assert samples.of(row, "", Prediction("sad")) == Sample(
        "a", "scored", label="sad", answer=Prediction("sad"), text="x"
    )
    assert samples.of(row, "", None, "gone").status == "failed"


def test_the_surest_mistakes_are_shown_and_reliability_counts_every_answer(data: Path) -> None:
    rows = [
        {"id": "0", "probabilities": {"angry": 0.9, "happy": 0.1}},
        {"id": "1", "probabilities": {"sad": 0.9, "happy": 0.1}},
        {"id": "2", "probabilities": {"sad": 0.6, "neutral": 0.4}},
    ]
    path = data / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec = suite(predictor={"kind": "answers", "path": str(path)}, scorers=["classification", "calibration"])
    task = run.run_suite(parse_suite(spec), place(data))["tasks"][0]
    assert [(m["id"], m["gold"], m["answered"]) for m in task["mistakes"]] == [
        ("0", "happy", "angry"),
        ("2", "neutral", "sad"),
    ]
    assert task["mistakes"][0]["text"] == "I am so happy"
    assert [(b["n"], b["right"]) for b in task["reliability"]] == [(1, 0.0), (2, 0.5)]
    page = (data.parent / "out" / "report.html").read_text(encoding="utf-8")
    assert "I am so happy" in page


@pytest.mark.parametrize(
    ("low", "high", "up", "said"),
    [(0.5, 0.7, True, "better"), (0.2, 0.39, True, "worse"), (0.35, 0.5, True, "even"), (0.2, 0.29, False, "better")],
)
def test_a_figure_is_called_better_only_beyond_its_interval(low: float, high: float, up: bool, said: str) -> None:
    row = {"low": low, "high": high, "higher_is_better": up, "constant": {"value": 0.3}, "majority": {"value": 0.4}}
    assert verdict(row) == said
    assert verdict(row | {"low": None}) == verdict(row | {"constant": None, "majority": None}) == ""


# ---------------------------------------------------------------- strict suites


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scorer": ["wheel"]}, "unknown key scorer"),
        ({"scorers": []}, "has no scorers"),
        ({"scorers": "wheel"}, "scorers is no list"),
        ({"scorers": ["f1"]}, "no scorer 'f1'"),
        ({"scorers": ["wheel"]}, "no wheel files"),
        ({"predictor": {"kind": "oracle"}}, "no predictor 'oracle'"),
        ({"predictor": {"kind": "prototypes", "deep": True}}, "takes no 'deep'"),
        ({"predictor": {"kind": "constant", "label": "zorbled"}}, "is no label"),
        ({"dataset": {"reader": "jsonl", "path": "x.jsonl", "colums": {}}}, "takes no 'colums'"),
        ({"dataset": {"reader": "jsonl", "path": "x.jsonl"}}, "columns"),
        ({"dataset": {"reader": "meldd", "path": "x.jsonl"}}, "no reader"),
        ({"labels": "meld9"}, "no label set"),
        ({"predictor": {"kind": "words", "head": "tail"}}, "no head 'tail'"),
        ({"wheel_forms": ["fear"]}, "wheel_forms is no mapping"),
        ({"coverage": 1.5}, "coverage"),
        ({"coverage": "high"}, "it must be float"),
        ({"name": "../up"}, "it names a folder"),
        ({"predictor": {"kind": "llm", "prompt": "{secret}", "scripted": ["x"]}}, "a place {secret}"),
        ({"predictor": {"kind": "llm", "prompt": "hm", "scripted": ["x"]}}, "never shows the example"),
        ({"predictor": {"kind": "llm", "prompt": "{text}", "api_key": "x"}}, "takes no 'api_key'"),
        ({"predictor": {"kind": "agent", "decide": "coin"}}, "decide: coin"),
        ({"predictor": {"kind": "agent", "faithful": True}}, "without an engine"),
        ({"predictor": {"kind": "agent", "decide": "llm"}}, "without an engine"),
    ],
)
def test_a_mistake_in_a_suite_is_named(data: Path, changed: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        run.run_suite(parse_suite(suite(**changed)), place(data))


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: a\nname: b\ntasks: []\n")
    with pytest.raises(OptionError, match="stands twice"):
        load_suite(path)


def test_every_shipped_suite_loads(repo: Path) -> None:
    paths = sorted((repo / "examples" / "suites").glob("*.yaml"))
    assert paths
    for path in paths:
        assert load_suite(path).tasks
        assert "api_key" not in yaml.safe_dump(yaml.safe_load(path.read_text()))


# ---------------------------------------------------------------- label sets and language models


def test_labels_of_other_spellings_find_their_place() -> None:
    meld = LabelSet("meld7")
    assert (meld.place("happiness"), meld.place("contemptuous"), meld.place("zorbled")) == ("joy", "disgust", None)
    own = LabelSet(["happy", "angry"])
    assert (own.place("joyful"), own.place("angry"), own.place("calm")) == ("happy", "angry", None)
    assert own.spread({"happy": 0.2, "angry": 0.2, "sad": 0.6}) == {"happy": 0.5, "angry": 0.5}


def test_a_language_models_answers_are_read_strictly() -> None:
    from affectgpt.evaluation.asked import LanguageModel, PromptOptions

    said = ["Happy.", "Label: sadness", "angry, afraid", "The man on the left", "happy or sad?"]
    model = LanguageModel(LabelSet("basic8"), PromptOptions(prompt="{text} of {labels}", scripted=said))
    read = model.predict([Example(str(i), "x") for i in range(len(said))])
    assert [(p.label, bool(p.unparsed)) for p in read if isinstance(p, Prediction)] == [
        ("happy", False), ("sad", False), ("angry", False), (None, True), ("happy", False),
    ]  # fmt: skip
    assert isinstance(read[2], Prediction)
    assert read[2].words == ("angry", "afraid")


SCRIPT = """**Key observations**
- said "I am so happy" [S1]
**Interpretation**
The words [S1] state it.
**Conclusion**
Emotions: joyful, glad
Label: happy
Valence: 0.8
Arousal: 0.4
Dominance: 0.2
Confidence: 0.8"""


def test_the_agents_explanation_brings_its_faithfulness(data: Path) -> None:
    predictor = {"kind": "agent", "scripted": [SCRIPT, "no form at all"], "decide": "llm"}
    spec = suite(predictor=predictor, scorers=["classification", "faithfulness"])
    report = run.run_suite(parse_suite(spec), place(data, limit=8))
    counts = report["tasks"][0]["counts"]
    assert (counts["scored"], counts["unparsed"]) == (4, 4)
    assert figure(report, "claims supported")["n"] == 4
    assert figure(report, "label recovered blind")["value"] is not None
    told = read_samples(data.parent / "out" / "t" / "samples.jsonl")
    assert {s.answer.words for s in told.values() if s.status == "scored"} == {("joyful", "glad")}
    assert all(s.answer.text for s in told.values())
