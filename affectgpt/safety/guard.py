"""An optional layer: a guard model, Qwen3Guard-Gen, asked over any engine.

Qwen3Guard (Zhao et al. 2025, arXiv 2510.14276; Apache-2.0) is a language model that classifies: its chat template wraps
the last message in its own instruction, and it answers with the lines

    Safety: Safe | Controversial | Unsafe
    Categories: one or several of its nine, or None

and, for a reply, a third line about refusal, which says nothing that the screen wants. So no prompt of ours is
rendered: the text itself is the message, from the user or from the assistant.

It fails safe: what is late, unreadable or down finds nothing, the other layers stand, and after a failure it is left
alone for a while, so that a dead guard costs no turn its time. It is far slower than the other layers; ask it where a
GPU serves it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import get_args

from affectgpt.engines.engine import Engine, EngineOptions, open_engine
from affectgpt.errors import EngineError
from affectgpt.records import Message, Prompt, Sampling
from affectgpt.safety.findings import Finding, Level, Risk, Side

__all__ = ["CATEGORIES", "Guard", "GuardTerms", "Verdict", "open_guard", "read_verdict"]

CATEGORIES = (
    "Violent",
    "Non-violent Illegal Acts",
    "Sexual Content or Sexual Acts",
    "PII",
    "Suicide & Self-Harm",
    "Unethical Acts",
    "Politically Sensitive Topics",
    "Copyright Violation",
    "Jailbreak",
)
"""The categories of its model card, in its order; "Jailbreak" is said of a user's text alone."""

# What of its judgements is this screen's business, and what is done. "Controversial" means that it depends on the
# policy: of suicide it still shows the card; talk of films and news is full of the rest.
_USER: Mapping[tuple[str, str], tuple[Risk, Level]] = {
    ("Unsafe", "Suicide & Self-Harm"): ("crisis", "urgent"),
    ("Controversial", "Suicide & Self-Harm"): ("crisis", "concern"),
    ("Unsafe", "Violent"): ("violence", "urgent"),
    ("Unsafe", "Unethical Acts"): ("manipulation", "concern"),
    ("Unsafe", "Jailbreak"): ("injection", "note"),
    ("Controversial", "Jailbreak"): ("injection", "note"),
}
_REPLY_HELD = ("Violent", "Non-violent Illegal Acts", "Sexual Content or Sexual Acts", "Suicide & Self-Harm")
_REPLY: Mapping[tuple[str, str], tuple[Risk, Level]] = {("Unsafe", c): ("encouragement", "urgent") for c in _REPLY_HELD}

_SAFETY = re.compile(r"^\s*Safety:\s*(Safe|Unsafe|Controversial)\s*$", re.MULTILINE)
_CATEGORY_LINE = re.compile(r"^\s*Categories:[ \t]*(.*)$", re.MULTILINE)
_CATEGORY = re.compile("|".join(re.escape(c) for c in CATEGORIES))
_ASKED = Sampling(max_tokens=128)  # as its model card asks; an answer has some twenty tokens
_UNKNOWN_TURN = "..."
"""Stands for the turn that a reply answers: a layer sees one text."""
_LONGEST = 12_000
"""Characters that are sent at most, half from the beginning and half from the end; its context is 32,768 tokens."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model said: its label, and those of CATEGORIES that it named."""

    label: str
    categories: tuple[str, ...]


def read_verdict(text: str) -> Verdict | None:
    """The verdict in an answer of Qwen3Guard-Gen; None where there is none, or two that differ."""
    labels = set(_SAFETY.findall(text))
    if len(labels) != 1:
        return None
    named = _CATEGORY.findall(" ".join(_CATEGORY_LINE.findall(text)))
    return Verdict(labels.pop(), tuple(dict.fromkeys(named)))


@dataclass(frozen=True, slots=True)
class GuardTerms:
    """How long one answer may take, how long to leave the guard alone after a failure, how many may ask at once."""

    timeout_s: float = 1.0
    rest_s: float = 30.0
    n_at_once: int = 8
    sides: Collection[Side] = get_args(Side)
    clock: Callable[[], float] = time.monotonic


@dataclass
class Guard:
    """A layer that asks an engine with a Qwen3Guard-Gen model behind it. Thread-safe. Never raises.

    `n_failures` counts answers that were late, unreadable or never came; while it rests nothing is asked or counted.
    """

    engine: Engine
    terms: GuardTerms = field(default_factory=GuardTerms)
    n_failures: int = field(default=0, init=False)
    _resting_until: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._free = threading.BoundedSemaphore(self.terms.n_at_once)

    def find(self, text: str, side: Side) -> Sequence[Finding]:
        """What the guard finds in a text; nothing where it is resting, busy or failing."""
        if side not in self.terms.sides or not text.strip() or self.terms.clock() < self._resting_until:
            return []
        if not self._free.acquire(blocking=False):
            return []
        verdict = self._asked(_prompt(text, side))
        if verdict is None:
            return []
        table = _USER if side == "user" else _REPLY
        found = [(category, table[verdict.label, category]) for category in verdict.categories
                 if (verdict.label, category) in table]  # fmt: skip
        return [Finding(risk, level, f"guard.{_slug(c)}", 0, len(text)) for c, (risk, level) in found]

    def _asked(self, prompt: Prompt) -> Verdict | None:
        """The verdict, or None after a failure. The thread outlives its time-out and gives its place back itself."""
        answers: Queue[str | EngineError] = Queue(maxsize=1)

        def ask() -> None:
            try:
                answers.put(self.engine.generate([prompt], _ASKED)[0].text)
            except EngineError as error:
                answers.put(error)
            except Exception as error:  # noqa: BLE001 - a layer may find less; it may never end a turn
                answers.put(EngineError(f"the guard model failed: {error!r}", "look into its log"))
            finally:
                self._free.release()

        threading.Thread(target=ask, daemon=True, name="affectgpt-guard").start()
        try:
            answer = answers.get(timeout=self.terms.timeout_s)
        except Empty:
            self._rest(f"no answer within {self.terms.timeout_s} s")
            return None
        if isinstance(answer, EngineError):
            self._rest(str(answer))
            return None
        verdict = read_verdict(answer)
        if verdict is None:
            self._rest("an answer without a verdict: is it a Qwen3Guard-Gen model?")
        return verdict

    def _rest(self, what: str) -> None:
        self.n_failures += 1
        self._resting_until = self.terms.clock() + self.terms.rest_s
        _log.warning("the guard model is left alone for %s s, the other layers stand: %s", self.terms.rest_s, what)


def open_guard(base_url: str, model: str | None = None, terms: GuardTerms | None = None) -> Guard:
    """A guard on an OpenAI-compatible server; `model` may be left out where the server has one alone.

    Raises:
        OptionError: the server has no such model. EngineUnreachable: nothing answers there.
    """
    terms = terms or GuardTerms()
    options = EngineOptions("http", model, base_url, adapter="none", timeout_s=terms.timeout_s, n_retries=0)
    return Guard(open_engine(options), terms)


def _prompt(text: str, side: Side) -> Prompt:
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}\n...\n{text[-_LONGEST // 2 :]}"
    said = Message("user", text)
    messages = (said,) if side == "user" else (Message("user", _UNKNOWN_TURN), Message("assistant", text))
    return Prompt(messages, prompt_id="qwen3guard", version="gen")


def _slug(category: str) -> str:
    return re.sub(r"[^a-z]+", "_", category.lower()).strip("_")
