"""What the face says: a FaceTrack's action units over the clip to feelings.

The prior is the prototypes of emotional faces (appraise/prototypes.py). A fitted head of the default set corrects it:
its outputs are added to the prior's log probabilities, so that a feeling that the photographs hardly show keeps the
prior's reading. The permissive set has no face head: there the prior stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.heads import load_head
from affectgpt.appraise.prototypes import read_face, weigh
from affectgpt.emotions import load_lexicon
from affectgpt.errors import ModelError
from affectgpt.records import EmotionDistribution, FaceTrack, Modality, Observation

__all__ = ["FaceAppraiser", "FaceStatistics", "log_prior", "row_names", "statistics"]

APEX_QUANTILE = 0.9
"""Of a unit's course over the clip: its apex without a single frame's noise. A photograph is its own apex."""
SHOWN = 1.0
"""From this intensity, a trace, a unit counts as shown."""
PAIRS = ((1, 2), (1, 4), (1, 15), (4, 7), (4, 15), (5, 26), (6, 12), (9, 10), (12, 25), (17, 15), (20, 25), (23, 24))
"""Units that the prototypes of EMFACS (Friesen & Ekman 1983) hold together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FaceStatistics:
    """One clip's face in numbers, A action units.

    mean (A,), apex (A,) intensity in [0, 5] · share (A,) of the seen time in which a unit is shown · onsets (A,) how
    often it begins · together (12,) intensity in [0, 5] that both of a pair of `PAIRS` reach at one moment.
    """

    units: tuple[int, ...]
    mean: Floats
    apex: Floats
    share: Floats
    onsets: NDArray[np.intp]
    together: Floats

    def row(self, units: Sequence[int]) -> Floats:
        """What the head reads: the apex of these units, 0 for one that the track lacks, then of the pairs together."""
        apex = dict(zip(self.units, self.apex, strict=True))
        return np.concatenate([[apex.get(unit, 0.0) for unit in units], self.together])


class FaceAppraiser:
    """Feelings from a face. Loads its head at the first call that needs it."""

    def __init__(self, permissive: bool = False) -> None:
        self._permissive = permissive

    def read(self, track: FaceTrack) -> EmotionDistribution | None:
        """What the face makes likely over the basic8 set; None where no face was found. Raises ModelError."""
        if not track.found.any():
            return None
        prior = log_prior(track)
        if self._permissive:
            return _told(prior)
        head = load_head("face_basic8")
        if head.classes != load_lexicon().labels("basic8"):
            raise ModelError("head face_basic8 has other classes than basic8", "reinstall, or retrain it")
        fitted = head.logits(statistics(track).row(head.card["input"]["units"])[None])[0]
        return _told((prior + fitted) / float(head.card["temperature"]))


def statistics(track: FaceTrack) -> FaceStatistics:
    """The clip's statistics over the frames in which the face was found; at least one."""
    seen = np.nan_to_num(track.action_units[track.found].astype(np.float64))
    shown = seen >= SHOWN
    course = {unit: seen[:, a] for a, unit in enumerate(track.units)}
    nothing = np.zeros(len(seen))
    both = [np.minimum(course.get(a, nothing), course.get(b, nothing)) for a, b in PAIRS]
    return FaceStatistics(
        units=track.units,
        mean=seen.mean(axis=0),
        apex=np.quantile(seen, APEX_QUANTILE, axis=0),
        share=shown.mean(axis=0),
        onsets=(shown[1:] & ~shown[:-1]).sum(axis=0) + shown[0],
        together=np.quantile(both, APEX_QUANTILE, axis=1),
    )


def row_names(units: Sequence[int]) -> list[str]:
    """What each number of `FaceStatistics.row` is."""
    return [f"AU{unit} apex" for unit in units] + [f"AU{a} with AU{b}" for a, b in PAIRS]


def log_prior(track: FaceTrack) -> Floats:
    """Log probabilities (8,) by the prototypes, in the order of basic8, of each unit's apex and reliability."""
    apex = statistics(track).apex
    told = [
        Observation("", Modality.FACE, f"AU{unit}", "", value=float(apex[a]), confidence=float(track.reliability[a]))
        for a, unit in enumerate(track.units)
    ]
    read = read_face(told).probabilities
    return np.log([max(read[label], 1e-6) for label in load_lexicon().labels("basic8")])


def _told(logits: Floats) -> EmotionDistribution:
    raised = np.exp(logits - logits.max())
    return weigh(dict(zip(load_lexicon().labels("basic8"), (raised / raised.sum()).tolist(), strict=True)))
