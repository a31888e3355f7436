"""The mark of a request: its id, which its answer and its log lines bear, and its span where traces are kept."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["MARK", "Mark", "current_mark", "marked_as", "trace_headers"]

MARK: Final = "affectgpt.mark"
"""Where a request's scope holds its mark."""


@dataclass(slots=True)
class Mark:
    """A request's id, its span where traces are kept, and the id of the key that it came with."""

    request_id: str
    span: Span | None = None
    key_id: str | None = None
    is_over: bool = False


marked_as: ContextVar[Mark | None] = ContextVar("marked_as", default=None)


def current_mark() -> Mark | None:
    """The mark of the request that this task works for, None outside of one.

    A task that outlives the request which began it (the page's queue does) works for others since.
    """
    found = marked_as.get()
    return found if found is not None and not found.is_over else None


def trace_headers() -> dict[str, str]:
    """W3C's `traceparent` of the request that this task works for, for the server behind to go on from."""
    found = current_mark()
    if found is None or found.span is None:
        return {}
    context = found.span.get_span_context()
    return {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
