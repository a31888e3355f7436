"""A suite: tasks in strict YAML. A key that nothing reads is an error, and so is one that stands twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from affectgpt.errors import OptionError

__all__ = ["DatasetSpec", "PredictorSpec", "Suite", "TaskSpec", "load_suite", "parse_suite"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """Where examples come from. `path` starts from the data folder; `where` keeps rows whose group, or label, is that.

    reader: a name of `datasets.READERS`; `options` are that reader's own arguments.
    """

    reader: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PredictorSpec:
    """Who answers: a `kind` of `predictors.KINDS` with that kind's own `options`."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task: a dataset, a predictor and scorers.

    labels: a label set of the lexicon by name, or a list. fit: the training side, for the majority and the prior; the
    evaluated side itself where there is none. groups: columns to report by. cluster: the column whose values are drawn
    whole in a bootstrap. coverage: of the conformal sets, in (0, 1); 0 makes none. wheels: folder of the wheel files.
    wheel_forms: base word -> surface forms that stand in place of those files', as in another release of theirs.
    """

    name: str
    dataset: DatasetSpec
    predictor: PredictorSpec
    scorers: tuple[str, ...]
    labels: str | tuple[str, ...] = "basic8"
    fit: DatasetSpec | None = None
    groups: tuple[str, ...] = ()
    cluster: str = ""
    coverage: float = 0.0
    wheels: str = ""
    wheel_forms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    batch_size: int = 32

    def resolved(self) -> dict[str, Any]:
        """Every value in force, as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks with one seed and one number of bootstrap resamples."""

    name: str
    tasks: tuple[TaskSpec, ...]
    description: str = ""
    seed: int = 0
    n_resamples: int = 1000


def load_suite(path: Path | str) -> Suite:
    """Read a suite file.

    Raises:
        OptionError: not YAML, or not a suite.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise OptionError(f"no suite at {path}", "name a YAML file, such as those in examples/suites") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise OptionError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}", "correct it") from None
    return parse_suite(document, str(path))


def parse_suite(document: Any, where: str = "suite") -> Suite:
    """A suite from YAML's own types.

    Raises:
        OptionError: a missing or unknown key, or a value of another type, named by its place.
    """
    row = _row(document, Suite, where)
    tasks = _sequence(row.get("tasks"), f"{where}: tasks")
    row["tasks"] = tuple(_task(task, f"{where}: task {n}") for n, task in enumerate(tasks, 1))
    suite = _build(Suite, row, where)
    names = [t.name for t in suite.tasks]
    twice = next((n for n in names if names.count(n) > 1), None)
    _demand(twice is None, f"{where}: two tasks are called {twice!r}", "give each a name of its own")
    _demand(bool(names), f"{where} has no tasks", "list at least one under `tasks:`")
    _demand(suite.n_resamples >= 100, f"{where}: n_resamples {suite.n_resamples}", "100 at least")
    return suite


def _task(document: Any, where: str) -> TaskSpec:
    row = _row(document, TaskSpec, where)
    row["dataset"] = _part(DatasetSpec, row.get("dataset"), f"{where}: dataset")
    row["predictor"] = _part(PredictorSpec, row.get("predictor"), f"{where}: predictor")
    if row.get("fit") is not None:
        row["fit"] = _part(DatasetSpec, row["fit"], f"{where}: fit")
    for key in ("scorers", "groups"):
        row[key] = tuple(map(str, _sequence(row.get(key, ()), f"{where}: {key}")))
    if not isinstance(row.get("labels", ""), str):
        row["labels"] = tuple(map(str, _sequence(row["labels"], f"{where}: labels")))
    row["wheel_forms"] = _forms(row.get("wheel_forms", {}), where)
    task = _build(TaskSpec, row, where)
    _demand(bool(task.scorers), f"{where} has no scorers", "name one at least")
    _demand(0 <= task.coverage < 1, f"{where}: coverage {task.coverage}", "give a number in (0, 1), or 0 for none")
    _demand(task.batch_size >= 1, f"{where}: batch_size {task.batch_size}", "1 at least")
    plain = task.name.replace("-", "").replace("_", "").replace(".", "")
    _demand(plain.isalnum() and not task.name.startswith("."), f"{where}: name {task.name!r}", "it names a folder")
    return task


def _forms(document: Any, where: str) -> dict[str, tuple[str, ...]]:
    _demand(isinstance(document, Mapping), f"{where}: wheel_forms is no mapping", "word: [form, form]")
    return {str(k): tuple(map(str, _sequence(v, f"{where}: wheel_forms of {k}"))) for k, v in document.items()}


def _part(kind: type[_T], document: Any, where: str) -> _T:
    """A dataset or predictor: its own fields, and every other key as an option of what it names."""
    _demand(isinstance(document, Mapping), f"{where} is missing or no mapping", "see examples/suites")
    known = {f.name for f in fields(kind)} - {"options"}  # type: ignore[arg-type]
    row: dict[str, Any] = {k: v for k, v in document.items() if k in known}
    row["options"] = {str(k): v for k, v in document.items() if k not in known}
    if "where" in row:
        _demand(isinstance(row["where"], Mapping), f"{where}: where is no mapping", "column: value")
        row["where"] = {str(k): str(v) for k, v in row["where"].items()}
    return _build(kind, row, where)


def _row(document: Any, kind: type[Any], where: str) -> dict[str, Any]:
    _demand(isinstance(document, Mapping), f"{where} is no mapping", "see examples/suites")
    known = [f.name for f in fields(kind)]
    unknown = [str(k) for k in document if k not in known]
    _demand(not unknown, f"{where}: unknown key {', '.join(unknown)}", f"the keys are {', '.join(known)}")
    return dict(document)


_TYPES: Mapping[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int)}


def _build(kind: type[_T], row: Mapping[str, Any], where: str) -> _T:
    for f in fields(kind):  # type: ignore[arg-type]
        allowed = _TYPES.get(str(f.type))
        value = row.get(f.name)
        if allowed and f.name in row:
            right = isinstance(value, allowed) and not isinstance(value, bool)
            _demand(right, f"{where}: {f.name} is {value!r}", f"it must be {f.type}")
    try:
        return kind(**row)
    except TypeError as error:
        raise OptionError(f"{where}: {str(error).split('__init__() ')[-1]}", "see examples/suites") from None


def _sequence(value: Any, where: str) -> Sequence[Any]:
    _demand(isinstance(value, list | tuple), f"{where} is no list", "write it with dashes, or in brackets")
    return value  # type: ignore[no-any-return]


def _demand(holds: bool, what: str, remedy: str) -> None:
    if not holds:
        raise OptionError(what, remedy)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key may stand once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping; a YAMLError where a key repeats."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((k for i, k in enumerate(keys) if k in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
