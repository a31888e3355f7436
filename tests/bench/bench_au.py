"""How well action units from geometry tell acted emotions apart: `make bench-au`, JSON on stdout.

Data: MEAD clips of two actors, 8 emotions each (../shared/data/clips/mead_dreamtalk, or the folder given). A clip's
statistic is the mean intensity over its frames, chosen beforehand; the table's 13 units count towards the mean AUC.

Which clips prescribe a unit, after the EMFACS prototypes (Friesen & Ekman 1983): those of an emotion that has it
outright. Where an emotion has it only optionally "(+25)" or as an alternative "9/10", the clip is left out, unless no
emotion has the unit outright: then those clips are the positives. `literal` counts every mention as a positive.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt import media
from affectgpt.perceive.facemesh import FaceMeshReader
from affectgpt.records import FaceTrack

SCORED = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 25)
OUTRIGHT = {
    "happy": {6, 12},
    "surprised": {1, 2, 5, 26},
    "angry": {4, 5, 7},
    "sad": {1, 4, 15},
    "fear": {1, 2, 4, 5, 20, 25},
    "disgusted": set[int](),
    "contempt": set[int](),
    "neutral": set[int](),
}
ALSO = {"happy": {25}, "angry": {23, 24}, "sad": {17}, "disgusted": {9, 10, 15, 16, 17}, "contempt": {12, 14}}
ANYWHERE_OUTRIGHT = set().union(*OUTRIGHT.values())
EXPECTED = {"happy": {12}, "surprised": {1, 2, 5}, "angry": {4, 7}}
TARGET = 0.80
RATE_HZ = 12.5
B_LEVEL = 1.5


def prescribes(emotion: str, unit: int, *, literal: bool) -> bool | None:
    """Whether the emotion's prototype has the unit; None where the clip says nothing about it."""
    if unit in OUTRIGHT[emotion]:
        return True
    if unit not in ALSO.get(emotion, ()):
        return False
    return True if literal or unit not in ANYWHERE_OUTRIGHT else None


def auc(positives: list[float], negatives: list[float]) -> float:
    """Probability that a positive is higher than a negative, ties half."""
    p, n = np.array(positives)[:, None], np.array(negatives)[None]
    return float(((p > n) + 0.5 * (p == n)).mean())


def unit_aucs(clips: list[tuple[str, NDArray[np.float64]]], units: tuple[int, ...], literal: bool) -> dict[int, float]:
    """AUC by unit, for units with clips on both sides."""
    result = {}
    for a, unit in enumerate(units):
        sides: dict[bool | None, list[float]] = {True: [], False: [], None: []}
        for emotion, levels in clips:
            sides[prescribes(emotion, unit, literal=literal)].append(float(levels[a]))
        if sides[True] and sides[False]:
            result[unit] = auc(sides[True], sides[False])
    return result


def scored_mean(aucs: dict[int, float]) -> float:
    """Mean over the 13 units of the table."""
    return float(np.mean([aucs[u] for u in SCORED if u in aucs]))


def bootstrap(clips: list[tuple[str, NDArray[np.float64]]], units: tuple[int, ...], n: int = 2000) -> list[float]:
    """95 % interval of the mean AUC, clips drawn again within their emotion. Two actors only: people are not drawn."""
    random = np.random.default_rng(0)
    by_emotion: dict[str, list[NDArray[np.float64]]] = {}
    for emotion, levels in clips:
        by_emotion.setdefault(emotion, []).append(levels)
    means = []
    for _ in range(n):
        drawn = [(e, rows[i]) for e, rows in by_emotion.items() for i in random.integers(len(rows), size=len(rows))]
        means.append(scored_mean(unit_aucs(drawn, units, literal=False)))
    return [round(float(q), 3) for q in np.percentile(means, [2.5, 97.5])]


def levels_of(track: FaceTrack) -> NDArray[np.float64]:
    """Mean intensity by unit over the frames with a face, (A,)."""
    return np.asarray(track.action_units[track.found], np.float64).mean(axis=0)


def report(folder: Path) -> dict[str, object]:
    """Read every clip and measure."""
    reader = FaceMeshReader(own_baseline=False)
    clips, rows = [], {}
    for path in sorted(folder.glob("W0*_front_*.mp4")):
        track = reader.read(media.frames(media.open_clip(path), RATE_HZ))
        emotion, levels = path.name.split("_")[2], levels_of(track)
        clips.append((emotion, levels))
        told = np.argsort(-levels * track.reliability, kind="stable")
        top = {f"AU{track.units[a]}": round(float(levels[a]), 2) for a in told[:6]}
        rows[path.stem] = {
            "top": top,
            "shows": sorted(EXPECTED.get(emotion, set()) & {track.units[a] for a in told[:6]}),
        }
    if not clips:
        sys.exit(f"no MEAD clips in {folder}: give the folder of W009_front_… and W011_front_… files")
    units = track.units
    main, literal = unit_aucs(clips, units, False), unit_aucs(clips, units, True)
    neutral = [int((v >= B_LEVEL).sum()) for e, v in clips if e == "neutral"]
    return {
        "clips": len(clips),
        "baseline": "population",
        "mean_auc": round(scored_mean(main), 3),
        "interval_95": bootstrap(clips, units),
        "target": TARGET,
        "met": scored_mean(main) >= TARGET,
        "mean_auc_literal": round(scored_mean(literal), 3),
        "auc": {f"AU{u}": round(v, 2) for u, v in main.items()},
        "auc_literal": {f"AU{u}": round(v, 2) for u, v in literal.items()},
        "units_at_b_or_more_in_neutral_clips": neutral,
        "by_clip": rows,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips" / "mead_dreamtalk"
    parser.add_argument("folder", nargs="?", type=Path, default=shared)
    print(json.dumps(report(parser.parse_args().folder), indent=1))
