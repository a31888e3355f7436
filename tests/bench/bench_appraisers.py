"""Speed of the appraisers from what was already read of a clip: `make bench-appraisers`, JSON on stdout.

Words are made-up dialogues through the encoder and the heads; voice and face are made-up tracks of the perceivers'
rates and sizes, so that no recording is needed. Each figure is the best of several rounds, which on a busy machine
comes nearest to the machine's own speed, and stands beside its target. Never a timed test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from affectgpt.records import FaceTrack, Interval, VoiceTrack

TARGETS = {"words": 300.0, "voice": 40.0, "face": 1000.0}
"""Utterances a second; times as fast as the clip runs, for the other two."""
CLIP_S = 60.0
HOP_S, N_BANDS = 0.01, 24
FACE_HZ = 12.5
UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 43)
N_UTTERANCES = 512
LONGEST = 24
"""Words of an utterance: drawn from 1 to here, 12 on average where MELD's have 8 and GoEmotions' comments 13."""
VOCABULARY = """
I you he she we they am are was were not never really so very just what why how when that this it the a to of and but
with for in on know think want feel love hate miss hope wish told said left happy sad angry afraid sorry great terrible
wonderful awful nice stupid please thanks okay well oh no yes maybe again today tomorrow always nothing
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(TARGETS), help="one appraiser alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--permissive", action="store_true")
    asked = parser.parse_args()
    measures = {"words": words, "voice": voice, "face": face}
    found = {
        name: measure(asked.rounds, asked.permissive)
        for name, measure in measures.items()
        if asked.only in (None, name)
    }
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps({"machine": machine, "set": "permissive" if asked.permissive else "default", **found}, indent=2))


def words(rounds: int, permissive: bool) -> dict[str, Any]:
    """Utterances a second over basic8 with dimensions, each with six before it, the encoder included."""
    from affectgpt.appraise.words import WordsAppraiser

    said, appraiser = utterances(N_UTTERANCES), WordsAppraiser(permissive)
    dialogues = [said[k : k + 16] for k in range(0, len(said), 16)]
    seconds = best(lambda: appraiser.read(said), rounds)
    one_by_one = best(lambda: [appraiser.read(d) for d in dialogues], rounds)
    return {
        "utterances_per_s": round(len(said) / seconds),
        "utterances_per_s_in_dialogues_of_16": round(len(said) / one_by_one),
        "target": TARGETS["words"],
        "met": len(said) / seconds >= TARGETS["words"],
        "n_utterances": len(said),
        "mean_words": round(float(np.mean([len(u.split()) for u in said])), 1),
    }


def voice(rounds: int, permissive: bool) -> dict[str, Any]:
    """A minute of voice from its track: functionals and head."""
    from affectgpt.appraise.voice import VoiceAppraiser

    track, appraiser = voice_track(CLIP_S), VoiceAppraiser(permissive)
    return times_real(lambda: appraiser.read(track), rounds, TARGETS["voice"])


def face(rounds: int, permissive: bool) -> dict[str, Any]:
    """A minute of face from its track: statistics, prior and head."""
    from affectgpt.appraise.face import FaceAppraiser

    track, appraiser = face_track(CLIP_S), FaceAppraiser(permissive)
    return times_real(lambda: appraiser.read(track), rounds, TARGETS["face"])


def times_real(run: Callable[[], object], rounds: int, target: float) -> dict[str, Any]:
    """How many times as fast as the clip runs."""
    seconds = best(run, rounds)
    return {
        "times_real": round(CLIP_S / seconds),
        "target": target,
        "met": CLIP_S / seconds >= target,
        "clip_s": CLIP_S,
    }


def best(run: Callable[[], object], rounds: int) -> float:
    """The shortest of several rounds, in seconds, after one that loads what there is to load."""
    run()
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        took.append(time.perf_counter() - start)
    return min(took)


def utterances(n: int) -> list[str]:
    """Made-up utterances of the vocabulary above."""
    draw, vocabulary = np.random.default_rng(0), VOCABULARY.split()
    return [" ".join(draw.choice(vocabulary, size=draw.integers(1, LONGEST))) + "." for _ in range(n)]


def voice_track(duration_s: float) -> VoiceTrack:
    """A voice that rises and falls at four syllables a second."""
    n = round(duration_s / HOP_S)
    draw, times_s = np.random.default_rng(0), np.arange(n) * HOP_S
    level = -30.0 + 8.0 * np.sin(2 * np.pi * 4 * times_s) + draw.normal(0, 0.5, n)
    pitch = 180.0 * 2 ** (np.sin(times_s) / 4 + draw.normal(0, 0.02, n))
    bands = level[:, None] - np.linspace(0, 25, N_BANDS) + draw.normal(0, 2, (n, N_BANDS))
    return VoiceTrack(
        times_s=times_s,
        f0_hz=np.where(np.sin(2 * np.pi * 4 * times_s) > -0.5, pitch, np.nan).astype(np.float32),
        level_db=level.astype(np.float32),
        speech=(Interval(0.1, duration_s - 0.1),),
        measures={"hnr_db": 9.0, "syllable_rate_hz": 4.0, "pause_ratio": 0.0, "f0_median_hz": 180.0},
        z={"f0_median_hz": 0.3},
        windows=(),
        baseline={},
        baseline_kind="population",
        reader="made",
        duration_s=duration_s,
        bands_db=bands.astype(np.float16),
    )


def face_track(duration_s: float) -> FaceTrack:
    """Units that come and go, a frame in ten without a face."""
    n = round(duration_s * FACE_HZ)
    draw = np.random.default_rng(0)
    course = 2.5 + 2.5 * np.sin(np.arange(n)[:, None] / draw.uniform(3, 30, len(UNITS)))
    found = draw.random(n) > 0.1
    return FaceTrack(
        times_s=np.arange(n) / FACE_HZ,
        action_units=np.where(found[:, None], course, np.nan).astype(np.float32),
        units=UNITS,
        found=found,
        pose_deg=np.zeros((n, 3), np.float32),
        width_px=np.full(n, 200.0, np.float32),
        baseline=np.zeros(len(UNITS), np.float32),
        baseline_kind="population",
        reliability=np.full(len(UNITS), 0.8, np.float32),
        reader="made",
    )


if __name__ == "__main__":
    main()
