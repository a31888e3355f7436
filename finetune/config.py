"""The recipe of a training: one dataclass whose field docs are the YAML comments and the command line's help.

A recipe comes from a YAML file, or a preset by its name, and `key=value` overrides. An unknown key is an error that
names the nearest one: a misspelt learning rate that falls back to its default costs a night.
"""

from __future__ import annotations

import difflib
import textwrap
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from affectgpt.errors import OptionError

__all__ = ["PRESETS", "Recipe", "describe_keys", "key", "load_recipe", "read_recipe", "write_yaml"]

PRESETS = Path(__file__).resolve().parent / "configs"
"""Folder of the shipped recipes; the `accelerate` files beside them lie in `configs/accelerate`."""

ALL_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
JUDGED = ("loss", "parsed", "label_f1", "supported", "hallucinated", "exact")
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


Keyed = typing.TypeVar("Keyed", bound=Any)


def key(default: Any, doc: str, *, section: str = "", choices: Sequence[str] = (), least: float | None = None) -> Any:
    """A field of a recipe, with what its YAML comment and the command line say of it."""
    notes = {"doc": doc, "section": section, "choices": tuple(choices), "least": least}
    return field(default=default, metadata=notes)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training gives; the resolved one lies beside every result."""

    model: str = key(
        "smollm2-135m-instruct",
        "Base model: the embedded one by this name, a folder, or a Hugging Face id.",
        section="The base",
    )
    revision: str | None = key(None, "Branch, tag or commit of a Hugging Face id; null is its newest.")
    dtype: str = key(
        "bfloat16",
        "Of the frozen weights. The adapter's own are float32 in any case.",
        choices=("bfloat16", "float32"),
    )
    quantize: str = key(
        "none",
        "nf4 holds the frozen weights in four bits (QLoRA, arXiv 2305.14314). CUDA only.",
        choices=("none", "nf4"),
    )

    data: str = key(
        "data", "Folder with train.jsonl and dev.jsonl (rows as instruction_data makes them).", section="The rows"
    )
    tasks: tuple[str, ...] = key((), "Keep the rows of these tasks; empty keeps all.")
    n_rows: int | None = key(None, "Train on so many rows, drawn by the seed; null takes all.", least=1)
    n_dev_rows: int | None = key(None, "Watch so many dev rows, drawn by the seed; null takes all.", least=1)
    max_length: int = key(1536, "Tokens of the longest row, and of a pack.", least=16)
    too_long: str = key(
        "refuse",
        "A row beyond max_length: refuse stops before training, drop leaves it out, cut shortens its answer, which "
        "teaches to stop anywhere.",
        choices=("refuse", "drop", "cut"),
    )
    packing: bool = key(True, "Put several rows into one sequence; none sees another. Off: rows side by side.")

    name: str = key("adapter", "The adapter's id, in its manifest and in every answer it gives.", section="The adapter")
    start_from: str | None = key(
        None,
        "Sealed adapter to train on from, of the same base, rank, alpha and targets: a folder, or shipped; null begins "
        "anew.",
    )
    rank: int = key(16, "Rank r of the update BA.", least=1)
    alpha: int = key(32, "The update is scaled by alpha / r.", least=1)
    dropout: float = key(0.0, "On the adapter's input, in training only.", least=0.0)
    targets: tuple[str, ...] = key(ALL_PROJECTIONS, "The linear layers that get an update.")

    learning_rate: float = key(1e-3, "Peak learning rate.", section="The steps", least=0.0)
    schedule: str = key(
        "cosine",
        "How the learning rate falls after warm-up.",
        choices=("cosine", "linear", "constant_with_warmup", "constant"),
    )
    warmup_steps: int = key(20, "Steps over which it rises from zero.", least=0)
    batch: int = key(4, "Rows, or packs, side by side on one device.", least=1)
    accumulate: int = key(1, "Batches that make up one step.", least=1)
    epochs: float = key(1.0, "Times over all rows.", least=0.0)
    max_steps: int | None = key(None, "Stop after so many steps whatever the epochs say.", least=1)
    weight_decay: float = key(0.0, "AdamW's, on the adapter's matrices.", least=0.0)
    max_grad_norm: float = key(1.0, "Longer gradients are shortened to this.", least=0.0)
    optimizer: str = key(
        "adamw_torch",
        "Which AdamW; the 8-bit ones need CUDA.",
        choices=("adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"),
    )
    seed: int = key(7, "Decides the adapter's first weights, the order of rows and the dropout.", least=0)

    gradient_checkpointing: bool = key(
        False, "Compute activations twice instead of keeping them: a quarter slower, far less memory.", section="Means"
    )
    attention: str = key(
        "auto",
        "auto takes flash_attention_2 on a GPU that has it, else `segments`: each packed row by itself.",
        choices=("auto", "segments", "sdpa", "eager", "flash_attention_2"),
    )
    threads: int | None = key(None, "CPU threads; null leaves torch's own number.", least=1)

    log_steps: int = key(5, "Write down the loss every so many steps.", section="Watching", least=1)
    eval_steps: int = key(50, "Look at the dev rows every so many steps.", least=1)
    save_steps: int = key(50, "Checkpoint every so many steps; a multiple of eval_steps.", least=1)
    keep: int = key(3, "Newest checkpoints kept, beside the best.", least=1)
    best_by: str = key(
        "loss", "What chooses the checkpoint that becomes the adapter, always on dev rows.", choices=JUDGED
    )
    early_stop: int = key(0, "Stop after so many looks without a better one; 0 never does.", least=0)
    n_answers: int = key(
        0, "At each look, write answers to so many dev rows and score them; 0 watches the loss alone.", least=0
    )
    answer_tokens: int = key(640, "An answer longer than this counts as unparsed.", least=1)
    report_to: tuple[str, ...] = key((), f"Trackers to report to: {', '.join(TRACKERS)}. Each must be installed.")

    out: str = key("runs/finetune", "Folder for checkpoints, plots and the adapter.", section="Where")


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file or a preset's name, with `key=value` overrides on top.

    Raises:
        OptionError: no such file or preset, malformed YAML, an unknown key, or a value that does not fit its key.
    """
    return check(read_recipe(Recipe(), source, overrides, PRESETS))


def read_recipe(default: Keyed, source: str | Path, overrides: Sequence[str], presets: Path) -> Keyed:
    """A recipe of any kind, a dataclass of `key` fields, not yet checked; `presets` is the folder of its presets.

    Raises: as `load_recipe`.
    """
    path = _find(str(source), presets)
    given = _read(path)
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise OptionError(f"{override!r} is not key=value", "write for example learning_rate=2e-4")
        given[name.strip()] = _plain_value(value)
    return replace(default, **{k: _fit(type(default), k, v, path.name) for k, v in given.items()})


def check(recipe: Recipe) -> Recipe:
    """The recipe itself where its keys agree with each other.

    Raises:
        OptionError: they do not.
    """
    if recipe.save_steps % recipe.eval_steps:
        raise OptionError(
            f"save_steps {recipe.save_steps} is no multiple of eval_steps {recipe.eval_steps}",
            "a checkpoint can only be the best one if it was looked at",
        )
    if recipe.best_by != "loss" and not recipe.n_answers:
        raise OptionError(f"best_by={recipe.best_by} needs answers to score", "set n_answers, for example to 40")
    if not 0 <= recipe.dropout < 1:
        raise OptionError(f"dropout {recipe.dropout:g} leaves nothing", "keep it below 1")
    unknown = [t for t in recipe.report_to if t not in TRACKERS]
    if unknown:
        raise OptionError(f"report_to: no tracker {unknown[0]!r}", f"there are {', '.join(TRACKERS)}")
    if not recipe.targets:
        raise OptionError("targets is empty, so that nothing would be trained", "name linear layers, such as q_proj")
    return recipe


def write_yaml(recipe: Any, heading: str = "") -> str:
    """The recipe as YAML, every key under its doc; `load_recipe` reads it back to the same recipe."""
    lines = [f"# {line}" for line in textwrap.wrap(heading, 116)]
    for f in fields(recipe):
        if f.metadata["section"]:
            lines += ["", f"# ---- {f.metadata['section']}"]
        lines += [f"# {line}" for line in textwrap.wrap(_told(f), 116)]
        value = getattr(recipe, f.name)
        lines.append(f"{f.name}: {_yaml_value(list(value) if isinstance(value, tuple) else value)}")
    return "\n".join(lines).lstrip("\n") + "\n"


def describe_keys(empty: Any = None) -> list[tuple[str, str, str]]:
    """(key, default, doc) of every key, in order; of another kind of recipe where one with its defaults is given."""
    empty = empty or Recipe()
    return [(f.name, _yaml_value(_listed(getattr(empty, f.name))), _told(f)) for f in fields(empty)]


def as_row(recipe: Any) -> dict[str, Any]:
    """The recipe as JSON takes it."""
    return {k: _listed(v) for k, v in asdict(recipe).items()}


def heading_of(path: Path) -> str:
    """The comment that a recipe file begins with, as one line of text."""
    lines = path.read_text("utf-8").splitlines()
    cut = next((i for i, line in enumerate(lines) if not line.startswith("# ") or line.startswith("# ----")), 0)
    return " ".join(line.removeprefix("# ") for line in lines[:cut])


def _told(f: Any) -> str:
    choices = f.metadata["choices"]
    return f.metadata["doc"] + (f" One of: {', '.join(choices)}." if choices else "")


def _find(source: str, presets: Path) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    preset = presets / f"{source}.yaml"
    if "/" not in source and preset.is_file():
        return preset
    there = ", ".join(sorted(p.stem for p in presets.glob("*.yaml")))
    raise OptionError(f"no recipe file or preset {source!r}", f"the presets are {there}")


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key stands once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        names = [self.construct_object(k, deep=True) for k, _ in node.value]  # type: ignore[no-untyped-call]
        if twice := next((n for n in names if names.count(n) > 1), None):
            raise yaml.YAMLError(f"{twice} stands twice")
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        row = yaml.load(path.read_text("utf-8"), _StrictLoader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise OptionError(f"recipe {path} cannot be read: {e}", "mend the YAML") from None
    if row is None:
        return {}
    if not isinstance(row, Mapping):
        raise OptionError(f"recipe {path} is no mapping of keys to values", "write one `key: value` a line")
    return {str(k): v for k, v in row.items()}


def _plain_value(text: str) -> Any:
    try:
        return yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError:
        return text


@cache
def _types(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def _fit(kind: Any, key: str, value: Any, where: str) -> Any:
    """The value as its key's type, or an error that says what was wrong."""
    known = _types(kind)
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(known)}"
        raise OptionError(f"unknown key {key!r} in {where} or an override", hint)
    fitted = _cast(known[key], value)
    notes = next(f.metadata for f in fields(kind) if f.name == key)
    if fitted is _NO or (notes["choices"] and fitted not in notes["choices"]):
        wanted = f"one of {', '.join(notes['choices'])}" if notes["choices"] else _type_words(known[key])
        raise OptionError(f"{key}: {value!r} does not fit", f"give {wanted}")
    if notes["least"] is not None and fitted is not None and fitted < notes["least"]:
        raise OptionError(f"{key}: {value!r} is too small", f"the least is {notes['least']:g}")
    return fitted


_NO = object()


def _cast(wanted: Any, value: Any) -> Any:
    if isinstance(wanted, types.UnionType):
        rest = [t for t in typing.get_args(wanted) if t is not types.NoneType]
        return None if value is None else _cast(rest[0], value)
    if wanted is bool or isinstance(value, bool):
        return value if wanted is bool and isinstance(value, bool) else _NO
    if typing.get_origin(wanted) is tuple:
        listed = [x.strip() for x in value.split(",") if x.strip()] if isinstance(value, str) else value
        return tuple(map(str, listed)) if isinstance(listed, list | tuple) else _NO
    if wanted is str:
        return str(value) if isinstance(value, str | int | float) else _NO
    try:
        # YAML 1.1 reads 1e-3 as text.
        number = float(value)
    except (TypeError, ValueError):
        return _NO
    if wanted is int:
        return int(number) if number == number // 1 else _NO
    return number if abs(number) != float("inf") and number == number else _NO


def _type_words(wanted: Any) -> str:
    parts = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
    return " or ".join(words.get(p, "a list of names") for p in parts)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _yaml_value(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")
