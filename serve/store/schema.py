"""The tables, as the code reads and writes them. They are made by the migrations alone; a test holds the two together.

What full-text search needs differs by database and stands in the migration only: an FTS5 table kept by triggers in
SQLite, a generated column in PostgreSQL.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

__all__ = ["ID_LENGTH", "VERSION_TABLE", "Moment", "conversations", "feedback", "metadata", "revisions", "turns"]

ID_LENGTH = 32
"""Hexadecimal digits of an id: 128 random bits, so that ids cannot be guessed or counted."""

VERSION_TABLE = "affectgpt_version"
"""Where the migrations note how far they came; a name of its own, for others use Alembic in the same database too."""


class Moment(TypeDecorator[datetime]):
    """A point in time, in UTC with microseconds; SQLite, which knows no zones, is given none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Into the database; raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Out of the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("title", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("updated", Moment, nullable=False),
    Column("locale", String(35), nullable=False),
    Column("consented", Moment),
    Column("more", JSON, nullable=False),
    Column("n_turns", Integer, nullable=False),
    Index(None, "owner", "updated", "id"),
    Index(None, "updated"),
)

# `after_id` is the revision that the turn follows, empty for a first turn. It is no foreign key: turns and revisions
# would each need the other to exist first, and a revision only ever goes together with its whole conversation.
turns = Table(
    "turns",
    metadata,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("after_id", String(ID_LENGTH), nullable=False),
    Column("number", Integer, nullable=False),
    Column("current", Integer, nullable=False),
    UniqueConstraint("conversation_id", "after_id"),
)

# `row` is what SQLite's full-text index refers to; a text key's hidden row id may change when the file is compacted.
revisions = Table(
    "revisions",
    metadata,
    Column("row", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(ID_LENGTH), nullable=False, unique=True),
    Column("turn_id", ForeignKey("turns.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(11), nullable=False),
    Column("alive_until", Moment),
    Column("created", Moment, nullable=False),
    Column("ended", Moment),
    Column("text", Text, nullable=False),
    Column("attachments", JSON, nullable=False),
    Column("reasoning", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("card", Text, nullable=False),
    Column("failure", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("finish_reason", String(32), nullable=False),
    Column("n_prompt_tokens", Integer, nullable=False),
    Column("n_completion_tokens", Integer, nullable=False),
    Column("outcome", JSON(none_as_null=True)),
    Column("chain", JSON(none_as_null=True)),
    UniqueConstraint("turn_id", "number"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("revision_id", ForeignKey("revisions.id", ondelete="CASCADE"), primary_key=True),
    Column("thumbs", String(4)),
    Column("label", String(32)),
    Column("words", JSON, nullable=False),
    Column("text", Text, nullable=False),
    Column("may_reuse", Boolean, nullable=False),
    Column("given", Moment, nullable=False),
)
