"""What travels through a batch: items in, rows out, and the two ends that they come from and go to.

A row stands for an item that is over: answered, or failed for a reason that is written down. What a row holds of the
outcome is the document of `affectgpt.record_json`, already plain, so that a row can be written, read again and compared
without any model at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

__all__ = ["BadItem", "Done", "Failure", "Fingerprints", "Item", "Ledger", "Row", "Source", "Status"]

Status = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True)
class Item:
    """One clip, recording, picture or text to explain.

    id: unique in its job; any text without control characters.
    number: the row in the source, from 1.
    media: a local path, or a URL that fsspec opens; None where there are words alone. Where `content` is given, only a
        name, whose suffix tells the kind.
    content: the medium's bytes, where they came inside the row.
    transcript: the words themselves, instead of those that the medium brings along.
    options: what this row wishes beside the job's own options, checked: see `affectgpt.batch.wishes`.
    extra: the row's other columns in JSON's types, carried through to the row that comes out.
    """

    id: str
    number: int
    media: str | None = None
    content: bytes | None = field(default=None, repr=False)
    transcript: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadItem:
    """A row of the source that is no item, and why, in words; it becomes a failed row and never stops the job.

    `id` is the row's own, one made for it where it repeats another's, or None where it has none.
    """

    number: int
    id: str | None
    reason: str
    extra: Mapping[str, object] = field(default_factory=dict)


class Source(Protocol):
    """Where items come from. `name` is what the user called it."""

    @property
    def name(self) -> str:
        """The path, pattern or URL."""
        ...

    def iterate(self) -> Iterator[Item | BadItem]:
        """The rows from the first, read as they are asked for; the same rows in the same order each time.

        Raises:
            InputError: the source as a whole cannot be read (any more).
        """
        ...

    def count(self) -> int | None:
        """How many rows `iterate` gives, or None where only reading them all would tell."""
        ...


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Hashes, in lower hexadecimal, of what shaped a row; None where the row failed before it was known.

    media_sha256: of the medium's bytes (64 digits).
    perception: of the medium, the readers' versions and the options that they see (32 digits). Rows that agree in it
        share their observations.
    answer: of `perception`, the transcript, the prompt, the model and its adapter, the sampling and the appraisers (32
        digits). A row whose `answer` is what it would be now need not be done again.
    """

    media_sha256: str | None = None
    perception: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row failed: in which stage, the error's class, its message, and how often it was tried."""

    stage: str
    type: str
    message: str
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """An item that is over.

    media: as the item names it.
    media_stamp: what the place that it lies in says of its version (size and times, or a store's tag), hashed; while it
        is the same, `fingerprints.media_sha256` need not be computed again (32 digits). None where there is none.
    outcome: the document of `affectgpt.record_json.to_json`; None where the row failed before there was one.
    error: None for a row that is "ok".
    """

    id: str
    number: int
    status: Status
    fingerprints: Fingerprints = field(default_factory=Fingerprints)
    media: str | None = None
    media_stamp: str | None = None
    outcome: Mapping[str, Any] | None = None
    error: Failure | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What a ledger remembers of a row: enough to decide whether it must be done again."""

    status: Status
    fingerprints: Fingerprints
    media_stamp: str | None = None


class Ledger(Protocol):
    """Where rows go, and what is there already. One row an id: a later one takes the earlier one's place.

    A failed row never takes an answered one's: that one stays as it was, and the failure is only listed.
    """

    @property
    def n_ok(self) -> int:
        """Rows that were answered, of this run and earlier ones."""
        ...

    @property
    def n_failed(self) -> int:
        """Rows that failed, of this run and earlier ones."""
        ...

    def done(self, id: str) -> Done | None:
        """What is known of this row, from this run or an earlier one."""
        ...

    def append(self, rows: Sequence[Row]) -> None:
        """Keep rows: when this returns they outlive a killed process and a power cut. A small group costs one sync.

        Raises:
            OutputError: they cannot be written (disk full, read-only); what was kept before stays whole.
        """
        ...

    def close(self, *, complete: bool = True) -> None:
        """Give the output its final form and name; with `complete` False leave it to be gone on with.

        Raises:
            OutputError: as `append`.
        """
        ...
