"""The rules of the screen: phrases, exceptions and denials from data/safety_rules.toml, run over a folded text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast, get_args

from affectgpt.errors import OptionError
from affectgpt.safety.automaton import Automaton, Match
from affectgpt.safety.findings import LEVELS, RISKS, About, Finding, Level, Risk, Side
from affectgpt.safety.folding import Folded, Word, fold, fold_word, words_of
from affectgpt.safety.phrases import read_phrase

__all__ = ["LANGUAGES", "Rule", "Rules", "load_rules", "read_rules"]

LANGUAGES = ("en", "de", "es", "fr")

Denied = Literal["keep", "soften", "drop"]
"""What a denial right before a phrase does ("I won't …"): nothing, lower urgent to concern, or drop the finding."""

_MOST_FINDINGS = 16
"""Findings of one rule in one text. What follows says nothing new."""
_DENIAL_REACH = 4
"""So many words before a phrase are looked at for a denial."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `reason` says why it stands; `replaces` names rules whose findings give way where this one's overlap.

    `literals` are found anywhere in the folded text, `line_starts` at the beginning of a line, in any language. `fires`
    are texts in which the rule must find something, `silent` texts in which it must not.
    """

    id: str
    risk: Risk
    side: Side
    level: Level
    reason: str
    about: About = "self"
    denied: Denied = "keep"
    replaces: tuple[str, ...] = ()
    phrases: Mapping[str, tuple[str, ...]] | None = None
    unless: Mapping[str, tuple[str, ...]] | None = None
    fires: Mapping[str, tuple[str, ...]] | None = None
    silent: Mapping[str, tuple[str, ...]] | None = None
    literals: tuple[str, ...] = ()
    line_starts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Denials:
    """Words that deny, words that undo a denial ("not sure"), and words that begin something new ("but")."""

    words: frozenset[str]
    undoing: frozenset[str]
    turning: frozenset[str]


class Rules:
    """Every rule, compiled for both sides of a turn. A layer of the screen; needs no model and no network."""

    def __init__(self, rules: Sequence[Rule], groups: Mapping[str, Mapping[str, str]], denials: _Denials) -> None:
        self.rules = tuple(rules)
        self._denials = denials
        self._compiled: dict[Side, _Compiled] = {
            side: _Compiled([r for r in rules if r.side == side], groups, denials.words) for side in get_args(Side)
        }

    def find(self, text: str, side: Side) -> list[Finding]:
        """What the rules of this side find, in order of place."""
        folded = fold(text)
        compiled = self._compiled[side]
        words = words_of(folded, compiled.words)
        hits = [h for hit in compiled.hits(words) if (h := self._weighed(hit, words)) is not None]
        kept = [_finding(hit, words) for hit in _standing(hits)]
        return sorted([*kept, *_literal_findings(compiled.rules, folded)], key=lambda f: (f.start, f.end))

    def _weighed(self, hit: _Hit, words: Sequence[Word]) -> _Hit | None:
        """The hit after what stands right before it: softened, or None, where it is denied."""
        if hit.rule.denied == "keep" or not self._is_denied(words, hit.match.first):
            return hit
        if hit.rule.denied == "drop":
            return None
        return replace(hit, level="concern")

    def _is_denied(self, words: Sequence[Word], first: int) -> bool:
        for at in range(first - 1, max(first - 1 - _DENIAL_REACH, 0), -1):
            forms = words[at].forms
            if words[at].is_boundary or words[at + 1].after_comma or self._denials.turning.intersection(forms):
                return False
            if self._denials.undoing.intersection(forms):
                return False
            if self._denials.words.intersection(forms):
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Hit:
    rule: Rule
    level: Level
    match: Match


class _Compiled:
    """The rules of one side in one automaton."""

    def __init__(self, rules: Sequence[Rule], groups: Mapping[str, Mapping[str, str]], denials: frozenset[str]) -> None:
        self.rules = rules
        self._of: list[tuple[Rule, bool]] = []
        phrases = []
        for rule in rules:
            for is_exception, table in ((False, rule.phrases), (True, rule.unless)):
                for language, texts in (table or {}).items():
                    for text in texts:
                        phrases.append(read_phrase(text, groups.get(language, {})))
                        self._of.append((rule, is_exception))
        self._automaton = Automaton(phrases, denials)
        self.words = self._automaton.words

    def hits(self, words: Sequence[Word]) -> list[_Hit]:
        """What the phrases match, but for what an exception of the same rule overlaps; a few of each rule."""
        spared: dict[str, set[int]] = {}
        matched: list[tuple[Rule, Match]] = []
        for match in self._automaton.find(words):
            rule, is_exception = self._of[match.phrase]
            if is_exception:
                spared.setdefault(rule.id, set()).update(range(match.first, match.last + 1))
            else:
                matched.append((rule, match))
        counts: dict[str, int] = {}
        hits = []
        for rule, match in matched:
            if not spared.get(rule.id, set()).isdisjoint(range(match.first, match.last + 1)):
                continue
            counts[rule.id] = counts.get(rule.id, 0) + 1
            if counts[rule.id] <= _MOST_FINDINGS:
                hits.append(_Hit(rule, rule.level, match))
        return hits


def _standing(hits: Sequence[_Hit]) -> Iterator[_Hit]:
    """The hits that no other replaces, one for those of a rule that overlap."""
    replaced: dict[str, set[int]] = {}
    for hit in hits:
        for name in hit.rule.replaces:
            replaced.setdefault(name, set()).update(range(hit.match.first, hit.match.last + 1))
    widest: dict[str, list[_Hit]] = {}
    for hit in hits:
        covered = range(hit.match.first, hit.match.last + 1)
        if not replaced.get(hit.rule.id, set()).isdisjoint(covered):
            continue
        own = widest.setdefault(hit.rule.id, [])
        if own and own[-1].match.last >= hit.match.first:
            own[-1] = _merged(own[-1], hit)
        else:
            own.append(hit)
    for own in widest.values():
        yield from own


def _merged(one: _Hit, other: _Hit) -> _Hit:
    first = min(one.match.first, other.match.first)
    match = Match(one.match.phrase, first, max(one.match.last, other.match.last))
    # Two readings of one place: the denied one knows more of it.
    return _Hit(one.rule, max(one.level, other.level, key=LEVELS.index), match)


def _finding(hit: _Hit, words: Sequence[Word]) -> Finding:
    start, end = words[hit.match.first].start, words[hit.match.last].end
    return Finding(hit.rule.risk, hit.level, hit.rule.id, start, max(start, end), hit.rule.about)


def _literal_findings(rules: Sequence[Rule], folded: Folded) -> Iterator[Finding]:
    """The first place of each literal, and of each line start; by plain search."""
    for rule in rules:
        for literal in rule.literals:
            if (at := folded.text.find(literal)) >= 0:
                yield _at(rule, folded, at, len(literal))
        if rule.line_starts:
            yield from _line_starts(rule, folded)


def _line_starts(rule: Rule, folded: Folded) -> Iterator[Finding]:
    at = 0
    for line in folded.text.split("\n"):
        bare = line.lstrip(" \t#*>_-[(<")
        head = bare[:48].replace(" ", "").replace("*", "").replace("_", "")
        found = next((s for s in rule.line_starts if head.startswith(s)), None)
        if found is not None:
            yield _at(rule, folded, at + len(line) - len(bare), len(found))
            return
        at += len(line) + 1


def _at(rule: Rule, folded: Folded, at: int, length: int) -> Finding:
    end = min(at + length, len(folded.origin)) - 1
    return Finding(rule.risk, rule.level, rule.id, folded.origin[at], folded.origin[end] + 1, rule.about)


@cache
def load_rules() -> Rules:
    """The rules that ship, compiled once a process."""
    return read_rules(files("affectgpt").joinpath("data/safety_rules.toml").read_text("utf-8"))


def read_rules(text: str) -> Rules:
    """Rules from a TOML text of the shape of data/safety_rules.toml.

    Raises:
        OptionError: a rule without a reason, with a risk, level, side or language that nobody knows, or a phrase that
            cannot be read.
    """
    table = tomllib.loads(text)
    denials = _Denials(*(_all_words(table["denials"][name]) for name in ("words", "undoing", "turning")))
    return Rules([_rule(row) for row in table["rules"]], table.get("groups", {}), denials)


def _all_words(by_language: Mapping[str, Sequence[str]]) -> frozenset[str]:
    return frozenset(fold_word(word) for words in by_language.values() for word in words)


def _rule(row: dict[str, Any]) -> Rule:
    allowed = {"risk": RISKS, "level": LEVELS, "side": get_args(Side), "about": get_args(About)}
    allowed["denied"] = get_args(Denied)
    for key, values in allowed.items():
        if key in row and row[key] not in values:
            raise OptionError(f"{key} = {row[key]!r} of the rule {row.get('id')!r}", f"one of {', '.join(values)}")
    by_language = ("phrases", "unless", "fires", "silent")
    unknown = {language for key in by_language for language in row.get(key, {})} - set(LANGUAGES)
    if unknown or not row.get("reason"):
        raise OptionError(f"the rule {row.get('id')!r}", f"give a reason, and phrases in {', '.join(LANGUAGES)}")
    texts = {key: {la: tuple(t) for la, t in row.get(key, {}).items()} for key in by_language}
    lists = {key: tuple(row.get(key, ())) for key in ("literals", "line_starts", "replaces")}
    rest = {key: value for key, value in row.items() if key not in {*texts, *lists}}
    return Rule(**cast(Any, {**rest, **texts, **lists}))
