"""The store: one object for the gateway and the page. Blocking and safe from many threads.

From a coroutine call it as `await asyncio.to_thread(store.begin, owner, ...)`. What a call says it did is on disk when
it returns; a process that dies in the middle of one leaves nothing of it. `owner` is `Caller.owner` of serve/api:
nobody is ever shown that another owner's conversation exists.

A turn is kept so::

    revision = store.begin(owner, conversation.id, Asked.of(text, attachments))      # pending
    try:
        ...                                                                          # the turn's events
        store.finish(owner, revision.id, Answered.of(ended, card))                   # done
    except AffectError as error:
        store.fail(owner, revision.id, str(error))                                   # failed
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from affectgpt.errors import OptionError
from serve.store import conversations, exporting, feedback, rows, searching, turns
from serve.store.database import Database, StoreError
from serve.store.leases import LEASE_S, Leases
from serve.store.records import (
    Answered,
    Asked,
    Conversation,
    ExportForm,
    Feedback,
    Found,
    NotKept,
    Page,
    Revision,
    Settings,
    Summary,
)

__all__ = ["Retention", "Store", "open_store"]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long conversations are kept: seconds since the last change, None without end.

    `most` is how many an owner may have: older ones go when a new one is begun; None as many as they like.
    """

    seconds: float | None = None
    most: int | None = None


IN_MEMORY = Retention(seconds=3600.0, most=200)
"""What a store in memory keeps where nothing else is said: it must not grow without end."""


def open_store(
    url: str = "", *, retain: bool = True, retention: Retention | None = None, must_exist: bool = False
) -> Store:
    """Open the store, making or migrating its tables under a lock.

    Args:
        url: `sqlite:///path`, `postgresql://…`, or a path; empty for the user's own data folder, `memory` for none.
        retain: False keeps everything in this process's memory, writes nothing to any disk, and ignores `url`.
        retention: by default without end on disk; an hour and 200 conversations an owner in memory.
        must_exist: make no new file, for what only reads.

    Raises:
        OptionError: a URL of another kind. StoreError: a database that cannot be reached, written or migrated.
    """
    if not retain or url == "memory":
        return Store(Database("", is_in_memory=True), retention or IN_MEMORY)
    return Store(Database(url, must_exist=must_exist), retention or Retention())


class Store:
    """Conversations, turns, revisions and feedback. Made by `open_store`; close it, or use it in `with`."""

    def __init__(self, database: Database, retention: Retention, lease_s: float = LEASE_S) -> None:
        """`lease_s`: seconds after which a turn whose process is gone is told as interrupted."""
        self._database, self._retention = database, retention
        self._leases = Leases(self._renew, lease_s)

    # ------------------------------------------------------------------ conversations

    def create(self, owner: str, title: str = "", settings: Settings | None = None) -> Summary:
        """A new conversation. Without a title it takes the first words of its first message."""
        with self._database.writing() as connection:
            made = conversations.create(connection, owner, title, settings or Settings())
            most = self._retention.most
            n_gone = conversations.remove_beyond(connection, owner, most) if most else 0
            if n_gone:
                self._forget(connection)
        if n_gone:
            self._database.scrub()
        return made

    def recent(self, owner: str, after: str | None = None, limit: int = 50) -> Page[Summary]:
        """The owner's conversations, last changed first, `limit` (1 to 200) at a time, going on after a page's mark.

        Raises:
            InputError: a mark that no page gave.
        """
        with self._database.reading() as connection:
            return conversations.page(connection, owner, after, limit)

    def search(self, owner: str, query: str, after: str | None = None, limit: int = 20) -> Page[Found]:
        """Own conversations in whose title, or in one message or reply, every word of `query` begins a word.

        Letters' case does not matter. Nothing in `query` is an operator. Last changed first.
        """
        with self._database.reading() as connection:
            return searching.search(connection, owner, query, after, limit)

    def get(self, owner: str, conversation_id: str) -> Conversation:
        """One conversation with its current line. Raises NotKept."""
        with self._database.reading() as connection:
            return rows.read_line(connection, rows.owned(connection, owner, conversation_id))

    def rename(self, owner: str, conversation_id: str, title: str) -> Summary:
        """Give it another title. Raises NotKept; InputError for an empty or overlong one."""
        with self._database.writing() as connection:
            return conversations.rename(connection, owner, conversation_id, title)

    def settle(self, owner: str, conversation_id: str, settings: Settings) -> Summary:
        """Replace its settings. Raises NotKept."""
        with self._database.writing() as connection:
            return conversations.settle(connection, owner, conversation_id, settings)

    def delete(self, owner: str, conversation_id: str) -> None:
        """Remove it with its turns and feedback, for good. Raises NotKept."""
        with self._database.writing() as connection:
            conversations.remove(connection, owner, conversation_id)
            self._forget(connection)
        self._database.scrub()

    def delete_all(self, owner: str) -> int:
        """Remove everything of an owner, for good; how many conversations there were."""
        with self._database.writing() as connection:
            n_gone = conversations.remove_all(connection, owner)
            self._forget(connection)
        self._database.scrub()
        return n_gone

    # ------------------------------------------------------------------ turns

    def begin(self, owner: str, conversation_id: str, asked: Asked) -> Revision:
        """A new turn at the end of the current line, pending.

        Raises:
            NotKept. InputError: a text over LONGEST_TEXT, or the last turn is still being answered.
        """
        with self._database.writing() as connection:
            begun = turns.begin(connection, owner, conversation_id, asked, self._leases.until())
        self._leases.hold(begun.id)
        return begun

    def revise(self, owner: str, turn_id: str, asked: Asked | None = None) -> Revision:
        """A further revision of a turn, pending and current: edited with `asked`, regenerated without.

        The turns that came after the older revision leave the line; `choose` brings them back.

        Raises:
            NotKept. InputError: too long, or the turn is still being answered.
        """
        with self._database.writing() as connection:
            begun = turns.revise(connection, owner, turn_id, asked, self._leases.until())
        self._leases.hold(begun.id)
        return begun

    def finish(self, owner: str, revision_id: str, answered: Answered) -> Revision:
        """A pending revision's answer. Raises NotKept where it is gone, InputError where it already ended."""
        with self._database.writing() as connection:
            ended = turns.finish(connection, owner, revision_id, answered)
        self._leases.release(revision_id)
        return ended

    def fail(self, owner: str, revision_id: str, failure: str) -> Revision:
        """A pending revision that came to nothing, and why. Raises as `finish`."""
        with self._database.writing() as connection:
            ended = turns.fail(connection, owner, revision_id, failure)
        self._leases.release(revision_id)
        return ended

    def revision(self, owner: str, revision_id: str) -> Revision:
        """One revision, current or not. Raises NotKept."""
        with self._database.reading() as connection:
            return rows.read_revision(connection, turns.find_revision(connection, owner, revision_id)[1].id)

    def choose(self, owner: str, revision_id: str) -> Conversation:
        """Make a revision its turn's current one, with the turns that followed it. Raises NotKept."""
        with self._database.writing() as connection:
            return turns.choose(connection, owner, revision_id)

    # ------------------------------------------------------------------ feedback

    def rate(self, owner: str, turn_id: str, given: Feedback, revision_id: str | None = None) -> Feedback:
        """Keep what an owner says of a turn's current answer, or of the revision named; replaces what was said before.

        Raises:
            NotKept. InputError: a label that is not basic, a text over LONGEST_FIELD, or an answer that never came.
        """
        with self._database.writing() as connection:
            return feedback.rate(connection, owner, turn_id, given, revision_id)

    def unrate(self, owner: str, turn_id: str, revision_id: str | None = None) -> None:
        """Take it back, and with it the consent to reuse. Raises NotKept."""
        with self._database.writing() as connection:
            feedback.unrate(connection, owner, turn_id, revision_id)

    def corrections(self, owner: str | None = None) -> Iterator[str]:
        """JSON lines of corrected answers that may be reused, one owner's or all: what `affectgpt data build` reads.

        Without messages, names or remarks: observations, the gold label and words, hashes that keep splits apart.
        """
        return feedback.corrections(self._database, owner)

    # ------------------------------------------------------------------ export and upkeep

    def export(self, owner: str, form: ExportForm, conversation_id: str | None = None) -> Iterator[str]:
        """One conversation or all as a document, in pieces, reading one conversation at a time.

        `ai_generated` and the model stand beside each answer. Raises NotKept at once, before the first piece.
        """
        if form not in exporting.MEDIA_TYPES:
            raise OptionError(f"no export as {form!r}", f"there are {', '.join(exporting.MEDIA_TYPES)}")
        with self._database.reading() as connection:
            if conversation_id is not None:
                ids = [rows.owned(connection, owner, conversation_id).id]
            else:
                ids = conversations.all_ids(connection, owner)
        return exporting.write(form, self._whole(owner, ids, has_all=form == "json"))

    def sweep(self) -> int:
        """Remove what is older than the retention allows; how many conversations went."""
        if self._retention.seconds is None:
            return 0
        with self._database.writing() as connection:
            n_gone = conversations.remove_older(connection, self._retention.seconds)
            if n_gone:
                self._forget(connection)
        if n_gone:
            self._database.scrub()
        return n_gone

    async def keep_swept(self, every_s: float = 60.0) -> None:
        """Sweep again and again until cancelled; a database that is away is tried again the next time."""
        while True:
            with suppress(StoreError):
                await asyncio.to_thread(self.sweep)
            await asyncio.sleep(every_s)

    def is_ready(self) -> bool:
        """Whether the database answers."""
        try:
            with self._database.reading() as connection:
                return conversations.is_there(connection)
        except StoreError:
            return False

    def close(self) -> None:
        """Let go of the database; a store in memory is gone with it."""
        left = self._leases.close()
        try:
            if left and not self._database.is_in_memory:
                with self._database.writing() as connection:
                    turns.let_go(connection, left)
        finally:
            self._database.close()

    def _forget(self, connection: Connection) -> None:
        if not self._database.is_in_memory:  # there, what is gone is gone with the next row
            searching.forget(connection)

    def _renew(self, ids: Sequence[str], until: datetime) -> None:
        with self._database.writing() as connection:
            turns.extend(connection, ids, until)

    def _whole(self, owner: str, ids: Sequence[str], has_all: bool) -> Iterator[exporting.Whole]:
        for conversation_id in ids:
            with self._database.reading() as connection:
                try:
                    row = rows.owned(connection, owner, conversation_id)
                except NotKept:  # deleted while the document was being written
                    continue
                whole = rows.read_whole(connection, row) if has_all else (rows.read_line(connection, row), ())
            yield whole

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
