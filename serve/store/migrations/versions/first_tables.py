"""Conversations, turns, revisions, feedback, and a full-text index over messages and replies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serve.store.schema import ID_LENGTH, Moment

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The text of a message and its reply, without other columns; accents do not matter. Triggers keep it, also on cascades.
_SQLITE_SEARCH = (
    """CREATE VIRTUAL TABLE revision_words USING fts5(
        text, reply, content='revisions', content_rowid='row', tokenize='unicode61 remove_diacritics 2')""",
    """CREATE TRIGGER revision_words_added AFTER INSERT ON revisions BEGIN
        INSERT INTO revision_words(rowid, text, reply) VALUES (new.row, new.text, new.reply);
    END""",
    """CREATE TRIGGER revision_words_removed AFTER DELETE ON revisions BEGIN
        INSERT INTO revision_words(revision_words, rowid, text, reply)
        VALUES ('delete', old.row, old.text, old.reply);
    END""",
    """CREATE TRIGGER revision_words_changed AFTER UPDATE OF text, reply ON revisions BEGIN
        INSERT INTO revision_words(revision_words, rowid, text, reply)
        VALUES ('delete', old.row, old.text, old.reply);
        INSERT INTO revision_words(rowid, text, reply) VALUES (new.row, new.text, new.reply);
    END""",
)

# A tsvector holds a megabyte at most (PostgreSQL manual, 12.11): texts are indexed up to 60,000 characters each. Its
# parser would keep addresses and numbers with a point whole: punctuation goes first, so that words are SQLite's words.
_POSTGRES_SEARCH = (
    r"""ALTER TABLE revisions ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', translate(
        left(text, 60000) || ' ' || left(reply, 60000),
        '!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~', '                                '))) STORED""",
    "CREATE INDEX ix_revisions_words ON revisions USING gin (words)",
)


def upgrade() -> None:
    """Make everything."""
    _make_conversations()
    _make_revisions()
    op.create_table(
        "feedback",
        sa.Column("revision_id", sa.String(ID_LENGTH), nullable=False),
        sa.Column("thumbs", sa.String(4)),
        sa.Column("label", sa.String(32)),
        sa.Column("words", sa.JSON, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("may_reuse", sa.Boolean, nullable=False),
        sa.Column("given", Moment, nullable=False),
        sa.PrimaryKeyConstraint("revision_id", name="pk_feedback"),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], "fk_feedback_revision_id", ondelete="CASCADE"),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE_SEARCH if is_sqlite else _POSTGRES_SEARCH:
        op.execute(statement)


def downgrade() -> None:
    """Take everything away, its triggers and indexes with it."""
    op.drop_table("feedback")
    if op.get_bind().dialect.name == "sqlite":
        op.drop_table("revision_words")
    for table in ("revisions", "turns", "conversations"):
        op.drop_table(table)


def _make_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(ID_LENGTH), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("created", Moment, nullable=False),
        sa.Column("updated", Moment, nullable=False),
        sa.Column("locale", sa.String(35), nullable=False),
        sa.Column("consented", Moment),
        sa.Column("more", sa.JSON, nullable=False),
        sa.Column("n_turns", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index("ix_conversations_owner_updated_id", "conversations", ["owner", "updated", "id"])
    op.create_index("ix_conversations_updated", "conversations", ["updated"])


def _make_revisions() -> None:
    op.create_table(
        "turns",
        sa.Column("id", sa.String(ID_LENGTH), nullable=False),
        sa.Column("conversation_id", sa.String(ID_LENGTH), nullable=False),
        sa.Column("after_id", sa.String(ID_LENGTH), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("current", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_turns"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], "fk_turns_conversation_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("conversation_id", "after_id", name="uq_turns_conversation_id_after_id"),
    )
    op.create_table(
        "revisions",
        sa.Column("row", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(ID_LENGTH), nullable=False),
        sa.Column("turn_id", sa.String(ID_LENGTH), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(11), nullable=False),
        sa.Column("alive_until", Moment),
        sa.Column("created", Moment, nullable=False),
        sa.Column("ended", Moment),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("attachments", sa.JSON, nullable=False),
        sa.Column("reasoning", sa.Text, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("card", sa.Text, nullable=False),
        sa.Column("failure", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("finish_reason", sa.String(32), nullable=False),
        sa.Column("n_prompt_tokens", sa.Integer, nullable=False),
        sa.Column("n_completion_tokens", sa.Integer, nullable=False),
        sa.Column("outcome", sa.JSON(none_as_null=True)),
        sa.PrimaryKeyConstraint("row", name="pk_revisions"),
        sa.UniqueConstraint("id", name="uq_revisions_id"),
        sa.UniqueConstraint("turn_id", "number", name="uq_revisions_turn_id_number"),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], "fk_revisions_turn_id", ondelete="CASCADE"),
    )
