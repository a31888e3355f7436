"""One task from end to end: examples, answers, samples on disk, figures beside their baselines.

The folder of a task holds `run.json` (what was asked of whom, with versions) and `samples.jsonl` (one line a sample).
A run that stopped goes on where it stopped; one that is finished is scored again without asking anybody.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from affectgpt.corpora import Example
from affectgpt.errors import AffectError, InputError, OptionError
from affectgpt.evaluation import samples as stored
from affectgpt.evaluation.abstention import conformal_report
from affectgpt.evaluation.datasets import LabelSet, open_dataset
from affectgpt.evaluation.details import confusion_table, reliability, surest_mistakes
from affectgpt.evaluation.groups import group_report
from affectgpt.evaluation.intervals import Figure, Resampling, interval
from affectgpt.evaluation.measures import ScoringPlan
from affectgpt.evaluation.predictors import Predictor, baselines, open_predictor
from affectgpt.evaluation.samples import Prediction, Sample
from affectgpt.evaluation.scorers import measure
from affectgpt.evaluation.suite import PredictorSpec, Suite, TaskSpec
from affectgpt.versions import loaded_versions

__all__ = ["Opener", "Place", "Progress", "run_task", "score_task"]

Progress = Callable[[str, int, int], None]
"""Told (task, answered so far, asked)."""

Opener = Callable[[PredictorSpec, LabelSet, Sequence[Example]], Predictor]
"""Gives the predictor that a task names, from its spec, the labels and the training side."""

_RUN_KEYS = ("dataset", "predictor", "labels", "fit")
"""What decides the answers; scorers, groups, resamples and the limit may change over the same samples."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where data is and where results go. `limit` examples at most a task; `fresh` throws older samples away."""

    data: Path
    out: Path
    limit: int | None = None
    fresh: bool = False


def run_task(
    task: TaskSpec, suite: Suite, place: Place, progress: Progress | None = None, opener: Opener = open_predictor
) -> dict[str, Any]:
    """Answer what is not answered yet, then score all of it. The predictor is opened only where something is missing.

    Raises:
        AffectError: no data, no predictor, or samples of another configuration in the folder.
    """
    labels = LabelSet(task.labels)
    examples = open_dataset(task.dataset, place.data, place.limit, suite.seed)
    fit = open_dataset(task.fit, place.data) if task.fit else open_dataset(task.dataset, place.data)
    settled_fit = [s for e in fit if not e.fault for s, fault in [labels.settle(e)] if not fault]
    folder = place.out / task.name
    folder.mkdir(parents=True, exist_ok=True)
    run = _claim(folder, _describe(task, suite, settled_fit, labels), place.fresh)
    path = folder / "samples.jsonl"
    done = _stored(path)
    if waiting := [e for e in examples if e.id not in done]:
        predictor = opener(task.predictor, labels, settled_fit)
        run |= {"origin": str(getattr(predictor, "origin", "")), "versions": loaded_versions()}
        _write(folder / "run.json", run)
        answered = len(examples) - len(waiting)
        for n, sample in enumerate(_answer(task, labels, waiting, predictor, path), answered + 1):
            done[sample.id] = sample
            if progress:
                progress(task.name, n, len(examples))
        _write(folder / "run.json", run | {"versions": loaded_versions()})
    return score_task(task, suite, place, [done[e.id] for e in examples])


def _describe(task: TaskSpec, suite: Suite, fit: Sequence[Example], labels: LabelSet) -> dict[str, Any]:
    """Everything that decides the answers and the baselines."""
    resolved = task.resolved()
    asked = {key: resolved[key] for key in _RUN_KEYS}
    text = json.dumps(asked, sort_keys=True, default=str)
    return {
        "task": task.name,
        "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16],
        "config": resolved,
        "seed": suite.seed,
        "labels": list(labels.labels),
        "fit_side": "training side" if task.fit else "the evaluated side itself",
        "n_fit": len(fit),
        "baselines": {name: asdict(b.answer) for name, b in baselines(labels, fit).items()},
    }


def _claim(folder: Path, run: Mapping[str, Any], fresh: bool) -> dict[str, Any]:
    """The run as it is to be written, with who answered before; refuses to mix samples of two configurations."""
    old = folder / "run.json"
    kept: dict[str, Any] = {}
    if fresh:
        (folder / "samples.jsonl").unlink(missing_ok=True)
    elif old.is_file() and (folder / "samples.jsonl").is_file():
        kept = _read_json(old)
        if kept.get("fingerprint") != run["fingerprint"]:
            raise OptionError(f"{folder} holds samples of another configuration", "use --fresh, or another --out")
    claimed = dict(run) | {key: kept[key] for key in ("origin", "versions") if key in kept}
    _write(old, claimed)
    return claimed


def _answer(
    task: TaskSpec, labels: LabelSet, waiting: Sequence[Example], predictor: Predictor, path: Path
) -> Iterator[Sample]:
    """Answer in batches; each sample is on disk before it is given."""
    with path.open("a", encoding="utf-8") as file:
        for start in range(0, len(waiting), task.batch_size):
            batch = [labels.settle(e) for e in waiting[start : start + task.batch_size]]
            sound = [e for e, fault in batch if not e.fault and not fault]
            answers = dict(zip((e.id for e in sound), predictor.predict(sound) if sound else [], strict=True))
            for example, fault in batch:
                sample = _sample(example, fault, answers.get(example.id))
                stored.append_sample(file, sample)
                yield sample


def _sample(example: Example, fault: str, answer: Prediction | AffectError | None) -> Sample:
    if isinstance(answer, AffectError):
        return stored.of(example, fault, None, str(answer))
    return stored.of(example, fault, answer)


def _stored(path: Path) -> dict[str, Sample]:
    """The samples of an earlier run; what one that died wrote of its last line is cut off."""
    if not path.is_file():
        return {}
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        path.write_bytes(data[: data.rfind(b"\n") + 1])
    return stored.read_samples(path)


# ---------------------------------------------------------------- scoring


def score_task(task: TaskSpec, suite: Suite, place: Place, rows: Sequence[Sample] | None = None) -> dict[str, Any]:
    """Figures of the samples in a task's folder; nobody is asked anything.

    Raises:
        InputError: the folder holds no run.
    """
    folder = place.out / task.name
    run = _read_json(folder / "run.json")
    rows = rows if rows is not None else list(stored.read_samples(folder / "samples.jsonl").values())
    labels = tuple(run["labels"])
    wheels = place.data / task.wheels if task.wheels else None
    plain = {name: _prediction(row) for name, row in run["baselines"].items()}
    plan = ScoringPlan(labels, plain["majority"].probabilities, wheels, task.wheel_forms)
    how = Resampling(suite.n_resamples, suite.seed, _clusters(task, rows))
    beside = {name: [_answered_by(answer, s) for s in rows] for name, answer in plain.items()}
    columns = {"run": rows, **beside}
    figures = {name: _figures(task, column, plan, how) for name, column in columns.items()}
    result = {
        "task": task.name,
        "predictor": task.predictor.kind,
        "origin": run.get("origin", ""),
        "counts": _counts(rows),
        "not_scored": [{"id": s.id, "status": s.status, "reason": s.reason} for s in rows if s.status != "scored"],
        "figures": [_beside(f, figures) for f in figures["run"].values()],
        "confusion": confusion_table(rows, labels),
        "reliability": reliability(rows, labels),
        "mistakes": surest_mistakes(rows),
        "groups": [g for c in task.groups if (g := group_report(rows, c, suite.seed))],
        "conformal": conformal_report(rows, labels, task.coverage, how) if task.coverage else None,
        "resampling": {"n": suite.n_resamples, "seed": suite.seed, "cluster": task.cluster or "sample", "level": 0.95},
        "baselines_from": run["fit_side"],
        "config": run["config"],
        "versions": run.get("versions", {}),
    }
    return jsonable(result)  # type: ignore[no-any-return]


def _clusters(task: TaskSpec, rows: Sequence[Sample]) -> tuple[str, ...]:
    # A sample without the column stands for itself.
    return tuple(s.group.get(task.cluster, f"({s.id})") for s in rows) if task.cluster else ()


def _figures(task: TaskSpec, rows: Sequence[Sample], plan: ScoringPlan, how: Resampling) -> dict[str, Figure]:
    found = {}
    for m in measure(task.scorers, rows, plan):
        chosen = [how.clusters[i] for i in m.members] if how.clusters else ()
        inner = replace(how, clusters=chosen, n_resamples=how.n_resamples if m.is_resampled else 0)
        found[m.name] = interval(m.name, m.statistic, len(m.members), inner, m.higher_is_better, m.note)
    return found


def _beside(figure: Figure, figures: Mapping[str, Mapping[str, Figure]]) -> dict[str, Any]:
    """A figure with the same figure of each baseline; null where the baseline has none."""
    row = asdict(figure)
    for name in ("constant", "majority"):
        other = figures[name].get(figure.name)
        row[name] = {"value": other.value, "low": other.low, "high": other.high} if other else None
    return row


def _answered_by(answer: Prediction, sample: Sample) -> Sample:
    return replace(sample, status="scored", answer=answer) if sample.has_gold else sample


def _prediction(row: Mapping[str, Any]) -> Prediction:
    return Prediction(**{**row, "words": tuple(row["words"])})


def _counts(rows: Sequence[Sample]) -> dict[str, Any]:
    """Asked = scored + unparsed + failed, and the reasons of those not scored."""
    by = Counter(s.status for s in rows)
    reasons = Counter(s.reason for s in rows if s.status != "scored")
    return {
        "asked": len(rows),
        **{k: by[k] for k in ("scored", "unparsed", "failed")},
        "without_usable_gold": sum(not s.has_gold for s in rows),
        "reasons": dict(reasons.most_common()),
    }


def jsonable(value: Any) -> Any:
    """JSON's own types; a number that is none becomes null."""
    return json.loads(json.dumps(_finite(value), allow_nan=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, Figure):
        return _finite(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and value - value != 0 else value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"no run at {path.parent}", "run the suite first") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is no run", "run the suite again with --fresh")
    return found


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(_finite(document), indent=1, default=str) + "\n", encoding="utf-8")
