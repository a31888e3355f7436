"""Tools in OpenAI's chat form: what a request offers, and the exchange that it comes back with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from serve.api.openai_form import ApiError, ChatRequest
from serve.calling import demands_a_call
from serve.events import Tools

__all__ = ["read_tools"]

MOST_TOOLS: Final = 128
"""As many as OpenAI takes (its API reference, chat completions, `tools`)."""
_FIELDS: Final = ("tools", "tool_choice", "parallel_tool_calls")


def read_tools(chat: ChatRequest, *, can_call: bool) -> Tools | None:
    """What a request says of tools; None where nothing, and where the writer calls none and need not.

    An empty list of tools is no offer: clients send it, and servers refuse it.

    Raises:
        ApiError: 400, naming the field; also where a call is demanded and `can_call` is False.
    """
    offered = chat.body.get("tools")
    if offered is not None and (not isinstance(offered, list) or not all(map(_is_tool, offered))):
        raise ApiError("a tool is no function with a name", 'send {"type": "function", "function": …}', param="tools")
    if offered and len(offered) > MOST_TOOLS:
        raise ApiError(f"{len(offered)} tools", f"send at most {MOST_TOOLS}", param="tools")
    fields = {name: chat.body[name] for name in _FIELDS if chat.body.get(name) is not None} if offered else {}
    tools = Tools(fields, tuple(_exchanged(row, i) for i, row in enumerate(chat.after)))
    if not can_call and (demands_a_call(tools) or tools.exchange):
        raise ApiError(
            "the model of this server calls no tools",
            "leave tool_choice to auto, or serve one that does: --launch or --base-url",
            param="tool_choice",
            code="unsupported_parameter",
        )
    return tools if can_call and (fields or tools.exchange) else None


def _is_tool(row: object) -> bool:
    function = row.get("function") if isinstance(row, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str) and bool(function["name"])


def _exchanged(row: Mapping[str, Any], i: int) -> dict[str, Any]:
    """A message of the exchange, with what servers ask of one and nothing else."""
    content = row.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if row.get("role") == "assistant":
        return {"role": "assistant", "content": content, "tool_calls": row["tool_calls"]}
    call_id = row.get("tool_call_id")
    if not isinstance(call_id, str) or not call_id:
        raise ApiError("what a tool gave names no call", "send tool_call_id", param=f"messages[-{i + 1}].tool_call_id")
    return {"role": "tool", "tool_call_id": call_id, "content": content or ""}
