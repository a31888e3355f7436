"""Make affectgpt/data/voice_population.toml: what neutral speech measures, a meter at a time.

    python -m finetune.voice_population RAVDESS_FOLDER > affectgpt/data/voice_population.toml

The folder holds RAVDESS speech files (Livingstone & Russo 2018, PLoS ONE 13(5): e0196391, CC BY-NC-SA 4.0), whose third
field is 01 for neutral and whose seventh is the actor. Only means and deviations leave it.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from affectgpt.errors import InputError
from affectgpt.perceive.acoustics import ContourMeter, LibrosaMeter
from affectgpt.perceive.measures import MEASURES, Norms
from affectgpt.perceive.opensmile import OpenSmileMeter
from affectgpt.perceive.praat import PraatMeter
from affectgpt.perceive.voice import MeteredVoice
from affectgpt.records import Waveform

MICROPHONE_BOUND = frozenset({"level_db"})
"""Depends on the microphone and its distance: never compared across recordings."""
_NEUTRAL = "01"
_HEADER = """\
# What the voice measures in neutral speech: the yardstick where a speaker has too little speech of his own.
# Made by finetune/voice_population.py from the neutral clips of RAVDESS (Livingstone & Russo 2018, PLoS ONE 13(5):
# e0196391, CC BY-NC-SA 4.0; actors 01-20, half of them women, North American English, a studio). Statistics only.
# mean and sd: over clips · within_sd: over one speaker's clips, pooled · comparable: false where a value depends on the
# microphone. F0 is not split by sex: its sd spans low and high voices, so its z says little and never too much.
# Measures without spread are left out: a clip of one sentence holds no pauses.
source = "RAVDESS, Livingstone & Russo 2018, neutral speech, actors 01-20"
"""


def read_neutral(folder: Path, meter: ContourMeter) -> dict[str, list[dict[str, float]]]:
    """Measures of each neutral clip by actor.

    Raises:
        InputError: the folder holds no neutral RAVDESS clip.
    """
    reader = MeteredVoice(meter, Norms({}, {}, 0, 0))
    by_actor: dict[str, list[dict[str, float]]] = defaultdict(list)
    for path in sorted(folder.rglob("03-01-*.*")):
        fields = path.stem.split("-")
        if len(fields) == 7 and fields[2] == _NEUTRAL and path.suffix in {".flac", ".wav"}:
            by_actor[fields[6]].append(dict(reader.read([_read_sound(path)]).measures))
    if not by_actor:
        raise InputError(
            f"no neutral RAVDESS clip under {folder}", "give the folder with 03-01-01-….flac or .wav files"
        )
    return by_actor


def _read_sound(path: Path) -> Waveform:
    import soundfile

    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return Waveform(samples.mean(axis=1), rate_hz, 0.0)


def summarise(by_actor: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    """The lines of one measure table after another."""
    for name in MEASURES:
        groups = [[m[name] for m in clips if name in m] for clips in by_actor.values()]
        values = np.array([v for group in groups for v in group])
        spread = sum(float(np.var(g, ddof=1)) * (len(g) - 1) for g in groups if len(g) > 1)
        freedom = sum(len(g) - 1 for g in groups if g)
        within = (spread / freedom) ** 0.5
        if not within:  # one short sentence a clip has no pauses: nothing to compare with
            continue
        comparable = "false" if name in MICROPHONE_BOUND else "true"
        yield (
            f"{name} = {{ mean = {values.mean():.4g}, sd = {values.std(ddof=1):.4g}, within_sd = {within:.4g}, "
            f"n = {len(values)}, comparable = {comparable} }}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table for every meter."""
    folder = Path((arguments if arguments is not None else sys.argv[1:])[0])
    lines = [_HEADER]
    for meter in (LibrosaMeter(), PraatMeter(), OpenSmileMeter()):
        by_actor = read_neutral(folder, meter)
        n_clips = sum(len(clips) for clips in by_actor.values())
        lines += [f"[{meter.name}]", f"n_clips = {n_clips}", f"n_speakers = {len(by_actor)}", ""]
        lines += [f"[{meter.name}.measures]", *summarise(by_actor), ""]
    sys.stdout.write("\n".join(lines).rstrip() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
