"""The panel of appraisers: face, voice and words read apart, stretch by stretch, and weighed together.

A clip is cut into stretches of about the length that the appraisers were fitted on. In each, every modality is read and
its quality taken; the readings are pooled, and what was plain before carries over into what comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Protocol

from affectgpt.appraise import fuse, reliability
from affectgpt.appraise.conformal import COVERAGE, load_calibration
from affectgpt.appraise.face import FaceAppraiser
from affectgpt.appraise.fuse import Reading
from affectgpt.appraise.prototypes import MOST_CARRIERS, carriers, is_self_report, read_voice
from affectgpt.appraise.stretches import cut_face, cut_voice, cut_words, stretches
from affectgpt.appraise.voice import VoiceAppraiser
from affectgpt.appraise.words import N_CONTEXT, WordsAppraiser
from affectgpt.cues import unit_of
from affectgpt.records import (
    Appraisal,
    EmotionDistribution,
    EmotionSet,
    FaceTrack,
    Modality,
    Moment,
    Observation,
    Observations,
    Transcript,
    Utterance,
    VoiceTrack,
)

__all__ = ["Appraiser", "Panel"]

TELLING = 0.01
"""Probability that a reading must lose without an observation for that observation to carry it."""


class Appraiser(Protocol):
    """Weighs what was observed, over the tracks that it was told from; `appraise.panel.Panel` is the usual one."""

    def appraise(
        self,
        observations: Observations,
        face: FaceTrack | None = None,
        voice: VoiceTrack | None = None,
        transcript: Transcript | None = None,
    ) -> Appraisal:
        """Each modality's reading and the fused one."""
        ...


class Panel:
    """Appraisers of one set of heads, `permissive` or the default. Heads and the encoder load when first needed.

    `coverage` in (0, 1) is how often the set of emotions that are not ruled out should hold the right one.
    """

    def __init__(self, permissive: bool = False, coverage: float = COVERAGE) -> None:
        self._face, self._voice = FaceAppraiser(permissive), VoiceAppraiser(permissive)
        self._words = WordsAppraiser(permissive)
        self._set = "permissive" if permissive else "default"
        self._permissive, self._coverage = permissive, coverage

    def appraise(
        self,
        observations: Observations,
        face: FaceTrack | None = None,
        voice: VoiceTrack | None = None,
        transcript: Transcript | None = None,
    ) -> Appraisal:
        """Every modality's reading and the fused one, over the tracks that the observations were told from.

        Raises:
            ModelError, MissingDependency: a head or the encoder is damaged or missing.
        """
        said = tuple(u for u in transcript.utterances if u.text.strip()) if transcript else ()
        ends = [float(t.times_s[-1]) for t in (face, voice) if t is not None and len(t.times_s)]
        cuts = stretches(max([*ends, *(u.end_s or 0.0 for u in said)], default=0.0))
        # Words without times stand in every stretch: they are read once.
        hear = cache(lambda spoken: self._words.read([u.text for u in spoken], _before(said, spoken)))
        read = [(s, self._read(cut_face(face, s), cut_voice(voice, s), cut_words(said, s), hear)) for s in cuts]
        moments = [Moment(s.start_s, s.end_s, fuse.pool(_weighed(part)), fuse.share(part)) for s, part in read if part]
        parts = [part for _, part in read if part]
        best = [max(r.quality * max(fuse.certainty(r.distribution), 0.05) for r in part.values()) for part in parts]
        course = fuse.smooth(moments, best)
        whole = _whole(parts)
        weights = fuse.share(whole)
        by_modality = {m.value: r.distribution for m, r in whole.items()}
        # The clip's reading is that of its moments, by how well each could be read.
        fused = fuse.pool([(moment.fused, sure) for moment, sure in zip(course, best, strict=True)])
        return Appraisal(
            by_modality=by_modality,
            reliability={m.value: r.quality for m, r in whole.items()},
            fused=fused,
            conflicts=tuple(fuse.conflicts(by_modality, weights)),
            carried_by={m.value: self._carriers(observations, m, r.distribution, face) for m, r in whole.items()},
            weights=weights,
            compounds=fuse.compounds(fused),
            course=course if len(course) > 1 else (),
            emotion_set=self._not_ruled_out(fused, by_modality),
            read_by={m.value: self._reader(m, voice) for m in whole},
        )

    def _read(
        self,
        face: FaceTrack | None,
        voice: VoiceTrack | None,
        said: tuple[Utterance, ...],
        read_words: Callable[[tuple[Utterance, ...]], EmotionDistribution],
    ) -> dict[Modality, Reading]:
        """One stretch; a modality that gives nothing there is left out."""
        read: dict[Modality, Reading] = {}
        if face is not None and (seen := self._face.read(face)) is not None:
            read[Modality.FACE] = Reading(seen, reliability.of_face(face))
        if voice is not None and (heard := self._hear(voice)) is not None:
            read[Modality.VOICE] = Reading(heard, reliability.of_voice(voice))
        if said:
            words = read_words(said)
            own = words.top != "neutral" and any(is_self_report(u.text) for u in said)
            read[Modality.SPEECH] = Reading(words, reliability.of_words(said, words), own)
        return {m: r for m, r in read.items() if r.quality > 0}

    def _hear(self, voice: VoiceTrack) -> EmotionDistribution | None:
        """The fitted reading; of a track without mel bands, which another reader made, the prototypes'."""
        if len(voice.bands_db) or not voice.z:
            return self._voice.read(voice)
        return read_voice([Observation("", Modality.VOICE, cue, "", value=z) for cue, z in voice.z.items()])

    def _carriers(
        self, observations: Observations, modality: Modality, read: EmotionDistribution, face: FaceTrack | None
    ) -> tuple[str, ...]:
        """Ids of the observations that carry a reading: units without which it would be less probable."""
        if modality is Modality.FACE and face is not None and read.top != "neutral":
            told = self._by_absence([o for o in observations.of(modality) if not o.is_missing], read.top, face)
            if told:
                return told
        if modality is Modality.SPEECH and read.top != "neutral":
            quotes = [o for o in observations.of(modality) if o.quote]
            alone = {o.id: self._words.read([o.quote or ""]).probabilities[read.top] for o in quotes}
            return tuple(sorted(alone, key=lambda i: -alone[i])[:1])
        return tuple(o.id for o in carriers(observations, modality, read))

    def _by_absence(self, seen: Sequence[Observation], label: str, face: FaceTrack) -> tuple[str, ...]:
        whole = self._face.read(face)
        lost: dict[str, float] = {}
        for o in seen:
            unit = unit_of(o.cue)
            if whole is None or unit not in face.units:
                continue
            without = face.action_units.copy()
            without[:, face.units.index(unit)] *= 0
            rest = self._face.read(replace(face, action_units=without))
            lost[o.id] = whole.probabilities[label] - (rest.probabilities[label] if rest else 0.0)
        telling = sorted((i for i in lost if lost[i] >= TELLING), key=lambda i: -lost[i])
        return tuple(telling[:MOST_CARRIERS])

    def _not_ruled_out(self, fused: EmotionDistribution, read: Mapping[str, object]) -> EmotionSet | None:
        """The conformal set; None where this set of heads was not calibrated for these modalities."""
        calibration = load_calibration(self._permissive)
        threshold = calibration.threshold(read.keys(), self._coverage) if calibration and read else None
        return threshold.choose(fused.probabilities) if threshold else None

    def _reader(self, modality: Modality, voice: VoiceTrack | None) -> str:
        is_prior = self._set == "permissive" and modality is not Modality.SPEECH
        if modality is Modality.VOICE and voice is not None and not len(voice.bands_db):
            is_prior = True
        return "prototypes" if is_prior else f"{self._set} heads"


def _before(said: Sequence[Utterance], spoken: Sequence[Utterance]) -> list[str]:
    """What was said before these words, as far as the heads look back."""
    first = next(i for i, u in enumerate(said) if u is spoken[0])
    return [u.text for u in said[max(0, first - N_CONTEXT) : first]]


def _weighed(readings: Mapping[Modality, Reading]) -> list[tuple[EmotionDistribution, float]]:
    part = fuse.share(readings)
    return [(r.distribution, part[m.value]) for m, r in readings.items()]


def _whole(parts: Sequence[Mapping[Modality, Reading]]) -> dict[Modality, Reading]:
    """Each modality over all stretches: its readings pooled by their quality, which is averaged over all of them."""
    whole: dict[Modality, Reading] = {}
    for modality in Modality:
        read = [part[modality] for part in parts if modality in part]
        if read:
            pooled = fuse.pool([(r.distribution, r.quality) for r in read])
            quality = sum(r.quality for r in read) / len(parts)
            whole[modality] = Reading(pooled, quality, any(r.is_own_words for r in read))
    return whole
