"""What the face says: a FaceTrack's action units over the clip to feelings.

What counts of a unit is the level that it holds for two seconds: speech moves the mouth for tenths of a second, and an
expression lasts longer (Ekman 2003: 0.5 to 4 s). Where a face was compared with other people's rest, what it never
lets go of through a whole clip may be how it looks: as much of that as a resting face can show is taken away. A
photograph has no course, and keeps its full reading.

The prior is the prototypes of emotional faces (appraise/prototypes.py). A head of the default set, fitted on
photographs, corrects it: its outputs are added to the prior's log probabilities, so that a feeling that the photographs
hardly show keeps the prior's reading. On clips, which are not what it was fitted on, it has half a say: the geometric
mean of both readings. The permissive set has no face head: there the prior stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.fuse import weigh
from affectgpt.appraise.heads import Head, load_head
from affectgpt.appraise.prototypes import read_face
from affectgpt.emotions import load_lexicon
from affectgpt.errors import ModelError
from affectgpt.records import EmotionDistribution, FaceTrack, Modality, Observation

__all__ = ["FaceAppraiser", "FaceStatistics", "log_prior", "row_names", "statistics"]

HELD_S = 2.0
"""What is held is held about this long: between the shortest and the longest of most expressions (Ekman 2003)."""
FLOOR_QUANTILE = 0.1
"""Of a unit's course: what it never lets go of, but for a moment's noise."""
LEAST_COURSE_S = 3.0
LOOK = 1.5
"""As much of the floor of a clip of 3 s and more as may be the look of a face at rest: both are the figures by which
the face reader itself tells rest from expression (`perceive.resting`: three quiet seconds, under class B)."""
CLIP_SHARE = 0.5
"""The say of what was learnt on photographs, on a clip."""
BOUND = 3.0
"""Deviations of the photographs beyond which a level is cut: the head knows nothing of what they do not show."""
PAIRS = ((1, 2), (1, 4), (1, 15), (4, 7), (4, 15), (5, 26), (6, 12), (9, 10), (12, 25), (17, 15), (20, 25), (23, 24))
"""Units that the prototypes of EMFACS (Friesen & Ekman 1983) hold together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FaceStatistics:
    """What one clip's face holds, A action units.

    held (A,) intensity in [0, 5] of each unit · together (12,) intensity in [0, 5] that both of a pair of `PAIRS` hold
    at one time. Onsets and rates are not among them: the photographs that the head is fitted on have none.
    """

    units: tuple[int, ...]
    held: Floats
    together: Floats

    def row(self, units: Sequence[int]) -> Floats:
        """What the head reads: the held level of these units, 0 for one that the track lacks, then of the pairs."""
        held = dict(zip(self.units, self.held, strict=True))
        return np.concatenate([[held.get(unit, 0.0) for unit in units], self.together])


class FaceAppraiser:
    """Feelings from a face. Loads its head at the first call that needs it."""

    def __init__(self, permissive: bool = False) -> None:
        self._permissive = permissive

    def read(self, track: FaceTrack) -> EmotionDistribution | None:
        """What the face makes likely over the basic8 set; None where no face was found. Raises ModelError."""
        if not track.found.any():
            return None
        found = statistics(track)
        prior = log_prior(found, track.reliability)
        if self._permissive:
            return _told(prior)
        head = load_head("face_basic8")
        if head.classes != load_lexicon().labels("basic8"):
            raise ModelError("head face_basic8 has other classes than basic8", "reinstall, or retrain it")
        share = 1.0 if len(track.found) == 1 else CLIP_SHARE
        return _told((prior + share * _correction(head, found)) / float(head.card["temperature"]))


def _correction(head: Head, found: FaceStatistics) -> Floats:
    row, reach = found.row(head.card["input"]["units"]), BOUND * head.scale
    return np.asarray(head.logits(np.clip(row, head.mean - reach, head.mean + reach)[None])[0])


def statistics(track: FaceTrack) -> FaceStatistics:
    """What is held over the frames in which the face was found; at least one."""
    seen = np.nan_to_num(track.action_units[track.found].astype(np.float64))
    step_s = float(np.median(np.diff(track.times_s))) if len(track.times_s) > 1 else 0.0
    if track.baseline_kind == "population" and len(seen) * step_s >= LEAST_COURSE_S:
        seen = np.maximum(seen - np.minimum(np.quantile(seen, FLOOR_QUANTILE, axis=0), LOOK), 0.0)
    at = {unit: a for a, unit in enumerate(track.units)}
    course = np.column_stack([seen, np.zeros(len(seen))])
    first, second = ([at.get(pair[side], -1) for pair in PAIRS] for side in (0, 1))
    n_held = min(len(seen), max(1, round(HELD_S / step_s))) if step_s > 0 else 1
    return FaceStatistics(
        units=track.units,
        held=_held(seen, n_held),
        together=_held(np.minimum(course[:, first], course[:, second]), n_held),
    )


def _held(course: Floats, n_held: int) -> Floats:
    """The highest mean of each column (T, A) over this many rows that follow one another, (A,)."""
    summed = np.vstack([np.zeros(course.shape[1]), course.cumsum(axis=0)])
    return np.asarray((summed[n_held:] - summed[:-n_held]).max(axis=0) / n_held)


def row_names(units: Sequence[int]) -> list[str]:
    """What each number of `FaceStatistics.row` is."""
    return [f"AU{unit}" for unit in units] + [f"AU{a} with AU{b}" for a, b in PAIRS]


def log_prior(found: FaceStatistics, reliability: NDArray[np.floating[Any]]) -> Floats:
    """Log probabilities (8,) by the prototypes, in the order of basic8, of held levels and units' reliability (A,)."""
    told = [
        Observation("", Modality.FACE, f"AU{unit}", "", value=float(level), confidence=float(trust))
        for unit, level, trust in zip(found.units, found.held, reliability, strict=True)
    ]
    read = read_face(told).probabilities
    return np.log([max(read[label], 1e-6) for label in load_lexicon().labels("basic8")])


def _told(logits: Floats) -> EmotionDistribution:
    raised = np.exp(logits - logits.max())
    return weigh(dict(zip(load_lexicon().labels("basic8"), (raised / raised.sum()).tolist(), strict=True)))
