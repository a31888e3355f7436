"""How far the voice heads reach: held-out statements and channels, and speakers of whom little was heard.

    python -m finetune.voice_trials --shared DIR [--rows FILE.npz]

Prints JSON. Every figure is an unweighted average recall of eight feelings with its 95 % interval over speakers, of
speakers that were not fitted on; on top of that a statement, or a kind of channel, was not. `--rows` keeps the numbers
read from the recordings, which take most of the time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.voice import standardised
from finetune.appraise_voice import (
    CLEAN,
    N_NETS,
    Floats,
    Rows,
    filled,
    fit_nets,
    four,
    four_label,
    gather,
    held_out_speakers,
    recall,
    softmax,
)

N_CLIPS = (8, 16, 32)
"""Clips of one speaker that are measured against one another, in the trial of how many it takes."""
N_DRAWS = 5

Mask = NDArray[np.bool_]


def trials(rows: Rows, seed: int = 0, n_nets: int = N_NETS) -> dict[str, Any]:
    """Every trial of both heads; `rows` as gathered."""
    heads = {"voice_raw": rows.at_other_levels(seed), "voice_normalised": rows.normalised()}
    found: dict[str, Any] = {name: dict(_held_out(given, seed, n_nets)) for name, given in heads.items()}
    found["voice_normalised"] |= _few_clips(rows, seed, n_nets)
    found["voice_normalised"]["clean_fitted_alone"] = _clean_alone(heads["voice_normalised"], seed, n_nets)
    return found


def _held_out(rows: Rows, seed: int, n_nets: int) -> Iterator[tuple[str, list[float]]]:
    for statement in np.unique(rows.statement):
        told = rows.statement == statement
        logits = _across_speakers(rows, told, ~told, seed, n_nets)
        of = told & (rows.channel == CLEAN)
        yield f"statement_{statement}", recall(rows, logits, of)
        sure = of & (four_label(rows.label) >= 0)
        yield f"statement_{statement}_four", recall(rows, four(softmax(logits)), sure, four_label(rows.label))
    for channel in sorted(set(rows.channel.tolist()) - {CLEAN}):
        told = rows.channel == channel
        yield f"channel_{channel}", recall(rows, _across_speakers(rows, told, ~told, seed, n_nets), told)


def _across_speakers(rows: Rows, told: Mask, kept: Mask, seed: int, n_nets: int) -> Floats:
    """Logits (B, 8) of the rows `told`, by nets fitted on other speakers' rows `kept`."""
    logits = np.full((len(rows.x), 8), np.nan)
    for held in held_out_speakers(rows, seed):
        on = kept & ~held
        at = told & held
        logits[at] = fit_nets(rows, on, seed, n_nets)(filled(rows.x, rows.x[on])[at])
    return logits


def _clean_alone(rows: Rows, seed: int, n_nets: int) -> list[float]:
    """What the studio recordings alone teach, on studio recordings: what the other channels cost or bring."""
    clean = rows.channel == CLEAN
    return recall(rows, _across_speakers(rows, clean, clean, seed, n_nets), clean)


def _few_clips(rows: Rows, seed: int, n_nets: int) -> dict[str, list[float]]:
    """Recall where only some clips of a speaker are known, drawn `N_DRAWS` times at random."""
    every, draw = rows.normalised(), np.random.default_rng(seed)
    fitted = [(held, fit_nets(every, ~held, seed, n_nets), every.x[~held]) for held in held_out_speakers(every, seed)]
    found = {}
    for n_clips in N_CLIPS:
        asked, logits = [], []
        for held, nets, of in fitted:
            for chosen in _drawn(rows, held, n_clips, draw):
                asked.append(chosen)
                logits.append(nets(filled(standardised(rows.x[chosen]), of)))
        at = np.concatenate(asked)
        few = Rows(**{f.name: getattr(rows, f.name)[at] for f in fields(rows)})
        found[f"of_{n_clips}_clips"] = recall(few, np.concatenate(logits), np.ones(len(at), bool))
    return found


def _drawn(rows: Rows, held: Mask, n_clips: int, draw: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    for actor in np.unique(rows.actor[held]):
        own = np.flatnonzero((rows.actor == actor) & (rows.channel == CLEAN))
        for _ in range(N_DRAWS):
            yield np.sort(draw.choice(own, n_clips, replace=False))


def gathered(folder: Path, kept: Path | None, seed: int) -> Rows:
    """Rows of a RAVDESS folder, read from `kept` where that file exists, and written to it where it does not.

    Raises:
        InputError: no such folder.
    """
    if kept is not None and kept.exists():
        with np.load(kept, allow_pickle=False) as stored:
            return Rows(**{f.name: stored[f.name] for f in fields(Rows)})
    rows = gather(folder, seed)
    if kept is not None:
        np.savez(kept, **{f.name: getattr(rows, f.name) for f in fields(rows)})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run every trial and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds speech/ravdess")
    parser.add_argument("--rows", type=Path, help="where the rows read are kept, or come from")
    parser.add_argument("--nets", type=int, default=N_NETS, help="networks a head")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    rows = gathered(asked.shared / "speech" / "ravdess", asked.rows, asked.seed)
    print(json.dumps(trials(rows, asked.seed, asked.nets), indent=1))


if __name__ == "__main__":
    main()
