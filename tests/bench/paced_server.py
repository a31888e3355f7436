"""An OpenAI-compatible server that streams short sentences at a steady pace, for load_serve.py; prints its port.

python tests/bench/paced_server.py
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

PACE_TOKENS_S = 30.0
"""Of each answer: with sixteen at once about what vLLM writes on two cores."""
SENTENCE = ("The ", "sea ", "is ", "calm ", "today. ")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "


async def serve() -> None:
    """Until it is killed."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every request of one connection."""
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
            sized = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            asked = json.loads(await reader.readexactly(int(sized[1]))) if sized else {}
            await (stream(writer, asked) if asked.get("stream") else whole(writer, asked))
    except (EOFError, OSError):
        pass
    finally:
        writer.close()


async def whole(writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
    """One completion, or the list of models."""
    document: dict[str, Any] = {"object": "list", "data": [{"id": "base", "object": "model", "owned_by": "paced"}]}
    if asked:
        message = {"role": "assistant", "content": "".join(SENTENCE)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        document = {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}}
    raw = json.dumps(document).encode()
    writer.write(HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw)
    await writer.drain()


async def stream(writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
    """As many tokens as were asked for, each at its time."""
    writer.write(HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    begun_s, n = time.perf_counter(), int(asked.get("max_tokens") or 64)
    head = {"id": "chatcmpl-paced", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
    for i in range(n):
        await asyncio.sleep(max(0.0, begun_s + (i + 1) / PACE_TOKENS_S - time.perf_counter()))
        event(writer, {**head, "choices": [{"index": 0, "delta": {"content": SENTENCE[i % 5]}, "finish_reason": None}]})
    event(writer, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    if (asked.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 9, "completion_tokens": n, "total_tokens": n + 9}
        event(writer, {**head, "choices": [], "usage": usage})
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    await writer.drain()


def event(writer: asyncio.StreamWriter, document: dict[str, Any]) -> None:
    """One server-sent event in one chunk."""
    raw = f"data: {json.dumps(document)}\n\n".encode()
    writer.write(b"%x\r\n" % len(raw) + raw + b"\r\n")


if __name__ == "__main__":
    asyncio.run(serve())
