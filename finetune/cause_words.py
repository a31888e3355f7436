"""Fit which words of an utterance lie in the span that caused an emotion, on RECCON (Poria et al. 2021).

A word's state in the encoder's last layer is all that the head sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.encoder import WordStates
from affectgpt.corpora import read_reccon
from finetune.fitting import Fit, Recipe, fit, temperature
from finetune.word_figures import multilabel_ece, sigmoid

__all__ = ["CauseWords", "States", "cause_texts", "train_cause"]

LINEAR = Recipe("sigmoid", epochs=3, batch=256)
N_TEXTS = 2500
"""Training utterances that are read, drawn by the seed, of 3,648: enough for 384 weights."""

States = Callable[[Sequence[str]], list[WordStates]]
CauseWords = dict[tuple[str, str], list[tuple[int, int]]]
"""(dialogue, utterance) -> the character spans in it that caused an emotion."""


def train_cause(folder: Path, seed: int, states: States) -> tuple[Fit, dict[str, Any]]:
    """The head and what its card says of its own. Raises InputError where the corpus is not there."""
    train = cause_texts(folder / "dailydialog_train.json")
    keys = sorted(train)
    drawn = np.random.default_rng(seed).permutation(len(keys))[:N_TEXTS]
    aside, fitted = (sorted(part) for part in np.split(drawn, [len(drawn) // 10]))
    x, y, _, _ = _rows([keys[k] for k in fitted], train, states)
    found = fit(x, y.astype(np.float32)[:, None], replace(LINEAR, seed=seed))
    x, y, _, _ = _rows([keys[k] for k in aside], train, states)
    heat = temperature(found(x), y.astype(np.float64)[:, None], "sigmoid")
    valid = cause_texts(folder / "dailydialog_valid.json")
    held, gold, utterance, place = _rows(sorted(valid), valid, states)
    logits = found(held)
    score = logits[:, 0]
    figures = {
        "auroc": round(_auroc(score, gold), 4),
        "auroc_within_utterance": round(_within(score, gold, utterance), 4),
        "auroc_within_utterance_by_position": round(_within(place, gold, utterance), 4),
        "f1": round(_f1(score > 0, gold), 4),
        "f1_every_word": round(_f1(np.ones(len(gold), bool), gold), 4),
        "ece_before": multilabel_ece(sigmoid(logits), gold[:, None]),
        "ece_after": multilabel_ece(sigmoid(logits / heat), gold[:, None]),
        "n_words": len(gold),
        "n_utterances": len(valid),
    }
    split = "RECCON's DailyDialog train, utterances that hold a cause; temperature on a tenth aside; figures on valid"
    return found, {"split": split, "metrics": figures, "temperature": heat}


def cause_texts(path: Path) -> CauseWords:
    """The utterances in which an annotated cause stands, with its places; sought backwards from the emotion."""
    found: CauseWords = {}
    for row in read_reccon(path).usable:
        if row.label in (None, "neutral"):
            continue
        for span in row.spans:
            for said in (row.text or "", *reversed(row.context)):
                start = said.find(span)
                if span and start >= 0:
                    found.setdefault((row.group["dialogue"], said), []).append((start, start + len(span)))
                    break
    return found


def _rows(keys: Sequence[tuple[str, str]], spans: CauseWords, states: States) -> tuple[Any, Any, Any, Any]:
    """States (W, 384), whether in a span, the utterance's number and the place in it from 0 to 1, a word a row."""
    read = states([text for _, text in keys])
    inside, number, place = [], [], []
    for n, (key, words) in enumerate(zip(keys, read, strict=True)):
        for k, (start, end) in enumerate(words.spans):
            inside.append(any(start < b and end > a for a, b in spans[key]))
            number.append(n)
            place.append(k / max(1, len(words.spans) - 1))
    return np.concatenate([w.states for w in read]), np.array(inside), np.array(number), np.array(place)


def _auroc(score: NDArray[Any], gold: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, ties at half (Mann-Whitney)."""
    from scipy.stats import rankdata

    n_in, n_out = int(gold.sum()), int((~gold).sum())
    return float((rankdata(score)[gold].sum() - n_in * (n_in + 1) / 2) / (n_in * n_out))


def _within(score: NDArray[Any], gold: NDArray[np.bool_], utterance: NDArray[np.intp]) -> float:
    """Mean AUROC over the utterances that hold words of both kinds."""
    each = [(score[utterance == u], gold[utterance == u]) for u in np.unique(utterance)]
    return float(np.mean([_auroc(s, g) for s, g in each if 0 < g.sum() < len(g)]))


def _f1(said: NDArray[np.bool_], gold: NDArray[np.bool_]) -> float:
    return float(2 * (said & gold).sum() / (said.sum() + gold.sum()))
