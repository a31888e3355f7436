"""Rows on their way between machines: items to be done, items that were read, finished rows, each as a table's row.

Nothing is pickled: an item travels as JSON beside its medium's bytes, what was observed in the form of the cache of
readings, a finished row as its own line. A table's columns are the same for every row of its kind, so that any tool
over tables can count failures by stage and type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from affectgpt.batch.course import Weighed
from affectgpt.batch.plain import plain, sound
from affectgpt.batch.records import Done, Fingerprints, Item, Row
from affectgpt.batch.row_json import dump_row, load_row
from affectgpt.batch.tally import Effort
from affectgpt.batch.wishes import read_wishes
from affectgpt.errors import EngineBusy, EngineError, EngineUnreachable
from affectgpt.records import Outcome
from affectgpt.workers import pack, unpack

__all__ = [
    "COLUMNS",
    "Columns",
    "Result",
    "end",
    "load_end",
    "load_order",
    "load_result",
    "load_weighed",
    "order",
    "result",
    "weighed",
]

Columns = dict[str, Any]
"""One row of a table, by column."""

COLUMNS: Final[Mapping[str, str]] = {
    "id": "text",
    "state": "text",
    "number": "number",
    "stage": "text",
    "type": "text",
    "message": "text",
    "attempts": "number",
    "effort": "text",
    "head": "bytes",
    "body": "bytes",
}
"""Columns of every table, with the kind of what is in them; None where a row has nothing to say there.

state: "ordered", "weighed", "ok", "failed", "kept" (the ledger holds what doing it would give), "ended" (no row would
    get an answer any more), or "told" (no item: what there is to tell of the servers).
stage, type, message, attempts: of a failure, as `affectgpt.batch.records.Failure`.
effort: what reading it took, in JSON.
head, body: the item in JSON and its medium's bytes; or the item in JSON and what was observed and appraised; or the
    finished row's line.
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an item: its row, or None where the ledger's stays; what reading it took, where it was read."""

    id: str
    row: Row | None
    effort: Effort | None = None


def order(item: Item, done: Done | None) -> Columns:
    """An item that is to be done, with what the ledger holds of it."""
    head = {"item": _item(item), "done": None if done is None else asdict(done)}
    return _columns(item, "ordered", head=json.dumps(head).encode(), body=item.content)


def load_order(columns: Mapping[str, Any]) -> tuple[Item, Done | None]:
    """The item and the ledger's part of `order`."""
    head = json.loads(columns["head"])
    done = head["done"]
    if done is not None:
        done = Done(done["status"], Fingerprints(**done["fingerprints"]), done["media_stamp"])
    return _load_item(head["item"], columns["body"]), done


def weighed(read: Weighed) -> Columns:
    """An item that was read; its medium's bytes stay behind."""
    head = {"item": _item(read.item), "stamp": read.stamp, "fingerprints": asdict(read.fingerprints)}
    told = _columns(read.item, "weighed", head=json.dumps(head).encode(), body=pack(read.outcome))
    return {**told, "effort": json.dumps(asdict(read.effort))}


def load_weighed(columns: Mapping[str, Any]) -> Weighed:
    """The item of `weighed`.

    Raises:
        ValueError: damaged, or written by another version of this program.
    """
    head = json.loads(columns["head"])
    effort = _effort(columns)
    if effort is None:
        raise ValueError(f"{columns['id']}: no item that was read")
    prints = Fingerprints(**head["fingerprints"])
    return Weighed(_load_item(head["item"], None), prints, head["stamp"], unpack(columns["body"], Outcome), effort)


def result(item: Item, row: Row | None, effort: Effort | None = None) -> Columns:
    """A finished row; `row` None where the ledger's stays."""
    if row is None:
        return _columns(item, "kept")
    told = _columns(item, row.status, head=dump_row(row))
    if effort is not None:
        told["effort"] = json.dumps(asdict(effort))
    if row.error is None:
        return told
    error = asdict(row.error)
    return {**told, **error, "message": sound(row.error.message)}


def load_result(columns: Mapping[str, Any]) -> Result:
    """What `result` told."""
    row = None if columns["head"] is None else load_row(columns["head"])
    return Result(columns["id"], row, _effort(columns))


def end(item: Item, error: EngineError) -> Columns:
    """An item that is left undone, because nobody's question would be answered any more."""
    told = json.dumps({"type": type(error).__name__, "what": error.what, "remedy": error.remedy})
    return _columns(item, "ended", head=told.encode())


def load_end(columns: Mapping[str, Any]) -> EngineError:
    """The error of `end`."""
    told = json.loads(columns["head"])
    kind = {"EngineUnreachable": EngineUnreachable, "EngineBusy": EngineBusy}.get(told["type"], EngineError)
    return kind(told["what"], told["remedy"])


def _columns(item: Item, state: str, head: bytes | None = None, body: bytes | None = None) -> Columns:
    told = dict.fromkeys(COLUMNS)
    return {**told, "id": item.id, "state": state, "number": item.number, "head": head, "body": body}


def _item(item: Item) -> Mapping[str, object]:
    return {
        "id": item.id,
        "number": item.number,
        "media": item.media,
        "transcript": item.transcript,
        "options": dict(item.options),
        "extra": plain(item.extra),
    }


def _load_item(told: Mapping[str, Any], content: bytes | None) -> Item:
    # Read once more, the wishes get the types that JSON does not know.
    return Item(**{**told, "options": read_wishes(told["options"])}, content=content)


def _effort(columns: Mapping[str, Any]) -> Effort | None:
    return None if columns["effort"] is None else Effort(**json.loads(columns["effort"]))
