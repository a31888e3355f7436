"""Make affectgpt/data/acoustic_descriptors.toml: what the columns of the voice encoder's tokens measure in speech.

    python -m finetune.voice_descriptors RAVDESS_FOLDER > affectgpt/data/acoustic_descriptors.toml

The folder holds RAVDESS speech files (Livingstone & Russo 2018, PLoS ONE 13(5): e0196391, CC BY-NC-SA 4.0). Only means
and deviations leave it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import InputError
from affectgpt.fusion.acoustic import NAMES, measure
from affectgpt.media import open_clip, waveform
from affectgpt.perceive.periods import find_periods
from affectgpt.perceive.voice import LibrosaVoice

STRIDE = 13
"""Every thirteenth clip: all actors, feelings and intensities, in a minute or two."""
_HEADER = """\
# What the columns of the voice encoder's tokens measure in speech (affectgpt/fusion/acoustic.py): a token is told as
# its distance from the mean, in deviations. Made by finetune/voice_descriptors.py from every thirteenth speech clip of
# RAVDESS (Livingstone & Russo 2018, PLoS ONE 13(5): e0196391, CC BY-NC-SA 4.0), all feelings; statistics only.
# Definitions: Eyben et al. 2016 (eGeMAPS). n: tokens of 20 ms that have the measure. band_*_db is over the clip's own
# speech level; only loudness_log holds the microphone's gain.
source = "RAVDESS, Livingstone & Russo 2018; Eyben et al. 2016 (eGeMAPS)"
"""


def measure_speech(folder: Path) -> Iterator[NDArray[np.float32]]:
    """`acoustic.NAMES` (T, 49) of the speech of every thirteenth clip.

    Raises:
        InputError: the folder holds no RAVDESS speech.
    """
    paths = sorted(p for p in folder.rglob("03-01-*.*") if p.suffix in {".flac", ".wav"})
    if not paths:
        raise InputError(f"no RAVDESS speech under {folder}", "give the folder with 03-01-….flac or .wav files")
    reader = LibrosaVoice()
    for path in paths[::STRIDE]:
        clip = open_clip(path)
        stretches = measure(reader.read(waveform(clip)), waveform(clip), find_periods)
        yield np.concatenate([np.zeros((0, len(NAMES)), np.float32), *(rows[spoken] for rows, _, spoken in stretches)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    clips = list(measure_speech(Path((arguments if arguments is not None else sys.argv[1:])[0])))
    rows = np.concatenate(clips).astype(np.float64)
    lines = [_HEADER, f"n_clips = {len(clips)}", f"n_tokens = {len(rows)}", "", "[columns]"]
    for name, column in zip(NAMES, rows.T, strict=True):
        seen = column[np.isfinite(column)]
        lines.append(f"{name} = {{ mean = {seen.mean():.4g}, sd = {seen.std():.4g}, n = {len(seen)} }}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
