"""What every engine can do, and the one place that decides which engine answers."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from affectgpt.errors import OptionError
from affectgpt.records import Completion, EmbeddedPrompt, Prompt, Sampling

__all__ = [
    "NO_SOFT",
    "Engine",
    "EngineOptions",
    "Named",
    "check_soft",
    "cut_at_stop",
    "open_engine",
    "split_reasoning",
    "stamp",
    "takes_soft",
]

EngineName = Literal["auto", "local", "http", "echo"]
DtypeName = Literal["auto", "float32", "bfloat16"]

NO_SOFT = "use the local engine, or a vLLM server with --enable-prompt-embeds; or ask with words alone (--path text)"
"""The remedy where an engine takes no soft tokens."""


class Engine(Protocol):
    """Anything that answers prompts. `model` names the base and the adapter, so that an answer can be traced.

    One that takes soft tokens says so by an attribute `takes_soft`; to any other they are never given (`check_soft`).
    It may tell which base model reads them: `base_names`, the names that the model goes by, and `base_config`, the path
    of its config.json.
    """

    name: str
    model: str

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One Completion a prompt, in order; `finish_reason` is "length" where the answer was cut.

        Raises:
            EngineError: the model or its server failed. EngineUnreachable: nothing answers there.
        """
        ...

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """Pieces of one answer as they are written; joined, they are the text that `generate` gives.

        The generator returns the Completion (`yield from`, or the StopIteration's value); closing it stops the model.
        """
        ...


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to open an engine. A value left at its default is looked up in the environment (see `open_engine`).

    engine: "auto" takes `http` where a base URL is known, else `local`.
    model: a Hugging Face id or a folder (local), or the name a server lists (http); None: the embedded model, or the
        server's only one.
    base_url: of an OpenAI-compatible server, with its `/v1`.
    api_key: for that server.
    adapter: "default" (the shipped one, with the embedded model only), "none", or a folder with a manifest.
    default_adapter: a folder that "default" stands for instead, with whatever local model.
    timeout_s: for one answer of a server.
    dtype: of the local weights; "auto" is bfloat16 where the processor multiplies it natively, else float32.
    threads: of the local model; None leaves torch's own number.
    batch_size: answers that the local model writes side by side.
    n_concurrent: requests that a server gets at once.
    n_retries: of a request that failed by rate limit, server error or connection.
    """

    engine: EngineName = "auto"
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    adapter: str = "default"
    timeout_s: float = 120.0
    dtype: DtypeName = "auto"
    threads: int | None = None
    batch_size: int = 8
    n_concurrent: int = 8
    n_retries: int = 3
    default_adapter: Path | None = None


def open_engine(options: EngineOptions | None = None, env: Mapping[str, str] | None = None) -> Engine:
    """The engine that `options` ask for, ready to answer. An option goes before the environment, that before a default.

    Environment: AFFECTGPT_ENGINE, AFFECTGPT_MODEL, AFFECTGPT_ADAPTER, AFFECTGPT_API_KEY, OPENAI_BASE_URL, and
    OPENAI_API_KEY, which only api.openai.com ever gets. `env` stands for os.environ where given.

    Raises:
        OptionError: options that contradict each other, or a model that a server does not have.
        ModelError, MissingDependency: weights that cannot be loaded. EngineUnreachable: no server at the base URL.
    """
    options = options or EngineOptions()
    env = os.environ if env is None else env
    kind = options.engine if options.engine != "auto" else env.get("AFFECTGPT_ENGINE", "auto")
    base_url = options.base_url or env.get("OPENAI_BASE_URL")
    model = options.model or env.get("AFFECTGPT_MODEL")
    adapter = options.adapter if options.adapter != "default" else env.get("AFFECTGPT_ADAPTER", "default")
    if kind == "auto":
        kind = "http" if base_url else "local"
    if kind in ("local", "echo") and options.base_url:
        raise OptionError(f"a base URL is of no use to the {kind} engine", "drop --base-url, or say --engine http")
    _check_numbers(options)
    if kind == "echo":
        from affectgpt.engines.echo import EchoEngine

        return EchoEngine()
    if kind == "http":
        from affectgpt.engines.http import open_http

        if not base_url:
            raise OptionError("the http engine has no server", "give --base-url or OPENAI_BASE_URL, with its /v1")
        if adapter not in ("default", "none"):
            raise OptionError(
                "an adapter is loaded by the local engine", "let the server serve it, and name it by --model"
            )
        return open_http(options, base_url, model, env)
    if kind == "local":
        from affectgpt.engines.local import LocalEngine

        return LocalEngine(options, model, adapter)
    raise OptionError(f"no engine is called {kind!r}", "the engines are auto, local, http and echo")


def _check_numbers(options: EngineOptions) -> None:
    least = {"timeout_s": 0.001, "threads": 1, "batch_size": 1, "n_concurrent": 1, "n_retries": 0}
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and not value >= low:
            raise OptionError(f"{name} is {value}", f"it must be at least {low}")


def stamp(
    engine: Engine,
    prompt: Prompt,
    text: str,
    n_tokens: tuple[int, int],
    finish_reason: str = "stop",
    reasoning: str = "",
) -> Completion:
    """A Completion that says which engine, model and prompt made it; leading <think> text goes to `reasoning`.

    `n_tokens` counts the prompt's tokens and the answer's.
    """
    thought, answer = split_reasoning(text)
    return Completion(
        text=answer,
        engine=engine.name,
        model=engine.model,
        prompt_id=prompt.prompt_id,
        prompt_version=prompt.version,
        n_prompt_tokens=n_tokens[0],
        n_completion_tokens=n_tokens[1],
        finish_reason=finish_reason,
        reasoning=reasoning or thought,
    )


class Named(Protocol):
    """Whatever stands for a model: an engine, or who writes with one."""

    @property
    def name(self) -> str:
        """Of its kind."""
        ...

    @property
    def model(self) -> str:
        """As stamped."""
        ...


def takes_soft(engine: Named) -> bool:
    """Whether an engine reads the soft tokens of an EmbeddedPrompt; one that does not say so does not.

    Raises:
        EngineError, EngineUnreachable: it has to ask its server first, and that failed.
    """
    return bool(getattr(engine, "takes_soft", False))


def check_soft(engine: Named, prompts: Sequence[Prompt]) -> None:
    """Raise OptionError where a prompt carries soft tokens and the engine would take their places for words."""
    if any(isinstance(prompt, EmbeddedPrompt) and prompt.parts for prompt in prompts) and not takes_soft(engine):
        raise OptionError(f"the {engine.name} engine with {engine.model} takes no soft tokens", NO_SOFT)


_THINK = re.compile(r"\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, answer): what a leading `<think>` block holds, as Qwen and DeepSeek models write it, and the rest."""
    match = _THINK.match(text)
    return (match[1].strip(), text[match.end() :]) if match else ("", text)


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    found = [at for mark in stop if mark and (at := text.find(mark)) >= 0]
    return (text[: min(found)], True) if found else (text, False)
