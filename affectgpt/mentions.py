"""Which cues a sentence names, how strong and which way it says they are, and what it quotes.

Deterministic and small: phrases from the cue vocabulary, longest match first, clause by clause, so that in "raised
cheeks, a marked smile" the word *marked* belongs to the smile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from affectgpt.cues import CueVocabulary, VoiceCue, load_cues

__all__ = ["Mention", "find_mentions", "find_quotes"]


@dataclass(frozen=True, slots=True)
class Mention:
    """A cue named in a sentence.

    `levels` are the classes that the sentence's intensity word allows (empty: it says nothing of intensity);
    `direction` is +1 or -1 for a voice measure said to be higher or lower, 0 where the sentence is silent;
    `negated` where the sentence denies the cue ("no smile").
    """

    cue: str
    words: str
    levels: frozenset[str] = frozenset()
    level_word: str = ""
    direction: int = 0
    negated: bool = False


_QUOTE = re.compile(r"[\"“]([^\"“”]{2,400})[\"”]")
_CLAUSE = re.compile(r"[;,:()]|\.(?=\s|$)|\b(?:and|while|but|whereas|with|though|although)\b", re.I)
_NEGATION = re.compile(r"\b(?:no|not|without|neither|nor|lacks?|absence of|absent|never)\s+(?:\w+\s+){0,3}$", re.I)
_MUCH = re.compile(r"\b(?:much|far|very|markedly|strongly)\b", re.I)
_UP = re.compile(
    r"\b(?:higher|high|raised|elevated|up|increased|more|wider|wide|louder|loud|faster|fast|flatter)\b", re.I
)
_DOWN = re.compile(
    r"\b(?:lower|low|lowered|reduced|down|decreased|fewer|less|narrower|narrow|quieter|quiet|soft|slower|slow|steeper)\b",
    re.I,
)
_NEAR = re.compile(
    r"\b(?:near|close to|around|within|about) (?:the |their |its |this speaker's )?"
    r"(?:baseline|usual|average|normal|own)"
    r"|\b(?:unremarkable|ordinary|even)\b",
    re.I,
)


def find_quotes(text: str) -> list[str]:
    """What stands between double quotation marks, two characters or more."""
    return [m.strip() for m in _QUOTE.findall(text)]


def find_mentions(text: str) -> list[Mention]:
    """Every cue named in the text, quotes and citations aside, each cue once a clause."""
    bare = re.sub(r"\[[^\]]*\]", " ", _QUOTE.sub(" ", text))
    return _merge([mention for clause in _clauses(bare) for mention in _in_clause(clause)])


def _clauses(text: str) -> Iterator[str]:
    """Clauses; one that names no cue is read with the clause before it ("the inner brows are raised, slight")."""
    held = ""
    for part in (p.strip() for p in _CLAUSE.split(text)):
        if not part:
            continue
        if held and _named(part) and _named(held):
            yield held
            held = part
        else:
            held = f"{held} , {part}" if held else part
    if held:
        yield held


def _named(clause: str) -> bool:
    return bool(_cue_pattern().search(clause))


def _in_clause(clause: str) -> Iterator[Mention]:
    cues = load_cues()
    for match in _cue_pattern().finditer(clause):
        words = match.group()
        negated = bool(_NEGATION.search(clause[: match.start()]))
        for cue, direction in _keys(words):
            if cue.startswith("AU"):
                levels, word = _face_levels(clause, cues)
                yield Mention(cue, words, levels, word, negated=negated)
            else:
                levels, said = _voice_levels(clause, words, direction, cues.voice[cue])
                yield Mention(cue, words, levels, " ".join(sorted(levels)), said, negated)


def _face_levels(clause: str, cues: CueVocabulary) -> tuple[frozenset[str], str]:
    for level in cues.face_levels:
        for word in level.words:
            if _level_pattern(word).search(clause):
                return frozenset({level.letter}), word
    return frozenset(), ""


@cache
def _level_pattern(word: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(word)}(?:ly)?\b", re.I)


def _voice_levels(clause: str, words: str, direction: int, cue: VoiceCue) -> tuple[frozenset[str], int]:
    if _NEAR.search(clause):
        return frozenset({"near"}), 0
    rest = clause.replace(words, " ")
    if not direction:
        up = re.search(rf"\b{re.escape(cue.up)}\b", rest, re.I) or _UP.search(rest)
        down = re.search(rf"\b{re.escape(cue.down)}\b", rest, re.I) or _DOWN.search(rest)
        direction = 0 if bool(up) == bool(down) else (1 if up else -1)
    if direction and _MUCH.search(rest):
        return frozenset({"much higher" if direction > 0 else "much lower"}), direction
    return frozenset(), direction


def _merge(mentions: list[Mention]) -> list[Mention]:
    """A code and a name of one cue ("the smile (AU12)") are one mention: the one that says most is kept."""
    best: dict[tuple[str, bool], Mention] = {}
    for m in mentions:
        key = (m.cue, m.negated)
        held = best.get(key)
        if held is None or (bool(m.levels), abs(m.direction)) > (bool(held.levels), abs(held.direction)):
            best[key] = m
    return list(best.values())


@cache
def _phrases() -> dict[str, list[tuple[str, int]]]:
    """Lower-case phrase -> the cues it names, with a direction where the phrase holds one."""
    cues = load_cues()
    table: dict[str, list[tuple[str, int]]] = {}
    for face in cues.face.values():
        for phrase in {face.name, face.movement, *face.phrases}:
            table.setdefault(phrase.lower(), []).append((face.key, 0))
    for voice in cues.voice.values():
        for phrase in {voice.name, *voice.phrases}:
            table.setdefault(phrase.lower(), []).append((voice.key, 0))
        for phrase, sign in [(p, 1) for p in voice.up_words] + [(p, -1) for p in voice.down_words]:
            table.setdefault(phrase.lower(), []).append((voice.key, sign))
    return table


@cache
def _cue_pattern() -> re.Pattern[str]:
    longest_first = sorted(_phrases(), key=len, reverse=True)
    # Brackets stand in some names ("pitch (F0 median)") and in no sentence after clauses are cut at them.
    names = "|".join(re.escape(p) for p in longest_first)
    return re.compile(rf"\bAU[ \t]?0?\d{{1,2}}\b|(?<!\w)(?:{names})(?!\w)", re.I)


def _keys(words: str) -> list[tuple[str, int]]:
    if code := re.fullmatch(r"AU[ \t]?0?(\d{1,2})", words, re.I):
        return [(f"AU{int(code.group(1))}", 0)]
    return _phrases()[words.lower()]
