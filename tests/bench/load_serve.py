"""A gateway under load on the loopback, printed as one JSON document: errors, latencies, memory, and what it costs.

    python tests/bench/load_serve.py                                      # a gateway of its own, echo engine
    python tests/bench/load_serve.py --upstream http://127.0.0.1:8001/v1 --model NAME --turns 200
    python tests/bench/load_serve.py --url http://127.0.0.1:8000 --pid 4711 --key agpt_…

Turns: so many from so many clients, half of them streamed, no two alike. Cost: the same streamed answers straight from
the server behind and through the gateway, in turns, sixteen at once; without --upstream a server of our own stands
behind that writes at a steady pace. A first text counts from the moment at which its sentence was whole: before, the
screen could not have let it go. Progress goes to stderr. The clients are bare sockets, so that they cost little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from affectgpt.safety import Screen, SentenceGate

FIRST = 1000
"""Turns after which the server has everything that it keeps."""
MOST_GROWTH = 1.05
LEAST_RATIO = 0.95
MOST_ADDED_MS = 15.0
N_TOGETHER = 16
N_ROUNDS = 3
APART_S = 0.02
"""Between two clients' requests: sixteen people do not press the key in the same millisecond."""
WORDS = (
    "work", "rain", "morning", "letter", "sister", "silence", "dinner", "kitchen",
    "bus", "test", "friend", "phone", "window", "song", "garden", "door",
)  # fmt: skip


@dataclass(frozen=True)
class Server:
    """Where to ask, with which key."""

    url: str
    key: str = ""
    pid: int | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80


@dataclass
class Answer:
    """What came back: seconds from the request to the first releasable text and to the end."""

    status: int = 0
    first_s: float | None = None
    all_s: float = 0.0
    n_tokens: int = 0
    fault: str = ""


@dataclass
class Client:
    """One connection, kept while the server keeps it."""

    server: Server
    path: str = "/v1/chat/completions"
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None, repr=False)

    async def ask(self, body: dict[str, Any], gate: SentenceGate | None = None) -> Answer:
        """One answer. `gate` None takes the first content as releasable, else the first that the gate lets go."""
        answer, begun_s = Answer(), time.perf_counter()
        try:
            async with asyncio.timeout(600):
                await self._ask(body, gate, answer, begun_s)
        except (OSError, ValueError, EOFError, TimeoutError) as error:
            answer.fault = f"{type(error).__name__} {error}"[:200]
            self.close()
        answer.all_s = time.perf_counter() - begun_s
        return answer

    async def _ask(self, body: dict[str, Any], gate: SentenceGate | None, answer: Answer, begun_s: float) -> None:
        if self._streams is None or self._streams[1].is_closing():
            self._streams = await asyncio.open_connection(*self.server.place, limit=1 << 22)
        reader, writer = self._streams
        raw = json.dumps(body).encode()
        lines = [f"POST {self.path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
        lines += [f"Authorization: Bearer {self.server.key}"] if self.server.key else []
        writer.write("\r\n".join([*lines, f"Content-Length: {len(raw)}", "", ""]).encode() + raw)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        answer.status = int(head.split()[1])
        sized = re.search(r"content-length: (\d+)", head)
        if sized:
            self._whole(json.loads(await reader.readexactly(int(sized[1]))), answer)
        else:
            pieces = _chunked(reader) if "transfer-encoding: chunked" in head else _until_closed(reader)
            await self._streamed(pieces, gate, answer, begun_s)
        if "connection: close" in head:
            self.close()

    def _whole(self, document: dict[str, Any], answer: Answer) -> None:
        if answer.status != 200 or not document["choices"][0]["message"]["content"]:
            answer.fault = json.dumps(document.get("error", "an empty answer"))[:200]
        else:
            answer.n_tokens = document["usage"]["completion_tokens"]

    async def _streamed(
        self, pieces: AsyncIterator[bytes], gate: SentenceGate | None, answer: Answer, begun_s: float
    ) -> None:
        held, is_done, has_text = b"", False, False
        async for piece in pieces:
            *lines, held = (held + piece).split(b"\n")
            for line in lines:
                if not line.startswith(b"data:"):
                    continue
                if (data := line[5:].strip()) == b"[DONE]":
                    is_done = True
                    continue
                chunk = json.loads(data)
                if "error" in chunk:
                    answer.fault = json.dumps(chunk["error"])[:200]
                for choice in chunk.get("choices") or ():
                    text = choice["delta"].get("content") or ""
                    has_text = has_text or bool(text)
                    if text and answer.first_s is None and (gate is None or gate.feed(text)):
                        answer.first_s = time.perf_counter() - begun_s
                if usage := chunk.get("usage"):
                    answer.n_tokens = usage["completion_tokens"]
        if not (is_done and has_text):
            answer.fault = answer.fault or "the stream broke off, or held no text"

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readline()


async def _until_closed(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(1 << 16):
        yield piece


# ---------------------------------------------------------------- turns


def turn_body(number: int, model: str = "affectgpt") -> dict[str, Any]:
    """A turn that is like no other; every third has a past, every second is streamed."""
    picked = [WORDS[(number * 7 + i * i + i * number) % len(WORDS)] for i in range(6 + number % 24)]
    messages = [
        {"role": "user", "content": f"Day {number}: I keep thinking of the {', the '.join(picked)}. I feel low."}
    ]
    if number % 3 == 0:
        before = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello. How was your day?"}]
        messages = [*before, *messages]
    body: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": 64}
    if number % 2:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


async def load(server: Server, n_turns: int, n_clients: int) -> dict[str, Any]:
    """So many turns from so many clients: errors, seconds, and the server's memory on the way."""
    numbers = iter(range(n_turns))
    answers: list[Answer] = []
    memory: dict[int, int] = {}
    begun_s = time.perf_counter()

    async def live() -> None:
        client = Client(server)
        for number in numbers:
            answers.append(await client.ask(turn_body(number)))
            if len(answers) % 250 == 0:
                memory[len(answers)] = resident_kb(server.pid)
                _say(f"{len(answers)} turns in {time.perf_counter() - begun_s:.0f} s, {memory[len(answers)]} kB")
        client.close()

    await asyncio.gather(*(live() for _ in range(n_clients)))
    seconds = time.perf_counter() - begun_s
    failed = [answer for answer in answers if answer.fault]
    first, last = memory.get(FIRST), memory.get(max(memory, default=0))
    streamed = [answer.first_s for answer in answers if answer.first_s is not None]
    figures: dict[str, Any] = {
        "n_turns": len(answers),
        "n_clients": n_clients,
        "n_errors": {"value": len(failed), "limit": 0, "holds": not failed},
        "errors": sorted({answer.fault for answer in failed})[:5],
        "turns_per_s": round(len(answers) / seconds, 1),
        "seconds_to_the_end": _spread([answer.all_s for answer in answers]),
        "seconds_to_the_first_text": _spread(streamed),
    }
    if first and last and max(memory) > FIRST:
        growth = last / first
        figures["memory_kb"] = memory
        figures["memory_growth"] = {"value": round(growth, 4), "limit": MOST_GROWTH, "holds": growth <= MOST_GROWTH}
    return figures


def resident_kb(pid: int | None) -> int:
    """Memory of a process that is in RAM; 0 where there is none to ask."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if pid and status.exists() else None
    return int(found[1]) if found else 0


def _spread(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"p{p}": round(cuts[p - 1], 4) for p in (50, 95, 99)} | {"most": round(max(seconds), 4)}


# ---------------------------------------------------------------- what the gateway costs


async def cost(gateway: Server, behind: Server, model: str, n_tokens: int) -> dict[str, Any]:
    """Tokens a second and milliseconds to the first text, straight and through the gateway, round by round."""
    rounds: dict[str, list[tuple[float, float]]] = {"straight": [], "gateway": []}
    for number in range(N_ROUNDS + 1):
        # Who goes first changes, as what the machine does beside it does.
        for name in ("straight", "gateway") if number % 2 else ("gateway", "straight"):
            server = behind if name == "straight" else gateway
            measured = await _together(server, model, n_tokens, is_screened=name == "gateway", number=number)
            _say(f"{name}: {measured[0]:.1f} tokens/s, first text after {measured[1] * 1000:.1f} ms")
            if number:  # the first round only warms up
                rounds[name].append(measured)
    ratios = [g[0] / s[0] for g, s in zip(rounds["gateway"], rounds["straight"], strict=True)]
    added = [1000 * (g[1] - s[1]) for g, s in zip(rounds["gateway"], rounds["straight"], strict=True)]
    ratio, added_ms = statistics.median(ratios), statistics.median(added)
    return {
        "n_together": N_TOGETHER,
        "n_tokens": n_tokens,
        "tokens_per_s": {name: [round(r[0], 1) for r in found] for name, found in rounds.items()},
        "first_text_ms": {name: [round(1000 * r[1], 1) for r in found] for name, found in rounds.items()},
        "gateway_to_straight": {"value": round(ratio, 4), "limit": LEAST_RATIO, "holds": ratio >= LEAST_RATIO},
        "added_ms": {"value": round(added_ms, 2), "limit": MOST_ADDED_MS, "holds": added_ms <= MOST_ADDED_MS},
    }


async def _together(
    server: Server, model: str, n_tokens: int, *, is_screened: bool, number: int
) -> tuple[float, float]:
    """(tokens a second of all, median seconds to the first releasable text) of sixteen streamed answers."""

    async def one(i: int) -> Answer:
        # Nothing that was asked before, whoever was asked: a cache would answer the second sooner.
        text = f"{WORDS[i]} {number}{'a' if is_screened else 'b'}: tell me in short sentences about a walk by the sea."
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": n_tokens}
        body |= {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0}
        client = Client(server)
        await asyncio.sleep(i * APART_S)
        try:
            return await client.ask(body, None if is_screened else SentenceGate(Screen()))
        finally:
            client.close()

    begun_s = time.perf_counter()
    answers = await asyncio.gather(*(one(i) for i in range(N_TOGETHER)))
    seconds = time.perf_counter() - begun_s
    if faults := [answer.fault for answer in answers if answer.fault]:
        raise SystemExit(f"an answer failed: {faults[0]}")
    firsts = [answer.first_s for answer in answers if answer.first_s is not None]
    return sum(answer.n_tokens for answer in answers) / seconds, statistics.median(firsts)


# ---------------------------------------------------------------- servers


@contextmanager
def paced() -> Iterator[Server]:
    """Our own server behind, in a process of its own."""
    words = [sys.executable, str(Path(__file__).with_name("paced_server.py"))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(f"http://127.0.0.1:{process.stdout.readline().strip()}/v1", pid=process.pid)
        process.terminate()


@contextmanager
def gateway(*flags: str) -> Iterator[Server]:
    """`affectgpt serve` on a free port, in a process of its own; its log goes nowhere."""
    words = [sys.executable, "-c", "from affectgpt.cli import main; main()", "serve"]
    words += ["--port", "0", "--no-page", "--database", "memory", *flags]
    env = {**os.environ, "AFFECTGPT_SERVE_N_WORKERS": "1"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        try:
            told = ""
            for line in process.stderr:
                told += line
                if found := re.search(r"serves at (\S+)", line):
                    break
            else:
                raise SystemExit(f"the gateway did not start:\n{told}")
            # Its log must not fill the pipe.
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            yield Server(found[1], pid=process.pid)
            process.terminate()
            process.wait(30)
            drain.wait(10)
        finally:
            process.kill()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print; exit 1 where a limit is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128, help="length of each answer where the cost is measured")
    parser.add_argument("--url", help="a gateway that runs, in the place of one of our own")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--key", default="", help="a key of its")
    parser.add_argument("--upstream", help="a server that runs, to stand behind: with its /v1")
    parser.add_argument("--upstream-key", default="", help="its key")
    parser.add_argument("--model", default="base", help="the model of it that is asked")
    args = parser.parse_args()
    figures: dict[str, Any] = {"machine": {"cores": len(os.sched_getaffinity(0))}}
    with ExitStack() as stack:
        own = ("--engine", "echo")
        if args.upstream:
            own = ("--base-url", args.upstream, "--model", args.model, "--adapter", "none")
            os.environ["AFFECTGPT_API_KEY"] = args.upstream_key
        server = Server(args.url, args.key, args.pid) if args.url else stack.enter_context(gateway(*own))
        if args.turns:
            figures["turns"] = asyncio.run(load(server, args.turns, args.clients))
        if args.tokens and not args.url:
            behind = Server(args.upstream, args.upstream_key) if args.upstream else stack.enter_context(paced())
            front = server if args.upstream else stack.enter_context(gateway("--base-url", behind.url))
            figures["cost"] = asyncio.run(cost(front, behind, args.model, args.tokens))
    print(json.dumps(figures, indent=2))
    judged = [found for part in figures.values() for found in part.values() if isinstance(found, dict)]
    sys.exit(not all(found.get("holds", True) for found in judged))


if __name__ == "__main__":
    main()
