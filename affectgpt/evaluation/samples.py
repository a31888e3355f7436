"""One sample of a run: what was asked, what the gold is, what was answered. The JSONL file of a run holds these.

Everything that a scorer needs is in the sample, so that a run is scored again without being made again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from affectgpt.corpora import Example
from affectgpt.corpora.tables import json_lines
from affectgpt.errors import AffectError, InputError

__all__ = ["Answer", "Prediction", "Sample", "append_sample", "read_samples"]

Status = Literal["scored", "unparsed", "failed"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a predictor says of one example.

    label: in the task's label set. words: open vocabulary, most fitting first. probabilities: over the task's labels.
    values: numbers by name. text: the answer as written. facts: what else was measured (grounding, flips), as JSON.
    unparsed: why the answer could not be read; empty where it could.
    """

    label: str | None = None
    words: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    unparsed: str = ""


Answer = Prediction | AffectError
"""What a predictor gives for an example: its prediction, or what kept it from one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One asked example. `reason` says why it was not scored; `gold_fault` why its gold cannot be used at all.

    A sample whose gold is usable enters every figure, answered or not; one whose gold is not is counted and named.
    """

    id: str
    status: Status
    reason: str = ""
    gold_fault: str = ""
    label: str | None = None
    labels: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    group: Mapping[str, str] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    answer: Prediction = field(default_factory=Prediction)
    text: str = ""
    spans: tuple[str, ...] = ()

    @property
    def has_gold(self) -> bool:
        """Whether the sample can be scored right or wrong."""
        return not self.gold_fault


def of(example: Example, label_fault: str, answer: Prediction | None, failure: str = "") -> Sample:
    """The sample of an example: failed (bad row, bad gold, an error), unparsed, or scored."""
    fault = example.fault or label_fault
    status: Status = "failed" if fault or failure or answer is None else "scored"
    reason = fault or failure
    if answer is not None and status == "scored" and (lack := answer.unparsed or _lack(answer)):
        status, reason = "unparsed", lack
    return Sample(
        example.id, status, reason, fault, example.label, example.labels, example.values, example.group,
        example.references, answer or Prediction(), example.text or "", example.spans,
    )  # fmt: skip


def _lack(answer: Prediction) -> str:
    """What keeps an answer from being scored; empty where nothing does."""
    numbers = {**answer.values, **answer.probabilities}
    bad = next((name for name, value in numbers.items() if not math.isfinite(value)), None)
    if bad is not None:
        return f"{bad} is not a finite number"
    said = answer.label is not None or answer.words or numbers or answer.text.strip() or "cause" in answer.facts
    return "" if said else "an empty prediction"


def append_sample(file: Any, sample: Sample) -> None:
    """Write one line and flush it: a run that dies has lost nothing that it has finished."""
    file.write(json.dumps(_plain(asdict(sample)), ensure_ascii=True, allow_nan=False) + "\n")
    file.flush()


def read_samples(path: Path) -> dict[str, Sample]:
    """Samples by id, in file order; the last line of a run that died may be broken and is passed over.

    Raises:
        InputError: a line that is no sample, other than the last.
    """
    rows = list(json_lines(path))
    found: dict[str, Sample] = {}
    for n, row in rows:
        try:
            if row is None:
                raise TypeError("not a JSON object")
            sample = _sample(row)
        except (TypeError, KeyError, AttributeError) as error:
            if n == rows[-1][0]:
                break
            raise InputError(f"{path}, line {n}: no sample ({error})", "give the samples.jsonl of a run") from None
        found[sample.id] = sample
    return found


def _sample(row: Mapping[str, Any]) -> Sample:
    answer = dict(row["answer"])
    answer["words"] = tuple(answer["words"])
    answer["values"] = _numbers(answer["values"])
    answer["probabilities"] = _numbers(answer["probabilities"])
    rest = {
        **row,
        "labels": tuple(row["labels"]),
        "references": tuple(row["references"]),
        "spans": tuple(row.get("spans", ())),
        "values": _numbers(row["values"]),
    }
    return Sample(**{**rest, "answer": Prediction(**answer)})


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {k: math.nan if v is None else float(v) for k, v in row.items()}


def _plain(value: Any) -> Any:
    """JSON's own types; a number that is none becomes null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def answered(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Those that were scored."""
    return (s for s in samples if s.status == "scored")
