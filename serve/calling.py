"""Tools that a client offers: its request read, what was called put together, and the way back to the server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from affectgpt.engines.chat_form import unmarked
from serve.events import Called, Tools

__all__ = ["Calls", "asked_with", "demands_a_call"]

ANY_CALL: Final = ("auto", "none")
"""Choices that an answer without a call fulfils."""


def demands_a_call(tools: Tools) -> bool:
    """Whether the client wants a call and nothing else: `required`, or one tool by its name."""
    choice = tools.fields.get("tool_choice")
    return choice is not None and choice not in ANY_CALL


def asked_with(body: Mapping[str, Any], tools: Tools | None) -> dict[str, Any]:
    """The request's JSON with what was offered, and after the dialogue what was called and what that gave.

    Marks of a turn are broken in what a tool gave, as in everything else that others wrote.
    """
    if tools is None:
        return dict(body)
    exchange = [
        {**message, "content": unmarked(content)} if isinstance(content := message.get("content"), str) else message
        for message in tools.exchange
    ]
    return {**body, **tools.fields, "messages": [*body["messages"], *exchange]}


class Calls:
    """Calls that come in pieces, put together."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, Any]] = {}

    def push(self, pieces: Sequence[Mapping[str, Any]]) -> None:
        """Pieces of one chunk; a piece without an index belongs to the first call, one that is no piece to none."""
        for piece in pieces:
            index, told = piece.get("index", 0), piece.get("function")
            if not isinstance(index, int) or not isinstance(told, dict):
                continue
            call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
            call["id"] = call["id"] or str(piece.get("id") or "")
            call["name"] = call["name"] or str(told.get("name") or "")
            arguments = told.get("arguments")
            call["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else ""

    def whole(self) -> Called | None:
        """What was called, in order; None where nothing was. A call that the server gave no id gets one."""
        calls = tuple(
            {
                "id": call["id"] or f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for _, call in sorted(self._calls.items())
            if call["name"]
        )
        return Called(calls) if calls else None
