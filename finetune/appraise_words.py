"""Fit the words appraiser's heads on frozen sentence vectors: feelings, dimensions and the reading over basic8.

Each head is fitted on its corpus's training side. Temperatures, thresholds and mixing weights are set on folds of that
side that keep dialogues whole; the figures on the cards are of the development side, which nothing was set on.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise import words
from affectgpt.appraise.encoder import Encoder, load_encoder
from affectgpt.appraise.heads import save_head
from affectgpt.corpora import (
    Corpus,
    Example,
    read_emobank,
    read_empathetic_dialogues,
    read_goemotions,
    read_meld,
)
from affectgpt.emotions import load_lexicon
from affectgpt.engines.models import has_native_bfloat16
from affectgpt.evaluation import metrics
from affectgpt.evaluation.intervals import Resampling, interval
from finetune.cause_words import States, train_cause
from finetune.fitting import Fit, Recipe, fit, fit_ridge, temperature
from finetune.unlisted_words import train_unlisted

__all__ = ["LICENCES", "Vectors", "embed", "train"]

LICENCES = {
    "lexicon": "Apache-2.0",
    "GoEmotions": "Apache-2.0",
    "EmoBank": "CC BY-SA 4.0",
    "MELD": "GPL-3.0",
    "EmpatheticDialogues": "CC BY-NC 4.0",
    "RECCON": "research use; its source DailyDialog is CC BY-NC-SA 4.0",
}
N_FOLDS = 5
TAGS = Recipe("sigmoid", hidden=256, epochs=5, batch=256)
SITUATIONS = Recipe("softmax", epochs=8, decay=0.3, dropout=0.4)
DIALOGUE = Recipe("softmax", hidden=128, epochs=5, rate=5e-4, dropout=0.4, hidden_dropout=0.5, prior=0.3)
BASIC = Recipe("softmax", epochs=4, batch=256)
PENALTY = 0.3

Floats = NDArray[np.float32]
Vectors = Callable[[Sequence[str]], Floats]
"""Texts -> rows (B, 384 x layers), as `Encoder.features` gives them."""


@dataclass(frozen=True, slots=True)
class Made:
    """The sets that a head goes to, and the seed that it is fitted with."""

    folders: tuple[Path, ...]
    seed: int

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with this seed."""
        return replace(recipe, seed=self.seed)

    def save(self, name: str, found: Fit, card: dict[str, Any]) -> None:
        """Write the head into each set."""
        for folder in self.folders:
            save_head(folder, name, found.weights, card)


def embed(texts: Sequence[str]) -> Floats:
    """Training vectors: in bfloat16 where the processor has it, whose rounding the heads do not notice."""
    unlike = sorted(set(texts))
    rows = _encoder().features(unlike, words.LAYERS)
    place = {t: k for k, t in enumerate(unlike)}
    return rows[[place[t] for t in texts]]


def _encoder() -> Encoder:
    return load_encoder("bfloat16" if has_native_bfloat16() else "float32")


def train(shared: Path, out: Path, seed: int = 0, vectors: Vectors = embed) -> None:
    """Fit every head from the corpora under `shared`/text and write both sets under `out`. Raises InputError."""
    text = shared / "text"
    goemotions = {side: read_goemotions(text / "goemotions" / f"{side}.tsv") for side in ("train", "dev")}
    default, permissive = out / "default", out / "permissive"
    tags = fit_tags(goemotions, Made((default, permissive), seed), vectors)
    fit_dimensions(text / "emobank" / "emobank.csv", tags, Made((default, permissive), seed), vectors)
    fit_unlisted(Made((default, permissive), seed))
    rows = [basic_rows(goemotions["train"], "goemotions28", tags, vectors, 1.0)]
    judged = {"GoEmotions": basic_rows(goemotions["dev"], "goemotions28", tags, vectors, 1.0)}
    fit_basic(rows, judged, Made((permissive,), seed))
    meld = {side: read_meld(text / "meld" / f"{side}_sent_emo.csv") for side in ("train", "dev")}
    situations = read_empathetic_dialogues(text / "empathetic_dialogues" / "ed_valid.jsonl")
    fit_dialogue(meld, tags, Made((default,), seed), vectors)
    fit_situations(situations, tags, Made((default,), seed), vectors)
    fit_cause(text / "reccon", Made((default,), seed), _encoder().words)
    rows.append(basic_rows(meld["train"], "meld7", tags, vectors, 2.0))
    rows.append(basic_rows(situations, "empathetic32", tags, vectors, 1.0))
    judged["MELD"] = basic_rows(meld["dev"], "meld7", tags, vectors, 1.0)
    fit_basic(rows, judged, Made((default,), seed))


# ---------------------------------------------------------------- heads


def fit_tags(corpora: dict[str, Corpus], made: Made, vectors: Vectors) -> Fit:
    """GoEmotions' 28 feelings, any number at a time. Half of the development side sets thresholds, half judges."""
    train, dev = corpora["train"].usable, corpora["dev"].usable
    lexicon = load_lexicon()
    labels = list(lexicon.labels("goemotions28"))
    y, held = _tagged(train, labels), _tagged(dev, labels)
    found = fit(vectors([e.text or "" for e in train]), y, made.recipe(TAGS))
    logits = found(vectors([e.text or "" for e in dev]))
    half = np.arange(len(dev)) % 2 == 0
    heat = temperature(logits[half], held[half], "sigmoid")
    p = _sigmoid(logits / heat)
    thresholds = np.array([_threshold(held[half, c], p[half, c]) for c in range(len(labels))])
    said, gold = p[~half] >= thresholds, held[~half] > 0
    figures = {
        f"{average}_f1": _figure(
            lambda i, a=average: metrics.multilabel_f1(gold[i], said[i], a),
            len(gold),  # type: ignore[misc]
        )
        for average in ("macro", "micro")
    }
    figures["ece_before"] = _multilabel_ece(_sigmoid(logits[~half]), gold)
    figures["ece_after"] = _multilabel_ece(p[~half], gold)
    card = _card(made, ["GoEmotions"], "sigmoid", labels, found) | {
        "temperature": heat,
        "thresholds": [round(float(t), 4) for t in thresholds],
        "split": "fitted on train.tsv; temperature and thresholds on even rows of dev.tsv, figures on the odd ones",
        "metrics": figures,
    }
    made.save(words.HEADS["goemotions28"], found, card)
    return found


def fit_dimensions(path: Path, tags: Fit, made: Made, vectors: Vectors) -> None:
    """EmoBank's valence, arousal and dominance: reader's, writer's and both."""
    sides = ("both", "reader", "writer")
    corpora = [{e.id: e for e in read_emobank(path, side).usable} for side in sides]
    rows = list(corpora[0].values())
    y = np.array(
        [[c[e.id].values[d] if e.id in c else np.nan for c in corpora for d in words.DIMENSIONS] for e in rows]
    )
    classes = [f"{d}_{side}" for side in sides for d in words.DIMENSIONS]
    x = own(vectors([e.text or "" for e in rows]), tags)
    train, dev = (np.array([e.group["split"] == s for e in rows]) for s in ("train", "dev"))
    found = fit_ridge(x[train], y[train], PENALTY)
    guess = found(x[dev])
    figures = {}
    for c, name in enumerate(classes):
        known = np.isfinite(y[dev, c])
        g, p = y[dev, c][known], guess[known, c]
        figures[f"pearson_{name}"] = _figure(lambda i, g=g, p=p: metrics.pearson(g[i], p[i]), len(g))  # type: ignore[misc]
        figures[f"ccc_{name}"] = round(metrics.ccc(g, p), 4)
    card = _card(made, ["EmoBank", "GoEmotions"], "regression", classes, found) | {
        "range": [-1.0, 1.0],
        "split": "EmoBank's own train and dev",
        "metrics": figures,
    }
    made.save("words_vad", found, card)


def fit_dialogue(corpora: dict[str, Corpus], tags: Fit, made: Made, vectors: Vectors) -> None:
    """MELD's seven feelings, of an utterance and what was said before."""
    labels = list(load_lexicon().labels("meld7"))
    train, dev = corpora["train"].usable, corpora["dev"].usable
    x, held = in_dialogue(train, tags, vectors), in_dialogue(dev, tags, vectors)
    y, gold = (np.array([labels.index(str(e.label)) for e in side]) for side in (train, dev))
    found = fit(x, y, made.recipe(DIALOGUE))
    heat = temperature(_out_of_fold(x, y, [e.group["dialogue"] for e in train], made.recipe(DIALOGUE)), y, "softmax")
    card = _card(made, ["MELD", "GoEmotions"], "softmax", labels, found) | {
        "temperature": heat,
        "split": "MELD's train; temperature on five folds of it by dialogue; figures on MELD's dev",
        "metrics": _judged(found(held), gold, heat, [e.group["dialogue"] for e in dev]),
    }
    made.save(words.HEADS["meld7"], found, card)


def fit_situations(corpus: Corpus, tags: Fit, made: Made, vectors: Vectors) -> None:
    """EmpatheticDialogues' 32 feelings, of a situation told; judged on folds by dialogue, fitted on all."""
    labels = list(load_lexicon().labels("empathetic32"))
    rows = [e for e in corpus.usable if e.label in labels]
    x = own(vectors([e.text or "" for e in rows]), tags)
    y = np.array([labels.index(str(e.label)) for e in rows])
    logits = _out_of_fold(x, y, [e.group["dialogue"] for e in rows], made.recipe(SITUATIONS))
    found = fit(x, y, made.recipe(SITUATIONS))
    # The temperature that judges a half is set on the other.
    half = np.arange(len(y)) % 2 == 0
    card = _card(made, ["EmpatheticDialogues", "GoEmotions"], "softmax", labels, found) | {
        "temperature": temperature(logits, y, "softmax"),
        "split": "five folds by dialogue; figures on one half of the folds' answers, their temperature on the other",
        "metrics": _judged(logits[half], y[half], temperature(logits[~half], y[~half], "softmax"), []),
    }
    made.save(words.HEADS["empathetic32"], found, card)


def fit_unlisted(made: Made) -> None:
    """The heads behind words that the lexicon does not list, from the lexicon's own words."""
    for name, (weights, own_card) in train_unlisted(made.seed).items():
        found = Fit(weights)
        card = _card(made, ["lexicon"], own_card["kind"], own_card["classes"], found) | own_card
        made.save(name, found, card)


def fit_cause(folder: Path, made: Made, states: States) -> None:
    """Which words lie in the span that caused an emotion."""
    found, own_card = train_cause(folder, made.seed, states)
    made.save("words_cause", found, _card(made, ["RECCON"], "sigmoid", ["cause"], found) | own_card)


@dataclass(frozen=True, slots=True, eq=False)
class BasicRows:
    """Rows with a label of basic8 (its number), how much each counts, and their dialogues."""

    corpus: str
    x: Floats
    y: NDArray[np.intp]
    weight: NDArray[np.float64]
    dialogues: list[str]


def basic_rows(corpus: Corpus, label_set: str, tags: Fit, vectors: Vectors, weight: float) -> BasicRows:
    """The rows whose labels agree on one label of basic8."""
    lexicon = load_lexicon()
    labels = list(lexicon.labels("basic8"))
    known = {label: lexicon.convert(label, label_set, "basic8") for label in lexicon.labels(label_set)}
    meant = [{known.get(label) for label in e.labels} for e in corpus.usable]
    chosen = [(e, m.pop()) for e, m in zip(corpus.usable, meant, strict=True) if len(m) == 1]
    rows = [(e, labels.index(m)) for e, m in chosen if m is not None]
    examples = [e for e, _ in rows]
    return BasicRows(
        corpus=label_set,
        x=in_dialogue(examples, tags, vectors),
        y=np.array([k for _, k in rows]),
        weight=np.full(len(rows), weight),
        dialogues=[e.group.get("dialogue", e.id) for e in examples],
    )


def fit_basic(parts: Sequence[BasicRows], judged: dict[str, BasicRows], made: Made) -> None:
    """The reading over basic8, of all corpora together; no corpus labels contempt, which has no output."""
    labels = [label for label in load_lexicon().labels("basic8") if label != "contemptuous"]
    kept = list(load_lexicon().labels("basic8"))
    number = np.array([labels.index(label) if label in labels else -1 for label in kept])
    x, y = np.concatenate([p.x for p in parts]), number[np.concatenate([p.y for p in parts])]
    weight = np.concatenate([p.weight for p in parts])
    dialogues = [f"{p.corpus} {d}" for p in parts for d in p.dialogues]
    found = fit(x, y, made.recipe(BASIC), weight)
    aside = _folds(dialogues, made.seed) == 0
    part = fit(x[~aside], y[~aside], made.recipe(BASIC), weight[~aside])
    heat = temperature(part(x[aside]), y[aside], "softmax")
    figures = {
        name: _judged(found(rows.x), number[rows.y], heat, rows.dialogues) for name, rows in sorted(judged.items())
    }
    sources = {"goemotions28": "GoEmotions", "meld7": "MELD", "empathetic32": "EmpatheticDialogues"}
    card = _card(made, [sources[p.corpus] for p in parts], "softmax", labels, found) | {
        "temperature": heat,
        "split": "training sides; temperature on a fifth of them by dialogue; figures on the development sides",
        "metrics": figures,
    }
    made.save(words.HEADS["basic8"], found, card)


# ---------------------------------------------------------------- rows


def own(features: Floats, tags: Fit) -> Floats:
    """An utterance's own rows, as the appraiser makes them."""
    return words.own_rows(features, tags(features))


def in_dialogue(examples: Sequence[Example], tags: Fit, vectors: Vectors) -> Floats:
    """Rows with what was said before, as the appraiser makes them."""
    features = vectors([e.text or "" for e in examples])
    before = [e.context[-words.N_CONTEXT :] for e in examples]
    unlike = sorted({u for c in before for u in c})
    said = tags(vectors(unlike)) if unlike else np.zeros((0, 28))
    place = {u: k for k, u in enumerate(unlike)}
    return words.dialogue_rows(own(features, tags), [said[[place[u] for u in c]] for c in before])


def _tagged(examples: Sequence[Example], labels: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[label in e.labels for label in labels] for e in examples], np.float32)


def _folds(dialogues: Sequence[str], seed: int) -> NDArray[np.intp]:
    """Each row's fold, dialogues whole."""
    place = {d: k for k, d in enumerate(sorted(set(dialogues)))}
    shuffled = np.random.default_rng(seed).permutation(len(place)) % N_FOLDS
    return np.array([shuffled[place[d]] for d in dialogues])


def _out_of_fold(x: Floats, y: NDArray[np.intp], dialogues: Sequence[str], recipe: Recipe) -> NDArray[np.float64]:
    """Each row's logits from a fit that saw no row of its dialogue."""
    fold = _folds(dialogues, recipe.seed)
    logits = np.zeros((len(x), int(y.max()) + 1))
    for k in range(N_FOLDS):
        seen = fold != k
        logits[~seen] = fit(x[seen], y[seen], recipe)(x[~seen])
    return logits


# ---------------------------------------------------------------- figures and cards


def _judged(logits: NDArray[Any], gold: NDArray[np.intp], heat: float, clusters: Sequence[str]) -> dict[str, Any]:
    n = logits.shape[1]
    said, most = logits.argmax(axis=1), np.full(len(gold), np.bincount(gold).argmax())
    how = Resampling(clusters=tuple(clusters))

    def f1(answers: NDArray[np.intp], average: str) -> Callable[[NDArray[np.intp]], float]:
        return lambda i: metrics.f1(metrics.confusion(gold[i], answers[i], n), average)

    return {
        "weighted_f1": _figure(f1(said, "weighted"), len(gold), how),
        "macro_f1": _figure(f1(said, "macro"), len(gold), how),
        "accuracy": round(float((said == gold).mean()), 4),
        "majority_weighted_f1": round(f1(most, "weighted")(np.arange(len(gold))), 4),
        "ece_before": round(metrics.ece(_softmax(logits), gold), 4),
        "ece_after": round(metrics.ece(_softmax(logits / heat), gold), 4),
        "n": len(gold),
    }


def _figure(statistic: Callable[[NDArray[np.intp]], float], n: int, how: Resampling | None = None) -> list[float]:
    """The figure and its 95 % interval."""
    found = interval("", statistic, n, how or Resampling())
    return [round(v, 4) for v in (found.value, found.low, found.high)]


def _card(made: Made, data: Sequence[str], kind: str, classes: Sequence[str], found: Fit) -> dict[str, Any]:
    return {
        "data": list(data),
        "licence": {name: LICENCES[name] for name in data},
        "date": date.today().isoformat(),
        "commit": _commit(),
        "seed": made.seed,
        "classes": list(classes),
        "kind": kind,
        "temperature": 1.0,
        "input": {"width": len(found.weights["0.weight"]), "encoder": "all-MiniLM-L6-v2", "layers": list(words.LAYERS)},
    }


def _commit() -> str:
    try:
        asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()


def _threshold(gold: NDArray[Any], p: NDArray[Any]) -> float:
    """The threshold with the best F1 of a class, of those between 0.05 and 0.6; a class that never occurs gets 0.3."""
    if not gold.any():
        return 0.3
    grid = np.linspace(0.05, 0.6, 56)
    scores = [2 * (gold[p >= t]).sum() / ((p >= t).sum() + gold.sum()) for t in grid]
    return float(grid[int(np.argmax(scores))])


def _multilabel_ece(p: NDArray[Any], gold: NDArray[np.bool_]) -> float:
    """Expected calibration error over all yes-or-no answers together."""
    bins = np.minimum((p.ravel() * 15).astype(int), 14)
    return round(float(np.abs(np.bincount(bins, weights=gold.ravel() - p.ravel(), minlength=15)).sum() / p.size), 4)


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _softmax(x: NDArray[Any]) -> NDArray[Any]:
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
