"""A recipe: what a data set is made of, as YAML. The keys are these dataclasses' fields; an unknown one is an error.

Any key may be overridden on the command line, nested ones with dots: `rows.train=500 tasks.label=3`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from affectgpt.errors import InputError, MediaNotFound, OptionError
from affectgpt.prompting import PromptLibrary
from affectgpt.records.instruction import Split
from instruction_data.composer import VERSION
from instruction_data.filters import FilterOptions
from instruction_data.material import KINDS
from instruction_data.scenes import Mix
from instruction_data.tasks import TASKS

__all__ = [
    "EngineEntry",
    "Recipe",
    "SourceEntry",
    "WriterEntry",
    "load_recipe",
    "plain",
    "read_recipe",
    "shipped_recipes",
]


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One corpus.

    set: which of the sets that have a reader.
    path: its file or folder, from `data`.
    labels: a table of labels, from `data`, for folders of clips and photographs.
    licence: of one's own recordings (set `own`); every other set's is known.
    """

    set: str
    path: str
    labels: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """A language model: `engine` local, http or echo, `model` and `base_url` as everywhere; keys from the environment.

    `name: panel` among the annotators is the package's own panel of appraisers instead.
    """

    name: str = "engine"
    engine: Literal["local", "http", "echo"] = "http"
    model: str = ""
    base_url: str = ""


@dataclass(frozen=True, slots=True)
class WriterEntry:
    """Who writes the explanations.

    kind: composer, a grammar and no model; or teacher, the language model of `engine`.
    is_told: whether a teacher is told the label that the evidence comes to.
    engine: the teacher.
    """

    kind: Literal["composer", "teacher"] = "composer"
    is_told: bool = True
    engine: EngineEntry = field(default_factory=EngineEntry)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole data set.

    name: what it is called, in files and exports.
    data: folder from which the sources' paths start.
    out: folder that the rows, the card and the resolved recipe are written to.
    tracks: folder in which recordings that were read are kept; several recipes may share it.
    seed: of every draw.
    rows: rows wanted a split.
    splits: share of speakers and dialogues that each split is given.
    tasks: weight of each task.
    sources: the corpora.
    scenes: how faces, voices and words are put together.
    reworded: share of scenes, a split, that are told in a second vocabulary; for splits that test, never for training.
    varied: share of scenes, a split, that are told in wordings drawn anew for each, so that evidence is read and not
        known by heart.
    in_turn: share of yes/no rows, a split, that ask many questions about the same evidence, one after the other.
    restated: share of explanations whose key observations are given, as the agent gives them.
    writer: who writes the explanations.
    annotators: who else must agree with a row's label.
    appraiser: who reads the evidence: prototypes, the literature's, which is fast; or panel, the fitted appraisers that
        the agent asks, over words and faces (recordings are kept without the contours that their voices are read from).
    filters: what a row must pass.
    test_files: folder of test files that no row may share a recording or a text with; empty for none.
    workers: processes; 0 for one a core. A teacher writes from one process, its requests side by side.
    """

    name: str = "affectgpt"
    data: Path = Path()
    out: Path = Path("runs/data")
    tracks: Path = Path("runs/tracks")
    seed: int = 7
    rows: Mapping[Split, int] = field(default_factory=lambda: {"train": 1000, "dev": 100})
    splits: Mapping[Split, float] = field(default_factory=lambda: {"train": 0.85, "dev": 0.15})
    tasks: Mapping[str, float] = field(default_factory=lambda: {"explain": 1.0})
    sources: tuple[SourceEntry, ...] = ()
    scenes: Mix = field(default_factory=Mix)
    reworded: Mapping[Split, float] = field(default_factory=dict)
    varied: Mapping[Split, float] = field(default_factory=dict)
    in_turn: Mapping[Split, float] = field(default_factory=dict)
    restated: float = 0.9
    writer: WriterEntry = field(default_factory=WriterEntry)
    annotators: tuple[EngineEntry, ...] = ()
    appraiser: Literal["prototypes", "panel"] = "prototypes"
    filters: FilterOptions = field(default_factory=FilterOptions)
    test_files: str = ""
    workers: int = 0

    def __post_init__(self) -> None:
        """Raise OptionError for a value that no build can use."""
        for kind, given, known in (
            ("task", self.tasks, TASKS),
            ("split in rows", self.rows, self.splits),
            ("set", [s.set for s in self.sources], KINDS),
        ):
            if unknown := [k for k in given if k not in known]:
                raise OptionError(f"no {kind} {unknown[0]!r}", f"there are {', '.join(sorted(known))}")
        if not self.tasks or min(self.tasks.values()) < 0 or not sum(self.tasks.values()):
            raise OptionError(f"the tasks' weights are {dict(self.tasks)}", "give at least one a weight above 0")
        if not self.rows or min(self.rows.values()) < 0:
            raise OptionError(f"the rows wanted are {dict(self.rows)}", "give a number a split")

    def plain(self) -> dict[str, Any]:
        """The recipe in YAML's own types, every key written out."""
        return typing.cast(dict[str, Any], plain(self))

    def fingerprint(self) -> str:
        """A hash of everything that decides which rows come out: the recipe, the grammar, the prompts.

        Where things lie, at which address a model answers and how many processes work is left out.
        """
        decides = {k: v for k, v in self.plain().items() if k not in ("data", "out", "tracks", "workers")}
        for engine in (decides["writer"]["engine"], *decides["annotators"]):
            del engine["base_url"]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
        digest.update(VERSION.encode() + files("instruction_data").joinpath("grammar.toml").read_bytes())
        for prompt in sorted(PromptLibrary().folder.glob("*.yaml")):
            digest.update(prompt.read_bytes())
        return digest.hexdigest()


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, by path or by the name of a shipped one, and override keys by `key=value`.

    Raises:
        MediaNotFound: no such file. InputError: not YAML. OptionError: an unknown key, or a value of the wrong type.
    """
    return typing.cast(Recipe, read_recipe(Recipe, path, overrides, shipped_recipes()))


def read_recipe(kind: type, path: Path | str, overrides: Sequence[str], shipped: Mapping[str, Path]) -> Any:
    """A recipe of another kind, a dataclass whose fields are its keys; `shipped` are those known by name.

    Raises: as `load_recipe`.
    """
    file = Path(path)
    if not file.is_file() and (found := shipped.get(str(path))):
        file = found
    if not file.is_file():
        raise MediaNotFound(f"no recipe at {path}", f"give a YAML file, or one of {', '.join(shipped)}")
    try:
        row = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not YAML: {' '.join(str(error).split())}", "mend the file") from None
    if not isinstance(row, Mapping):
        raise InputError(f"{file} is no recipe", f"its keys are {', '.join(f.name for f in dataclasses.fields(kind))}")
    merged = dict(row)
    for override in overrides:
        _override(merged, override)
    return _build(kind, merged, "")


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with the package."""
    folder = Path(str(files("instruction_data"))) / "recipes"
    return {p.stem: p for p in sorted(folder.glob("*.yaml"))}


def _override(row: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise OptionError(f"{override!r} overrides nothing", "write key=value, for example rows.train=500")
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        raise OptionError(f"the value in {override!r} is not YAML", "quote it") from None
    *path, last = key.strip().split(".")
    at = row
    for name in path:
        below = at.get(name)
        at[name] = at = dict(below) if isinstance(below, Mapping) else {}
    at[last] = value


def _build(kind: Any, value: Any, where: str) -> Any:
    """A value of an annotated type out of YAML's types.

    Raises:
        OptionError: an unknown key, or a value that is not of the type.
    """
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, value, where)
    if origin is types.UnionType or origin is typing.Union:
        return None if value is None else _build(next(k for k in inside if k is not type(None)), value, where)
    if origin is typing.Literal:
        return _as_told(value in inside, value, where, f"one of {', '.join(map(str, inside))}")
    if origin is tuple:
        _as_told(isinstance(value, list), value, where, "a list")
        kinds = [inside[0]] * len(value) if inside[-1] is Ellipsis else inside
        _as_told(len(kinds) == len(value), value, where, f"a list of {len(kinds)}")
        return tuple(_build(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is not None:  # a mapping
        _as_told(isinstance(value, Mapping), value, where, "keys with values")
        return {_build(inside[0], k, where): _build(inside[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is Path:
        return Path(_as_told(isinstance(value, str) and bool(value), value, where, "a path"))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return _as_told(
        is_right, value, where, {"str": "a text", "int": "a whole number"}.get(kind.__name__, kind.__name__)
    )


def _record(kind: Any, value: Any, where: str) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    _as_told(isinstance(value, Mapping), value, where, f"keys out of {', '.join(sorted(known))}")
    if unknown := [k for k in value if k not in known]:
        place = f" in {where}" if where else ""
        raise OptionError(f"no key {unknown[0]!r}{place}", f"the keys are {', '.join(sorted(known))}")
    hints = typing.get_type_hints(kind)
    try:
        return kind(**{k: _build(hints[k], v, f"{where}.{k}" if where else k) for k, v in value.items()})
    except TypeError as error:
        raise OptionError(
            f"{where or 'the recipe'} lacks a key: {error}", "give every key that has no default"
        ) from None


def _as_told(is_right: bool, value: Any, where: str, wanted: str) -> Any:
    if not is_right:
        raise OptionError(f"{where} is {value!r}", f"give {wanted}")
    return value


def plain(value: Any) -> Any:
    """A recipe, or a part of one, in YAML's own types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
