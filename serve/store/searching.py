"""Search over an owner's conversations: full-text where words can be told apart, plain containment where they cannot.

Nothing of a query is ever an operator: words go to the index as quoted prefixes, the rest as escaped patterns, and both
as bound parameters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from affectgpt.errors import InputError
from serve.store.conversations import after_mark, checked_limit, mark_of
from serve.store.records import Found, Page
from serve.store.rows import safe, summary_of
from serve.store.schema import conversations, revisions, turns

__all__ = ["LONGEST_QUERY", "forget", "search"]

LONGEST_QUERY = 200
"""Characters of a query."""
REACH = 60
"""Characters of a snippet on each side of what was found."""

# Scripts that put no spaces between words (Unicode 15, chapter 6.2 and the blocks' charts): Thai, Lao, Myanmar, Khmer,
# kana, Han. An index of words cannot find a word inside a run of them.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class _Query:
    """What to look for: `words` in the index, by their beginning, and `pieces` anywhere."""

    words: tuple[str, ...]
    pieces: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return self.words + self.pieces


def search(connection: Connection, owner: str, query: str, after: str | None, limit: int) -> Page[Found]:
    """See `Store.search`."""
    asked, c = _read(query), conversations.c
    found = _in_texts(connection, asked)
    inside = sa.select(turns.c.conversation_id).join(revisions, revisions.c.turn_id == turns.c.id).where(found)
    in_title = sa.and_(*(c.title.icontains(word, autoescape=True) for word in asked.all))
    chosen = sa.select(conversations).where(c.owner == safe(owner), after_mark(after), in_title | c.id.in_(inside))
    chosen = chosen.order_by(c.updated.desc(), c.id.desc()).limit(checked_limit(limit) + 1)
    rows = connection.execute(chosen).all()
    shown = _shown(connection, rows[:limit], found, asked)
    return Page(tuple(shown), mark_of(shown[-1].summary) if len(rows) > limit else None)


def forget(connection: Connection) -> None:
    """After rows were removed: take their words out of SQLite's index too, which else only marks them as gone."""
    if connection.dialect.name == "sqlite":  # its own option for this, `secure-delete`, needs SQLite 3.42
        connection.execute(sa.text("INSERT INTO revision_words(revision_words) VALUES ('optimize')"))


def _read(query: str) -> _Query:
    """Raises InputError for a query with nothing to look for."""
    text = unicodedata.normalize("NFC", str(safe(query))).strip()
    if not text or len(text) > LONGEST_QUERY:
        raise InputError(f"a query of {len(text)} characters", f"give 1 to {LONGEST_QUERY}")
    words: list[str] = []
    pieces: list[str] = []
    for piece in text.split():
        # Marks are part of a letter in many scripts, and the two databases cut words at them differently.
        if _UNSPACED.search(piece) or any(unicodedata.category(c).startswith("M") for c in piece):
            pieces.append(piece)
        else:
            words += re.findall(r"[^\W_]+", piece)
    return _Query(tuple(words), tuple(pieces) if words or pieces else (text,))


def _in_texts(connection: Connection, asked: _Query) -> Any:
    """The condition on `revisions`: every word and piece stands in one message and its reply."""
    parts = [revisions.c.text.icontains(p, autoescape=True) | revisions.c.reply.icontains(p, autoescape=True)
             for p in asked.pieces]  # fmt: skip
    if asked.words and connection.dialect.name == "sqlite":
        match = sa.text("revisions.row IN (SELECT rowid FROM revision_words WHERE revision_words MATCH :terms)")
        parts.append(match.bindparams(terms=" AND ".join(f'"{w}"*' for w in asked.words)))
    elif asked.words:
        match = sa.text("revisions.words @@ to_tsquery('simple', :terms)")
        parts.append(match.bindparams(terms=" & ".join(f"'{w}':*" for w in asked.words)))
    return sa.and_(*parts)


def _shown(connection: Connection, rows: Sequence[Any], condition: Any, asked: _Query) -> list[Found]:
    """Each conversation with its earliest message or reply that was found."""
    r, t = revisions.c, turns.c
    earliest = sa.select(sa.func.min(r.row)).join(turns, t.id == r.turn_id)
    earliest = earliest.where(t.conversation_id.in_([row.id for row in rows]), condition).group_by(t.conversation_id)
    hits = sa.select(t.conversation_id, r.turn_id, r.text, r.reply).join(turns, t.id == r.turn_id)
    by_id = {hit.conversation_id: hit for hit in connection.execute(hits.where(r.row.in_(earliest)))}
    return [_found(row, by_id.get(row.id), asked) for row in rows]


def _found(row: Any, hit: Any, asked: _Query) -> Found:
    if hit is None:
        return Found(summary_of(row), None, row.title)
    return Found(summary_of(row), hit.turn_id, _snippet((hit.text, hit.reply), asked.all))


def _snippet(texts: Sequence[str], sought: Sequence[str]) -> str:
    """The text around the first word that is found again, on one line."""
    pattern = re.compile("|".join(re.escape(word) for word in sought), re.IGNORECASE)
    text, hit = next(((t, m) for t in texts if (m := pattern.search(t))), (texts[0], None))
    start, end = (hit.start(), hit.end()) if hit else (0, 0)
    first, last = max(0, start - REACH), min(len(text), end + REACH)
    cut = " ".join(text[first:last].split())
    return f"{'…' if first else ''}{cut}{'…' if last < len(text) else ''}"
