"""What the safety head learns from: the rules' phrases and examples as sentences, small grammars of talk, and turns.

Everything but GoEmotions (Apache-2.0) was written for this project. Corpora under CC BY-NC are for measuring alone.
"""

from __future__ import annotations

import csv
import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from affectgpt.errors import InputError
from affectgpt.safety.findings import Side
from affectgpt.safety.head import NONE
from affectgpt.safety.rules import Rule, load_rules

__all__ = ["Text", "class_of", "everyday", "from_grammars", "from_rules", "from_turns", "sample"]

_PART = re.compile(r"\s*(<\w+>|~\d*|[()\[\]|/$?#]|[^\s()\[\]|/$?#<>~]+)")
_BETWEEN = {
    "en": ["just", "really", "so", "then", "the", "my", "it", "to", "with", "now", "and", "when", "that"],
    "de": ["so", "dann", "wirklich", "jetzt", "mit", "dem", "der", "es", "und", "ganz", "doch", "mal"],
    "es": ["ya", "de", "verdad", "con", "el", "la", "y", "ahora", "que", "muy", "lo"],
    "fr": ["vraiment", "le", "la", "et", "maintenant", "avec", "que", "très", "ce", "de"],
}
"""Words that fill the gaps of a phrase."""

# Classes of the suites whose names are not the head's.
_CLASSES = {
    "crisis_explicit": "crisis", "crisis_indirect": "crisis", "crisis_veiled": "crisis", "crisis_third": "crisis_other",
    "idiom": NONE, "plain": NONE, "mention": NONE, "reply_fine": NONE, "reply_plain": NONE,
    "reply_human": "human_claim",
}  # fmt: skip
# Rules that are a head's class of their own; the others go by their risk. Words that may mean anything teach nothing.
_RULES = {"crisis.other": "crisis_other", "crisis.past": "crisis_past", "crisis.bereaved": "crisis_past"}
_UNTAUGHT = frozenset({"crisis.unclear"})


@dataclass(frozen=True, slots=True)
class Text:
    """One text to learn: its side, class and language, and where it came from (`origin`: one phrase, one turn)."""

    text: str
    side: Side
    name: str
    language: str
    origin: str


def sample(phrase: str, groups: Mapping[str, str], language: str, rng: random.Random) -> str:
    """One sentence out of a rule's phrase or a grammar's line: alternatives drawn, gaps filled or left."""
    parts = _PART.findall(phrase)[::-1]
    words = _drawn(parts, groups, language, rng)
    return re.sub(r"\s+([?.,;:])", r"\1", " ".join(w for w in words if w)).strip()


def _drawn(parts: list[str], groups: Mapping[str, str], language: str, rng: random.Random) -> list[str]:
    """A draw of what stands up to the next closing bracket."""
    options: list[list[str]] = [[]]
    while parts and parts[-1] not in (")", "]"):
        part = parts.pop()
        if part == "|":
            options.append([])
        else:
            options[-1] += _one(part, parts, groups, language, rng)
    return rng.choice(options)


def _one(part: str, parts: list[str], groups: Mapping[str, str], language: str, rng: random.Random) -> list[str]:
    if part in ("(", "["):
        inner = _drawn(parts, groups, language, rng)
        parts.pop()
        return inner if part == "(" or rng.random() < 0.4 else []
    if part.startswith("<"):
        return _drawn(_PART.findall(groups.get(part[1:-1], ""))[::-1], groups, language, rng)
    if part.startswith("~"):
        n = rng.choice([0, 0, 1, 1, 2])
        return rng.choices(_BETWEEN[language], k=min(n, int(part[1:] or 2)))
    known = {"#": str(rng.choice([2, 5, 10, 20, 50])), "/": ".", "$": ""}
    return [known.get(part, part.rstrip("*"))]


def from_rules(per_phrase: int, rng: random.Random) -> Iterator[Text]:
    """The rules' phrases as texts of their class, their exceptions as texts without risk, and their examples."""
    source = tomllib.loads(files("affectgpt").joinpath("data/safety_rules.toml").read_text("utf-8"))
    for rule in load_rules().rules:
        name = class_of(rule)
        if rule.id in _UNTAUGHT:
            continue
        for is_spared, table in ((False, rule.phrases), (True, rule.unless)):
            for language, phrases in (table or {}).items():
                for k, phrase in enumerate(phrases):
                    origin = f"{rule.id}/{language}/{'unless' if is_spared else 'phrase'}/{k}"
                    for _ in range(per_phrase):
                        text = sample(phrase, source["groups"].get(language, {}), language, rng)
                        yield Text(text, rule.side, NONE if is_spared else name, language, origin)
        for is_silent, examples in ((False, rule.fires), (True, rule.silent)):
            for language, texts in (examples or {}).items():
                for text in texts:
                    yield Text(text, rule.side, NONE if is_silent else name, language, f"{rule.id}/{text}")


def class_of(rule: Rule) -> str:
    """The head's class of a rule's findings."""
    return _RULES.get(rule.id, rule.risk)


def from_grammars(per_line: int, rng: random.Random) -> Iterator[Text]:
    """Sentences of safety_talk.toml."""
    table = tomllib.loads(Path(__file__).with_name("safety_talk.toml").read_text("utf-8"))
    for language, classes in table.items():
        for name, lines in classes.items():
            side: Side = "reply" if name.startswith("reply_") else "user"
            for k, line in enumerate(lines):
                for _ in range(per_line):
                    text = sample(line, {}, language, rng)
                    yield Text(text, side, _head_class(name), language, f"talk/{language}/{name}/{k}")


def from_turns(path: Path) -> list[Text]:
    """The turns of a suite file."""
    found = []
    for language, classes in tomllib.loads(path.read_text("utf-8")).items():
        for name, turns in classes.items():
            side: Side = "reply" if name.startswith("reply_") else "user"
            for turn in turns:
                found.append(Text(turn, side, _turn_class(name, turn), language, f"{path.stem}/{turn}"))
    return found


def _turn_class(name: str, turn: str) -> str:
    """A suite's "abuse" holds threats as well; the rules, which know their open half, say which is which."""
    if name == "abuse" and any(f.risk == "violence" for f in load_rules().find(turn, "user")):
        return "violence"
    return _head_class(name)


def _head_class(name: str) -> str:
    return _CLASSES.get(name, name.removeprefix("reply_"))


def everyday(shared: Path, part: str, n: int, rng: random.Random) -> list[str]:
    """Comments of GoEmotions (Demszky et al. 2020; Apache-2.0) in which no rule finds anything.

    Raises:
        InputError: the corpus is not there.
    """
    path = shared / "text" / "goemotions" / f"{part}.tsv"
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            lines = [row[0] for row in csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    except OSError as e:
        raise InputError(f"no GoEmotions at {path}: {e}", "say where the text corpora are") from e
    rng.shuffle(lines)
    return _unalarming(lines, n)


def _unalarming(lines: Sequence[str], n: int) -> list[str]:
    rules = load_rules()
    kept: list[str] = []
    for line in lines:
        if len(kept) == n:
            break
        if not rules.find(line, "user"):
            kept.append(line)
    return kept
