"""Fit the head of what parts a reader's feeling from the writer's: `python -m finetune.reader_heads --shared DATA`.

EmoBank rates each sentence from both sides. The head is fitted on the reader's number less the writer's, its bounds are
calibrated on a tenth of the training side that it did not see, and the figures are of the development side. Beside them
stands how much of the differences could be told at all, on the training side: the rest is that few people rated.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.difference import HEAD, Bounds
from affectgpt.appraise.encoder import load_encoder
from affectgpt.appraise.heads import head_folder, save_head
from affectgpt.appraise.words import DIMENSIONS, LAYERS
from affectgpt.corpora.tables import csv_rows, number
from affectgpt.evaluation.intervals import Resampling, interval
from finetune import word_figures as figures
from finetune.cards import making
from finetune.fitting import Fit, fit_ridge, threads
from finetune.folding import N_FOLDS, choose_penalty
from finetune.word_corpora import LICENCES, RATED, numbers, read_parts
from finetune.word_heads import Features, straightened

__all__ = ["ALIKE", "calibrate", "conformal_cut", "differences", "flag_figures", "reliability", "train"]

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
ALIKE = 0.25
"""Half a point of EmoBank's five, on [-1, 1]: raters see a sentence alike where every dimension differs by less."""
FALSE_ALARMS, COVERAGE = 0.05, 0.9

Doubles = NDArray[np.float64]


def train(shared: Path, out: Path, seed: int = 0, features: Features | None = None) -> dict[str, Any]:
    """Fit, calibrate, judge and write the head into both sets under `out`; the figures.

    features: the encoder's as published, unless they are given.

    Raises:
        InputError: the corpus is not there.
    """
    parts = read_parts(shared / "text", seed)["EmoBank"]
    read = features or (lambda texts: load_encoder().features(texts, LAYERS))
    x, y = {}, {}
    for name in ("fitted", "held", "judged"):
        rows = getattr(parts, name)
        x[name], y[name] = read([e.text or "" for e in rows]), differences(numbers(rows))
    with threads(1):
        found, penalty = _fit(x["fitted"], y["fitted"], [e.id for e in parts.fitted], seed)
    noise = reliability(shared / "text" / "emobank", {e.id for part in (parts.fitted, parts.held) for e in part})
    told = tuple(noise[f"reliability_{name}"][1] > 0 for name in DIMENSIONS)
    bounds = calibrate(found(x["held"]), y["held"], told)
    guess, gold = np.clip(found(x["judged"]), -2, 2), y["judged"]
    measured = figures.of_numbers(guess, gold, DIMENSIONS, np.nanmean(y["fitted"], axis=0).tolist()) | noise
    measured |= flag_figures(guess, gold, bounds)
    bounds = replace(bounds, hits=measured["hits"][0], hits_unflagged=measured["hits_unflagged"][0])
    card = {
        "data": ["EmoBank"], "licence": {"EmoBank": LICENCES["EmoBank"]},
        "classes": list(DIMENSIONS), "kind": "regression", "range": [-2.0, 2.0], "temperature": 1.0,
        "input": {"width": len(found.weights["0.weight"]), "encoder": "all-MiniLM-L6-v2", "layers": list(LAYERS)},
        "penalty": penalty, "bounds": _plain(bounds), "metrics": measured, "alike": ALIKE,
        "split": f"EmoBank's own train, slopes by {N_FOLDS} folds of it; bounds on a tenth of it that nothing was "
        "fitted on; figures on its dev, reliability on its train",
    }  # fmt: skip
    for permissive in (False, True):
        save_head(out / head_folder(permissive).name, HEAD, found.weights, card | making(seed))
    return measured


def differences(rated: Doubles) -> Doubles:
    """The reader's numbers less the writer's (B, 3), of rows (B, 9) as in RATED; NaN where a side is missing."""
    reader, writer = ([RATED.index(f"{d}_{side}") for d in DIMENSIONS] for side in ("reader", "writer"))
    return np.asarray(rated[:, reader] - rated[:, writer])


def calibrate(guess: Doubles, gold: Doubles, told: tuple[bool, ...]) -> Bounds:
    """The bounds of predictions (B, 3) beside true differences (B, 3) that set nothing else; hits are left open."""
    known, kept = np.isfinite(gold).all(axis=1), np.array(told)
    guess, gold = guess[known], gold[known]
    spread = guess.std(axis=0)
    alike = is_alike(gold[:, kept])
    cut = conformal_cut(np.abs(guess / spread)[np.ix_(alike, kept)].max(axis=1), 1 - FALSE_ALARMS)
    half = [conformal_cut(np.abs(gold[:, c] - guess[:, c]), COVERAGE) for c in range(gold.shape[1])]
    widths = tuple(map(float, spread)), cut, FALSE_ALARMS, tuple(half), COVERAGE
    return Bounds(told, *widths, int(alike.sum()), int(known.sum()), math.nan, math.nan)


def conformal_cut(scores: Doubles, coverage: float) -> float:
    """The finite-sample quantile of scores (n,): a new one lies at or below it at `coverage` (Vovk et al. 2005).

    Infinite where there are too few.
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def is_alike(gold: Doubles) -> NDArray[np.bool_]:
    """Sentences (B,) that raters see alike from both sides, in every dimension given (B, D)."""
    return np.asarray((np.abs(gold) < ALIKE).all(axis=1))


def flag_figures(guess: Doubles, gold: Doubles, bounds: Bounds) -> dict[str, Any]:
    """What a flag is worth on sentences that set nothing, each with its 95 % interval.

    Over the dimensions that are told. false_alarms: share of the sentences seen alike that are flagged. flagged: of
    all. hits: share of the flagged dimensions whose true difference is ALIKE or more to the side told; hits_unflagged
    the same where nothing is flagged. towards, towards_unflagged: the mean true difference to the side told. coverage:
    of the half widths, all dimensions.
    """
    known, kept = np.isfinite(gold).all(axis=1), np.array(bounds.told)
    inside = np.abs(gold - guess)[known] <= np.array(bounds.half_width)
    guess, gold, spread = guess[known][:, kept], gold[known][:, kept], np.array(bounds.spread)[kept]
    reached = np.abs(guess / spread) >= bounds.cut
    towards, alike = gold * np.sign(guess), is_alike(gold)

    def share(of: NDArray[np.bool_], where: NDArray[np.bool_]) -> list[float | None]:
        return _figure(lambda i: _ratio((of[i] & where[i]).sum(), where[i].sum()), len(gold))

    def mean(where: NDArray[np.bool_]) -> list[float | None]:
        return _figure(lambda i: _ratio(towards[i][where[i]].sum(), where[i].sum()), len(gold))

    return {
        "false_alarms": share(reached.any(axis=1), alike),
        "flagged": share(reached.any(axis=1), np.ones(len(gold), bool)),
        "alike": share(alike, np.ones(len(gold), bool)),
        "hits": share(towards >= ALIKE, reached),
        "hits_unflagged": share(towards >= ALIKE, ~reached),
        "towards": mean(reached),
        "towards_unflagged": mean(~reached),
        "coverage": share(inside, np.ones_like(inside)),
    }


def reliability(folder: Path, ids: set[str]) -> dict[str, Any]:
    """How much of the differences' variance is not the raters' noise, a dimension, and the best r that leaves.

    Noise is the variance of both means, std² / (N - 1) each, as the tables' deviations are those of the ratings
    themselves (divided by N). A sentence with one rating on a side has no such estimate and is left out.
    """
    sides = {
        side: {r["id"]: r for _, r in csv_rows(folder / f"{side}.csv", ("id", "N"))} for side in ("reader", "writer")
    }
    told: dict[str, Any] = {}
    for name in DIMENSIONS:
        letter = name[0].upper()
        rows = [_moments(sides["reader"][i], sides["writer"][i], letter) for i in sorted(ids) if _is_rated(sides, i)]
        d, noise = np.array(rows).reshape(-1, 2).T

        def part(i: NDArray[np.intp], d: Doubles = d, noise: Doubles = noise) -> float:
            return float(1 - noise[i].mean() / d[i].var())

        told[f"reliability_{name}"] = _figure(part, len(d))
        told[f"best_r_{name}"] = round(math.sqrt(max(0.0, part(np.arange(len(d))))), 4)
    return told


def _is_rated(sides: dict[str, dict[str, dict[str, str]]], name: str) -> bool:
    return all(name in rows and number(rows[name]["N"]) >= 2 for rows in sides.values())


def _moments(reader: dict[str, str], writer: dict[str, str], letter: str) -> tuple[float, float]:
    """The difference on [-1, 1] and the variance of its noise."""
    noise = sum(number(r[f"std{letter}"]) ** 2 / (number(r["N"]) - 1) for r in (reader, writer))
    return (number(reader[letter]) - number(writer[letter])) / 2, noise / 4


def _fit(x: NDArray[np.float32], y: Doubles, ids: Sequence[str], seed: int) -> tuple[Fit, float]:
    penalty, said = choose_penalty(x, y, ids, PENALTIES, seed)
    return straightened(fit_ridge(x, y, penalty), said, y), penalty


def _figure(statistic: Any, n: int) -> list[float | None]:
    """The figure and its interval; None for what cannot be told."""
    found = interval("", statistic, n, Resampling())
    return [round(v, 4) if v == v else None for v in (found.value, found.low, found.high)]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _plain(bounds: Bounds) -> dict[str, Any]:
    rounded = {"spread": bounds.spread, "half_width": bounds.half_width}
    lists: dict[str, Any] = {k: [round(v, 5) for v in values] for k, values in rounded.items()}
    return asdict(bounds) | lists | {"cut": round(bounds.cut, 4), "told": list(bounds.told)}


def main(argv: list[str] | None = None) -> None:
    """Train and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds text/")
    parser.add_argument("--out", type=Path, default=head_folder().parent, help="default: where the package reads them")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    print(json.dumps(train(asked.shared, asked.out, asked.seed), indent=1))


if __name__ == "__main__":
    main()
