"""Speed of the path of soft tokens up to the language model, printed as one JSON document: `make bench-fusion`.

Reading features that were kept (bytes that were just written, so that the disk itself is not what is measured), and the
encoders that need no weights on a clip's tracks. Each figure stands beside its target where there is one; progress goes
to stderr. What the language model's side costs is in bench_splice.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.fusion.acoustic import AcousticEncoder
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.facial import FacialEncoder
from affectgpt.fusion.features import Features, Signals
from affectgpt.media import open_clip, waveform
from affectgpt.perceive.periods import find_periods
from affectgpt.perceive.voice import LibrosaVoice
from affectgpt.records import FaceTrack, Modality

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "astronaut_smile.mp4"
LEAST_READ_MB_S = 500.0
WIDTH = 1024
"""Of HuBERT-L; 10 tokens a second."""
_ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=64, help="clips in the cache")
    parser.add_argument("--clip-s", type=float, default=60.0, help="seconds of each")
    args = parser.parse_args()
    figures = {
        "cache": cache_read(args.clips, args.clip_s),
        "encoders": embedded_encoders(),
        "machine": {"cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()},
        "python": platform.python_version(),
    }
    print(json.dumps(figures, indent=2))


def cache_read(n_clips: int, clip_s: float) -> dict[str, Any]:
    """MB of features a second, found, checked and each number used, in clips of speech features and of short ones."""
    told = {}
    for name, n_tokens, width in (("hubert_l", round(10 * clip_s), WIDTH), ("descriptors", round(50 * clip_s), 50)):
        with tempfile.TemporaryDirectory() as folder:
            cache = FeatureCache(Path(folder) / "features")
            keys = [cache.key(f"{k:064x}", AcousticEncoder(find_periods)) for k in range(n_clips)]
            features = made(n_tokens, width)
            for key in keys:
                cache.put(key, features)
            n_bytes = n_clips * features.tokens.nbytes
            seconds = [timed(lambda keys=keys, cache=cache: used(cache, keys)) for _ in range(_ROUNDS)]
        rate = n_bytes / 1e6 / statistics.median(seconds)
        told[name] = {"mb": n_bytes / 1e6, "mb_s": rate, "target_mb_s": LEAST_READ_MB_S, "met": rate >= LEAST_READ_MB_S}
        print(f"cache {name}: {rate:.0f} MB/s", file=sys.stderr)
    return told


def made(n_tokens: int, width: int) -> Features:
    """Features as a speech encoder gives them, a tenth of them in silence."""
    rng = np.random.default_rng(0)
    valid = rng.random(n_tokens) < 0.9
    tokens = np.where(valid[:, None], rng.normal(size=(n_tokens, width)), 0).astype(np.float32)
    starts = np.arange(n_tokens, dtype=np.float64)
    return Features(tokens, np.stack([starts, starts + 1], axis=1), valid, "made@1", Modality.VOICE)


def used(cache: FeatureCache, keys: list[str]) -> float:
    """The sum of every number of every clip, so that all of it was in memory."""
    total = 0.0
    for key in keys:
        found = cache.get(key)
        if found is None:
            raise SystemExit(f"{key} is gone")
        total += float(found.tokens.sum())
    return total


def embedded_encoders() -> dict[str, Any]:
    """Milliseconds a second of clip of the two encoders that need no weights, their tracks being read already."""
    clip = open_clip(EXAMPLE)
    track = LibrosaVoice().read(waveform(clip))
    voice = Signals(voice=track, open_sound=lambda: waveform(clip))
    face = Signals(face=still_face(60.0))
    encoders: dict[str, Callable[[], object]] = {
        "voice-descriptors": lambda: AcousticEncoder(find_periods).encode(voice),
        "face-units": lambda: FacialEncoder().encode(face),
    }
    lengths_s = {"voice-descriptors": track.duration_s, "face-units": 60.0}
    told = {}
    for name, encode in encoders.items():
        encode()  # tables, windows and libraries are read once
        seconds = statistics.median(timed(encode) for _ in range(_ROUNDS))
        told[name] = {"ms_per_s": 1000 * seconds / lengths_s[name]}
        print(f"{name}: {told[name]['ms_per_s']:.2f} ms a second", file=sys.stderr)
    return told


def still_face(duration_s: float) -> FaceTrack:
    """A face seen throughout at 12.5 Hz."""
    n, units = round(12.5 * duration_s), (1, 2, 4, 6, 12, 15, 25)
    return FaceTrack(
        times_s=np.arange(n) / 12.5,
        action_units=np.ones((n, len(units)), np.float32),
        units=units,
        found=np.ones(n, bool),
        pose_deg=np.zeros((n, 3), np.float32),
        width_px=np.full(n, 150, np.float32),
        baseline=np.zeros(len(units), np.float32),
        baseline_kind="population",
        reliability=np.ones(len(units), np.float32),
        reader="made",
    )


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
