"""Conversations as rows: made, listed by page, renamed, removed."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from affectgpt.errors import InputError
from serve.store.records import Page, Settings, Summary
from serve.store.rows import field_text, no_conversation, now, owned, safe, summary_of
from serve.store.schema import conversations

__all__ = [
    "LONGEST_PAGE",
    "after_mark",
    "all_ids",
    "checked_limit",
    "create",
    "is_there",
    "mark_of",
    "new_id",
    "page",
    "remove",
    "remove_all",
    "remove_beyond",
    "remove_older",
    "rename",
    "settle",
    "title_from",
]

LONGEST_PAGE = 200
"""Conversations on one page."""
TITLE_LENGTH = 60
"""Characters of a title that was taken from the first message."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id() -> str:
    """128 random bits, in hexadecimal."""
    return secrets.token_hex(16)


def create(connection: Connection, owner: str, title: str, settings: Settings) -> Summary:
    """See `Store.create`."""
    if not owner or len(owner) > 128:
        raise InputError("a conversation needs an owner of at most 128 characters", "pass the caller's `owner`")
    begun = now()
    values = {"id": new_id(), "owner": safe(owner), "title": field_text(title, "the title"), **_settled(settings)}
    connection.execute(conversations.insert().values(**values, created=begun, updated=begun, n_turns=0))
    return summary_of(owned(connection, owner, str(values["id"])))


def page(connection: Connection, owner: str, after: str | None, limit: int) -> Page[Summary]:
    """See `Store.recent`."""
    c = conversations.c
    chosen = sa.select(conversations).where(c.owner == safe(owner), after_mark(after))
    chosen = chosen.order_by(c.updated.desc(), c.id.desc()).limit(checked_limit(limit) + 1)
    rows = connection.execute(chosen).all()
    shown = [summary_of(row) for row in rows[:limit]]
    return Page(tuple(shown), mark_of(shown[-1]) if len(rows) > limit else None)


def checked_limit(limit: int) -> int:
    """Raises InputError for a page of no length or too long a one."""
    if not 1 <= limit <= LONGEST_PAGE:
        raise InputError(f"a page of {limit}", f"ask for 1 to {LONGEST_PAGE}")
    return limit


def mark_of(summary: Summary) -> str:
    """Where a page ended: microseconds since 1970 and the id, so that rows of one moment are not lost."""
    return f"{(summary.updated - _EPOCH) // timedelta(microseconds=1)}.{summary.id}"


def after_mark(mark: str | None) -> Any:
    """The condition for rows after a mark. Raises InputError for a mark that no page gave."""
    if mark is None:
        return sa.true()
    read = re.fullmatch(r"(\d{1,17})\.([0-9a-f]{32})", mark)
    if read is None:
        raise InputError("this mark is none of a page's", "give `after` as the last page gave it")
    moment, c = _EPOCH + timedelta(microseconds=int(read[1])), conversations.c
    return (c.updated < moment) | ((c.updated == moment) & (c.id < read[2]))


def all_ids(connection: Connection, owner: str) -> list[str]:
    """The owner's conversations, the oldest first."""
    c = conversations.c
    chosen = sa.select(c.id).where(c.owner == safe(owner)).order_by(c.created, c.id)
    return list(connection.execute(chosen).scalars())


def is_there(connection: Connection) -> bool:
    """Whether the tables answer."""
    return connection.execute(sa.select(conversations.c.id).limit(1)).all() is not None


def rename(connection: Connection, owner: str, conversation_id: str, title: str) -> Summary:
    """See `Store.rename`."""
    title = field_text(title, "the title")
    if not title:
        raise InputError("the title is empty", "give it a word at least")
    return _change(connection, owner, conversation_id, {"title": title})


def settle(connection: Connection, owner: str, conversation_id: str, settings: Settings) -> Summary:
    """See `Store.settle`."""
    return _change(connection, owner, conversation_id, _settled(settings))


def title_from(text: str) -> str:
    """The first words of a message, cut at a word where there is one."""
    words = " ".join(text[: 4 * TITLE_LENGTH].split())
    if len(words) <= TITLE_LENGTH:
        return words
    cut = words[: TITLE_LENGTH - 1]
    return f"{cut.rpartition(' ')[0] if cut.rfind(' ') > TITLE_LENGTH // 2 else cut}…"


def remove(connection: Connection, owner: str, conversation_id: str) -> None:
    """One, with all that hangs on it. Raises NotKept."""
    c = conversations.c
    gone = connection.execute(
        conversations.delete().where(c.id == safe(conversation_id), c.owner == safe(owner))
    ).rowcount
    if not gone:
        raise no_conversation()


def remove_all(connection: Connection, owner: str) -> int:
    """All of an owner's; how many there were."""
    return connection.execute(conversations.delete().where(conversations.c.owner == safe(owner))).rowcount


def remove_older(connection: Connection, seconds: float) -> int:
    """What nobody changed for so long; how many went."""
    since = now() - timedelta(seconds=seconds)
    return connection.execute(conversations.delete().where(conversations.c.updated < since)).rowcount


def remove_beyond(connection: Connection, owner: str, most: int) -> int:
    """All but an owner's last `most`; how many went."""
    c = conversations.c
    mine = sa.select(c.id).where(c.owner == safe(owner)).order_by(c.updated.desc(), c.id.desc())
    old = [row.id for row in connection.execute(mine.offset(most).limit(LONGEST_PAGE))]
    return connection.execute(conversations.delete().where(c.id.in_(old))).rowcount if old else 0


def _change(connection: Connection, owner: str, conversation_id: str, values: dict[str, Any]) -> Summary:
    row = owned(connection, owner, conversation_id, is_changed=True)
    connection.execute(conversations.update().where(conversations.c.id == row.id).values(**values))
    return summary_of(owned(connection, owner, conversation_id))


def _settled(settings: Settings) -> dict[str, Any]:
    locale = field_text(settings.locale, "the locale")
    if len(locale) > 35:  # BCP 47 (RFC 5646, 4.4.1): buffers of 35 characters hold every tag in use
        raise InputError("the locale has over 35 characters", "give a language tag such as en-GB")
    return {"locale": locale, "consented": settings.consented, "more": safe(settings.more)}
