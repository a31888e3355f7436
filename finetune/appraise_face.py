"""Fit the face appraiser's correction of the prototypes on labelled photographs.

Little data (a thousand photographs, some labels a handful of times), so the model is small: one linear layer, strongly
held towards zero, whose outputs are added to the prior's log probabilities. The penalty and the temperature are set on
folds that keep a person's photographs together. The photographs are of unclear origin, so the permissive set gets no
face head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt import media
from affectgpt.appraise.face import BOUND, log_prior, row_names, statistics
from affectgpt.appraise.heads import save_head
from affectgpt.corpora import read_image_folder
from affectgpt.emotions import load_lexicon
from affectgpt.errors import InputError
from affectgpt.evaluation import metrics
from affectgpt.evaluation.intervals import Resampling, interval
from affectgpt.perceive.facemesh import FaceMeshReader
from affectgpt.records import FaceTrack
from finetune.cards import making
from finetune.fitting import temperature

__all__ = ["FaceRows", "fit_correction", "gather", "rows_of", "strongest", "train"]

N_FOLDS = 5
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Half the squared weights, a photograph; tried on the folds."""
LEAST = 20
"""Photographs of a label from which a correction is fitted; of fewer it learns those people, not the feeling."""
_MOST_WEIGHT = 3.0
"""A rare label's photographs count at most this many times those of an average one."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class FaceRows:
    """Levels x (B, D), log probabilities of the prior (B, 8), label (B,) in basic8 order; who is shown (B,)."""

    x: Floats
    prior: Floats
    label: Ints
    person: NDArray[np.str_]
    units: tuple[int, ...]
    n_unread: int = 0


def gather(folder: Path) -> FaceRows:
    """Read every labelled photograph of a folder with `labels.csv` and `images/`.

    Raises:
        InputError: no such folder, or no photograph of a known label with a face.
    """
    reader, known = FaceMeshReader(), load_lexicon()
    tracks: list[tuple[FaceTrack, str, str]] = []
    for example in read_image_folder(folder, folder / "labels.csv").usable:
        label = known.to_set(example.label or "", "basic8")
        if label is not None and example.media is not None:
            tracks.append(
                (reader.read(media.frames(media.open_clip(example.media), None)), label, person(example.media))
            )
    return rows_of(tracks)


def person(path: Path) -> str:
    """Who a photograph shows: its file's name without the number."""
    return path.stem.rstrip("0123456789_")


def rows_of(tracks: Sequence[tuple[FaceTrack, str, str]]) -> FaceRows:
    """Rows of tracks with their basic8 labels and who is shown; those without a face are counted.

    Raises:
        InputError: none has a face.
    """
    labels = load_lexicon().labels("basic8")
    seen = [(t, labels.index(label), who) for t, label, who in tracks if t.found.any()]
    if not seen:
        raise InputError("no face in any of the pictures", "give photographs of faces, with labels.csv beside them")
    units = seen[0][0].units
    found = [statistics(t) for t, _, _ in seen]
    return FaceRows(
        x=np.stack([f.row(units) for f in found]),
        prior=np.stack([log_prior(f, t.reliability) for f, (t, _, _) in zip(found, seen, strict=True)]),
        label=np.array([label for _, label, _ in seen]),
        person=np.array([who for _, _, who in seen]),
        units=units,
        n_unread=len(tracks) - len(seen),
    )


def fit_correction(
    x: Floats, label: Ints, offset: Floats, penalty: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Weight (D, C), bias (C,), mean (D,), scale (D,) of the least log loss of softmax(offset + x weight + bias).

    A label with fewer than `LEAST` photographs gets no weights and no bias: it keeps its offset.
    """
    from scipy.optimize import minimize

    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-2
    rows, n_classes = np.clip((x - mean) / scale, -BOUND, BOUND), offset.shape[1]
    count = np.bincount(label, minlength=n_classes)
    weight = np.minimum(len(label) / (np.count_nonzero(count) * np.maximum(count, 1)), _MOST_WEIGHT)[label]
    target = np.eye(n_classes)[label]
    shape = (x.shape[1] + 1, n_classes)
    padded = np.column_stack([rows, np.ones(len(rows))])

    def loss(flat: Floats) -> tuple[float, Floats]:
        made = flat.reshape(shape)
        scores = offset + padded @ made
        top = scores.max(axis=1, keepdims=True)
        norm = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
        miss = np.exp(scores - norm[:, None]) - target
        value = (weight * (norm - scores[np.arange(len(label)), label])).mean() + penalty / 2 * (made**2).sum()
        slope = padded.T @ (weight[:, None] * miss) / len(rows) + penalty * made
        return float(value), np.where(count >= LEAST, slope, 0.0).ravel()

    best = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    made = best.x.reshape(shape).astype(np.float32)
    return made[:-1], made[-1], mean.astype(np.float32), scale.astype(np.float32)


def train(shared: Path, out: Path, seed: int = 0, rows: FaceRows | None = None) -> None:
    """Fit from `shared`/faces/muxspace (or rows gathered from it) and write the head under `out`/default."""
    rows = rows or gather(shared / "faces" / "muxspace")
    tried = {penalty: held_out(rows, rows.prior, penalty, seed) for penalty in PENALTIES}
    penalty = strongest({penalty: _log_loss(rows, logits) for penalty, logits in tried.items()})
    logits = tried[penalty]
    alone = held_out(rows, np.zeros_like(rows.prior), penalty, seed)
    heat = temperature(logits, rows.label, "softmax")
    weight, bias, mean, scale = fit_correction(rows.x, rows.label, rows.prior, penalty)
    most = np.tile(np.eye(rows.prior.shape[1])[np.bincount(rows.label).argmax()], (len(rows.label), 1))
    labels = load_lexicon().labels("basic8")
    card = making(seed) | {
        "data": ["muxspace faces"],
        "licence": {"muxspace faces": "repository Apache-2.0, photographs of unclear origin"},
        "split": f"{N_FOLDS} folds of people, stratified by label; the shipped weights are fitted on all",
        "classes": list(labels),
        "kind": "softmax",
        "temperature": heat,
        "penalty": penalty,
        "input": {"width": rows.x.shape[1], "units": list(rows.units), "names": row_names(rows.units),
                  "reader": "facemesh-geometry", "offset": "log probabilities of the prototypes"},
        "metrics": {
            "macro_f1": macro_f1(rows.label, logits),
            "macro_f1_prior_alone": macro_f1(rows.label, rows.prior),
            "macro_f1_fitted_alone": macro_f1(rows.label, alone),
            "macro_f1_majority": macro_f1(rows.label, most),
            "neutral_recall": neutral_recall(rows, logits),
            "neutral_recall_prior_alone": neutral_recall(rows, rows.prior),
            "ece_before": round(metrics.ece(_softmax(logits), rows.label), 4),
            "ece_after": round(metrics.ece(_softmax(_cross_heated(rows, logits, seed)), rows.label), 4),
            "n": len(rows.label),
            "n_without_face": rows.n_unread,
            "n_by_label": {labels[k]: n for k, n in sorted(Counter(rows.label.tolist()).items())},
        },
    }  # fmt: skip
    weights = {"0.weight": weight, "0.bias": bias, "mean": mean, "scale": scale}
    save_head(out / "default", "face_basic8", weights, card)


def strongest(losses: Mapping[float, Floats]) -> float:
    """The strongest penalty whose mean loss is within one standard error of the least (Breiman et al. 1984).

    On so little data a looser fit wins by chance, and reaches too far.
    """
    best = min(losses.values(), key=np.mean)
    return max(p for p, loss in losses.items() if loss.mean() <= best.mean() + best.std() / np.sqrt(len(best)))


def _log_loss(rows: FaceRows, logits: Floats) -> Floats:
    return np.asarray(-np.log(_softmax(logits)[np.arange(len(rows.label)), rows.label]))


def held_out(rows: FaceRows, offset: Floats, penalty: float, seed: int) -> Floats:
    """Logits (B, 8) of each photograph by a correction that was fitted on the other folds."""
    logits = np.zeros_like(rows.prior)
    for held in _folds(rows, seed):
        weight, bias, mean, scale = fit_correction(rows.x[~held], rows.label[~held], offset[~held], penalty)
        logits[held] = offset[held] + np.clip((rows.x[held] - mean) / scale, -BOUND, BOUND) @ weight + bias
    return logits


def macro_f1(label: Ints, scores: Floats) -> list[float]:
    """Macro F1 over the labels that occur, and its 95 % interval."""
    said, n = scores.argmax(axis=1), scores.shape[1]
    found = interval(
        "f1", lambda i: metrics.f1(metrics.confusion(label[i], said[i], n), "macro"), len(label), Resampling()
    )
    return [round(v, 4) for v in (found.value, found.low, found.high)]


def neutral_recall(rows: FaceRows, scores: Floats) -> float:
    """The share of the neutral photographs that are read as neutral."""
    at = load_lexicon().labels("basic8").index("neutral")
    return round(float((scores.argmax(axis=1)[rows.label == at] == at).mean()), 4)


def _folds(rows: FaceRows, seed: int) -> list[NDArray[np.bool_]]:
    """Masks (B,) of each fold: people are dealt out in turn, by the label that they are first shown with."""
    draw = np.random.default_rng(seed)
    people, first, of = np.unique(rows.person, return_index=True, return_inverse=True)
    dealt = np.zeros(len(people), int)
    for c in np.unique(rows.label):
        some = draw.permutation(np.flatnonzero(rows.label[first] == c))
        dealt[some] = (np.arange(len(some)) + draw.integers(N_FOLDS)) % N_FOLDS
    fold = dealt[of]
    return [fold == k for k in range(N_FOLDS)]


def _cross_heated(rows: FaceRows, logits: Floats, seed: int) -> Floats:
    """Logits over a temperature that the other folds set."""
    heated = np.zeros_like(logits)
    for held in _folds(rows, seed):
        heated[held] = logits[held] / temperature(logits[~held], rows.label[~held], "softmax")
    return heated


def _softmax(x: Floats) -> Floats:
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
