"""Calibrate the conformal sets of the agent's reading from stored evaluation runs.

`python -m finetune.conformal --speech RUN [RUN …] --voice RUN … --face RUN … --out FOLDER` writes conformal.json. A RUN
is the folder of one task that `affectgpt evaluate` answered over material that its appraiser was not fitted on, with
basic8 as the label set (examples/suites/calibration.yaml).

One modality: the cut of each run is taken apart and the lowest stands, so that the coverage holds on each kind of
material. Several: no corpus at hand has gold for a face, a voice and words together, so that clips are composed. One
sample of each modality is drawn with the same gold, each emotion as often as any other, pooled as the panel pools them,
and cut. That takes for granted that all channels of a clip show the same feeling and err independently; a clip whose
channels disagree may be covered less often than asked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.conformal import FILE, calibrate, reading_key
from affectgpt.appraise.fuse import Reading, pool, share, weigh
from affectgpt.emotions import load_lexicon
from affectgpt.errors import InputError
from affectgpt.evaluation.samples import read_samples
from affectgpt.records import Modality
from finetune.cards import making

__all__ = ["COVERAGES", "Material", "compose", "document", "main", "read_material"]

COVERAGES = tuple(round(0.5 + 0.01 * k, 2) for k in range(50))
N_COMPOSED = 4000
LEAST_SAMPLES = 5
"""Samples of an emotion, in each modality, from which composed clips show it."""
QUALITY = (0.3, 1.0)
"""Composed clips' modalities are as well readable as this, drawn evenly: from poor to perfect."""
LICENCES = {
    "meld": ("MELD", "GPL-3.0"),
    "goemotions": ("GoEmotions", "Apache-2.0"),
    "ravdess": ("RAVDESS", "CC BY-NC-SA 4.0"),
    "image_folder": ("photographs of faces", "as their folder says; only these cuts are kept of them"),
}
"""By the reader that a run names."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """One run: probabilities p (B, 8) and gold (B,) in basic8 order; `about` says where it is from."""

    p: Floats
    gold: NDArray[np.intp]
    about: Mapping[str, Any]

    @property
    def true(self) -> Floats:
        """The probability (B,) that each sample gave its gold."""
        return np.asarray(self.p[np.arange(len(self.gold)), self.gold])


def read_material(folder: Path) -> Material:
    """The scored samples of one task's folder.

    Raises:
        InputError: no run there, one over other labels, or one without a single probability.
    """
    labels = load_lexicon().labels("basic8")
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"no run at {folder}", "name the folder of one task that was evaluated") from None
    if tuple(run.get("labels", ())) != tuple(labels):
        raise InputError(f"{folder} has other labels than basic8", "evaluate it with `labels: basic8`")
    samples = read_samples(folder / "samples.jsonl").values()
    kept = [s for s in samples if s.has_gold and s.status == "scored" and s.label in labels and s.answer.probabilities]
    if not kept:
        raise InputError(f"{folder} has no probabilities with gold", "evaluate an appraiser")
    p = np.array([[s.answer.probabilities.get(label, 0.0) for label in labels] for s in kept])
    p = np.clip(p / p.sum(axis=1, keepdims=True), 0.0, 1.0)
    reader, path = run["config"]["dataset"]["reader"], run["config"]["dataset"]["path"]
    data, licence = LICENCES.get(reader, (reader, "unknown"))
    about = {"data": data, "licence": licence, "part": Path(path).name, "n": len(kept), "n_asked": len(samples),
             "read_by": run.get("origin", "")}  # fmt: skip
    return Material(p, np.array([labels.index(s.label or "") for s in kept]), about)


def compose(parts: Mapping[Modality, Material], n: int, seed: int) -> Floats:
    """The fused probability (n,) of the gold of composed clips; every emotion that all parts show is drawn alike.

    Raises:
        InputError: no emotion that all of them show.
    """
    labels, draw = load_lexicon().labels("basic8"), np.random.default_rng(seed)
    shown = [c for c in range(len(labels)) if all((m.gold == c).sum() >= LEAST_SAMPLES for m in parts.values())]
    if not shown:
        raise InputError("the runs have no emotion in common", "give runs over material that shows the same emotions")
    places = {(m, c): np.flatnonzero(part.gold == c) for m, part in parts.items() for c in shown}
    true = np.zeros(n)
    for k in range(n):
        gold = int(draw.choice(shown))
        readings = {}
        for modality, part in parts.items():
            row = part.p[int(draw.choice(places[modality, gold]))]
            told = weigh(dict(zip(labels, row.tolist(), strict=True)))
            readings[modality] = Reading(told, float(draw.uniform(*QUALITY)))
        weights = share(readings)
        fused = pool([(r.distribution, weights[m.value]) for m, r in readings.items()])
        true[k] = fused.probabilities[labels[gold]]
    return np.clip(true, 0.0, 1.0)


def document(runs: Mapping[Modality, Sequence[Material]], seed: int = 0) -> dict[str, Any]:
    """What conformal.json holds.

    Raises:
        InputError: no runs, or runs that cannot be composed.
    """
    given = {m: list(parts) for m, parts in runs.items() if parts}
    if not given:
        raise InputError("no runs to calibrate on", "give --speech, --voice or --face")
    readings: dict[str, Any] = {}
    for modality, parts in given.items():
        readings[modality.value] = _row([part.true for part in parts], "measured") | {
            "materials": [dict(part.about) for part in parts]
        }
    together = {m: _joined(parts) for m, parts in given.items()}
    for size in range(2, len(together) + 1):
        for chosen in combinations(together, size):
            true = compose({m: together[m] for m in chosen}, N_COMPOSED, seed)
            readings[reading_key([m.value for m in chosen])] = _row([true], "composed")
    licence = {str(m.about["data"]): str(m.about["licence"]) for parts in given.values() for m in parts}
    return making(seed) | {
        "data": sorted(licence),
        "licence": licence,
        "labels": list(load_lexicon().labels("basic8")),
        "coverages": list(COVERAGES),
        "readings": readings,
    }


def _row(materials: Sequence[Floats], how: str) -> dict[str, Any]:
    """The lowest cut over the materials at each coverage. Cuts are rounded down: that can only widen a set."""
    cuts = [min(calibrate(true, coverage).least for true in materials) for coverage in COVERAGES]
    return {"how": how, "n": sum(map(len, materials)), "least": [int(cut * 1e5) / 1e5 for cut in cuts]}


def _joined(parts: Sequence[Material]) -> Material:
    return Material(np.concatenate([m.p for m in parts]), np.concatenate([m.gold for m in parts]), {})


def main(argv: list[str] | None = None) -> None:
    """Write conformal.json and say the cut at 0.9 of each reading."""
    parser = argparse.ArgumentParser(description="Calibrate the conformal sets from stored evaluation runs.")
    for modality in Modality:
        parser.add_argument(f"--{modality.value}", type=Path, nargs="+", default=[], metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the set of heads")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    runs = {m: [read_material(folder) for folder in getattr(asked, m.value)] for m in Modality}
    made = document(runs, asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / FILE).write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    at = COVERAGES.index(0.9)
    for key, row in made["readings"].items():
        print(f"{key}: labels of at least {row['least'][at]:.3f} at 90 %, n {row['n']}, {row['how']}")


if __name__ == "__main__":
    main()
