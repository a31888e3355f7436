"""Conditions: what is taken from a scene before anybody looks at it, and the scene that is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from affectgpt.errors import OptionError
from affectgpt.records import FaceTrack, Modality, Transcript, TranscriptSource
from affectgpt.records.signal_example import WHOLE
from affectgpt.textualize import Sensed

__all__ = ["CONDITIONS", "Condition", "condition", "lose_frames", "take"]

_F, _V, _S = Modality.FACE, Modality.VOICE, Modality.SPEECH
_ABSENT: Mapping[Modality, str] = {_F: "the clip has no pictures", _V: "the clip has no sound"}
"""As the agent words them."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is taken: whole modalities, a share of the face's frames, or the quiet around a voice (`snr_db`)."""

    name: str
    without: frozenset[Modality] = frozenset()
    frames_lost: float = 0.0
    snr_db: float | None = None

    def fits(self, sensed: Sensed) -> bool:
        """Whether the scene has what is taken, and something is left of it."""
        there = present(sensed)
        if self.frames_lost:
            return sensed.face is not None and int(sensed.face.found.sum()) > 1
        if self.snr_db is not None:
            return _V in there
        return self.without <= there and bool(there - self.without)


def present(sensed: Sensed) -> frozenset[Modality]:
    """The modalities that a scene has."""
    said = sensed.transcript is not None and sensed.transcript.utterances
    have = ((_F, sensed.face is not None), (_V, sensed.voice is not None), (_S, bool(said)))
    return frozenset(modality for modality, is_there in have if is_there)


def _all() -> dict[str, Condition]:
    names = {_F: "face", _V: "voice", _S: "words"}
    found = [Condition(WHOLE)]
    found += [Condition(f"no {name}", frozenset({m})) for m, name in names.items()]
    found += [Condition(f"{name} alone", frozenset(names) - {m}) for m, name in names.items()]
    found += [Condition(f"frames lost {share:.0%}".replace("%", " %"), frames_lost=share) for share in (0.05, 0.2, 0.4)]
    found += [Condition(f"SNR {snr_db} dB", snr_db=float(snr_db)) for snr_db in (20, 10, 0)]
    return {c.name: c for c in found}


CONDITIONS: Mapping[str, Condition] = _all()
"""Every condition by its name; the first takes nothing."""


def condition(name: str) -> Condition:
    """The condition of this name. Raises OptionError where there is none."""
    if name not in CONDITIONS:
        raise OptionError(f"no condition {name!r}", f"there are {', '.join(CONDITIONS)}")
    return CONDITIONS[name]


def take(sensed: Sensed, given: Condition, seed: int) -> Sensed:
    """What is left of a scene. Noise is not made here: the voice heard through it is another reading of its file."""
    face = None if _F in given.without else sensed.face
    if face is not None and given.frames_lost:
        face = lose_frames(face, given.frames_lost, seed)
    lost = {m: why for m, why in _ABSENT.items() if m in given.without}
    silent = Transcript((), TranscriptSource.NONE)
    return replace(
        sensed,
        face=face,
        voice=None if _V in given.without else sensed.voice,
        transcript=silent if _S in given.without else sensed.transcript,
        absent={**sensed.absent, **lost},
    )


def lose_frames(face: FaceTrack, share: float, seed: int) -> FaceTrack:
    """The track with a share of the frames that have a face lost at random, each by itself."""
    found, units, pose = face.found.copy(), face.action_units.copy(), face.pose_deg.copy()
    there = np.flatnonzero(found)
    lost = np.random.default_rng(seed).permutation(there)[: round(share * len(there))]
    found[lost] = False
    units[lost], pose[lost] = np.nan, np.nan
    return replace(face, found=found, action_units=units, pose_deg=pose)
