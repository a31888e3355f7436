"""Sentences of a text that is still being written, and the gate that lets them out one by one.

The splitter is small and careful in one direction: where it cannot tell whether a sentence ends, it waits. Joining two
sentences only delays them; the pieces joined are always the text, character by character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from affectgpt.safety.findings import Finding, gravest
from affectgpt.safety.screen import Screen

__all__ = ["LONGEST_HELD", "SentenceGate", "split_sentences"]

LONGEST_HELD = 400
"""Characters held back at most: some five lines. A longer sentence goes out in parts, cut between words."""
_CONTEXT = 600
"""Characters already out that each new sentence is screened with."""
_KEPT_BACK = 120
"""Characters of an overlong sentence that stay behind a cut, so that a phrase is seen whole before it is out."""

# A mark, whatever closes after it, and white space; CJK marks need none.
_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]*_]*(?=\s)|[。！？]+[」』”’）]*|\n)\s*")
_CLAUSE = re.compile(r"[,;:)–—，、；：]\s+|[，、；：]")
_BEFORE_DOT = re.compile(r"(\S+)$")
# Titles, references and the like, in four languages; lower case, without the last dot.
_ABBREVIATED = (
    "mr mrs ms dr prof st jr sr vs etc e.g i.e cf al approx fig no vol dept est inc ltd a.m p.m u.s u.k "
    "bzw ca usw z.b d.h u.a s.o s.u vgl nr str evtl ggf inkl sog hr fr abs bspw o.ä u.ä z.t "
    "sra srta ud uds p.ej pág núm av dra aprox ee.uu "
    "m mme mlle p.ex env tél art chap c.-à-d apr"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_LIST_ITEM = re.compile(r"(?:^|\n)[ \t]*(?:\d{1,3}|[a-zA-Z])$")


def split_sentences(text: str, is_whole: bool = True) -> list[str]:
    """The sentences of a text, with the white space after each; joined they are the text.

    Where the text is not whole, its last part comes last, as "" where nothing is left over.
    """
    pieces: list[str] = []
    start = 0
    for match in _END.finditer(text):
        # White space at the very end may go on in the next piece; the sentence before it stands all the same.
        if _ends(text, start, match):
            pieces.append(text[start : match.end()])
            start = match.end()
    rest = text[start:]
    return pieces + ([rest] if rest or not is_whole else [])


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group().rstrip()
    if not mark.startswith((".", "…")):
        return bool(text[start : match.start()].strip()) or not mark
    following = text[match.end() : match.end() + 1]
    if mark.rstrip("\"'”’»)]*_") != ".":
        return not following.islower() and bool(following)  # "well ... maybe" goes on
    before = text[start : match.start()]
    last = _BEFORE_DOT.search(before)
    word = last.group(1).lstrip("(\"'“‘«[*_").lower() if last else ""
    if word in _ABBREVIATIONS or following.islower() or _LIST_ITEM.search(before):
        return False
    is_initial = len(word) == 1 and word.isalpha() and word not in "ià"
    is_short_number = word.isdigit() and len(word) < 3  # German dates: "am 3. Mai"
    return not (is_initial or is_short_number)


@dataclass
class SentenceGate:
    """Lets a reply out sentence by sentence, each screened together with what went out before it.

    Nothing comes out after a finding that stops: `held` is then that finding. Feed it from one thread.
    """

    screen: Screen
    held: Finding | None = None
    _buffer: str = field(default="", init=False)
    _out: str = field(default="", init=False)

    def feed(self, piece: str) -> list[str]:
        """The sentences that are whole now and may go out; joined with those of `finish` they are the reply."""
        if self.held is not None:
            return []
        self._buffer += piece
        *whole, self._buffer = split_sentences(self._buffer, is_whole=False)
        while len(self._buffer) > LONGEST_HELD:
            at = _cut(self._buffer)
            whole.append(self._buffer[:at])
            self._buffer = self._buffer[at:]
        return self._released(whole)

    def finish(self) -> list[str]:
        """The rest, where it may go out. The gate can be fed no more afterwards."""
        if self.held is not None:
            return []
        rest, self._buffer = self._buffer, ""
        return self._released([rest] if rest else [])

    def _released(self, sentences: list[str]) -> list[str]:
        released = []
        for sentence in sentences:
            finding = self._stopping(sentence)
            if finding is not None:
                self.held, self._buffer = finding, ""
                break
            released.append(sentence)
            self._out = (self._out + sentence)[-_CONTEXT:]
        return released

    def _stopping(self, sentence: str) -> Finding | None:
        """What stops this sentence: a finding that ends in it. For one cut in parts, what still waits is seen too."""
        seen = self._out + sentence + self._buffer[:_KEPT_BACK]
        findings = (f for f in self.screen.reply(seen) if f.stops and f.end > len(self._out))
        return gravest(tuple(f for f in findings if f.start < len(self._out) + len(sentence)))


def _cut(text: str) -> int:
    """Where an overlong sentence is cut: after its last clause or word before what is kept back."""
    end = LONGEST_HELD - _KEPT_BACK
    clauses = [m.end() for m in _CLAUSE.finditer(text, LONGEST_HELD // 4, end)]
    if clauses:
        return clauses[-1]
    space = text.rfind(" ", LONGEST_HELD // 4, end)
    return space + 1 if space > 0 else end
