"""Fit the heads of the words appraiser on sentence vectors: feelings, dimensions and the reading over basic8.

Each head is fitted on its corpus's `fitted` part, calibrated on the `held` part and measured on the `judged` one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise import words
from affectgpt.appraise.heads import save_head
from affectgpt.corpora import Example
from affectgpt.emotions import load_lexicon
from finetune import word_figures as figures
from finetune.fitting import Fit, Recipe, fit, fit_ridge, temperature
from finetune.word_corpora import LABEL_SETS, LICENCES, RATED, Parts, dialogues, numbers, tags, targets

__all__ = [
    "BASIC_WEIGHTS",
    "Made",
    "fit_basic",
    "fit_dialogue",
    "fit_dimensions",
    "fit_situations",
    "fit_tags",
    "straightened",
]

TAGS = Recipe("sigmoid", hidden=256, epochs=5, batch=256)
SITUATIONS = Recipe("softmax", epochs=8, decay=0.3, dropout=0.4)
DIALOGUE = Recipe("softmax", hidden=128, epochs=5, rate=5e-4, dropout=0.4, hidden_dropout=0.5, prior=0.3)
BASIC = Recipe("softmax", epochs=4, batch=256)
BASIC_WEIGHTS = {"GoEmotions": 1.0, "MELD": 2.0, "EmpatheticDialogues": 1.0}
"""How much a row of each corpus counts for the reading over basic8."""
PENALTY = 0.3

Floats = NDArray[np.float32]
Features = Callable[[Sequence[str]], Floats]
"""Texts -> rows (B, 384 x layers), as `Encoder.features` gives them."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What heads are made with: the folders of the sets they go to, date, commit and seed, vectors and their name."""

    folders: tuple[Path, ...]
    making: dict[str, Any]
    features: Features
    encoder: Mapping[str, Any] = field(default_factory=lambda: {"encoder": "all-MiniLM-L6-v2"})

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with this seed."""
        return replace(recipe, seed=self.making["seed"])

    def save(self, name: str, found: Fit, data: Sequence[str], card: dict[str, Any]) -> None:
        """Write a head with its card into each set: `card` holds its classes, kind, temperature, split and metrics."""
        made = {"data": list(data), "licence": {d: LICENCES[d] for d in data}, "temperature": 1.0}
        given = {"width": len(found.weights["0.weight"]), **self.encoder}
        for folder in self.folders:
            save_head(folder, name, found.weights, made | self.making | {"input": given} | card)


def fit_tags(parts: Parts, made: Made) -> Fit:
    """GoEmotions' 28 feelings, any number at a time."""
    labels = list(load_lexicon().labels(LABEL_SETS["GoEmotions"]))
    found = fit(_features(parts.fitted, made), tags(parts.fitted), made.recipe(TAGS))
    logits, gold = found(_features(parts.held, made)), tags(parts.held)
    heat = temperature(logits, gold, "sigmoid")
    p = figures.sigmoid(logits / heat)
    thresholds = np.array([round(figures.threshold(gold[:, c], p[:, c]), 4) for c in range(len(labels))])
    judged = figures.of_tags(found(_features(parts.judged, made)), tags(parts.judged), heat, thresholds)
    split = "train.tsv; temperature and thresholds on a tenth of it that nothing was fitted on; figures on dev.tsv"
    card = {"classes": labels, "kind": "sigmoid", "temperature": heat, "split": split, "metrics": judged}
    made.save(words.HEADS["goemotions28"], found, ["GoEmotions"], card | {"thresholds": thresholds.tolist()})
    return found


def fit_dimensions(parts: Parts, tagged: Fit, made: Made) -> None:
    """EmoBank's valence, arousal and dominance: reader's, writer's and both."""
    y = numbers(parts.fitted)
    found = fit_ridge(own(parts.fitted, tagged, made), y, PENALTY)
    found = straightened(found, found(own(parts.held, tagged, made)), numbers(parts.held))
    guess = np.clip(found(own(parts.judged, tagged, made)), -1, 1)
    judged = figures.of_numbers(guess, numbers(parts.judged), RATED, np.nanmean(y, axis=0).tolist())
    split = "EmoBank's own train; slopes on a tenth of it that nothing was fitted on; figures on its dev"
    card = {"classes": list(RATED), "kind": "regression", "range": [-1.0, 1.0], "split": split, "metrics": judged}
    made.save("words_vad", found, ["EmoBank", "GoEmotions"], card)


def fit_dialogue(parts: Parts, tagged: Fit, made: Made) -> None:
    """MELD's seven feelings, of an utterance and what was said before."""
    x, held, judged = (in_dialogue(rows, tagged, made) for rows in (parts.fitted, parts.held, parts.judged))
    y, y_held, gold = (targets(rows, "meld7") for rows in (parts.fitted, parts.held, parts.judged))
    found = fit(x, y, made.recipe(DIALOGUE))
    heat = temperature(found(held), y_held, "softmax")
    card = {
        "classes": list(load_lexicon().labels("meld7")),
        "kind": "softmax",
        "temperature": heat,
        "split": "MELD's train; temperature on a tenth of its dialogues that nothing was fitted on; figures on its dev",
        "metrics": figures.of_labels(found(judged), gold, heat, dialogues(parts.judged)),
    }
    made.save(words.HEADS["meld7"], found, ["MELD", "GoEmotions"], card)


def fit_situations(parts: Parts, tagged: Fit, made: Made) -> None:
    """EmpatheticDialogues' 32 feelings, of a situation told."""
    x, held, judged = (own(rows, tagged, made) for rows in (parts.fitted, parts.held, parts.judged))
    y, y_held, gold = (targets(rows, "empathetic32") for rows in (parts.fitted, parts.held, parts.judged))
    found = fit(x, y, made.recipe(SITUATIONS))
    heat = temperature(found(held), y_held, "softmax")
    card = {
        "classes": list(load_lexicon().labels("empathetic32")),
        "kind": "softmax",
        "temperature": heat,
        "split": "four fifths of 2,615 dialogues; temperature on a tenth, figures on another",
        "metrics": figures.of_labels(found(judged), gold, heat),
    }
    made.save(words.HEADS["empathetic32"], found, ["EmpatheticDialogues", "GoEmotions"], card)


def fit_basic(corpora: Mapping[str, Parts], tagged: Fit, made: Made) -> None:
    """The reading over basic8, of all corpora given together; no corpus labels contempt, which has no output."""
    labels = [label for label in load_lexicon().labels("basic8") if label != "contemptuous"]
    fitted, held, judged = (
        {name: basic_rows(getattr(parts, part), LABEL_SETS[name], labels) for name, parts in corpora.items()}
        for part in ("fitted", "held", "judged")
    )
    x, y, weight = _stacked(fitted, tagged, made, {n: BASIC_WEIGHTS[n] for n in corpora})
    found = fit(x, y, made.recipe(BASIC), weight)
    x, y, weight = _stacked(held, tagged, made, {n: 1 / len(rows) for n, (rows, _) in held.items()})
    heat = temperature(found(x), y, "softmax", weight)
    measured = {
        name: figures.of_labels(found(in_dialogue(rows, tagged, made)), y, heat, dialogues(rows))
        for name, (rows, y) in sorted(judged.items())
    }
    split = "training sides; temperature on a tenth of each, all counting the same; figures on the development sides"
    card = {"classes": labels, "kind": "softmax", "temperature": heat, "split": split, "metrics": measured}
    made.save(words.HEADS["basic8"], found, list(corpora), card)


# ---------------------------------------------------------------- rows


def basic_rows(
    rows: Sequence[Example], label_set: str, labels: Sequence[str]
) -> tuple[list[Example], NDArray[np.intp]]:
    """The rows whose labels agree on one label of basic8, and its number."""
    lexicon = load_lexicon()
    known = {label: lexicon.convert(label, label_set, "basic8") for label in lexicon.labels(label_set)}
    meant = [{known.get(label) for label in e.labels} for e in rows]
    chosen = [(e, next(iter(m))) for e, m in zip(rows, meant, strict=True) if len(m) == 1]
    agreed = [(e, m) for e, m in chosen if m is not None]
    return [e for e, _ in agreed], np.array([labels.index(m) for _, m in agreed], dtype=np.intp)


def own(rows: Sequence[Example], tagged: Fit, made: Made) -> Floats:
    """Rows of the utterances alone, as the appraiser makes them."""
    features = _features(rows, made)
    return words.own_rows(features, tagged(features))


def in_dialogue(rows: Sequence[Example], tagged: Fit, made: Made) -> Floats:
    """Rows with what was said before, as the appraiser makes them."""
    before = [e.context[-words.N_CONTEXT :] for e in rows]
    unlike = sorted({u for c in before for u in c})
    said = tagged(made.features(unlike)) if unlike else np.zeros((0, 28))
    place = {u: k for k, u in enumerate(unlike)}
    return words.dialogue_rows(own(rows, tagged, made), [said[[place[u] for u in c]] for c in before])


def _features(rows: Sequence[Example], made: Made) -> Floats:
    return made.features([e.text or "" for e in rows])


def _stacked(
    rows: Mapping[str, tuple[list[Example], NDArray[np.intp]]], tagged: Fit, made: Made, weights: Mapping[str, float]
) -> tuple[Floats, NDArray[np.intp], NDArray[np.float64]]:
    x = np.concatenate([in_dialogue(examples, tagged, made) for examples, _ in rows.values()])
    y = np.concatenate([y for _, y in rows.values()])
    return x, y, np.concatenate([np.full(len(y), weights[name]) for name, (_, y) in rows.items()])


def straightened(found: Fit, guess: NDArray[np.float64], gold: NDArray[np.float64]) -> Fit:
    """The fit with each output brought to the line of the gold on it, as told by rows that it was not fitted on."""
    weights = dict(found.weights)
    weight, bias = weights["0.weight"].astype(np.float64), weights["0.bias"].astype(np.float64)
    for c in range(gold.shape[1]):
        known = np.isfinite(gold[:, c])
        slope, offset = np.polyfit(guess[known, c], gold[known, c], 1)
        weight[:, c] *= slope
        bias[c] = slope * bias[c] + offset
    return Fit(weights | {"0.weight": weight.astype(np.float16), "0.bias": bias.astype(np.float32)})
