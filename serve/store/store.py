"""The store: one object for the gateway and the page. Blocking and safe from many threads.

From a coroutine call it as `await asyncio.to_thread(store.begin, owner, ...)`. What a call says it did is on disk when
it returns; a process that dies in the middle of one leaves nothing of it. `owner` is `Caller.owner` of serve/keys.py:
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

from collections.abc import Iterator
from dataclasses import dataclass

from serve.store.records import (
    Answered,
    Asked,
    Conversation,
    ExportForm,
    Feedback,
    Found,
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


def open_store(url: str = "", *, retain: bool = True, retention: Retention | None = None) -> Store:
    """Open the store, making or migrating its tables under a lock.

    Args:
        url: `sqlite:///path`, `postgresql://…`, or a path; empty for the user's own data folder.
        retain: False keeps everything in this process's memory, writes nothing to any disk, and ignores `url`.
        retention: by default without end on disk; an hour and 200 conversations an owner in memory.

    Raises:
        OptionError: a URL of another kind. StoreError: a database that cannot be reached, written or migrated.
    """
    raise NotImplementedError


class Store:
    """Conversations, turns, revisions and feedback. Made by `open_store`; close it, or use it in `with`."""

    # ------------------------------------------------------------------ conversations

    def create(self, owner: str, title: str = "", settings: Settings | None = None) -> Summary:
        """A new conversation. Without a title it takes the first words of its first message."""
        raise NotImplementedError

    def recent(self, owner: str, after: str | None = None, limit: int = 50) -> Page[Summary]:
        """The owner's conversations, last changed first, `limit` (1 to 200) at a time, going on after a page's mark.

        Raises:
            InputError: a mark that no page gave.
        """
        raise NotImplementedError

    def search(self, owner: str, query: str, after: str | None = None, limit: int = 20) -> Page[Found]:
        """Own conversations in whose title, or in one message or reply, every word of `query` begins a word.

        Letters' case does not matter. Nothing in `query` is an operator. Last changed first.
        """
        raise NotImplementedError

    def get(self, owner: str, conversation_id: str) -> Conversation:
        """One conversation with its current line. Raises NotKept."""
        raise NotImplementedError

    def rename(self, owner: str, conversation_id: str, title: str) -> Summary:
        """Give it another title. Raises NotKept; InputError for an empty or overlong one."""
        raise NotImplementedError

    def settle(self, owner: str, conversation_id: str, settings: Settings) -> Summary:
        """Replace its settings. Raises NotKept."""
        raise NotImplementedError

    def delete(self, owner: str, conversation_id: str) -> None:
        """Remove it with its turns and feedback, for good. Raises NotKept."""
        raise NotImplementedError

    def delete_all(self, owner: str) -> int:
        """Remove everything of an owner, for good; how many conversations there were."""
        raise NotImplementedError

    # ------------------------------------------------------------------ turns

    def begin(self, owner: str, conversation_id: str, asked: Asked) -> Revision:
        """A new turn at the end of the current line, pending.

        Raises:
            NotKept. InputError: a text over LONGEST_TEXT, or the last turn is still being answered.
        """
        raise NotImplementedError

    def revise(self, owner: str, turn_id: str, asked: Asked | None = None) -> Revision:
        """A further revision of a turn, pending and current: edited with `asked`, regenerated without.

        The turns that came after the older revision leave the line; `choose` brings them back.

        Raises:
            NotKept. InputError: too long, or the turn is still being answered.
        """
        raise NotImplementedError

    def finish(self, owner: str, revision_id: str, answered: Answered) -> Revision:
        """A pending revision's answer. Raises NotKept where it is gone, InputError where it already ended."""
        raise NotImplementedError

    def fail(self, owner: str, revision_id: str, failure: str) -> Revision:
        """A pending revision that came to nothing, and why. Raises as `finish`."""
        raise NotImplementedError

    def revision(self, owner: str, revision_id: str) -> Revision:
        """One revision, current or not. Raises NotKept."""
        raise NotImplementedError

    def choose(self, owner: str, revision_id: str) -> Conversation:
        """Make a revision its turn's current one, with the turns that followed it. Raises NotKept."""
        raise NotImplementedError

    # ------------------------------------------------------------------ feedback

    def rate(self, owner: str, turn_id: str, feedback: Feedback, revision_id: str | None = None) -> Feedback:
        """Keep what an owner says of a turn's current answer, or of the revision named; replaces what was said before.

        Raises:
            NotKept. InputError: a label that is not basic, a text over LONGEST_FIELD, or an answer that never came.
        """
        raise NotImplementedError

    def unrate(self, owner: str, turn_id: str, revision_id: str | None = None) -> None:
        """Take it back, and with it the consent to reuse. Raises NotKept."""
        raise NotImplementedError

    def corrections(self) -> Iterator[str]:
        """JSON lines of every owner's corrected answers that may be reused: what `affectgpt data build` reads."""
        raise NotImplementedError

    # ------------------------------------------------------------------ export and upkeep

    def export(self, owner: str, form: ExportForm, conversation_id: str | None = None) -> Iterator[str]:
        """One conversation or all as a document, in pieces, reading one conversation at a time.

        `ai_generated` and the model stand beside each answer. Raises NotKept at once, before the first piece.
        """
        raise NotImplementedError

    def sweep(self) -> int:
        """Remove what is older than the retention allows; how many conversations went."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether the database answers."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the database; a store in memory is gone with it."""
        raise NotImplementedError

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
