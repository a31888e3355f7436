"""A turn that goes by the book, for the chat page: known tracks, a known answer, and time to look at each step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fakes

from affectgpt import media, textualize
from affectgpt.agent import AffectAgent, Parts, Senses
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import AffectError
from affectgpt.readers import AgentOptions
from affectgpt.records import (
    Appraisal,
    EmotionDistribution,
    EmotionSet,
    Moment,
    Outcome,
)
from serve.api.callers import LOCAL_OWNER, Gate
from serve.events import Carded, Ended, Event, Observed, Reasoned, Said, Sensed, Staged, TurnRequest
from serve.incoming.intake import FolderIntake
from serve.store import Store
from serve.web.consent import Person
from serve.web.handlers import Choices, Handlers, View
from serve.web.metering import Meter
from serve.web.running import Running
from serve.web.shelf import Shelf

EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised", "contemptuous")
CONSENTED = datetime(2026, 11, 21, tzinfo=UTC)
CARD = "### You are not alone\n\nCall **112** in an emergency, or talk to somebody at **116 123**."


def leaning(top: str, p: float, valence: float = 0.6) -> EmotionDistribution:
    """A distribution with this emotion at `p` and the rest even."""
    rest = (1 - p) / (len(EMOTIONS) - 1)
    return EmotionDistribution({e: p if e == top else rest for e in EMOTIONS}, valence, 0.4, 0.1)


APPRAISAL = Appraisal(
    by_modality={"face": leaning("happy", 0.8), "speech": leaning("sad", 0.6, -0.5)},
    reliability={"face": 0.7, "speech": 0.8},
    fused=leaning("happy", 0.45),
    conflicts=("face seems happy, speech seems sad",),
    weights={"face": 0.55, "speech": 0.45},
    course=(Moment(0, 2, leaning("neutral", 0.5, 0.0), {}), Moment(2, 4, leaning("happy", 0.6), {})),
    emotion_set=EmotionSet(("happy", "sad", "surprised"), False, 0.9),
    read_by={"face": "fake face head", "speech": "fake words head"},
)


@dataclass
class KnownAppraiser:
    """Gives the known appraisal."""

    appraisal: Appraisal = APPRAISAL

    def appraise(self, *_: Any) -> Appraisal:
        """The known one."""
        return self.appraisal


def senses_of(clip: Path | None, words: str = "I am so sorry about it", n_people: int = 2) -> Senses:
    """Known tracks; without a clip the words alone."""
    if clip is None:
        return Senses(transcript=fakes.transcript(words))
    opened = media.open_clip(clip)
    face = replace(fakes.face_track(AU12=4.0, AU6=2.0, AU1=1.5), n_people=n_people)
    return Senses(
        opened, None if not opened.has_video else face, fakes.voice_track(f0_median_hz=2.4), fakes.transcript(words)
    )


def outcome_of(senses: Senses, options: AgentOptions | None = None) -> Outcome:
    """What the agent makes of them with a scripted engine and the known appraisal."""
    return AffectAgent(EchoEngine([fakes.ANSWER]), options, parts=Parts(appraiser=KnownAppraiser())).conclude(senses)


@dataclass
class ScriptedTurns:
    """Takes every turn alike: `step_s` between events, a card and nothing else where the message says "crisis".

    `asked` keeps the requests, `n_closed` counts turns that were left before their end.
    """

    step_s: float = 0.0
    error: AffectError | None = None
    asked: list[TurnRequest] = field(default_factory=list)
    n_closed: int = 0

    async def run(self, request: TurnRequest) -> AsyncIterator[Event]:
        """The events, in the contract's order."""
        self.asked.append(request)
        is_whole = False
        try:
            async for event in self._events(request):
                await asyncio.sleep(self.step_s)
                yield event
            is_whole = True
        finally:
            self.n_closed += not is_whole

    async def _events(self, request: TurnRequest) -> AsyncIterator[Event]:
        said = request.messages[-1].content
        if "crisis" in said:
            yield Carded(CARD, request.locale)
            yield Ended(None, "", "", "content_filter", "scripted")
            return
        clip = next((a.path for a in request.attachments if a.kind != "transcript"), None)
        yield Staged("open")
        for share in (None, 0.4, 0.8):
            yield Staged("face" if clip else "speech", share)
        if self.error is not None:
            raise self.error
        senses = senses_of(clip, said or "I am so sorry about it")
        if clip is not None:
            yield Sensed(senses)
        outcome = outcome_of(senses, AgentOptions(modalities=request.modalities))
        for observation in outcome.observations.items:
            yield Observed(observation)
        lines = [f"- {textualize.restate(o)}" for o in outcome.observations.items]
        reasoning = ["**Key observations**\n" + "\n".join(lines) + "\n"]
        yield Reasoned(reasoning[0])
        yield Staged("answer")
        reasoning.append(
            "**Interpretation**\nThe raised lip corners [F1] fit the higher pitch [V1]. It may also be politeness.\n"
            "**Conclusion**\nEmotions: delighted, relieved\nLabel: happy\nConfidence: 0.8"
        )
        yield Reasoned(reasoning[1])
        yield Staged("reply")
        pieces = ["It seems that something lightened. ", "Your words are sad, though. ", "How was it for you?"]
        for piece in pieces:
            yield Said(piece)
        yield Ended(outcome, "".join(reasoning), "".join(pieces), "stop", "scripted-1", 40, 30)


# ---------------------------------------------------------------- a page without Gradio

ME = Person(LOCAL_OWNER, CONSENTED)
CLIP = Path(__file__).parents[1] / "examples" / "astronaut_smile.mp4"


class Stand:
    """Handlers over scripted turns and a store in memory."""

    def __init__(
        self, store: Store, folder: Path, turns: ScriptedTurns | None = None, gate: Gate | None = None
    ) -> None:
        self.store = store
        self.turns = turns or ScriptedTurns()
        self.shelf = Shelf(folder / "shown", 60)
        self.running = Running(self.turns, store, self.shelf, unwatched_s=0.4)
        self.intake = FolderIntake(10_000_000)
        self.handlers = Handlers(store, self.running, self.shelf, self.intake, Meter(gate or Gate(None)))

    def conversation(self) -> str:
        (summary,) = self.store.recent(LOCAL_OWNER).items
        return summary.id


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def all_of(views: AsyncIterator[View]) -> list[View]:
    return [view async for view in views]


def clip_at(folder: Path) -> Path:
    """A copy of the example, as Gradio would have laid it down."""
    path = folder / "astronaut_smile.mp4"
    path.write_bytes(CLIP.read_bytes())
    return path


async def send(stand: Stand, text: str, clip: Path | None = None, conversation: str | None = None) -> list[View]:
    sent = [(clip, clip.name)] if clip else []
    return await all_of(stand.handlers.send(ME, conversation, text, sent, Choices()))
