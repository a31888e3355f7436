"""A whole suite, and two runs against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from affectgpt.errors import InputError
from affectgpt.evaluation import samples as stored
from affectgpt.evaluation.intervals import Resampling, difference
from affectgpt.evaluation.measures import ScoringPlan
from affectgpt.evaluation.predictors import open_predictor
from affectgpt.evaluation.samples import Sample
from affectgpt.evaluation.scorers import measure
from affectgpt.evaluation.suite import Suite
from affectgpt.evaluation.task import Opener, Place, Progress, jsonable, run_task, score_task
from affectgpt.report.parts import write_page

__all__ = ["compare", "rescore_suite", "run_suite"]

SCHEMA_VERSION = "1"


def run_suite(
    suite: Suite, place: Place, progress: Progress | None = None, opener: Opener | None = None
) -> dict[str, Any]:
    """Run every task; writes `report.json` and `report.html` into the output folder and gives the report.

    A task may read the samples of one before it.

    Raises:
        AffectError: a task cannot be run at all.
    """
    opened = opener or partial(open_predictor, runs=place.out)
    return _report(suite, place, [run_task(task, suite, place, progress, opened) for task in suite.tasks])


def rescore_suite(suite: Suite, place: Place) -> dict[str, Any]:
    """Score the stored samples again, with the suite's scorers of today; nobody is asked.

    Raises:
        InputError: a task was never run there.
    """
    return _report(suite, place, [score_task(task, suite, place) for task in suite.tasks])


def _report(suite: Suite, place: Place, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from affectgpt.evaluation.page import render

    report = {
        "schema_version": SCHEMA_VERSION,
        "suite": suite.name,
        "description": suite.description,
        "limit": place.limit,
        "tasks": list(tasks),
    }
    write_page(place.out / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    write_page(place.out / "report.html", render(report))
    return report


def compare(a: Path, b: Path, n_resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Run `a` minus run `b`, task by task, over the samples that both were asked, by a paired bootstrap.

    A task of one name in both is compared, with the scorers and the clusters that `a` was scored with.

    Raises:
        InputError: no run in a folder, or no task or sample in common.
    """
    shared = sorted({p.parent.name for p in a.glob("*/run.json")} & {p.parent.name for p in b.glob("*/run.json")})
    if not shared:
        raise InputError(f"{a} and {b} have no task in common", "name the --out folders of two runs of one suite")
    how = Resampling(n_resamples, seed)
    return jsonable({"a": str(a), "b": str(b), "tasks": [_compare_task(a / t, b / t, how) for t in shared]})  # type: ignore[no-any-return]


def _compare_task(a: Path, b: Path, how: Resampling) -> dict[str, Any]:
    left, right = (stored.read_samples(folder / "samples.jsonl") for folder in (a, b))
    run = json.loads((a / "run.json").read_text(encoding="utf-8"))
    both = [i for i in left if i in right]
    moved = [i for i in both if _gold(left[i]) != _gold(right[i])]
    kept = [i for i in both if i not in set(moved)]
    if not kept:
        raise InputError(f"{a.name}: no sample with the same gold in both runs", "compare runs of one suite")
    task = run["config"]
    plan = ScoringPlan(tuple(run["labels"]), run["baselines"]["majority"]["probabilities"])
    # The wheel's files are no part of a run's folder; its figures are compared by scoring both runs.
    names = [s for s in task["scorers"] if s != "wheel"]
    measured = [{m.name: m for m in measure(names, [side[i] for i in kept], plan)} for side in (left, right)]
    rows = []
    for name, m in measured[0].items():
        other = measured[1].get(name)
        if other is None or list(other.members) != list(m.members):
            continue
        groups = (
            [left[kept[i]].group.get(task["cluster"], f"({kept[i]})") for i in m.members] if task["cluster"] else ()
        )
        inner = Resampling(how.n_resamples, how.seed, groups)
        figure, p = difference(name, m.statistic, other.statistic, len(m.members), inner)
        rows.append({"figure": figure, "p": p if math.isfinite(p) else None})
    return {
        "task": a.name,
        "n_shared": len(kept),
        "only_in_a": len(left) - len(both),
        "only_in_b": len(right) - len(both),
        "gold_differs": moved,
        "differences": rows,
    }


def _gold(sample: Sample) -> tuple[Any, ...]:
    return sample.label, sample.labels, dict(sample.values)
