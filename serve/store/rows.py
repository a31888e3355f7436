"""Rows into records, and values into a form that both databases take and give back alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from affectgpt.errors import InputError
from serve.store.records import (
    LONGEST_FIELD,
    LONGEST_TEXT,
    Answered,
    Asked,
    Conversation,
    Feedback,
    KeptAttachment,
    NotKept,
    Revision,
    Settings,
    State,
    Summary,
    Turn,
)
from serve.store.schema import conversations, feedback, revisions, turns

__all__ = [
    "feedback_of",
    "field_text",
    "line_ids",
    "name_only",
    "no_conversation",
    "now",
    "owned",
    "read_line",
    "read_revision",
    "read_whole",
    "safe",
    "state_of",
    "summary_of",
    "text_of",
]

CHUNK = 200
"""Ids in one statement's list."""
_UNKEPT = re.compile("[\x00\ud800-\udfff]")
Key = TypeVar("Key")


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def no_conversation() -> NotKept:
    """The one answer for what is gone, never was, or is somebody else's."""
    return NotKept("no such conversation, turn or answer here", "list the conversations to see which there are")


# ---------------------------------------------------------------- values on their way in


def safe(value: Any) -> Any:
    """A JSON value that PostgreSQL and UTF-8 can hold: NUL and lone surrogates become U+FFFD, NaN becomes null."""
    if isinstance(value, str):
        return _UNKEPT.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {safe(str(key)): safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [safe(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    raise InputError(f"a {type(value).__name__} cannot be kept", "give text, numbers, lists and objects")


def text_of(text: str, what: str, most: int = LONGEST_TEXT) -> str:
    """A text as it may be kept. Raises InputError over `most` characters."""
    if len(text) > most:
        raise InputError(f"{what} has {len(text)} characters", f"{most} at most")
    return str(safe(text))


def field_text(text: str, what: str) -> str:
    """A short text on one line. Raises InputError over LONGEST_FIELD characters."""
    return " ".join(text_of(text, what, LONGEST_FIELD).split())


def name_only(path: object) -> object:
    """A file's name without its folders, in either system's spelling."""
    return PureWindowsPath(PurePosixPath(str(path)).name).name if path is not None else None


# ---------------------------------------------------------------- rows on their way out


def owned(connection: Connection, owner: str, conversation_id: str, *, is_changed: bool = False) -> Row[Any]:
    """The owner's conversation; `is_changed` holds it against others until the transaction ends. Raises NotKept."""
    is_mine = (conversations.c.id == safe(conversation_id)) & (conversations.c.owner == safe(owner))
    chosen = sa.select(conversations).where(is_mine)
    row = connection.execute(chosen.with_for_update() if is_changed else chosen).first()
    if row is None:
        raise no_conversation()
    return row


def summary_of(row: Any) -> Summary:
    """A conversation's row as a list shows it."""
    settings = Settings(row.locale, row.consented, row.more)
    return Summary(row.id, row.title, row.created, row.updated, settings, row.n_turns)


def read_line(connection: Connection, row: Any) -> Conversation:
    """A conversation with the turns of its current line."""
    by_place, numbered = _plan(connection, row.id)
    line = _line(by_place, numbered)
    read = _read_revisions(connection, [numbered[turn.id][turn.current] for turn in line])
    return Conversation(summary_of(row), tuple(_turn(turn, numbered, read) for turn in line))


def line_ids(connection: Connection, conversation_id: str) -> list[str]:
    """The current line as its revisions' ids, without reading any text."""
    by_place, numbered = _plan(connection, conversation_id)
    return [numbered[turn.id][turn.current] for turn in _line(by_place, numbered)]


def read_whole(connection: Connection, row: Any) -> tuple[Conversation, list[tuple[Turn, tuple[Revision, ...]]]]:
    """A conversation with its current line, and every turn, in the line or not, with all revisions, oldest first."""
    by_place, numbered = _plan(connection, row.id)
    read = _read_revisions(connection, [r for of_turn in numbered.values() for r in of_turn.values()])
    line = tuple(_turn(turn, numbered, read) for turn in _line(by_place, numbered))
    every = [_turn(turn, numbered, read) for turn in sorted(by_place.values(), key=lambda t: (t.number, t.id))]
    return Conversation(summary_of(row), line), [(turn, tuple(read[i] for i in turn.revisions)) for turn in every]


def _line(by_place: Mapping[str, Any], numbered: Mapping[str, Mapping[int, str]]) -> list[Any]:
    """The rows of the turns from the first on, each after the current revision of the one before."""
    line: list[Any] = []
    after = ""
    while (turn := by_place.get(after)) is not None:
        after = numbered[turn.id][turn.current]
        line.append(turn)
    return line


def _turn(row: Any, numbered: Mapping[str, Mapping[int, str]], read: Mapping[str, Revision]) -> Turn:
    ids = numbered[row.id]
    return Turn(row.id, row.number, read[ids[row.current]], tuple(ids.values()))


def read_revision(connection: Connection, revision_id: str) -> Revision:
    """One revision that is known to be there."""
    return _read_revisions(connection, [revision_id])[revision_id]


def _plan(connection: Connection, conversation_id: str) -> tuple[dict[str, Any], dict[str, dict[int, str]]]:
    """The turns by what they follow, and of each turn the revisions' ids by number, in order."""
    placed = connection.execute(sa.select(turns).where(turns.c.conversation_id == conversation_id)).all()
    listed = connection.execute(
        sa.select(revisions.c.id, revisions.c.turn_id, revisions.c.number)
        .join(turns, turns.c.id == revisions.c.turn_id)
        .where(turns.c.conversation_id == conversation_id)
        .order_by(revisions.c.number)
    )
    numbered: dict[str, dict[int, str]] = {}
    for row in listed:
        numbered.setdefault(row.turn_id, {})[row.number] = row.id
    return {turn.after_id: turn for turn in placed}, numbered


def _read_revisions(connection: Connection, ids: Sequence[str]) -> dict[str, Revision]:
    given: dict[str, Feedback] = {}
    rows: list[Any] = []
    for some in _chunks(ids):
        for row in connection.execute(sa.select(feedback).where(feedback.c.revision_id.in_(some))):
            given[row.revision_id] = feedback_of(row)
        rows += connection.execute(sa.select(revisions).where(revisions.c.id.in_(some))).all()
    return {row.id: _revision(row, given.get(row.id)) for row in rows}


def _chunks(items: Sequence[Key]) -> Iterable[Sequence[Key]]:
    return (items[i : i + CHUNK] for i in range(0, len(items), CHUNK))


def feedback_of(row: Any) -> Feedback:
    """A row of feedback."""
    return Feedback(row.thumbs, row.label, tuple(row.words), row.text, row.may_reuse, row.given)


def state_of(state: str, alive_until: datetime | None) -> State:
    """The state as it is told: what nobody is writing any more was interrupted."""
    if state == "pending" and (alive_until is None or alive_until < now()):
        return "interrupted"
    return state  # type: ignore[return-value]


def _revision(row: Any, given: Feedback | None) -> Revision:
    answered = None
    if row.state == "done":
        answered = Answered(
            reasoning=row.reasoning,
            reply=row.reply,
            model=row.model,
            finish_reason=row.finish_reason,
            outcome=row.outcome,
            card=row.card,
            n_prompt_tokens=row.n_prompt_tokens,
            n_completion_tokens=row.n_completion_tokens,
            chain=row.chain,
        )
    return Revision(
        id=row.id,
        turn_id=row.turn_id,
        number=row.number,
        state=state_of(row.state, row.alive_until),
        asked=Asked(row.text, tuple(KeptAttachment(**a) for a in row.attachments)),
        created=row.created,
        ended=row.ended,
        answered=answered,
        failure=row.failure,
        feedback=given,
    )
