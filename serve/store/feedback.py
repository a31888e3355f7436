"""Feedback as rows, and the corrections among it as JSON lines to learn from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from affectgpt.emotions import load_lexicon
from affectgpt.errors import InputError
from serve.store.database import Database
from serve.store.records import Feedback
from serve.store.rows import feedback_of, field_text, no_conversation, now, safe, text_of
from serve.store.schema import conversations, feedback, revisions, turns
from serve.store.turns import find_revision, find_turn

__all__ = ["CORRECTION", "LABEL_SET", "corrections", "rate", "unrate"]

LABEL_SET = "basic8"
CORRECTION = "affectgpt.correction/1"
"""What `kind` says in every line of corrections: the form and its version."""
MOST_WORDS = 16
_BATCH = 100


def rate(connection: Connection, owner: str, turn_id: str, given: Feedback, revision_id: str | None) -> Feedback:
    """See `Store.rate`."""
    rated = _rated(connection, owner, turn_id, revision_id)
    if rated.state != "done":
        raise InputError("there is no answer to say anything of", "wait for it, or regenerate the turn")
    values = {**_checked(given), "revision_id": rated.id, "given": now()}
    connection.execute(feedback.delete().where(feedback.c.revision_id == rated.id))
    connection.execute(feedback.insert().values(**values))
    return feedback_of(connection.execute(sa.select(feedback).where(feedback.c.revision_id == rated.id)).one())


def unrate(connection: Connection, owner: str, turn_id: str, revision_id: str | None) -> None:
    """See `Store.unrate`."""
    rated = _rated(connection, owner, turn_id, revision_id)
    connection.execute(feedback.delete().where(feedback.c.revision_id == rated.id))


def corrections(database: Database, owner: str | None = None) -> Iterator[str]:
    """See `Store.corrections`. A batch is one transaction: what is withdrawn meanwhile is not in the next one."""
    last = 0
    while True:
        with database.reading() as connection:
            rows = connection.execute(_reusable(last, owner)).all()
        for row in rows:
            if (line := _line(row)) is not None:
                yield json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        if len(rows) < _BATCH:
            return
        last = rows[-1].row


def _rated(connection: Connection, owner: str, turn_id: str, revision_id: str | None) -> Any:
    """The revision meant, held. Raises NotKept where it is none of this turn's."""
    _, turn = find_turn(connection, owner, turn_id, is_changed=True)
    if revision_id is None:
        is_meant = (revisions.c.turn_id == turn.id) & (revisions.c.number == turn.current)
        return connection.execute(sa.select(revisions.c.id, revisions.c.state).where(is_meant)).one()
    _, found = find_revision(connection, owner, revision_id)
    if found.turn_id != turn.id:
        raise no_conversation()
    return found


def _checked(given: Feedback) -> dict[str, Any]:
    labels = load_lexicon().labels(LABEL_SET)
    if given.label is not None and given.label not in labels:
        raise InputError(f"no basic emotion {given.label[:40]!r}", f"there are {', '.join(labels)}")
    if given.thumbs not in (None, "up", "down"):
        raise InputError("thumbs go up or down", "give `up`, `down` or nothing")
    if len(given.words) > MOST_WORDS:
        raise InputError(f"{len(given.words)} words of feeling", f"{MOST_WORDS} at most")
    words = [w for w in (field_text(w, "a word")[:100] for w in given.words) if w]
    remark = text_of(given.text, "the remark", 2000)
    return {
        "thumbs": given.thumbs,
        "label": given.label,
        "words": words,
        "text": remark,
        "may_reuse": bool(given.may_reuse),
    }


def _reusable(last: int, owner: str | None) -> Any:
    whole = revisions.join(turns, turns.c.id == revisions.c.turn_id)
    whole = whole.join(conversations, conversations.c.id == turns.c.conversation_id)
    whole = whole.join(feedback, feedback.c.revision_id == revisions.c.id)
    r = revisions.c
    chosen = sa.select(r.row, r.id, r.attachments, r.outcome, r.model, feedback.c.label, feedback.c.words,
                       feedback.c.given, conversations.c.id.label("conversation"))  # fmt: skip
    chosen = chosen.select_from(whole).where(feedback.c.may_reuse, r.row > last).order_by(r.row).limit(_BATCH)
    return chosen if owner is None else chosen.where(conversations.c.owner == safe(owner))


def _line(row: Any) -> dict[str, Any] | None:
    """One line: observations, their gold, and what keeps one clip or conversation in one split. No message, no name."""
    outcome: Mapping[str, Any] = row.outcome or {}
    if not outcome.get("observations") or not (row.label or row.words):
        return None
    decided = outcome.get("decision") or {}
    return {
        "kind": CORRECTION,
        "id": _veiled(row.id),
        "consent_to_reuse": True,
        "given": row.given.isoformat(),
        "label": row.label,
        "words": row.words,
        "answered": {"label": decided.get("label"), "model": row.model, "ai_generated": True},
        "observations": outcome["observations"],
        "media_sha256": [a["sha256"] for a in row.attachments if a["sha256"]],
        "dialogue": _veiled(row.conversation),
    }


def _veiled(own_id: str) -> str:
    """A name that is the same each time, and leads back to nothing without the store."""
    return hashlib.sha256(f"affectgpt correction {own_id}".encode()).hexdigest()[:32]
