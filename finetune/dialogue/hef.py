"""Measure HEF and its parts: `python -m finetune.dialogue.hef --shared DATA --out runs/hef --limit 100`.

On the EmpatheticDialogues situations that no head was fitted on, and on RECCON's validation turns: the small model
alone, the large one asked at once, in two stages, and each without cause words. First how often the gold is among the
small model's likeliest k, which bounds what the first question can find; that asks no large model (`--recall-only`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.corpora import Example
from affectgpt.dialogue.hearing import EncoderHearing
from affectgpt.evaluation import run, samples
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.feelings import FeelingChoices, Feelings
from affectgpt.evaluation.intervals import Resampling, difference, interval
from affectgpt.evaluation.suite import DatasetSpec, PredictorSpec, Suite, TaskSpec
from affectgpt.evaluation.task import Place
from finetune.word_corpora import read_parts

__all__ = ["VARIANTS", "main", "pairs", "recall_at", "suite_of"]

VARIANTS: dict[str, dict[str, Any]] = {
    "small": {"stages": "small"},
    "one": {"stages": "one"},
    "one-plain": {"stages": "one", "marks_causes": False},
    "two": {"stages": "two"},
    "two-plain": {"stages": "two", "marks_causes": False},
}
COMPARED = (("two", "small"), ("two", "one"), ("two", "two-plain"), ("one", "one-plain"))
RECCON = ("happiness", "sadness", "anger", "fear", "surprise", "disgust", "neutral")
SETS = ("situations", "turns")
KS = (1, 2, 3, 5, 8, 16)


def suite_of(sets: Sequence[str], situations: Path, reccon: Path, engine: dict[str, Any]) -> Suite:
    """A task a set and variant. `engine` are the options of whoever is asked."""
    columns = {"id": "id", "text": "text", "label": "label", "group.dialogue": "dialogue"}
    data = {
        "situations": (DatasetSpec("jsonl", str(situations), {"columns": columns}), "empathetic32"),
        "turns": (DatasetSpec("reccon", str(reccon), {"unit": "turn"}), RECCON),
    }
    tasks = [
        TaskSpec(
            name=f"{name}-{variant}",
            dataset=data[name][0],
            predictor=PredictorSpec("feeling", {**engine, **options}),
            scorers=("classification",),
            labels=data[name][1],
            cluster="dialogue",
            batch_size=16,
        )
        for name in sets
        for variant, options in VARIANTS.items()
    ]
    return Suite("HEF and its parts", tuple(tasks))


def recall_at(examples: Sequence[Example], labels: LabelSet, ks: Sequence[int] = KS) -> dict[str, list[float]]:
    """How often the gold is among the small model's likeliest k, with its interval over dialogues."""
    settled = [labels.settle(e)[0] for e in examples]
    read = Feelings(labels, FeelingChoices(stages="small"), EncoderHearing()).predict(settled)
    ranks = np.array([_rank(answer.probabilities, e.label) for answer, e in zip(read, settled, strict=True)])  # type: ignore[union-attr]
    how = Resampling(1000, 0, [e.group.get("dialogue", e.id) for e in settled])
    found = {}
    for k in (k for k in ks if k < len(labels.labels)):
        figure = interval("", lambda at, k=k: float((ranks[at] <= k).mean()), len(ranks), how)  # type: ignore[misc]
        found[f"recall_at_{k}"] = [round(x, 4) for x in (figure.value, figure.low, figure.high)]
    return found


def pairs(out: Path, name: str) -> dict[str, list[float]]:
    """Differences of accuracy between variants over the same samples: value, interval, p. Unparsed counts as wrong."""
    found = {}
    for a, b in COMPARED:
        both = [samples.read_samples(out / f"{name}-{v}" / "samples.jsonl") for v in (a, b)]
        ids = [i for i in both[0] if i in both[1] and both[0][i].has_gold]
        right = [np.array([s[i].status == "scored" and s[i].answer.label == s[i].label for i in ids]) for s in both]
        how = Resampling(1000, 0, [both[0][i].group.get("dialogue", i) for i in ids])
        scores = [lambda at, r=r: float(r[at].mean()) for r in right]  # type: ignore[misc]
        figure, p = difference(f"{a} less {b}", scores[0], scores[1], len(ids), how)
        found[figure.name] = [round(x, 4) for x in (figure.value, figure.low, figure.high, p)]
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure and print; samples and the page lie under `--out`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds text/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="examples at most a task")
    parser.add_argument("--only", choices=SETS, action="append", help="one set alone")
    parser.add_argument("--engine", default="local")
    parser.add_argument("--model", default=None)
    parser.add_argument("--base-url", default=None)
    parser.add_argument("--adapter", default="none")
    parser.add_argument("--n-first", type=int, default=3, help="feelings in the first question")
    parser.add_argument("--recall-only", action="store_true", help="ask no large model")
    asked = parser.parse_args(argv)
    sets = asked.only or list(SETS)
    judged = read_parts(asked.shared / "text", 0)["EmpatheticDialogues"].judged
    asked.out.mkdir(parents=True, exist_ok=True)
    situations = (asked.out / "situations.jsonl").resolve()
    rows = ({"id": e.id, "text": e.text, "label": e.label, "dialogue": e.group["dialogue"]} for e in judged)
    situations.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    found: dict[str, Any] = {"recall": {"situations": recall_at(judged, LabelSet("empathetic32"))}}
    if not asked.recall_only:
        engine = {
            "engine": asked.engine, "model": asked.model, "base_url": asked.base_url, "adapter": asked.adapter,
            "max_tokens": 12, "n_first": asked.n_first,
        }  # fmt: skip
        reccon = (asked.shared / "text" / "reccon" / "dailydialog_valid.json").resolve()
        suite = suite_of(sets, situations, reccon, engine)
        report = run.run_suite(suite, Place(asked.shared, asked.out, asked.limit), _tell)
        found["figures"] = {t["task"]: _shown(t) for t in report["tasks"]}
        found["pairs"] = {name: pairs(asked.out, name) for name in sets}
    print(json.dumps(found, indent=1))


def _rank(probabilities: Any, gold: str | None) -> int:
    ranked = sorted(probabilities, key=lambda k: -probabilities[k])
    return ranked.index(gold) + 1 if gold in ranked else len(ranked) + 1


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    figures = {f["name"]: [round(f[k], 4) for k in ("value", "low", "high")] for f in task["figures"]}
    return {**figures, "counts": {k: task["counts"][k] for k in ("asked", "scored", "unparsed", "failed")}}


def _tell(task: str, done: int, asked: int) -> None:
    print(f"\r{task}: {done} of {asked}", end="\n" if done == asked else "", flush=True)


if __name__ == "__main__":
    main()
