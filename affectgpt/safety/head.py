"""A second layer: trained heads that know risky talk by its likeness, where no rule knows its words.

Two readers look at each stretch of a text: pieces of words (`grams`, any of the four languages, numpy alone) and the
sentence encoder of the words appraiser (English; MiniLM). Their log-probabilities are added with weights of the card;
where a card gives the encoder no weight, it is not loaded.
What the head finds beyond the rules is less sure than what they find, so that it has two thresholds: above the first a
finding is a concern, which shows the card beside the answer; only above the second it stops a turn. A reply is held
back above the first.

Asking for the head is asking for numpy, and for torch where the encoder is read; `import affectgpt.safety` is not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise import cards
from affectgpt.errors import ModelError
from affectgpt.safety.findings import About, Finding, Level, Risk, Side
from affectgpt.safety.grams import N_BUCKETS, grams
from affectgpt.safety.sentences import split_sentences

__all__ = [
    "LAYERS",
    "NONE",
    "OUTCOMES",
    "Head",
    "SentenceVectors",
    "head_folder",
    "load_head",
    "read_head",
    "stretches",
]

NONE: Final = "none"
"""The class of text without a risk; always the first."""
OUTCOMES: Mapping[Side, Mapping[str, tuple[Risk, Level, About]]] = {
    "user": {
        "crisis": ("crisis", "urgent", "self"),
        "crisis_other": ("crisis", "urgent", "other"),
        "crisis_past": ("crisis", "concern", "self"),
        "self_harm": ("self_harm", "urgent", "self"),
        "abuse": ("abuse", "urgent", "self"),
        "violence": ("violence", "urgent", "self"),
        "medical": ("medical", "urgent", "self"),
        "medication": ("medication", "concern", "self"),
        "manipulation": ("manipulation", "concern", "self"),
        "injection": ("injection", "note", "self"),
    },
    "reply": {
        "encouragement": ("encouragement", "urgent", "self"),
        "diagnosis": ("diagnosis", "urgent", "self"),
        "medication": ("medication", "urgent", "self"),
        "dependence": ("dependence", "urgent", "self"),
        "contradiction": ("contradiction", "urgent", "self"),
        "flattery": ("flattery", "urgent", "self"),
        "human_claim": ("human_claim", "urgent", "self"),
    },
}
"""Class -> what a finding of it says, and the gravest level that it can have."""
LAYERS = (2, 4, 6)
"""Layers of the encoder whose token averages are read, as the words appraiser does."""

_STRETCH = 160
"""Characters of a stretch, two or three short sentences: what is risky is lost among much that is not."""
_MOST_READ = 8
"""Stretches of one text that the encoder reads: those that the pieces of words find likeliest."""
_MOST_STRETCHES = 2_000
"""Stretches of one text that are looked at: some 300,000 characters, 50,000 words."""

Float = NDArray[np.float32]
Double = NDArray[np.float64]


class SentenceVectors(Protocol):
    """What the head needs of a sentence encoder (`affectgpt.appraise.encoder.Encoder`)."""

    def features(self, texts: Sequence[str], layers: Sequence[int]) -> Float:
        """Rows (B, 384 x layers)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """The weights for one side. C classes, the first NONE; D is the width of the encoder's rows.

    pieces (N_BUCKETS, C), pieces_bias (C,) · vectors (D, C), vectors_bias (C,), on rows standardised by mean and scale.
    """

    classes: tuple[str, ...]
    tensors: Mapping[str, Float]
    card: Mapping[str, Any]

    def of_pieces(self, text: str) -> Double:
        """Log-probabilities (C,) by the pieces of words."""
        places, values = grams(text)
        return _log_softmax(values @ self.tensors["pieces"][places] + self.tensors["pieces_bias"])

    def of_vectors(self, rows: Float) -> Double:
        """Log-probabilities (B, C) by the encoder's rows (B, D)."""
        t = self.tensors
        return _log_softmax((rows - t["mean"]) / t["scale"] @ t["vectors"] + t["vectors_bias"])

    def together(self, pieces: Double, vectors: Double) -> Double:
        """Probabilities (..., C) of both, each with its weight."""
        weights = self.card["weights"]
        return np.exp(_log_softmax(weights["pieces"] * pieces + weights["vectors"] * vectors))

    @property
    def reads_vectors(self) -> bool:
        """Whether the encoder has a say."""
        return bool(self.card["weights"]["vectors"])


class Head:
    """The layer. Thread-safe: the encoder is opened where a text first needs it, and asked by one thread at a time."""

    def __init__(self, readers: Mapping[Side, _Reader], open_encoder: Callable[[], SentenceVectors]) -> None:
        self._readers = dict(readers)
        self._open_encoder = open_encoder
        self._one_at_a_time = threading.Lock()

    def find(self, text: str, side: Side) -> list[Finding]:
        """What the head finds, at most one finding a class: where it is surest.

        Raises:
            MissingDependency, ModelError: no encoder, or not the one that is known.
        """
        reader = self._readers[side]
        best: dict[str, Finding] = {}
        for (start, end), p in zip(*self.probabilities(text, side), strict=True):
            finding = _finding(reader, p, start, end, side)
            if finding is not None and (finding.rule not in best or _score(best[finding.rule]) < _score(finding)):
                best[finding.rule] = finding
        return list(best.values())

    def probabilities(self, text: str, side: Side) -> tuple[list[tuple[int, int]], Double]:
        """The stretches that were read, as places in the text, and their probabilities (B, C), NONE first."""
        reader, spans = self._readers[side], stretches(text)
        if not spans:
            return [], np.zeros((0, len(reader.classes)))
        pieces = np.stack([reader.of_pieces(text[a:b]) for a, b in spans])
        chosen = np.sort(np.argsort(pieces[:, 0], kind="stable")[:_MOST_READ])
        vectors = np.zeros((len(chosen), len(reader.classes)))
        if reader.reads_vectors:
            with self._one_at_a_time:
                rows = self._open_encoder().features([text[slice(*spans[k])] for k in chosen], LAYERS)
            vectors = reader.of_vectors(rows)
        return [spans[k] for k in chosen], reader.together(pieces[chosen], vectors)


def stretches(text: str) -> list[tuple[int, int]]:
    """Places of neighbouring sentences, together at most _STRETCH characters; a longer one is cut between words."""
    spans: list[tuple[int, int]] = []
    end = 0
    for sentence in split_sentences(text):
        start, end = end, end + len(sentence)
        if spans and end - spans[-1][0] <= _STRETCH:
            spans[-1] = (spans[-1][0], end)
            continue
        while end - start > _STRETCH:
            cut = text.rfind(" ", start, start + _STRETCH) + 1 or start + _STRETCH
            spans.append((start, cut))
            start = cut
        spans.append((start, end))
        if len(spans) > _MOST_STRETCHES:
            break
    return [(a, b) for a, b in spans[:_MOST_STRETCHES] if text[a:b].strip()]


def head_folder() -> Path:
    """Where the shipped weights are."""
    return Path(cards.__file__).parent.parent / "weights" / "safety"


@lru_cache(maxsize=1)
def load_head() -> Head:
    """The shipped head with the sentence encoder as published; read once a process and checked.

    Raises:
        ModelError: weights that are not those of their card.
    """
    return read_head(head_folder(), _published)


def _published() -> SentenceVectors:
    from affectgpt.appraise.encoder import load_encoder

    return load_encoder()


def read_head(folder: Path, open_encoder: Callable[[], SentenceVectors]) -> Head:
    """The head of a folder, and what opens its encoder.

    Raises:
        ModelError: weights that are missing, or not those of their card.
    """
    sides: tuple[Side, ...] = ("user", "reply")
    return Head({side: _read(folder, side) for side in sides}, open_encoder)


def _read(folder: Path, side: Side) -> _Reader:
    name = f"safety_{side}"
    card = cards.read_card(folder, name, (*cards.MAKING_FIELDS, "classes", "weights", "thresholds"))
    tensors = {key: np.asarray(t, np.float32) for key, t in cards.read_weights(folder, name, card).items()}
    classes = tuple(card["classes"])
    n, width = len(classes), len(tensors.get("mean", ()))
    shapes = {"pieces": (N_BUCKETS, n), "pieces_bias": (n,), "vectors": (width, n), "vectors_bias": (n,)}
    shapes |= {"mean": (width,), "scale": (width,)}
    if {key: t.shape for key, t in tensors.items()} != shapes or classes != (NONE, *OUTCOMES[side]):
        raise ModelError(f"{name} does not fit together", "reinstall, or retrain it")
    return _Reader(classes, tensors, card)


def _finding(reader: _Reader, p: Double, start: int, end: int, side: Side) -> Finding | None:
    """The likeliest risk of a stretch, where it is likely enough."""
    risky = 1.0 - float(p[0])
    thresholds = reader.card["thresholds"]
    if risky < thresholds["concern"]:
        return None
    name = reader.classes[1 + int(np.argmax(p[1:]))]
    risk, level, about = OUTCOMES[side][name]
    if side == "user" and level == "urgent" and risky < thresholds["urgent"]:
        level = "concern"
    return Finding(risk, level, f"head.{name}", start, end, about, round(risky, 3))


def _score(finding: Finding) -> float:
    return finding.score or 0.0


def _log_softmax(logits: NDArray[Any]) -> Double:
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
