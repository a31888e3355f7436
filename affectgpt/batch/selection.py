"""Which rows of a source are this job's: ids made unique, one shard of several, a first few."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self

from affectgpt.batch.index import digest_of
from affectgpt.batch.plain import sound
from affectgpt.batch.records import BadItem, Item
from affectgpt.errors import OptionError

__all__ = ["LONGEST_ID", "Shard", "select", "with_sound_ids"]

LONGEST_ID = 2_000
"""Characters of an id: a path may have 4,096 bytes, and each row carries its id."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Unicode's control characters (Cc) and its separators of lines and paragraphs."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `k` of `n`, from 1.

    A row belongs to it by the hash of its id alone, so that it stays there when rows are added, taken out or sorted.
    """

    k: int
    n: int

    def __post_init__(self) -> None:
        """Raise OptionError for a part that there is not."""
        if not 1 <= self.k <= self.n:
            raise OptionError(f"shard {self.k}/{self.n}", "write K/N with K from 1 to N, for example 1/4")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that `2/4` names. Raises OptionError."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        if match is None:
            raise OptionError(f"shard {text!r}", "write K/N with K from 1 to N, for example 1/4")
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        """As it stands in file names: `2-of-4`."""
        return f"{self.k}-of-{self.n}"

    def holds(self, id: str) -> bool:
        """Whether a row of this id is in this part."""
        digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.n == self.k - 1


def select(
    rows: Iterator[Item | BadItem], shard: Shard | None = None, limit: int | None = None
) -> Iterator[Item | BadItem]:
    """The rows that are this job's, each with a sound id of its own: of `shard`, and of those the first `limit`.

    Raises:
        OptionError: a limit below 0.
    """
    if limit is not None and limit < 0:
        raise OptionError(f"a limit of {limit} rows", "give 0 or more")
    named = with_sound_ids(rows)
    chosen = (row for row in named if shard is None or shard.holds(row.id or ""))
    return chosen if limit is None else islice(chosen, limit)


def with_sound_ids(rows: Iterator[Item | BadItem]) -> Iterator[Item | BadItem]:
    """The rows, each under an id that no other has.

    A row that repeats an id is bad, and named `id#2`, `id#3` and so on; a bad row without an id is named after its
    number. Memory: some 100 bytes a row.
    """
    first: dict[bytes, int] = {}
    for row in rows:
        own = sound(row.id) if row.id is not None else f"row-{row.number}"
        reason = row.reason if isinstance(row, BadItem) else _fault(own)
        own = _writable(own) if _fault(own) else own
        earlier = first.get(digest_of(own))
        if earlier is not None and row.id is not None and not reason:
            reason = f"the id {own[:100]!r} is that of row {earlier} too: give every row its own"
        name, n = own, 2
        while digest_of(name) in first:
            name, n = f"{own}#{n}", n + 1
        first[digest_of(name)] = row.number
        if reason:
            yield BadItem(row.number, name, reason, row.extra)
        else:
            yield replace(row, id=name)


def _fault(id: str) -> str:
    if not id.strip():
        return "the id is empty"
    if len(id) > LONGEST_ID:
        return f"the id has {len(id)} characters: {LONGEST_ID} at most"
    if _CONTROLS.search(id):
        return f"the id {id[:100]!r} holds a control character"
    return ""


def _writable(id: str) -> str:
    """A name that can be written for an id that is none."""
    id = _CONTROLS.sub("�", id).strip() or "no-id"
    if len(id) <= LONGEST_ID:
        return id
    return f"{id[: LONGEST_ID - 20]}…{digest_of(id).hex()[:16]}"
