"""What the words say: sentence vectors through trained heads to feelings, dimensions and the words that weigh most.

Everything after the encoder is numpy. `features`, `own_rows` and `dialogue_rows` are the heads' inputs; training
(finetune/appraise_words.py) calls the same three, so that a head never meets a row of another make.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.encoder import Encoder, load_encoder
from affectgpt.appraise.heads import Head, load_head
from affectgpt.appraise.unlisted import UnlistedFeeling, UnlistedHeads, feelings
from affectgpt.emotions import load_lexicon
from affectgpt.errors import ModelError, OptionError
from affectgpt.records import EmotionDistribution

__all__ = [
    "LAYERS",
    "N_CONTEXT",
    "Perspective",
    "WordsAppraiser",
    "dialogue_rows",
    "own_rows",
]

LAYERS = (2, 4, 6)
"""Encoder layers whose token averages the heads read; on held-out MELD dialogues the three together were better by
four points of weighted F1 than the last alone, whose vectors are made for topic and put opposites side by side."""
N_CONTEXT = 6
"""Earlier utterances of a dialogue that are read."""

Perspective = Literal["both", "reader", "writer"]
DIMENSIONS = ("valence", "arousal", "dominance")
HEADS = {"goemotions28": "words_goemotions28", "empathetic32": "words_empathetic32", "meld7": "words_meld7",
         "basic8": "words_basic8"}  # fmt: skip
"""Label set -> head. `meld7` and `basic8` read the dialogue's earlier utterances as well."""
_IN_DIALOGUE = frozenset({"meld7", "basic8"})

Float = NDArray[np.float32]
Double = NDArray[np.float64]


class WordsAppraiser:
    """Feelings from words. Loads the set's tuned encoder and its heads at the first call that needs them."""

    def __init__(self, permissive: bool = False) -> None:
        self._permissive = permissive

    @property
    def _encoder(self) -> Encoder:
        """The encoder that the set's heads were fitted on: tuned, where their cards name an update."""
        if not self._load(HEADS["goemotions28"]).card["input"].get("update"):
            return load_encoder()
        return load_encoder(tuned="permissive" if self._permissive else "default")

    def _load(self, name: str) -> Head:
        return load_head(name, self._permissive)

    def _head(self, name: str) -> Head:
        head = self._load(name)
        if head.card["input"].get("update", "") != self._encoder.update_sha256:
            raise ModelError(f"head {name} was fitted on another encoder's vectors", "reinstall, or retrain the words")
        return head

    def embed(self, texts: Sequence[str]) -> Float:
        """Sentence embeddings (B, 384) of unit length, by topic: the encoder as published.

        Raises:
            InputError: what is no text.
        """
        return load_encoder().embed(texts)

    def read(self, utterances: Sequence[str], context: Sequence[str] = ()) -> EmotionDistribution:
        """What a person's utterances, in the order said, make likely over the basic8 set.

        Each is read with those before it (`context` first) and counts by its number of words. Valence, arousal and
        dominance are EmoBank's, writer's and reader's together. No word at all gives the even distribution.

        Raises:
            InputError: what is no text. ModelError, MissingDependency: heads or encoder.
        """
        labels = tuple(load_lexicon().labels("basic8"))
        said = [u for u in utterances if u.strip()]
        if not said:
            return EmotionDistribution(dict.fromkeys(labels, 1 / len(labels)), 0.0, 0.0, 0.0)
        weights = np.array([len(u.split()) for u in said], dtype=np.float64)
        weights /= weights.sum()
        head, features, history = self._head(HEADS["basic8"]), self._features([*context, *said]), []
        logits = self._tags(features)
        history = [logits[max(0, k - N_CONTEXT) : k] for k in range(len(context), len(logits))]
        own = own_rows(features, logits)[len(context) :]
        read = weights @ head.probabilities(dialogue_rows(own, history))
        valence, arousal, dominance = weights @ self._values(own, "both")
        given = dict(zip(head.classes, read, strict=True))
        spread = {label: float(given.get(label, 0.0)) for label in labels}
        return EmotionDistribution(spread, float(valence), float(arousal), float(dominance))

    def probabilities(
        self, label_set: str, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> dict[str, Double]:
        """Label -> probabilities (B,) over one of HEADS; `contexts` holds what was said before each text, oldest first.

        goemotions28 is multi-label: its probabilities do not sum to one.

        Raises:
            OptionError: no such label set. InputError: what is no text. ModelError: this set of heads has none for it.
        """
        if label_set not in HEADS:
            raise OptionError(f"no head for the label set {label_set!r}", f"use one of {', '.join(HEADS)}")
        head = self._head(HEADS[label_set])
        features = self._features(texts)
        if label_set == "goemotions28":
            return _by_class(head, head.probabilities(features))
        rows = own_rows(features, self._tags(features))
        if label_set in _IN_DIALOGUE:
            rows = dialogue_rows(rows, self._histories(texts, contexts))
        return _by_class(head, head.probabilities(rows))

    def dimensions(self, texts: Sequence[str], perspective: Perspective = "both") -> Double:
        """Valence, arousal and dominance (B, 3) in [-1, 1] as EmoBank's raters would give them.

        `writer`: what the author would feel; `reader`: what a reader would; `both`: the two together.
        """
        features = self._features(texts)
        return self._values(own_rows(features, self._tags(features)), perspective)

    def cause(self, text: str) -> list[tuple[str, float]]:
        """Each word as it stands with its influence in [-1, 1] on the likeliest feeling: what its absence takes away.

        Leave-one-out: the probability of the likeliest GoEmotions feeling but neutral, less the same without the word.
        """
        words = text.split()[:N_WORDS]
        if not words:
            return []
        without = [" ".join(words[:k] + words[k + 1 :]) for k in range(len(words))]
        head = self._head(HEADS["goemotions28"])
        found = head.probabilities(self._features([" ".join(words), *without]))
        felt = [k for k, label in enumerate(head.classes) if label != "neutral"]
        top = felt[int(found[0, felt].argmax())]
        return [(word, float(found[0, top] - found[k + 1, top])) for k, word in enumerate(words)]

    def cause_words(self, text: str) -> list[tuple[str, float]]:
        """Each word as it stands with the probability that it lies in the span that caused an emotion.

        Raises:
            ModelError: the permissive set, which has no such head.
        """
        head, read = self._head("words_cause"), self._encoder.words([text])[0]
        if not read.spans:
            return []
        p = head.probabilities(read.states)[:, 0]
        return [(text[a:b], float(x)) for (a, b), x in zip(read.spans, p, strict=True)]

    def resolve(self, word: str) -> UnlistedFeeling | None:
        """The feeling that a word or short phrase unknown to the lexicon may mean; None where that is in doubt.

        A word that the lexicon knows is answered by it, with similarity 1 and the sign of its valence.
        """
        lexicon = load_lexicon()
        known = lexicon.resolve(word)
        if known is not None:
            return UnlistedFeeling(known.node, known.basic, 1.0, float(np.sign(lexicon.vad(known.node).valence)))
        heads = UnlistedHeads(*(self._load(f"words_unlisted_{part}") for part in ("nodes", "polarity", "basic")))
        return feelings([word], load_encoder(), heads)[0]

    def _features(self, texts: Sequence[str]) -> Float:
        return self._encoder.features(texts, LAYERS)

    def _tags(self, features: Float) -> Double:
        return self._head(HEADS["goemotions28"]).logits(features)

    def _values(self, rows: Float, perspective: Perspective) -> Double:
        head = self._head("words_vad")
        columns = [head.classes.index(f"{name}_{perspective}") for name in DIMENSIONS]
        return head.values(rows)[:, columns]

    def _histories(self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None) -> list[Double]:
        """The GoEmotions logits of what was said before each text; an utterance that recurs is embedded once."""
        before = [tuple(c)[-N_CONTEXT:] for c in contexts] if contexts is not None else [()] * len(texts)
        unlike = sorted({u for c in before for u in c})
        place = {u: k for k, u in enumerate(unlike)}
        logits = self._tags(self._features(unlike))
        return [logits[[place[u] for u in c]] for c in before]


N_WORDS = 64
"""Words of a text that `cause` weighs: one more embedding a word."""


def own_rows(features: Float, tags: Double) -> Float:
    """Rows (B, 1152 + 28 + 28): an utterance's features with its GoEmotions logits and their squashed form.

    The squashed form lets linear heads use what is not linear in the logits: EmoBank's valence gains .03 by it.
    """
    logits = tags.astype(np.float32)
    return np.concatenate([features, logits, np.float32(0.5) * (1 + np.tanh(logits / 2))], axis=1)


def dialogue_rows(own: Float, histories: Sequence[Double]) -> Float:
    """Rows with what was said before: GoEmotions logits of the last utterance, the last but one, and the mean of all.

    own (B, 1208) · histories: B of (up to N_CONTEXT, 28), oldest first. Who said it is left out:
    not every caller knows.
    """
    n_tags = next((h.shape[1] for h in histories if h.ndim == 2), 28)
    rows = np.zeros((len(own), 3 * n_tags + 3), np.float32)
    for row, history in zip(rows, histories, strict=True):
        n = len(history)
        if n >= 1:
            row[:n_tags], row[2 * n_tags : 3 * n_tags] = history[-1], history.mean(axis=0)
        if n >= 2:
            row[n_tags : 2 * n_tags] = history[-2]
        row[3 * n_tags :] = n >= 1, n >= 2, n / N_CONTEXT
    return np.concatenate([own, rows], axis=1)


def _by_class(head: Head, found: Double) -> dict[str, Double]:
    return {label: found[:, k] for k, label in enumerate(head.classes)}
