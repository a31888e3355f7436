"""Text into words that a rule can compare, however the text was dressed up, with the way back to the characters.

Characters: compatibility forms are taken apart (NFKD, Unicode Standard Annex 15), marks and invisible characters
dropped, look-alikes of other scripts and decorated letters turned into the Latin letter that a reader sees, case
folded. Tag characters, which smuggle text past the eye, become the text they spell.

Words: what digits and signs stand for inside a word ("k1ll", "su!cide") is read both ways, letters drawn out ("diiiie")
as one and as two, letters written apart ("k i l l  m e") as the fewest known words that they spell, and a word broken
in two ("sui.cide") as the one that it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

__all__ = ["BOUNDARY", "ELISIONS", "QUESTION", "Folded", "Word", "fold", "fold_word", "words_of"]

BOUNDARY = "."
QUESTION = "?"
"""The words that stand for the end of a sentence."""

# Letters of other scripts that print like a Latin one: our own small table, after the visual classes of Unicode
# Technical Standard 39. Each pair is the letter and what it looks like; Cyrillic, Greek, Armenian, Cherokee and Lisu.
_PAIRS = """
аa вb сc ԁd еe ғf ɡg һh нh іi їi јj кk ӏl мm пn оo рp ԛq гr ѕs тt цu ѵv ѡw хx уy ьb
αa βb ϲc εe ηn γy ιi κk μm νv ρp τt υu χx ωw ζz οo
ցg հh ոn սu օo զq յj ᎪA ᏴB ᏟC ᎠD ᎬE ᏀG ᎻH ᎥI ᎫJ ᏦK ᏞL ᎷM ᏢP ᎡR ᏚS ᎢT ᏙV ᎳW ᏃZ
ꓮA ꓐB ꓚC ꓓD ꓰE ꓝF ꓖG ꓧH ꓲI ꓙJ ꓗK ꓡL ꓟM ꓠN ꓳO ꓑP ꓣR ꓢS ꓔT ꓴU ꓦV ꓪW ꓫX ꓬY ꓜZ
"""
_LOOK_ALIKES = {pair[0]: pair[1] for pair in _PAIRS.split()}
_LIGATURES = {"œ": "oe", "æ": "ae", "ı": "i", "ſ": "s", "ø": "o", "ð": "d", "þ": "th"}
_APOSTROPHES = dict.fromkeys("'’‘‛ʼʹ´`ˈ＇′", "'")
_DASHES = dict.fromkeys("-‐‑‒–—−", "-")
_BLANK = {"\u115f", "\u1160", "\u3164", "\uffa0", "\u2800"}  # letters by category, blank on the page
_LATIN = re.compile(
    r"(?:LATIN (?:SMALL |CAPITAL )?LETTER|LATIN LETTER SMALL CAPITAL|(?:NEGATIVE )?(?:SQUARED|CIRCLED) LATIN "
    r"CAPITAL LETTER|REGIONAL INDICATOR SYMBOL LETTER) (?:DOTLESS |SCRIPT |OPEN |TURNED )?([A-Z])(?: WITH .*)?"
)
_TOKEN = re.compile(r"(?:[$@](?=[^\W\d_]))?[^\W_]+(?:['!$@*+|][^\W_]+|\*+[^\W_]+)*|[.!?…。！？;:]+|\n\s*\n|,|\n")
_LETTERS = re.compile(r"[^\W_]+")
_SIGNS = "$@"
"""What may stand for a word's first letter."""
_LEET = str.maketrans("013457@$!|+", "oieastasilt")
_LEET_L = str.maketrans("01", "ol")
ELISIONS = frozenset(("c", "d", "j", "l", "m", "n", "s", "t", "qu", "jusqu", "lorsqu", "puisqu", "quelqu"))
"""What French writes before an apostrophe: a word of its own."""
_SPELLED = 4
"""So many single letters in a row are words written apart; one fewer are, where they spell one."""
_LONGEST_SPELLED = 16
_LONGEST_WORD = 80
"""What is longer is no word of any rule; its beginning stands for it, so that a text without spaces costs no more."""


@dataclass(frozen=True, slots=True)
class Folded:
    """Folded text, and for each of its characters the place in the original that it came from."""

    text: str
    origin: list[int]


@dataclass(frozen=True, slots=True)
class Word:
    """One word, or a boundary; `forms` are all readings, `start` and `end` places in the original text."""

    forms: tuple[str, ...]
    start: int
    end: int
    after_comma: bool = False

    @property
    def is_boundary(self) -> bool:
        """Whether a sentence ends here."""
        return self.forms[0] in (BOUNDARY, QUESTION)


def _folded(char: str) -> str:
    """What one character becomes: mostly one character, none or several for some."""
    if "\U000e0020" <= char <= "\U000e007e":
        return chr(ord(char) - 0xE0000).casefold()
    known = _APOSTROPHES.get(char) or _DASHES.get(char)
    if known or char in "\n…":
        return known or char
    if char in _BLANK or unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc"):
        return " " if char in "\t\r" else ""
    kept = (c for c in unicodedata.normalize("NFKD", char).casefold() if unicodedata.category(c) not in ("Mn", "Me"))
    return "".join(_latin(c) for c in kept)


def _latin(char: str) -> str:
    if char.isascii():
        return char
    known = _LIGATURES.get(char) or _LOOK_ALIKES.get(char) or _LOOK_ALIKES.get(char.upper())
    if known:
        return known.lower()
    named = _LATIN.fullmatch(unicodedata.name(char, ""))
    return named.group(1).lower() if named else char


def fold(text: str) -> Folded:
    """The text folded character by character, by one pass of the interpreter's own over a table that fills itself."""
    table = _table()
    folded = text.translate(table)
    if table.uneven.isdisjoint(text):
        return Folded(folded, list(range(len(text))))
    lengths = [len(table[ord(char)]) for char in text]
    return Folded(folded, [at for at, n in enumerate(lengths) for _ in range(n)])


class _Table(dict[int, str]):
    """What each character becomes, filled as characters are met; `uneven` are those that become none or several."""

    def __init__(self) -> None:
        super().__init__()
        self.uneven: set[str] = set()

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = _folded(char)
        if len(folded) != 1:
            self.uneven.add(char)
        self[code] = folded
        return folded


_tables: list[_Table] = [_Table()]
_MOST_CHARACTERS = 20_000
"""Characters that are remembered; a text of all of Unicode begins anew."""


def _table() -> _Table:
    if len(_tables[0]) > _MOST_CHARACTERS:
        _tables[0] = _Table()
    return _tables[0]


def fold_word(word: str) -> str:
    """A word of a rule, folded as the texts are."""
    return "".join(_folded(char) for char in word).replace("'", "")


def words_of(folded: Folded, known: Collection[str] = ()) -> list[Word]:
    """The words in order, a boundary before the first, between sentences and after the last.

    `known` are the words that letters written apart are read as.
    """
    words = [Word((BOUNDARY,), 0, 0)]
    comma, last = False, 0
    for match in _TOKEN.finditer(folded.text):
        piece = match.group()
        start, end = folded.origin[match.start()], folded.origin[match.end() - 1] + 1
        if piece == ",":
            comma = True
        elif piece[0].isalnum() or piece[0] in _SIGNS:
            if _is_broken(words[-1], folded.text[last : match.start()], piece, known):
                words[-1] = Word(_forms(words[-1].forms[0] + piece), words[-1].start, end, words[-1].after_comma)
            else:
                words.extend(_split(piece, start, end, comma))
            comma, last = False, match.end()
        elif piece != "\n" and not _is_inside(match, words[-1], known):
            _close(words, QUESTION if "?" in piece or "？" in piece else BOUNDARY, start, end)
    _close(words, BOUNDARY, words[-1].end, words[-1].end)
    return _joined(words, known)


def _is_inside(match: re.Match[str], before: Word, known: Collection[str]) -> bool:
    """Whether a dot stands between letters written apart, or within a word: "d.i.e", "sui.cide"."""
    following = _LETTERS.match(match.string, match.end())
    if match.group() != "." or following is None:
        return False
    return len(before.forms[0]) == 1 or _is_broken(before, ".", following.group(), known)


def _is_broken(before: Word, between: str, piece: str, known: Collection[str]) -> bool:
    """Whether two pieces are one word that was broken: by a mark where one is no word, by a blank where neither is."""
    if len(between) != 1 or before.is_boundary or len(before.forms[0]) + len(piece) > _LONGEST_SPELLED:
        return False
    n_unknown = (before.forms[0] not in known) + (piece not in known)
    is_enough = n_unknown == 2 if between == " " else n_unknown > 0
    return is_enough and min(len(before.forms[0]), len(piece)) > 1 and before.forms[0] + piece in known


def _close(words: list[Word], mark: str, start: int, end: int) -> None:
    """End the sentence, unless it has one word alone: "I. Want. To. Die." is one sentence."""
    is_one_word = len(words) > 1 and not words[-1].is_boundary and words[-2].is_boundary
    if is_one_word and len(words) > 2:
        words.pop(-2)
    if not words[-1].is_boundary:
        words.append(Word((mark,), start, end))


def _split(token: str, start: int, end: int, comma: bool) -> list[Word]:
    head, _, rest = token.partition("'")
    if rest and head in ELISIONS:
        middle = min(start + len(head) + 1, end)
        return [Word((head,), start, middle, comma), *_split(rest, middle, end, False)]
    forms = _forms(token) if len(token) <= _LONGEST_WORD else (token[:_LONGEST_WORD],)
    return [Word(forms, start, end, comma)]


@lru_cache(maxsize=16384)
def _forms(token: str) -> tuple[str, ...]:
    """Every reading of one token, the plain one first."""
    whole = token.replace("'", "")
    plain = whole.lstrip(_SIGNS)
    forms = [plain, whole.translate(_LEET)] if whole != plain else [plain]
    if not plain.isalpha() and any(c.isalpha() for c in plain):
        forms += [plain.translate(_LEET), plain.translate(_LEET_L).translate(_LEET)]
    if re.search(r"(.)\1\1", plain):
        forms += [re.sub(r"(.)\1{2,}", r"\1", plain), re.sub(r"(.)\1{2,}", r"\1\1", plain)]
    return tuple(dict.fromkeys(forms))


def _joined(words: list[Word], known: Collection[str]) -> list[Word]:
    """Runs of single letters as the words that they spell."""
    out: list[Word] = []
    run: list[Word] = []
    for word in [*words, None]:
        if word is not None and len(word.forms[0]) == 1 and not word.is_boundary:
            run.append(word)
            continue
        is_word = len(run) == _SPELLED - 1 and "".join(letter.forms[-1] for letter in run) in known
        out.extend(_spelled(run, known) if is_word or len(run) >= _SPELLED else run)
        run = []
        if word is not None:
            out.append(word)
    return out


def _spelled(run: list[Word], known: Collection[str]) -> list[Word]:
    """The fewest known words that a run of letters spells, or one word of them all."""
    letters = "".join(word.forms[-1] for word in run)
    fewest: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(letters) + 1):
        low = max(0, end - _LONGEST_SPELLED)
        ways = [(fewest[at][0] + 1, at) for at in range(low, end) if letters[at:end] in known]
        fewest.append(min(ways, default=(len(letters) + 1, 0)))
    cuts = [len(letters)]
    while cuts[-1] > 0 and fewest[len(letters)][0] <= len(letters) // 2:
        cuts.append(fewest[cuts[-1]][1])
    bounds = cuts[::-1] if cuts[-1] == 0 else [0, len(letters)]
    return [Word(_forms(letters[a:b]), run[a].start, run[b - 1].end, run[a].after_comma) for a, b in pairwise(bounds)]
