"""A turn understood: feeling, cause, need, how strong, whose state is what, and what is remembered of before.

What the person says of their own feeling stands above every reading, of their words as of their face and voice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affectgpt.dialogue import context, feelings, needs
from affectgpt.dialogue.feelings import FeelingOptions, Question
from affectgpt.dialogue.hearing import CauseWords, Hearing
from affectgpt.dialogue.memory import recent, remember
from affectgpt.dialogue.records import Affect, Asked, Cause, Feeling, Line, Memory, SpeakerState, Understanding
from affectgpt.dialogue.retelling import retold
from affectgpt.dialogue.speakers import PERSON, lines_of
from affectgpt.dialogue.transitions import Transitions
from affectgpt.emotions import load_lexicon
from affectgpt.prompting import PromptLibrary

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["SURE", "Budgets", "Understander", "cause_of", "differs"]

SURE: Final = 0.5
"""Probability from which a word is one of those that caused a feeling: the head is calibrated."""
_GAP = 1
"""Words of a lower probability that a cause may run across."""
_APART = 3
"""Characters between two words from which something was left out between them, as in a long line."""
DIFFERS: Final = 0.5
"""Probability at which a reading of another kind than the self-report is held to differ from it."""
_CLOSE = frozenset({("sad", "fearful"), ("sad", "angry"), ("fearful", "angry"), ("happy", "surprised")})
"""Basics that a self-report may stand for: "stressed" is said of fear, sadness and anger alike."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Estimated tokens: of the dialogue's end as it stands, and of what is remembered of the rest."""

    dialogue_tokens: int = 1_000
    memory_tokens: int = 256


class Understander:
    """Reads turns. Everything it needs is given: who hears, how feelings follow each other, the prompts."""

    def __init__(
        self, hearing: Hearing, transitions: Transitions, prompts: PromptLibrary, budgets: Budgets | None = None
    ) -> None:
        self.hearing = hearing
        self.budgets = budgets or Budgets()
        self._transitions = transitions
        self._prompts = prompts

    def read(
        self,
        asked: Asked,
        engine: Engine | None = None,
        options: FeelingOptions | None = None,
        retells: bool = False,
    ) -> Understanding:
        """What a turn with words seems to say.

        The engine, where given, decides the feeling by HEF (with `options`) and tells the memory shorter (`retells`).

        Raises:
            ModelError, MissingDependency: heads or encoder.
        """
        own = lines_of(asked.words)
        lines = (*asked.history, *own)
        said = own[-1].text
        report = needs.self_report(said)
        reported = load_lexicon().resolve(report) if report else None
        view = context.View(asked.appraisal, load_lexicon().to_set(reported.node, "meld7") if reported else None)
        speakers = context.states(lines, self.hearing, self._transitions, view)
        heard = self.hearing.line(said)
        causes = self.hearing.causes(said)
        feeling = self._feeling(lines, heard.feelings, causes, engine if options else None, options)
        state = _subject(speakers, own[-1].speaker)
        affect = state.trajectory[-1] if state and state.trajectory else Affect(0.0, 0.0, 0.0)
        intensity = 1.0 - state.distribution.get("neutral", 0.0) if state else 0.0
        return Understanding(
            feeling=_reported(feeling, report),
            cause=cause_of(said, causes),
            cause_words=tuple((said[a:b], p) for a, b, p in causes),
            need=needs.need_of(said, intensity, affect),
            intensity=intensity,
            affect=affect,
            self_report=report,
            speakers=speakers,
            memory=self._memory(lines, engine if retells else None),
            differs=differs(report, self._readings(lines, asked)),
        )

    def _feeling(
        self,
        lines: Sequence[Line],
        read: Mapping[str, float],
        causes: CauseWords,
        engine: Engine | None,
        options: FeelingOptions | None,
    ) -> Feeling:
        label_set = self.hearing.label_set
        if engine is None:
            return feelings.feeling_of(read, label_set)
        n = recent(lines, self.budgets.dialogue_tokens)
        before = tuple(f"{_shown(line)}: {' '.join(line.text.split())}" for line in lines[-n:-1])
        question = Question(lines[-1].text, read, causes, before, _shown(lines[-1]))
        return feelings.decide(question, label_set, engine, self._prompts, options)

    def _readings(self, lines: Sequence[Line], asked: Asked) -> list[Mapping[str, float]]:
        """What the words and the clip of a turn each say by themselves, over basic8."""
        row = self.hearing.emissions([line.text for line in lines if line.text.strip()], 1)[0]
        read: list[Mapping[str, float]] = [context.basic(dict(zip(self._transitions.labels, row, strict=True)))]
        if asked.appraisal is not None and asked.appraisal.by_modality:
            read.append(asked.appraisal.fused.probabilities)
        return read

    def _memory(self, lines: Sequence[Line], engine: Engine | None) -> Memory:
        older = lines[: len(lines) - recent(lines, self.budgets.dialogue_tokens)]
        budget = self.budgets.memory_tokens
        if not older:
            return Memory()
        return retold(older, budget, engine, self._prompts) if engine else remember(older, budget)


def cause_of(said: str, causes: CauseWords) -> Cause | None:
    """The run of likely words with the most probability in it; None where no word is likely.

    A run may cross _GAP unlikely word and ends with its sentence; it begins and ends with likely ones.
    """
    best: tuple[float, int, int] | None = None
    start = 0
    while start < len(causes):
        if causes[start][2] < SURE:
            start += 1
            continue
        end, gap = start, 0
        for k in range(start + 1, len(causes)):
            gap = 0 if causes[k][2] >= SURE else gap + 1
            between = causes[k - 1][1], causes[k][0]
            if gap > _GAP or between[1] - between[0] > _APART or said[: between[0]].endswith((".", "!", "?")):
                break
            end = k if gap == 0 else end
        weight = sum(p - SURE for _, _, p in causes[start : end + 1])
        if best is None or weight > best[0]:
            best = weight, start, end
        start = end + 1
    if best is None:
        return None
    _, first, last = best
    a, b = causes[first][0], causes[last][1]
    return Cause(said[a:b], a, b, sum(p for _, _, p in causes[first : last + 1]) / (last - first + 1))


def differs(report: str, readings: Sequence[Mapping[str, float]]) -> bool:
    """Whether a reading over basic8 is surely of another kind than what the person says of their own feeling."""
    found = load_lexicon().resolve(report) if report else None
    said = load_lexicon().to_set(found.node, "basic8") if found else None
    if said is None:
        return False
    for read in readings:
        top = max(read, key=lambda k: read[k])
        is_near = top in (said, "neutral") or (said, top) in _CLOSE or (top, said) in _CLOSE
        if not is_near and read[top] >= DIFFERS:
            return True
    return False


def _reported(feeling: Feeling, report: str) -> Feeling:
    """The feeling that the person names, where they name one; the readings stay as its alternatives."""
    found = load_lexicon().resolve(report) if report else None
    if found is None:
        return feeling
    label = load_lexicon().to_set(found.node, feeling.label_set)
    if found.basic == "neutral" or label is None:
        label = found.matched
    return Feeling(label, feeling.alternatives, feeling.label_set, "self-report", feeling.note)


def _subject(speakers: Sequence[SpeakerState], speaker: str) -> SpeakerState | None:
    return next((s for s in speakers if s.speaker == speaker), None)


def _shown(line: Line) -> str:
    """The name before a line in a prompt."""
    if line.is_agent:
        return "You"
    return "They" if line.speaker == PERSON else line.speaker
