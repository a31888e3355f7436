"""Fit the three heads behind unlisted words on the lexicon's own words, judged on stems that were held out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise import unlisted
from affectgpt.appraise.encoder import load_encoder
from affectgpt.emotions import load_lexicon
from affectgpt.evaluation import metrics
from finetune.fitting import Recipe, fit, temperature
from finetune.word_corpora import drawn
from finetune.word_figures import softmax

__all__ = ["stem", "train_unlisted"]

LINEAR = Recipe("softmax", epochs=20, rate=3e-4, decay=1.0, dropout=0.4)
N_FOLDS = 5
REFUSED = 0.05
"""Share of the lexicon's own words that the smallest similarity turns away."""


def stem(form: str) -> str:
    """What forms of one word share: four letters, behind a leading `un`."""
    return form.removeprefix("un")[:4]


def train_unlisted(seed: int) -> dict[str, tuple[dict[str, NDArray[Any]], dict[str, Any]]]:
    """Head name -> weights and what its card says of its own."""
    lexicon = load_lexicon()
    forms = sorted(lexicon.forms)
    nodes, basics = sorted(set(lexicon.forms.values())), sorted({n.basic for n in lexicon.nodes.values()})
    rows = unlisted.word_rows(forms, load_encoder())
    own = [lexicon.forms[f] for f in forms]
    sign = np.array([unlisted.POLARITIES.index(unlisted.polarity_of(n)) for n in own])
    basic = np.array([basics.index(lexicon.nodes[n].basic) for n in own])
    vectors = unlisted.unit(rows[:, -unlisted.encoder_width(rows) :])
    place = np.array([nodes.index(n) for n in own])
    centres = unlisted.unit(np.stack([vectors[place == k].mean(axis=0) for k in range(len(nodes))]))
    near = (vectors * centres[place]).sum(axis=1)
    shared = {"split": f"{N_FOLDS} folds by stem; fitted on all", "classes": nodes}
    made: dict[str, tuple[dict[str, NDArray[Any]], dict[str, Any]]] = {
        "words_unlisted_nodes": (
            {"0.weight": centres.T.astype(np.float16), "0.bias": np.zeros(len(nodes), np.float32)},
            {**shared, "kind": "softmax", "smallest_similarity": round(float(np.quantile(near, REFUSED)), 4)}
            | {"metrics": {}, "temperature": 0.05},
        )
    }
    for name, gold, classes in (("polarity", sign, unlisted.POLARITIES), ("basic", basic, basics)):
        recipe = replace(LINEAR, seed=seed)
        logits = _held_out(rows, gold, forms, recipe)
        figures: dict[str, Any] = {"accuracy": round(float((logits.argmax(axis=1) == gold).mean()), 4), "n": len(gold)}
        figures["majority_accuracy"] = round(float(np.bincount(gold).max() / len(gold)), 4)
        if name == "polarity":
            has_sign = gold != 1
            right = (logits[:, 2] > logits[:, 0]) == (gold == 2)
            figures["sign_accuracy"] = round(float(right[has_sign].mean()), 4)
        half = drawn([stem(f) for f in forms], 0.5, seed)
        heat = temperature(logits[half], gold[half], "softmax")
        figures["ece_before"] = round(metrics.ece(softmax(logits[~half]), gold[~half]), 4)
        figures["ece_after"] = round(metrics.ece(softmax(logits[~half] / heat), gold[~half]), 4)
        card: dict[str, Any] = {**shared, "kind": "softmax", "classes": list(classes), "metrics": figures}
        card["temperature"] = temperature(logits, gold, "softmax")
        made[f"words_unlisted_{name}"] = (fit(rows, gold, recipe).weights, card)
    return made


def _held_out(rows: Any, gold: NDArray[np.intp], forms: list[str], recipe: Recipe) -> NDArray[np.float64]:
    place = {s: k for k, s in enumerate(sorted({stem(f) for f in forms}))}
    shuffled = np.random.default_rng(recipe.seed).permutation(len(place)) % N_FOLDS
    fold = np.array([shuffled[place[stem(f)]] for f in forms])
    logits = np.zeros((len(forms), int(gold.max()) + 1))
    for k in range(N_FOLDS):
        logits[fold == k] = fit(rows[fold != k], gold[fold != k], recipe)(rows[fold == k])
    return logits
