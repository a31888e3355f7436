"""From what was said to a turn: the order of the steps of a conversation, and nothing else.

screen -> understand -> choose a strategy -> weigh the agent's own emotion -> ask -> screen the reply by the sentence. A
crisis ends the turn at the first step: nothing is analysed, and the card with human help stands in its place. Where no
model answers, a kind stand-in does; screen, card and understanding work all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from affectgpt.dialogue.composing import respond_prompt, stand_in
from affectgpt.dialogue.context import affect_of
from affectgpt.dialogue.feelings import FeelingOptions
from affectgpt.dialogue.hearing import EncoderHearing, Hearing
from affectgpt.dialogue.needs import leans_on_agent, refuses_advice
from affectgpt.dialogue.persona import Persona, load_persona, own_emotion
from affectgpt.dialogue.policy import POLICY, StrategyPolicy
from affectgpt.dialogue.records import (
    Affect,
    Asked,
    Need,
    OwnEmotion,
    Reply,
    Strategy,
    StrategyChoice,
    Turn,
    Understanding,
)
from affectgpt.dialogue.speakers import plain
from affectgpt.dialogue.strategies import Situation, choose
from affectgpt.dialogue.transitions import Transitions, load_transitions, no_transitions
from affectgpt.dialogue.understanding import Budgets, Understander
from affectgpt.dialogue.writing import write
from affectgpt.errors import AffectError, EngineError, InputError
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Appraisal, Completion, Outcome, Prompt, Sampling
from affectgpt.safety import Finding, Screen, gravest, help_card, replacement

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["Companion", "CompanionOptions", "Parts", "Prepared", "the_one_appraisal"]

REPLY_TOKENS: Final = 120
"""Two short sentences are asked for: the rest is for a model that takes three."""
LONGEST_TURN: Final = 20_000
"""Characters of a turn that are understood and shown to the writer; all of it is screened."""


@dataclass(frozen=True, slots=True)
class CompanionOptions:
    """How a companion answers.

    persona: a name or a YAML file. two_stages: whether the engine decides the feeling by HEF, one or two short answers
    more a turn; else the small model does. retells: whether the engine tells the memory shorter, one answer more.
    policy: whether the policy fitted on ESConv stands in for the table of alignment. permissive: only heads that were
    trained on freely licensed data; then there is no policy either, and no line counts for the next. budgets: of the
    dialogue shown and remembered. sampling: of the reply.
    """

    persona: str = "warm"
    two_stages: bool = False
    retells: bool = False
    policy: bool = False
    permissive: bool = False
    budgets: Budgets = field(default_factory=Budgets)
    feeling: FeelingOptions = field(default_factory=FeelingOptions)
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=REPLY_TOKENS))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a companion is made of, where it is not to make it itself."""

    screen: Screen | None = None
    hearing: Hearing | None = None
    transitions: Transitions | None = None
    prompts: PromptLibrary | None = None
    policy: StrategyPolicy | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A turn before its reply.

    prompt: what to ask a model; None where none is to be asked (`stops`), and `instead` is the reply. stand_in: what is
    said where the model fails.
    """

    asked: Asked
    understanding: Understanding | None
    strategy: StrategyChoice | None
    own: OwnEmotion | None
    findings: tuple[Finding, ...]
    card: str
    prompt: Prompt | None
    timings_s: dict[str, float]
    instead: Reply | None = None
    stand_in: str = ""

    @property
    def stops(self) -> bool:
        """Whether the turn is over: a finding stopped it, or there was nothing to answer."""
        return self.prompt is None

    def turn(self, text: str = "", completion: Completion | None = None, held: str = "") -> Turn:
        """The whole turn, from what went out of the reply; `held` is the risk for which the rest did not.

        Where something was held back, the locale's sentence for that follows; an empty reply has a stand-in.
        """
        if self.instead is not None:
            return self._turn(self.instead)
        if held:
            said = f"{text.rstrip()} {replacement(self.asked.locale)}".strip()
            return self._turn(Reply(said, "stand-in", None, f"held back: {held}"), held)
        if not text.strip():
            empty = stand_in(self.asked.locale, None, "empty")
            return self._turn(Reply(empty, "stand-in", completion, "the model wrote nothing"))
        return self._turn(Reply(text.strip(), "engine", completion))

    def failed(self, error: AffectError, text: str = "") -> Turn:
        """The turn where the model gave no answer, or broke off after `text`."""
        if self.instead is not None:
            return self._turn(self.instead)
        said = f"{text.rstrip()} {self.stand_in}".strip()
        return self._turn(Reply(said, "stand-in", None, error.what))

    def _turn(self, reply: Reply, held: str = "") -> Turn:
        return Turn(
            self.asked.words, reply, self.understanding, self.strategy, self.own, self.findings, held, self.card,
            dict(self.timings_s),
        )  # fmt: skip


class Companion:
    """Holds conversations. Keeps no word of them: what a turn needs of the past is in its `Asked`. Thread-safe.

    The encoder and heads load at the first turn with words.
    """

    def __init__(self, options: CompanionOptions | None = None, parts: Parts | None = None) -> None:
        """Raise OptionError where the persona is none."""
        self.options = options or CompanionOptions()
        parts = parts or Parts()
        self.persona: Persona = load_persona(self.options.persona)
        self.screen = parts.screen or Screen()
        self._prompts = parts.prompts or PromptLibrary()
        self._hearing = parts.hearing or EncoderHearing(self.options.permissive)
        self._transitions = parts.transitions
        wants_policy = self.options.policy and not self.options.permissive
        self._policy = (parts.policy or StrategyPolicy()) if wants_policy else None
        self._loading = threading.Lock()
        self._understander: Understander | None = None

    def prepare(self, asked: Asked, engine: Engine | None = None) -> Prepared:
        """Everything of a turn but its reply. The engine is asked only where `two_stages` or `retells` want it.

        Raises:
            ModelError, MissingDependency: heads or encoder.
        """
        clock = _Clock()
        whole = plain(asked.words)
        asked = replace(asked, words=_shown_part(whole))
        findings = self.screen.user(whole) if whole else ()
        clock.note("screen")
        worst = gravest(findings)
        card = help_card(asked.locale, worst) if worst is not None and worst.level != "note" else ""
        if worst is not None and worst.stops:
            reply = Reply("", "card", None, f"stopped: {worst.risk}")
            return Prepared(asked, None, None, None, findings, card, None, clock.taken, reply)
        if not asked.words and asked.appraisal is None:
            reply = Reply(stand_in(asked.locale, None, "no words"), "stand-in", None, "nothing was said")
            return Prepared(asked, None, None, None, findings, card, None, clock.taken, reply)
        read = self._understood(asked, engine) if asked.words else None
        clock.note("understand")
        choice = self._chosen(asked, read, findings)
        own = own_emotion(self.persona, asked.own, _person(read, asked.appraisal))
        manner = (self.persona, own)
        prompt = respond_prompt(self._prompts, asked, read, choice, manner, self.options.budgets.dialogue_tokens)
        clock.note("choose")
        stands = self._safe_stand_in(asked, read)
        return Prepared(asked, read, choice, own, findings, card, prompt, clock.taken, stand_in=stands)

    def answer(self, asked: Asked, engine: Engine | None) -> Turn:
        """A whole turn. Whatever the engine does, there is a turn."""
        stream = self.stream(asked, engine)
        while True:
            try:
                next(stream)
            except StopIteration as end:
                turn: Turn = end.value
                return turn

    def stream(self, asked: Asked, engine: Engine | None) -> Generator[str, None, Turn]:
        """What may be shown of the reply, sentence by sentence; joined, it is the reply of the Turn that is returned.

        Closing it stops the model. Without an engine, or where it fails, the stand-in comes instead.
        """
        prepared = self.prepare(asked, engine)
        if prepared.prompt is None or engine is None:
            turn = prepared.failed(EngineError("no language model is connected"))
            if turn.reply.text:
                yield turn.reply.text
            return turn
        start = time.perf_counter()
        written = yield from write(prepared.prompt, engine, self.options.sampling, self.screen)
        if written.error is not None:
            turn = prepared.failed(written.error, written.text)
        else:
            turn = prepared.turn(written.text, written.completion, written.held)
        if turn.reply.by != "engine":
            rest = turn.reply.text[len(written.text.rstrip()) :]
            yield rest.lstrip() if written.text[-1:].isspace() else rest
        return replace(turn, timings_s={**turn.timings_s, "write": time.perf_counter() - start})

    def _safe_stand_in(self, asked: Asked, read: Understanding | None) -> str:
        """What is said where the model fails; it quotes the person only where the screen lets that out."""
        text = stand_in(asked.locale, read, "down")
        worst = gravest(self.screen.reply(text))
        return stand_in(asked.locale, None, "down") if worst is not None and worst.stops else text

    def _understood(self, asked: Asked, engine: Engine | None) -> Understanding:
        with self._loading:
            if self._understander is None:
                shipped = no_transitions if self.options.permissive else load_transitions
                transitions = self._transitions or shipped()
                self._understander = Understander(self._hearing, transitions, self._prompts, self.options.budgets)
        feeling = self.options.feeling if self.options.two_stages else None
        return self._understander.read(asked, engine, feeling, self.options.retells)

    def _chosen(self, asked: Asked, read: Understanding | None, findings: tuple[Finding, ...]) -> StrategyChoice:
        before = asked.strategies or _guessed(asked)
        situation = Situation(
            need=read.need if read else Need.BE_HEARD,
            intensity=read.intensity if read else 0.0,
            risks=frozenset(f.risk for f in findings if f.level != "note"),
            refuses_advice=refuses_advice(asked.words),
            differs=read is not None and read.differs,
            leans=leans_on_agent(asked.words),
            before=before,
        )
        if self._policy is None or read is None:
            return choose(situation)
        heard = self._hearing.line(asked.words)
        alignment = self._policy(heard, asked.words, before, len(asked.history) + 1)
        return choose(situation, alignment, POLICY)


def the_one_appraisal(outcomes: Iterator[Outcome] | tuple[Outcome, ...]) -> Appraisal | None:
    """The appraisal of a turn's clip, or None where no clip was sent.

    Raises:
        InputError: more than one clip. Whose state a turn tells of would be a guess.
    """
    found = list(outcomes)
    if len(found) > 1:
        raise InputError(f"{len(found)} clips in one turn", "send one, and the other with the next turn")
    return found[0].appraisal if found else None


class _Clock:
    """Seconds of each step since the one before."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        self._last = time.perf_counter()

    def note(self, step: str) -> None:
        now = time.perf_counter()
        self.taken[step], self._last = now - self._last, now


def _person(read: Understanding | None, appraisal: Appraisal | None) -> Affect:
    """What the person seems to feel, by valence, arousal and dominance."""
    if read is not None and read.speakers:
        return affect_of(read.speakers[0].distribution)
    if appraisal is not None and appraisal.by_modality:
        fused = appraisal.fused
        return Affect(fused.valence, fused.arousal, fused.dominance)
    return Affect(0.0, 0.0, 0.0)


def _guessed(asked: Asked) -> tuple[Strategy, ...]:
    """The strategies of replies that nobody kept account of: Questions where one ends with a question, else Other."""
    said = [line.text.rstrip() for line in asked.history if line.is_agent and line.text.strip()]
    return tuple(Strategy.QUESTIONS if text.endswith(("?", "？")) else Strategy.OTHER for text in said)


def _shown_part(words: str) -> str:
    """A turn as it is understood: its beginning and its end, where it is very long."""
    if len(words) <= LONGEST_TURN:
        return words
    third = LONGEST_TURN // 3
    return f"{words[:third]} … {words[-2 * third :]}"
