"""Fit the voice appraiser's two heads on RAVDESS, each clip also in part and as other microphones would give it.

Every figure on the cards is of speakers that were not fitted on (`N_FOLDS` folds of actors); the temperatures too are
set on them. RAVDESS (Livingstone & Russo 2018, PLoS ONE 13(5): e0196391) is under CC BY-NC-SA 4.0, so the permissive
set gets no voice head.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt import media
from affectgpt.appraise.functionals import FAMILIES, NAMES, NAMES_SHA256, functionals, spoken
from affectgpt.appraise.heads import save_head
from affectgpt.appraise.voice import bounded, standardised
from affectgpt.corpora import Example, read_ravdess
from affectgpt.emotions import load_lexicon
from affectgpt.evaluation import metrics
from affectgpt.evaluation.intervals import Resampling, interval
from affectgpt.perceive.voice import LibrosaVoice
from affectgpt.records import VoiceTrack, Waveform
from finetune.cards import making
from finetune.channels import CHANNELS
from finetune.fitting import Fit, Recipe, fit, temperature

__all__ = [
    "CLEAN",
    "Rows",
    "filled",
    "fit_nets",
    "four",
    "four_label",
    "gather",
    "held_out_speakers",
    "part",
    "recall",
    "softmax",
    "train",
]

N_FOLDS = 5
N_NETS = 4
"""Networks whose outputs are averaged: side by side in one head, they are one network."""
SHARE = 1 / 3
"""Of the clips that each change of channel is applied to."""
RECIPE = Recipe(
    "softmax", hidden=64, epochs=12, rate=4e-3, decay=0.03, dropout=0.4, hidden_dropout=0.5, smoothing=0.1, batch=64
)
GAIN_DB = 15.0
LEVEL = "level"
_PER_DB = 0.03 * float(np.log(10))
LEVELS = {"level_db": 1.0} | dict.fromkeys(("loudness_p20", "loudness_p50", "loudness_p80", "loudness_mean"), _PER_DB)
"""The numbers that a gain of one dB moves, and by how much; it leaves the others as they are."""
CLEAN = "clean"
"""The channel of the recordings as they are."""
PART = "part"
PART_SHARE = (0.45, 0.75)
"""Of what is said, the share that a part holds: other words than the whole, of which this corpus has two."""
STEADY = ("hnr_db", "jitter_pct", "shimmer_pct")
"""Measures of the whole clip that its part keeps: they are averages over its periods, and no counts."""
_LEAST_FRAMES = (80, 60)
"""Frames of speech that a clip needs to be cut, and that are left of it."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Functionals x (B, D), NaN where unknown; label (B,) in ravdess8 order; channel, actor and statement (B,)."""

    x: Floats
    label: Ints
    channel: NDArray[np.str_]
    actor: NDArray[np.str_]
    statement: NDArray[np.str_]

    def normalised(self) -> Rows:
        """The same with each speaker's clips in each channel measured against one another."""
        x = self.x.copy()
        for who in sorted(set(zip(self.actor.tolist(), self.channel.tolist(), strict=True))):
            own = (self.actor == who[0]) & (self.channel == who[1])
            x[own] = standardised(self.x[own])
        return replace(self, x=x)

    def at_other_levels(self, seed: int) -> Rows:
        """With every clean clip once more, turned up or down: one clip alone does not tell how near the mouth was."""
        clean = self.channel == CLEAN
        gain_db = np.random.default_rng([seed, len(CHANNELS)]).uniform(-GAIN_DB, GAIN_DB, int(clean.sum()))
        turned = self.x[clean].copy()
        for name, per_db in LEVELS.items():
            turned[:, NAMES.index(name)] += per_db * gain_db
        more = {name: getattr(self, name)[clean] for name in ("label", "actor", "statement")}
        more |= {"x": turned, "channel": np.full(int(clean.sum()), LEVEL)}
        return Rows(**{name: np.concatenate([getattr(self, name), value]) for name, value in more.items()})


def gather(folder: Path, seed: int = 0) -> Rows:
    """Read every clip of a RAVDESS folder, a third of them again through each change of channel, and a part of each.

    Raises:
        InputError: no such folder.
    """
    reader = LibrosaVoice()
    found: list[tuple[Floats, Example, str]] = []
    parts: list[tuple[Floats, Example, str]] = []
    for example, channel in _plan(read_ravdess(folder).usable, seed):
        track = reader.read(_sound(example, channel, seed))
        draw = np.random.default_rng([seed, zlib.crc32(example.id.encode())])
        cut = part(track, draw) if channel == CLEAN else None
        for kept, name, heard in ((found, channel, track), (parts, PART, cut)):
            row = functionals(heard) if heard is not None else None
            if row is not None:
                kept.append((row, example, name))
    found += parts
    labels = load_lexicon().labels("ravdess8")
    return Rows(
        x=np.stack([row for row, _, _ in found]),
        label=np.array([labels.index(str(e.label)) for _, e, _ in found]),
        channel=np.array([channel for _, _, channel in found]),
        actor=np.array([e.group["actor"] for _, e, _ in found]),
        statement=np.array([e.group["statement"] for _, e, _ in found]),
    )


def part(track: VoiceTrack, draw: np.random.Generator) -> VoiceTrack | None:
    """A stretch of what is said, from anywhere in it; None where there is too little to cut."""
    talk, (least_whole, least_part) = np.flatnonzero(spoken(track)), _LEAST_FRAMES
    if len(talk) < least_whole:
        return None
    first, n_said = int(talk[0]), int(talk[-1] + 1 - talk[0])
    n_kept = max(least_part, int(n_said * draw.uniform(*PART_SHARE)))
    if n_kept >= n_said:
        return None
    start = first + int(draw.integers(n_said - n_kept + 1))
    kept = slice(start, start + n_kept)
    return replace(
        track,
        times_s=track.times_s[kept],
        f0_hz=track.f0_hz[kept],
        level_db=track.level_db[kept],
        bands_db=track.bands_db[kept],
        measures={name: track.measures[name] for name in STEADY if name in track.measures},
    )


def _plan(examples: Sequence[Example], seed: int) -> Iterator[tuple[Example, str]]:
    yield from ((e, CLEAN) for e in examples)
    for k, channel in enumerate(CHANNELS):
        drawn = np.random.default_rng([seed, k]).choice(len(examples), round(SHARE * len(examples)), replace=False)
        yield from ((examples[i], channel) for i in sorted(drawn.tolist()))


def _sound(example: Example, channel: str, seed: int) -> list[Waveform]:
    assert example.media is not None
    blocks = list(media.waveform(media.open_clip(example.media)))
    if channel == CLEAN or not blocks:
        return blocks
    draw = np.random.default_rng([seed, list(CHANNELS).index(channel), zlib.crc32(example.id.encode())])
    return [Waveform(CHANNELS[channel](np.concatenate([b.samples for b in blocks]), draw), blocks[0].rate_hz, 0.0)]


def train(shared: Path, out: Path, seed: int = 0, rows: Rows | None = None) -> None:
    """Fit both heads from `shared`/speech/ravdess (or rows gathered from it) and write them under `out`/default."""
    rows = rows or gather(shared / "speech" / "ravdess", seed)
    for name, given in (("voice_raw", rows.at_other_levels(seed)), ("voice_normalised", rows.normalised())):
        folds = held_out_speakers(given, seed)
        logits = np.full((len(given.x), len(load_lexicon().labels("ravdess8"))), np.nan)
        for held in folds:
            logits[held] = fit_nets(given, ~held, seed)(filled(given.x, given.x[~held])[held])
        clean = given.channel == CLEAN
        heat = temperature(logits[clean], given.label[clean], "softmax")
        found = fit_nets(given, np.ones(len(given.x), bool), seed)
        card = _card(name, found, seed) | {"temperature": heat, "metrics": judge(given, logits, folds, seed)}
        save_head(out / "default", name, found.weights, card)


def held_out_speakers(rows: Rows, seed: int) -> list[NDArray[np.bool_]]:
    """Masks (B,) of each fold's speakers, in every channel."""
    actors = np.random.default_rng(seed).permutation(np.unique(rows.actor))
    return [np.isin(rows.actor, some) for some in np.array_split(actors, N_FOLDS)]


def fit_nets(rows: Rows, kept: NDArray[np.bool_], seed: int, n_nets: int = N_NETS) -> Fit:
    """Networks of different draws on the kept rows, every feeling weighing alike, as one network."""
    x, label = filled(rows.x, rows.x[kept])[kept], rows.label[kept]
    count = np.bincount(label, minlength=int(label.max()) + 1)
    weight = len(label) / (np.count_nonzero(count) * count[label])
    fits = [fit(x, label, replace(RECIPE, seed=seed * 100 + k), weight) for k in range(n_nets)]
    return _side_by_side(fits)


def filled(x: Floats, of: Floats) -> NDArray[np.float32]:
    """Rows (B, D) without gaps and outliers, by the mean and the deviation of the rows `of`."""
    return bounded(x, np.nanmean(of, axis=0), np.nanstd(of, axis=0)).astype(np.float32)


def _side_by_side(fits: Sequence[Fit]) -> Fit:
    """One network whose outputs are the mean of all: hidden layers joined, last layers shared out."""
    n, parts = len(fits), [f.weights for f in fits]
    joined = {key: parts[0][key] for key in ("mean", "scale")}
    joined["0.weight"] = np.concatenate([p["0.weight"] for p in parts], axis=1)
    joined["0.bias"] = np.concatenate([p["0.bias"] for p in parts])
    joined["1.weight"] = np.concatenate([p["1.weight"].astype(np.float32) / n for p in parts]).astype(np.float16)
    joined["1.bias"] = np.mean([p["1.bias"] for p in parts], axis=0, dtype=np.float64).astype(np.float32)
    return Fit(joined)


# ---------------------------------------------------------------- figures


def judge(rows: Rows, logits: Floats, folds: Sequence[NDArray[np.bool_]], seed: int) -> dict[str, Any]:
    """Figures of logits (B, 8) of speakers held out; intervals by drawing speakers.

    Each fold's probabilities use the temperature of the others, so that no speaker set its own.
    """
    clean = rows.channel == CLEAN
    heated = np.full(logits.shape, np.nan)
    for held in folds:
        others = clean & ~held
        heated[held] = softmax(logits[held] / temperature(logits[others], rows.label[others], "softmax"))
    found: dict[str, Any] = {
        "uar": recall(rows, logits, clean),
        "uar_four": recall(rows, four(heated), clean & (four_label(rows.label) >= 0), four_label(rows.label)),
        "uar_majority": round(1 / logits.shape[1], 4),
        "ece_before": round(metrics.ece(softmax(logits[clean]), rows.label[clean]), 4),
        "ece_after": round(metrics.ece(heated[clean], rows.label[clean]), 4),
        "n": int(clean.sum()),
        "n_speakers": len(np.unique(rows.actor)),
    }
    for channel in sorted(set(rows.channel.tolist()) - {CLEAN}):
        found[f"uar_{channel}"] = recall(rows, logits, rows.channel == channel)
    return found


def recall(rows: Rows, scores: Floats, of: NDArray[np.bool_], label: Ints | None = None) -> list[float]:
    """Unweighted average recall and its 95 % interval over speakers, of the rows `of`."""
    gold, said, n = (rows.label if label is None else label)[of], scores[of].argmax(axis=1), scores.shape[1]
    how = Resampling(clusters=tuple(rows.actor[of].tolist()))
    found = interval("uar", lambda i: metrics.uar(metrics.confusion(gold[i], said[i], n)), len(gold), how)
    return [round(v, 4) for v in (found.value, found.low, found.high)]


def four(p: Floats) -> Floats:
    """Probabilities (B, 4) of neutral with calm, happy, sad and angry, from (B, 8)."""
    return np.stack([p[:, 0] + p[:, 1], p[:, 2], p[:, 3], p[:, 4]], axis=1)


def four_label(label: Ints) -> Ints:
    """The four's label (B,), -1 for the others."""
    return np.array([0, 0, 1, 2, 3, -1, -1, -1])[label]


def softmax(x: Floats) -> Floats:
    """Rows that sum to 1."""
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _card(name: str, found: Fit, seed: int) -> dict[str, Any]:
    how = "each number against the speaker's own clips" if name == "voice_normalised" else "one clip alone"
    return making(seed) | {
        "data": ["RAVDESS"],
        "licence": {"RAVDESS": "CC BY-NC-SA 4.0"},
        "split": f"{N_FOLDS} folds of speakers, actors 01-20; the shipped weights are fitted on all",
        "classes": list(load_lexicon().labels("ravdess8")),
        "kind": "softmax",
        "input": {
            "width": len(found.weights["mean"]),
            "reader": "librosa",
            "how": how,
            "families": dict(Counter(FAMILIES.values())),
            "names_sha256": NAMES_SHA256,
        },
    }
