"""Turns and their revisions as rows: begun, ended, chosen among."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from affectgpt.errors import InputError
from serve.store.conversations import new_id, title_from
from serve.store.records import MOST_REVISIONS, Answered, Asked, Conversation, Revision
from serve.store.rows import (
    field_text,
    line_ids,
    name_only,
    no_conversation,
    now,
    owned,
    read_line,
    read_revision,
    safe,
    state_of,
    text_of,
)
from serve.store.schema import conversations, revisions, turns

__all__ = ["begin", "choose", "extend", "fail", "find_revision", "find_turn", "finish", "let_go", "revise"]

MOST_ATTACHMENTS = 32
"""Files that one message may name."""


def begin(connection: Connection, owner: str, conversation_id: str, asked: Asked, alive_until: datetime) -> Revision:
    """See `Store.begin`."""
    row = owned(connection, owner, conversation_id, is_changed=True)
    line = line_ids(connection, row.id)
    after = line[-1] if line else ""
    _refuse_pending(connection, revisions.c.id == after)
    turn_id = new_id()
    values = {"id": turn_id, "conversation_id": row.id, "after_id": after, "number": len(line) + 1, "current": 1}
    connection.execute(turns.insert().values(**values))
    revision = _add(connection, row.id, turn_id, asked, alive_until)
    title = row.title or title_from(revision.asked.text)
    _touch(connection, row.id, n_turns=len(line) + 1, title=title)
    return revision


def revise(connection: Connection, owner: str, turn_id: str, asked: Asked | None, alive_until: datetime) -> Revision:
    """See `Store.revise`."""
    row, turn = find_turn(connection, owner, turn_id, is_changed=True)
    is_current = (revisions.c.turn_id == turn.id) & (revisions.c.number == turn.current)
    _refuse_pending(connection, is_current)
    if asked is None:
        chosen = connection.execute(sa.select(revisions.c.id).where(is_current)).scalar_one()
        asked = read_revision(connection, chosen).asked
    revision = _add(connection, row.id, turn.id, asked, alive_until)
    connection.execute(turns.update().where(turns.c.id == turn.id).values(current=revision.number))
    _touch(connection, row.id, n_turns=len(line_ids(connection, row.id)))
    return revision


def finish(connection: Connection, owner: str, revision_id: str, answered: Answered) -> Revision:
    """See `Store.finish`."""
    return _end(
        connection,
        owner,
        revision_id,
        {
            "state": "done",
            "reasoning": text_of(answered.reasoning, "the reasoning"),
            "reply": text_of(answered.reply, "the reply"),
            "card": text_of(answered.card, "the card"),
            "model": field_text(answered.model, "the model's name"),
            "finish_reason": field_text(answered.finish_reason, "the finish reason")[:32],
            "n_prompt_tokens": answered.n_prompt_tokens,
            "n_completion_tokens": answered.n_completion_tokens,
            "outcome": _without_path(answered.outcome),
            "chain": None if answered.chain is None else safe(answered.chain),
        },
    )


def fail(connection: Connection, owner: str, revision_id: str, failure: str) -> Revision:
    """See `Store.fail`."""
    told = " ".join(str(safe(failure[:2000])).split())
    return _end(connection, owner, revision_id, {"state": "failed", "failure": told})


def choose(connection: Connection, owner: str, revision_id: str) -> Conversation:
    """See `Store.choose`."""
    row, found = find_revision(connection, owner, revision_id, is_changed=True)
    connection.execute(turns.update().where(turns.c.id == found.turn_id).values(current=found.number))
    _touch(connection, row.id, n_turns=len(line_ids(connection, row.id)))
    return read_line(connection, owned(connection, owner, row.id))


def find_turn(connection: Connection, owner: str, turn_id: str, *, is_changed: bool = False) -> tuple[Any, Any]:
    """The conversation's row and the turn's. Raises NotKept."""
    at = connection.execute(sa.select(turns.c.conversation_id).where(turns.c.id == safe(turn_id))).scalar()
    if at is None:
        raise no_conversation()
    # The turn is read once its conversation is held: another process may have changed it before.
    row = owned(connection, owner, at, is_changed=is_changed)
    turn = connection.execute(sa.select(turns).where(turns.c.id == safe(turn_id))).first()
    if turn is None:
        raise no_conversation()
    return row, turn


def find_revision(connection: Connection, owner: str, revision_id: str, *, is_changed: bool = False) -> tuple[Any, Any]:
    """The conversation's row and the revision's (without its texts). Raises NotKept."""
    c = revisions.c
    chosen = sa.select(c.id, c.turn_id, c.number, c.state).where(c.id == safe(revision_id))
    found = connection.execute(chosen).first()
    if found is None:
        raise no_conversation()
    row, _ = find_turn(connection, owner, found.turn_id, is_changed=is_changed)
    again = connection.execute(chosen).first()
    if again is None:
        raise no_conversation()
    return row, again


def extend(connection: Connection, ids: Sequence[str], alive_until: datetime) -> None:
    """These revisions are still being written. One that another transaction ends or removes just now is passed over."""
    held = revisions.c.id.in_(list(ids)) & (revisions.c.state == "pending")
    free = sa.select(revisions.c.id).where(held).with_for_update(skip_locked=True)  # else two could wait for each other
    connection.execute(revisions.update().where(revisions.c.id.in_(free)).values(alive_until=alive_until))


def let_go(connection: Connection, ids: Sequence[str]) -> None:
    """Nobody writes these any more."""
    held = revisions.c.id.in_(list(ids)) & (revisions.c.state == "pending")
    connection.execute(revisions.update().where(held).values(alive_until=None))


def _refuse_pending(connection: Connection, is_meant: Any) -> None:
    """Raises InputError where the revision meant is still being written."""
    row = connection.execute(sa.select(revisions.c.state, revisions.c.alive_until).where(is_meant)).first()
    if row is not None and state_of(row.state, row.alive_until) == "pending":
        raise InputError("this turn is still being answered", "stop it, or wait until it ends")


def _add(connection: Connection, conversation_id: str, turn_id: str, asked: Asked, alive_until: datetime) -> Revision:
    counted = sa.select(sa.func.count()).select_from(revisions.join(turns, turns.c.id == revisions.c.turn_id))
    n_all = connection.execute(counted.where(turns.c.conversation_id == conversation_id)).scalar_one()
    if n_all >= MOST_REVISIONS:
        raise InputError(f"this conversation has {n_all} messages", "begin another one")
    last = sa.select(sa.func.max(revisions.c.number)).where(revisions.c.turn_id == turn_id)
    revision_id = new_id()
    values: dict[str, Any] = {
        "id": revision_id,
        "turn_id": turn_id,
        "number": (connection.execute(last).scalar() or 0) + 1,
        "state": "pending",
        "alive_until": alive_until,
        "created": now(),
        "text": text_of(asked.text, "the message"),
        "attachments": _attached(asked),
        "n_prompt_tokens": 0,
        "n_completion_tokens": 0,
    }
    blank = dict.fromkeys(("reasoning", "reply", "card", "failure", "model", "finish_reason"), "")
    connection.execute(revisions.insert().values(**values, **blank))
    return read_revision(connection, revision_id)


def _end(connection: Connection, owner: str, revision_id: str, values: Mapping[str, Any]) -> Revision:
    row, found = find_revision(connection, owner, revision_id, is_changed=True)
    if found.state != "pending":
        raise InputError("this answer has ended already", "regenerate the turn for another one")
    ended = revisions.update().where(revisions.c.id == found.id)
    connection.execute(ended.values(**values, ended=now(), alive_until=None))
    _touch(connection, row.id)
    return read_revision(connection, found.id)


def _touch(connection: Connection, conversation_id: str, **values: Any) -> None:
    changed = conversations.update().where(conversations.c.id == conversation_id)
    connection.execute(changed.values(updated=now(), **values))


def _attached(asked: Asked) -> list[dict[str, str]]:
    if len(asked.attachments) > MOST_ATTACHMENTS:
        raise InputError(f"{len(asked.attachments)} files with one message", f"{MOST_ATTACHMENTS} at most")
    named = ((a, str(name_only(field_text(a.name, "a file's name")))) for a in asked.attachments)
    return [{"name": name, "kind": field_text(a.kind, "a kind"), "sha256": a.sha256[:64]} for a, name in named]


def _without_path(outcome: Mapping[str, Any] | None) -> Any:
    """The document without the folder that the clip lay in: that is the server's, and gone."""
    if outcome is None:
        return None
    clip = outcome.get("clip")
    if isinstance(clip, Mapping):
        outcome = {**outcome, "clip": {**clip, "path": name_only(clip.get("path"))}}
    return safe(outcome)
