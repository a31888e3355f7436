"""One emotion lexicon for training, parsing, serving and evaluation.

A tree of feelings in three tiers (data/emotions.toml), the surface forms of each node (data/emotion_words.toml), the
label sets of the corpora (data/emotion_labels.toml) and valence, arousal and dominance a node (data/emotion_vad.toml).

`EmotionLexicon.resolve` answers None for anything it does not know: it never guesses by similarity, and a negated
feeling ("not sad") is not turned into its opposite. Callers count the Nones; they do not drop them.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from affectgpt.errors import OptionError

__all__ = ["VAD", "EmotionLexicon", "EmotionNode", "EmotionWord", "Resolution", "load_lexicon", "normalise"]

Degree = Literal["slight", "moderate", "strong", "extreme"]
Tier = Literal[1, 2, 3]

MAX_TOKENS = 16
"""A longer text is a sentence, not the name of a feeling, and resolves to nothing."""

_COOLING = frozenset({"neutral", "indifference"})
"""A feeling "unemotionally" or "indifferently" had is as good as denied."""

# Tree distance, see `EmotionLexicon.distance`.
_EDGE = 1 / 6
_ACROSS = 1.0

# (ending, what stands in its place), tried in order; at least three letters must remain.
_ENDINGS = (
    ("iness", "y"), ("ness", ""), ("ily", "y"), ("bly", "ble"), ("ally", "al"), ("ally", ""), ("ly", ""), ("ly", "le"),
    ("iest", "y"), ("ier", "y"), ("est", ""), ("est", "e"), ("er", ""), ("er", "e"),
    ("ied", "y"), ("ed", ""), ("ed", "e"), ("ying", "y"), ("ing", ""), ("ing", "e"), ("ies", "y"), ("es", ""),
    ("s", ""),
)  # fmt: skip
_DOUBLED = re.compile(r"([bdglmnprt])\1$")
_NOT_A_WORD = re.compile(r"[^\w' ]|_")
_BETWEEN_FEELINGS = re.compile(
    r"[,;/&|+()\n]|\band\b|\bor\b|\bbut\b|\byet\b|\bas well as\b|\bmixed with\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class VAD:
    """Valence, arousal and dominance, each in [-1, 1], and where the three numbers come from."""

    valence: float
    arousal: float
    dominance: float
    source: str


@dataclass(frozen=True, slots=True)
class EmotionNode:
    """One feeling of the tree. `basic` is one of the eight basics; `added` marks a node that Parrott does not print."""

    name: str
    tier: Tier
    parent: str | None
    basic: str
    added: bool = False


@dataclass(frozen=True, slots=True)
class EmotionWord:
    """A word for a basic label; `intensity` in (0, 1] is its rank among the label's words, mildest first."""

    text: str
    intensity: float


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a text names: its node, the node's tier and basic, and the words that were recognised.

    `matched` is the surface form in the lexicon. `degree` is the class of the intensity word that stood before it
    (None without one). `blend` is the basic of a feeling in adverb form before it ("happily surprised": joy).
    `negated` is True where the form is a listed negation ("not amused": annoyance).
    """

    node: str
    tier: Tier
    basic: str
    matched: str
    degree: Degree | None = None
    blend: str | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class _LabelSet:
    """One label set: label -> node in the set's own order, basic -> label, and the source."""

    nodes: Mapping[str, str]
    by_node: Mapping[str, str]
    by_basic: Mapping[str, str]
    source: str


def normalise(text: str) -> str:
    """Lower case, no accents, straight apostrophes, hyphens and punctuation to single spaces."""
    plain = text.casefold()
    if not plain.isascii():
        decomposed = unicodedata.normalize("NFKD", plain.replace("\u2019", "'").replace("\u2018", "'")).casefold()
        plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(w for w in (t.strip("'") for t in _NOT_A_WORD.sub(" ", plain).split()) if w)


def _phrases(listed: str) -> tuple[str, ...]:
    return tuple(normalise(p) for p in listed.split(","))


def _stems(word: str) -> Iterator[str]:
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: len(word) - len(ending)]
            yield stem + instead
            if not instead and _DOUBLED.search(stem):
                yield stem[:-1]


class EmotionLexicon:
    """The tree, its words, its label sets and their V/A/D. Read-only; get the shared one from `load_lexicon()`."""

    def __init__(
        self,
        tree: Mapping[str, Any],
        words: Mapping[str, Any],
        labels: Mapping[str, Any],
        vad: Mapping[str, Any],
    ) -> None:
        self.nodes: Mapping[str, EmotionNode] = _grow(tree)
        self.forms: Mapping[str, str] = _index_forms(self.nodes, words["forms"])
        self.compounds: Mapping[str, tuple[str, str]] = {k: (a, b) for k, (a, b) in labels["compounds"].items()}
        self.sources: Mapping[str, str] = vad["sources"]
        self._never_inflected = frozenset(_phrases(words["never_inflected"]["words"]))
        self._negators = frozenset(_phrases(words["negation"]["words"]))
        self._negating = frozenset(_phrases(words["negation"]["phrases"]))
        self._degrees: dict[str, Degree] = {p: d for d, listed in words["degree"].items() for p in _phrases(listed)}
        self._frame = frozenset(_phrases(words["frame"]["words"]))
        self._sets = {name: self._label_set(s) for name, s in labels.items() if name != "compounds"}
        self._graded = {label: _grade(listed) for label, listed in tree["words"].items()}
        self._vad = {n: VAD(v, a, d, self.sources[s]) for n, (v, a, d, s) in vad["nodes"].items()}

    # ------------------------------------------------------------ words

    def resolve(self, text: str) -> Resolution | None:
        """The feeling that `text` names, or None when it names none, several, or one that is denied.

        A node's name, a listed form or a regular inflection of one, alone or among words that say how much
        ("slightly annoyed") or frame it ("a sense of relief"). Anything else in the text gives None, so a sentence
        never resolves by one word in it. Never raises.
        """
        tokens = normalise(text).split()
        if not tokens or len(tokens) > MAX_TOKENS:
            return None
        for size in range(len(tokens), 0, -1):
            for start in range(len(tokens) - size, -1, -1):
                form = self._form(tokens[start : start + size])
                if form is None:
                    continue
                found = self._in_context(form, tokens[:start], tokens[start + size :])
                if found is not None:
                    return found
        return None

    def resolve_all(self, text: str) -> tuple[tuple[str, Resolution | None], ...]:
        """Each feeling of a list ("angry, tired and sad") with what it resolves to, in order."""
        whole = self.resolve(text)
        if whole is not None:
            return ((text.strip(), whole),)
        pieces = [p.strip() for p in _BETWEEN_FEELINGS.split(text)]
        return tuple((p, self.resolve(p)) for p in pieces if normalise(p))

    def words(self, label: str) -> tuple[EmotionWord, ...]:
        """Open-vocabulary words for a label of the basic8 set, mildest first. Raises OptionError on another label."""
        if label not in self._graded:
            raise OptionError(f"no words for the label {label!r}", f"use one of {', '.join(self._graded)}")
        return self._graded[label]

    def _form(self, tokens: list[str]) -> str | None:
        """The listed form that these words are, exactly, joined or inflected."""
        spaced, joined = " ".join(tokens), "".join(tokens)
        if spaced in self.forms:
            return spaced
        if len(tokens) == 2 and joined in self.forms:
            return joined
        if len(tokens) > 1 or spaced in self._never_inflected or spaced in self._degrees:
            return None
        return next((s for s in _stems(spaced) if s in self.forms), None)

    def _in_context(self, form: str, before: list[str], after: list[str]) -> Resolution | None:
        """The form's node if every word around it is a frame or a degree, else None."""
        around = f" {' '.join(before)} | {' '.join(after)} "
        if self._negators.intersection(before) or self._negators.intersection(after):
            return None
        if any(f" {p} " in around for p in self._negating):
            return None
        degree, rest = self._take_degree(before)
        blend: str | None = None
        if rest and rest[-1].endswith("ly") and rest[-1] not in self._frame:
            adverb = self._form(rest[-1:])
            if adverb is None or self._cools(self.forms[adverb]):
                return None
            blend, rest = self.nodes[self.forms[adverb]].basic, rest[:-1]
            more, rest = self._take_degree(rest)
            degree = degree or more
        trailing, after = self._take_degree(after)
        if not self._frame.issuperset(rest) or not self._frame.issuperset(after):
            return None
        node = self.nodes[self.forms[form]]
        negated = not self._negators.isdisjoint(form.split())
        return Resolution(node.name, node.tier, node.basic, form, degree or trailing, blend, negated)

    def _cools(self, node: str) -> bool:
        return node in _COOLING or self.nodes[node].parent in _COOLING - {"neutral"}

    def _take_degree(self, tokens: list[str]) -> tuple[Degree | None, list[str]]:
        """The degree words taken out of `tokens`: the class of the last one, and the tokens left."""
        degree: Degree | None = None
        rest: list[str] = []
        i = 0
        while i < len(tokens):
            size = next((n for n in (4, 3, 2, 1) if " ".join(tokens[i : i + n]) in self._degrees), 0)
            if size:
                degree = self._degrees[" ".join(tokens[i : i + size])]
            else:
                rest.append(tokens[i])
            i += size or 1
        return degree, rest

    # ------------------------------------------------------------ tree

    def node(self, word: str) -> EmotionNode:
        """The node that a node's name or any known word stands for. Raises OptionError on an unknown one."""
        if word in self.nodes:
            return self.nodes[word]
        found = self.resolve(word)
        if found is None:
            raise OptionError(f"not in the emotion lexicon: {word!r}", "use resolve() for text that may be unknown")
        return self.nodes[found.node]

    def path(self, word: str) -> tuple[str, ...]:
        """Node names from the word's own node up to its primary. Raises OptionError on an unknown word."""
        node: EmotionNode | None = self.node(word)
        names: list[str] = []
        while node is not None:
            names.append(node.name)
            node = self.nodes[node.parent] if node.parent else None
        return tuple(names)

    def distance(self, a: str, b: str) -> float:
        """How far two feelings stand apart on the tree, in [0, 1]; a metric. Raises OptionError on an unknown word.

        0 for the same node; 1 across primaries; within a primary, 1/6 for each edge of the path between the two, so a
        leaf and its branch 1/6, two leaves of one branch 1/3, two leaves of two branches 2/3. It follows the tree,
        not the basics: disgust stands 1/6 from anger, where Parrott has it.
        """
        up, down = self.path(a), self.path(b)
        if up[-1] != down[-1]:
            return _ACROSS
        shared = len(set(up) & set(down))
        return _EDGE * (len(up) + len(down) - 2 * shared)

    def basic(self, word: str) -> str:
        """The basic emotion of a word or node: Ekman's six, contempt or neutral. Raises OptionError when unknown."""
        return self.node(word).basic

    def vad(self, word: str) -> VAD:
        """Valence, arousal and dominance of the word's node, with their source. Raises OptionError when unknown."""
        return self._vad[self.node(word).name]

    # ------------------------------------------------------------ label sets

    @property
    def label_sets(self) -> tuple[str, ...]:
        """Names of the label sets."""
        return tuple(self._sets)

    def labels(self, label_set: str) -> tuple[str, ...]:
        """The labels of a set, in the set's own order. Raises OptionError on an unknown set."""
        return tuple(self._set(label_set).nodes)

    def label_node(self, label: str, label_set: str) -> EmotionNode:
        """The node that a set's label stands for. Raises OptionError when the set has no such label."""
        nodes = self._set(label_set).nodes
        if label not in nodes:
            raise OptionError(f"{label!r} is no label of {label_set}", f"its labels are {', '.join(nodes)}")
        return self.nodes[nodes[label]]

    def to_set(self, word: str, label_set: str) -> str | None:
        """The label of a set that a word or node falls under; None when unknown or without a place in the set.

        The set's own spelling of a label comes first; then the nearest of the node and its ancestors that the set
        names, if it has the node's basic; then the set's label for the basic itself.
        """
        chosen = self._set(label_set)
        if word in chosen.nodes:
            return word
        node = self.nodes.get(word)
        if node is None:
            found = self.resolve(word)
            if found is None:
                return None
            node = self.nodes[found.node]
        for name in self.path(node.name):
            if name in chosen.by_node and self.nodes[name].basic == node.basic:
                return chosen.by_node[name]
        return chosen.by_basic.get(node.basic)

    def convert(self, label: str, source: str, target: str) -> str | None:
        """A label of one set as a label of another; None where the target has no place for it."""
        return self.to_set(self.label_node(label, source).name, target)

    def compound(self, a: str, b: str) -> str | None:
        """The compound expression of two feelings' basics (order does not matter), or None if they form none."""
        pair = {self.basic(a), self.basic(b)}
        return next((name for name, parts in self.compounds.items() if set(parts) == pair), None)

    def _set(self, name: str) -> _LabelSet:
        if name not in self._sets:
            raise OptionError(f"no label set {name!r}", f"use one of {', '.join(self._sets)}")
        return self._sets[name]

    def _label_set(self, table: Mapping[str, Any]) -> _LabelSet:
        nodes: dict[str, str] = table["nodes"]
        by_node = {node: label for label, node in nodes.items()}
        by_basic = {self.nodes[n].basic: by_node[n] for n in by_node if n == self.nodes[n].basic}
        for basic, other in table.get("fallback", {}).items():
            by_basic[basic] = by_node[nodes.get(other, other)]
        return _LabelSet(nodes, by_node, by_basic, table["source"])


def _grow(tree: Mapping[str, Any]) -> dict[str, EmotionNode]:
    """All nodes by name, parents before children, each with its basic."""
    exceptions = {e["node"]: e["basic"] for e in tree["basic_exceptions"]}
    nodes: dict[str, EmotionNode] = {}

    def add(name: str, tier: Tier, parent: str | None, added: bool) -> None:
        if name in nodes:
            return
        inherited = nodes[parent].basic if parent else tree["basics"][name]
        nodes[name] = EmotionNode(name, tier, parent, exceptions.get(name, inherited), added)

    for part, added in ((tree["tree"], False), (tree["added"], True)):
        for primary, branches in part.items():
            add(primary, 1, None, added)
            for branch, leaves in branches.items():
                add(branch, 2, primary, added)
                for leaf in filter(None, leaves.split(", ")):
                    add(leaf, 3, branch, added)
    return nodes


def _index_forms(nodes: Mapping[str, EmotionNode], listed: Mapping[str, str]) -> dict[str, str]:
    """Surface form -> node; a node's name is a form of its own node, whatever a list says."""
    forms = {normalise(form): node for node, words in listed.items() for form in words.split(",")}
    return forms | {name: name for name in nodes}


def _grade(listed: str) -> tuple[EmotionWord, ...]:
    words = listed.split(", ")
    return tuple(EmotionWord(w, (i + 1) / len(words)) for i, w in enumerate(words))


@lru_cache(maxsize=1)
def load_lexicon() -> EmotionLexicon:
    """The package's lexicon, read once."""
    folder = Path(__file__).parent / "data"
    tables = (
        tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
        for name in ("emotions", "emotion_words", "emotion_labels", "emotion_vad")
    )
    return EmotionLexicon(*tables)
