"""Train the safety head: `python -m finetune.safety_head --shared DIR --open TOML [TOML ...]`.

Two linear readers a side, one over pieces of words, one over the sentence encoder's vectors; each alone by regularised
multinomial regression, joined by two weights. Weights of the join and thresholds are chosen on turns that a fold has
not seen: what is made from one phrase or one turn stands in one fold. Sealed turns are never read here.

One seed gives the same weights on one machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from affectgpt.appraise import cards
from affectgpt.appraise.encoder import load_encoder
from affectgpt.safety.findings import Side
from affectgpt.safety.grams import N_BUCKETS, grams
from affectgpt.safety.head import LAYERS, NONE, OUTCOMES, SentenceVectors, head_folder
from affectgpt.safety.rules import LANGUAGES
from finetune.cards import making
from finetune.safety_texts import Text, everyday, from_grammars, from_rules, from_turns

__all__ = ["Making", "train"]

_log = logging.getLogger(__name__)

Double = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Making:
    """How the head is made.

    per_phrase, per_line: sentences drawn of each phrase of the rules and each line of the grammars.
    n_everyday: comments of GoEmotions that stand for talk without risk. turn_weight: how much a whole turn counts.
    pieces_penalty, vectors_penalty: scikit-learn's C, larger is freer. joins: weights of both readers to choose from.
    alarms_open, alarms_everyday: shares of harmless open turns and of everyday talk that may alarm; thresholds are the
    lowest at which both hold. alarms_urgent: the same for what stops a turn. n_steps: of L-BFGS at most.
    """

    per_phrase: int = 5
    per_line: int = 15
    n_everyday: int = 6_000
    turn_weight: float = 4.0
    pieces_penalty: float = 10.0
    vectors_penalty: float = 0.2
    joins: tuple[tuple[float, float], ...] = (
        (1.0, 0.0),
        (0.0, 1.0),
        (1.0, 0.2),
        (1.0, 0.4),
        (0.8, 0.3),
        (0.7, 0.5),
        (0.5, 0.5),
    )
    alarms_open: float = 0.05
    alarms_everyday: float = 0.005
    alarms_urgent: float = 0.001
    n_steps: int = 60
    n_folds: int = 3
    seed: int = 0


@dataclass(eq=False)
class _Material:
    """Texts of one side, B of them, with both readers' inputs, class, fold and weight."""

    classes: tuple[str, ...]
    texts: list[Text]
    pieces: Any
    vectors: Double
    target: NDArray[np.int64]
    fold: NDArray[np.int64]
    weight: Double


@dataclass(eq=False)
class _Fitted:
    """Both readers' weights."""

    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def both(self, material: _Material, rows: NDArray[np.int64]) -> tuple[Double, Double]:
        """Log-probabilities (B, C) of each reader."""
        t = self.tensors
        pieces = material.pieces[rows] @ t["pieces"] + t["pieces_bias"]
        vectors = (material.vectors[rows] - t["mean"]) / t["scale"] @ t["vectors"] + t["vectors_bias"]
        return _log_softmax(pieces), _log_softmax(vectors)


def train(
    shared: Path, turns: Sequence[Path], out: Path, how: Making | None = None, encoder: SentenceVectors | None = None
) -> dict[str, Any]:
    """Train both sides and write them under `out`; what was measured, by side. `encoder`: the installed one.

    Raises:
        InputError: a corpus is not there. MissingDependency: no encoder.
    """
    how, encoder = how or Making(), encoder or load_encoder()
    rng = random.Random(how.seed)
    texts = _texts(shared, turns, how, rng)
    told = {}
    for side in get_args(Side):
        material = _material([t for t in texts if t.side == side], side, how, encoder)
        held_out, join = _held_out(material, how)
        thresholds = _thresholds(material, held_out, how)
        metrics = _metrics(material, held_out, thresholds)
        fitted = _fit(material, np.arange(len(material.texts)), how)
        card = _card(side, material, {"metrics": metrics, "weights": join, "thresholds": thresholds}, turns, how)
        data, full = cards.sealed({k: t.astype(np.float16) for k, t in fitted.tensors.items()}, card)
        cards.write_weights(out, f"safety_{side}", data, full)
        told[side] = {"metrics": metrics, "weights": join, "thresholds": thresholds}
    return told


def _texts(shared: Path, turns: Sequence[Path], how: Making, rng: random.Random) -> list[Text]:
    made = [*from_rules(how.per_phrase, rng), *from_grammars(how.per_line, rng)]
    seen = list({(t.text.lower(), t.side): t for t in made if t.text}.values())
    talk = everyday(shared, "train", how.n_everyday, rng)
    # The machine's side reads a part of it: sentences are sentences.
    seen += [Text(t, "user", NONE, "en", f"everyday/{k}") for k, t in enumerate(talk)]
    seen += [Text(t, "reply", NONE, "en", f"everyday/{k}") for k, t in enumerate(talk[: len(talk) // 3])]
    return seen + [text for path in turns for text in from_turns(path)]


def _material(texts: list[Text], side: Side, how: Making, encoder: SentenceVectors) -> _Material:
    classes = (NONE, *OUTCOMES[side])
    texts = [t for t in texts if t.name in classes]
    _log.info("%s: %d texts, %s", side, len(texts), dict(Counter(t.name for t in texts)))
    target = np.array([classes.index(t.name) for t in texts])
    whole = np.array([t.origin.startswith("safety_turns") for t in texts])
    fold = np.array([zlib.crc32(t.origin.encode()) % how.n_folds for t in texts])
    counts = Counter((t.name, t.language) for t in texts)
    # Every class and language counts alike but for the class without risk, which is most of what people say.
    share = np.array([1 / counts[t.name, t.language] ** 0.5 for t in texts])
    weight = share * np.where(whole, how.turn_weight, 1.0) * np.where(target == 0, 1.5, 1.0)
    vectors = encoder.features([t.text for t in texts], LAYERS).astype(np.float64)
    return _Material(classes, texts, _sparse([t.text for t in texts]), vectors, target, fold, weight / weight.mean())


def _sparse(texts: Sequence[str]) -> Any:
    rows = [grams(text) for text in texts]
    ends = np.cumsum([0, *(len(places) for places, _ in rows)])
    values, places = np.concatenate([v for _, v in rows]), np.concatenate([p for p, _ in rows])
    return csr_matrix((values, places, ends), shape=(len(texts), N_BUCKETS))


def _fit(material: _Material, rows: NDArray[np.int64], how: Making) -> _Fitted:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = material.vectors[rows].mean(0), material.vectors[rows].std(0) + 1e-6
    weight, target = material.weight[rows], material.target[rows]
    tensors: dict[str, NDArray[Any]] = {"mean": mean, "scale": scale}
    inputs = {"pieces": material.pieces[rows], "vectors": (material.vectors[rows] - mean) / scale}
    penalties = {"pieces": how.pieces_penalty, "vectors": how.vectors_penalty}
    for name, x in inputs.items():
        model = LogisticRegression(C=penalties[name], max_iter=how.n_steps, tol=1e-3)
        with warnings.catch_warnings():  # that it stops before the end is part of the recipe
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, target, sample_weight=weight)
        full = np.full((x.shape[1], len(material.classes)), 0.0), np.full(len(material.classes), -12.0)
        full[0][:, model.classes_], full[1][model.classes_] = model.coef_.T, model.intercept_
        tensors[name], tensors[f"{name}_bias"] = full
    # As they will be read: half precision rounds before anything is measured.
    return _Fitted({key: t.astype(np.float16).astype(np.float32) for key, t in tensors.items()})


def _held_out(material: _Material, how: Making) -> tuple[Double, dict[str, float]]:
    """Probabilities (B, C) of every text by readers that have not seen its fold, under the best join."""
    pieces = np.zeros((len(material.texts), len(material.classes)))
    vectors = np.zeros_like(pieces)
    for fold in range(how.n_folds):
        kept, left = np.flatnonzero(material.fold != fold), np.flatnonzero(material.fold == fold)
        pieces[left], vectors[left] = _fit(material, kept, how).both(material, left)
        _log.info("fold %d of %d", fold + 1, how.n_folds)
    chosen = max(how.joins, key=lambda join: _quality(material, _joined(pieces, vectors, join), how))
    _log.info("joins: %s", {j: round(_quality(material, _joined(pieces, vectors, j), how), 3) for j in how.joins})
    return _joined(pieces, vectors, chosen), {"pieces": chosen[0], "vectors": chosen[1]}


def _joined(pieces: Double, vectors: Double, join: tuple[float, float]) -> Double:
    return np.exp(_log_softmax(join[0] * pieces + join[1] * vectors))


def _quality(material: _Material, p: Double, how: Making) -> float:
    """Share of the risky whole turns that are found at the threshold that holds the alarms down."""
    at = _thresholds(material, p, how)["concern"]
    risky = _whole(material) & (material.target != 0)
    return float((1 - p[risky, 0] >= at).mean())


def _thresholds(material: _Material, p: Double, how: Making) -> dict[str, float]:
    """The lowest probabilities of risk at which harmless open turns and everyday talk alarm no more than they may."""
    risk = 1 - p[:, 0]
    harmless = material.target == 0
    open_ones = risk[harmless & _whole(material)]
    talk = risk[harmless & np.array([t.origin.startswith("everyday/") for t in material.texts])]
    concern = max(_upper(open_ones, how.alarms_open), _upper(talk, how.alarms_everyday))
    return {"concern": round(concern, 4), "urgent": round(max(concern, _upper(talk, how.alarms_urgent)), 4)}


def _upper(values: Double, share: float) -> float:
    """The conformal bound: at most this share of the next values lies at or above it (Vovk et al. 2005)."""
    n = len(values)
    k = int(np.floor(share * (n + 1)))
    return float(np.sort(values)[n - k]) + 1e-6 if k else 1.0


def _whole(material: _Material) -> NDArray[np.bool_]:
    return np.array([t.origin.startswith("safety_turns") for t in material.texts])


def _metrics(material: _Material, p: Double, thresholds: dict[str, float]) -> dict[str, Any]:
    """Found and alarmed on whole turns of folds that were not seen, by language and class."""
    found = 1 - p[:, 0] >= thresholds["concern"]
    whole, target = _whole(material), material.target
    language = np.array([t.language for t in material.texts])

    def count(chosen: NDArray[np.bool_]) -> str:
        return f"{int(found[chosen].sum())}/{int(chosen.sum())}"

    by_class = {name: count(whole & (target == k)) for k, name in enumerate(material.classes)}
    by_language = {}
    for la in LANGUAGES:
        spoken = whole & (language == la)
        by_language[la] = {"found": count(spoken & (target != 0)), "alarms": count(spoken & (target == 0))}
    talk = np.array([t.origin.startswith("everyday/") for t in material.texts])
    return {"open turns in folds": by_class, "by language": by_language, "everyday talk": count(talk)}


def _card(
    side: Side, material: _Material, measured: dict[str, Any], turns: Sequence[Path], how: Making
) -> dict[str, Any]:
    sources = [p.name for p in turns]
    return {
        "what": f"head of the safety screen for the {side}'s side, over pieces of words and MiniLM's vectors",
        "classes": list(material.classes),
        "data": f"{len(material.texts)} texts: the rules' phrases and grammars of talk written for this project, "
        f"open turns ({', '.join(sources)}), comments of GoEmotions for everyday talk",
        "licence": "texts of this project Apache-2.0; GoEmotions Apache-2.0; encoder all-MiniLM-L6-v2 Apache-2.0",
        "split": f"{how.n_folds} folds by where a text came from; thresholds on what a fold had not seen; the phrases "
        "of the rules were written against the open turns, so that figures on these turns flatter",
        "limits": "the encoder was made for English; German, Spanish and French are read by pieces of words above all",
        **measured,
        **making(how.seed),
    }


def _log_softmax(logits: Any) -> Double:
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def main(argv: Sequence[str] | None = None) -> None:
    """Train and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds text/goemotions")
    parser.add_argument("--open", type=Path, nargs="+", required=True, help="suites of open turns; never a sealed one")
    parser.add_argument("--out", type=Path, default=head_folder())
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(json.dumps(train(asked.shared, asked.open, asked.out, Making(seed=asked.seed)), indent=1))


if __name__ == "__main__":
    main()
