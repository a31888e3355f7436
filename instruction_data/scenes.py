"""Scenes: a face, a voice and words put together from several sources, in agreement or in conflict, whole or worn.

What is real (a photograph's face, an actor's voice, somebody's words) keeps its label, its source and its speaker; what
no source offers is made up. The observations are told by the textualizers that tell a user's clip.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from affectgpt.appraise.prototypes import distribute
from affectgpt.cues import load_cues
from affectgpt.emotions import load_lexicon
from affectgpt.records import (
    EmotionDistribution,
    FaceTrack,
    Modality,
    Observations,
    Transcript,
    TranscriptSource,
    Utterance,
    VoiceTrack,
)
from affectgpt.textualize import Sensed, tell
from instruction_data.degrading import unfold, worsen_face, worsen_voice, worsen_words
from instruction_data.evidence import ABSENT, draw_face, draw_voice
from instruction_data.material import Material, Said, Seen
from instruction_data.rewording import SECOND, VARIED, reword, vary

__all__ = ["Mix", "Part", "Stage", "StagedScene"]

_F, _V, _S = Modality.FACE, Modality.VOICE, Modality.SPEECH
_SELF_REPORTS = ("I am so {}.", "I feel {}.", "I'm really {} right now.", "Honestly, I'm {}.", "It makes me {}.")


@dataclass(frozen=True, slots=True)
class Mix:
    """How scenes are put together. Every number is a share in [0, 1].

    real: of parts that are taken from a recording where there is one of the wanted feeling.
    whole: of scenes that are one clip, as it is.
    agree: of parts that show the scene's feeling; conflict: that show another one; the rest show next to nothing.
    degraded: of parts that are made worse.
    unasked: of scenes in which a modality that is absent is not reported as missing.
    modalities: weight of each set of modalities, by names joined with `+`; `none` for a scene without evidence.
    """

    real: float = 0.6
    whole: float = 0.03
    agree: float = 0.6
    conflict: float = 0.2
    degraded: float = 0.25
    unasked: float = 0.2
    modalities: Mapping[str, float] | None = None

    def weights(self) -> Mapping[str, float]:
        """The weights given, or those that were found to serve: three channels and one are the commonest."""
        usual = {"face": 22, "voice": 7, "speech": 8, "face+voice": 17, "face+speech": 12, "voice+speech": 8}
        return self.modalities or {**usual, "face+voice+speech": 24, "none": 2}


@dataclass(frozen=True, slots=True)
class Part:
    """One channel of a scene: where it was taken from, and the basic label that its set gives it."""

    modality: Modality
    source: str
    label: str | None
    speaker: str = ""
    dialogue: str = ""
    sha256: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class StagedScene:
    """Observations, the tracks that they were told from, the words' gold reading, and the parts.

    `label` is the basic label where every part with a label other than neutral has the same.
    """

    observations: Observations
    sensed: Sensed
    words: EmotionDistribution | None
    parts: tuple[Part, ...]
    is_one_person: bool = False
    wording: str = ""

    @property
    def label(self) -> str | None:
        """What all labelled parts agree on; neutral only where nothing else is shown."""
        shown = {p.label for p in self.parts if p.label is not None}
        felt = shown - {"neutral"}
        return felt.pop() if len(felt) == 1 else "neutral" if shown == {"neutral"} else None


class Stage:
    """Puts scenes together from one split's material."""

    def __init__(self, material: Material, mix: Mix, reworded: float = 0.0, varied: float = 0.0) -> None:
        """`reworded`, `varied`: shares of scenes that are told in the second vocabulary, and in drawn wordings."""
        self._mix, self._reworded, self._varied = mix, reworded, varied
        self._quotes, self._faces, self._voices = material.quotes(), material.faces(), material.voices()
        self._whole = material.whole()
        self._labels = tuple(load_lexicon().labels("basic8"))
        self._spoken = [label for label in self._labels if self._quotes[label]]
        weights = mix.weights()
        self._sets = [
            frozenset(Modality(n) for n in name.split("+")) if name != "none" else frozenset() for name in weights
        ]
        self._weights = list(weights.values())

    def draw(self, rng: random.Random) -> StagedScene:
        """One scene; the same generator gives the same."""
        if self._whole and rng.random() < self._mix.whole:
            return self._clip(rng)
        present = rng.choices(self._sets, weights=self._weights)[0]
        felt = rng.choice(self._labels)
        duration_s = round(rng.uniform(1.5, 12.0) if rng.random() < 0.7 else rng.uniform(12.0, 40.0), 2)
        still = present == {_F} and rng.random() < 0.3
        parts: list[Part] = []
        face = voice = transcript = words = None
        if _V in present:
            voice = self._hear(rng, self._shown(rng, felt), duration_s, parts)
            duration_s = voice.duration_s
        if _F in present:
            face = self._see(rng, self._shown(rng, felt), 0.0 if still else duration_s, parts)
        if _S in present:
            transcript, words = self._say(rng, self._shown(rng, felt), duration_s, parts)
        elif rng.random() < 0.9:
            transcript = Transcript((), TranscriptSource.NONE)
        return self._staged(rng, Sensed(face, voice, transcript), words, parts)

    def _clip(self, rng: random.Random) -> StagedScene:
        """A recording as it is, with the words of its subtitles."""
        seen = rng.choice(self._whole)
        parts = [_part(m, seen) for m, track in ((_F, seen.face), (_V, seen.voice)) if track is not None]
        said = seen.recording.words
        if said is not None:
            parts.append(replace(_part(_S, seen), text=" ".join(u.text for u in said.utterances)))
        sensed = Sensed(seen.face, seen.voice, said or Transcript((), TranscriptSource.NONE))
        return replace(self._staged(rng, sensed, None, parts), is_one_person=True)

    def _staged(
        self, rng: random.Random, sensed: Sensed, words: EmotionDistribution | None, parts: Sequence[Part]
    ) -> StagedScene:
        tracks = {_F: sensed.face, _V: sensed.voice}
        absent = {m: rng.choice(ABSENT[m]) for m, track in tracks.items() if track is None}
        # A modality that was not asked for is not reported as missing.
        if rng.random() < self._mix.unasked and any(tracks.values()):
            absent = {}
        sensed = replace(sensed, absent=absent)
        observations = tell(replace(sensed, face=_moving(sensed.face)))
        if self._reworded and rng.random() < self._reworded:
            return StagedScene(reword(observations), sensed, words, tuple(parts), wording=SECOND)
        if self._varied and rng.random() < self._varied:
            return StagedScene(vary(observations, rng), sensed, words, tuple(parts), wording=VARIED)
        return StagedScene(observations, sensed, words, tuple(parts))

    def _shown(self, rng: random.Random, felt: str) -> str | None:
        """What one channel shows: the scene's feeling, None for next to nothing, or another feeling."""
        x = rng.random()
        if x < self._mix.agree:
            return felt
        return rng.choice(self._labels) if x < self._mix.agree + self._mix.conflict else None

    def _see(self, rng: random.Random, shown: str | None, duration_s: float, parts: list[Part]) -> FaceTrack:
        pool = self._faces.get(shown or "neutral", [])
        if pool and rng.random() < self._mix.real:
            seen = rng.choice(pool)
            face = seen.face
            assert face is not None
            parts.append(_part(_F, seen))
            # A clip keeps its own course; a photograph beside a voice gets one.
            if len(face.times_s) == 1 and duration_s > 0:
                face = unfold(rng, face, duration_s)
        else:
            face = draw_face(rng, shown, duration_s)
            parts.append(Part(_F, "drawn", shown or "neutral"))
        return worsen_face(rng, face) if rng.random() < self._mix.degraded else face

    def _hear(self, rng: random.Random, shown: str | None, duration_s: float, parts: list[Part]) -> VoiceTrack:
        pool = self._voices.get(shown or "neutral", [])
        if pool and rng.random() < self._mix.real:
            seen = rng.choice(pool)
            voice = seen.voice
            assert voice is not None
            parts.append(_part(_V, seen))
        else:
            voice = draw_voice(rng, shown, duration_s)
            parts.append(Part(_V, "drawn", shown or "neutral"))
        return worsen_voice(rng, voice) if voice.speech and rng.random() < self._mix.degraded else voice

    def _say(
        self, rng: random.Random, shown: str | None, duration_s: float, parts: list[Part]
    ) -> tuple[Transcript, EmotionDistribution]:
        label = shown or "neutral"
        said, pool = [], self._quotes[label]
        words = [w.text for w in load_lexicon().words(label)] if label != "neutral" else []
        if pool and (not words or rng.random() >= 0.12):
            chosen = rng.choice(pool)
            said.append(chosen.text)
            parts.append(_quoted(chosen))
        else:
            form = rng.choice(_SELF_REPORTS) if words else "It starts at nine and ends at five."
            said.append(form.format(rng.choice(words)) if words else form)
            parts.append(Part(_S, "drawn", label, text=said[0]))
        calm = self._quotes["neutral"]
        for beside in rng.sample(calm, min(len(calm), rng.choices((0, 1, 2, 4), weights=(70, 15, 10, 5))[0])):
            said.append(beside.text)
            parts.append(replace(_quoted(beside), label=None))
        rng.shuffle(said)
        transcript = _timed(rng, said, duration_s)
        if rng.random() < self._mix.degraded:
            transcript = worsen_words(rng, transcript)
        return transcript, distribute({label: 0.6} if label != "neutral" else {})


def _moving(face: FaceTrack | None) -> FaceTrack | None:
    """The units that reach a trace at all: the others give no observation, and looking for one takes the time."""
    if face is None or not len(face.times_s):
        return face
    least = load_cues().face_levels[0].least
    kept = np.flatnonzero((face.action_units >= least).any(axis=0))
    return replace(
        face,
        units=tuple(face.units[i] for i in kept),
        action_units=face.action_units[:, kept],
        baseline=face.baseline[kept],
        reliability=face.reliability[kept],
    )


def _timed(rng: random.Random, said: Sequence[str], duration_s: float) -> Transcript:
    """The lines over the clip: given text has no times, the rest fills its share."""
    kinds = (TranscriptSource.SIDECAR, TranscriptSource.STREAM, TranscriptSource.GIVEN, TranscriptSource.WHISPER)
    source, step = rng.choice(kinds), duration_s / len(said)
    timed = source is not TranscriptSource.GIVEN
    speaker = rng.choice(("Anna", "Joe", "Speaker 1")) if rng.random() < 0.12 else None

    def line(i: int, text: str) -> Utterance:
        sure = round(rng.uniform(0.3, 0.99), 2) if source is TranscriptSource.WHISPER else 1.0
        return Utterance(text, i * step if timed else None, (i + 0.8) * step if timed else None, sure, speaker)

    return Transcript(tuple(line(i, text) for i, text in enumerate(said)), source)


def _part(modality: Modality, seen: Seen) -> Part:
    return Part(modality, seen.source, seen.label, f"{seen.source}:{seen.speaker}", "", seen.recording.sha256)


def _quoted(said: Said) -> Part:
    speaker = f"{said.source}:{said.speaker}" if said.speaker else ""
    dialogue = f"{said.source}:{said.dialogue}" if said.dialogue else ""
    return Part(_S, said.source, said.label, speaker, dialogue, "", said.text)


def mouth_moves(face: FaceTrack, voice: VoiceTrack) -> bool:
    """Whether the mouth moves while there is speech: parted lips or dropped jaw vary, in the frames inside it."""
    mouth = [face.units.index(u) for u in (25, 26) if u in face.units]
    spoken = np.zeros(len(face.times_s), np.bool_)
    for span in voice.speech:
        spoken |= (face.times_s >= span.start_s) & (face.times_s <= span.end_s)
    spoken &= face.found
    if not mouth or spoken.sum() < FEWEST_SPOKEN:
        return True
    return bool(np.nanstd(face.action_units[spoken][:, mouth].sum(axis=1)) >= LEAST_MOVEMENT)


FEWEST_SPOKEN = 8
"""Frames of speech below which a mouth that stays shut means nothing."""
LEAST_MOVEMENT = 0.6
"""Spread of the mouth's two units, added up, while there is speech. Six clips in which somebody is seen to speak spread
by 2.0 to 2.9; the one in which nobody does, by 0.1 to 0.3."""
