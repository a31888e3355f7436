"""A gateway on a port of its own, over an engine, readers and a server behind it that do as they are told."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dialogue_fakes
import fakes
import openai
import uvicorn
from page_fakes import KnownAppraiser, leaning

from affectgpt.agent import AffectAgent, Progress, Senses
from affectgpt.dialogue import Parts as DialogueParts
from affectgpt.engines.engine import stamp
from affectgpt.readers import AgentOptions, SpeechOptions
from affectgpt.records import Appraisal, Clip, Completion, Modality, Prompt, Sampling
from affectgpt.safety import Screen
from serve.companions import Companions
from serve.events import Attachment
from serve.gateway import create_app
from serve.incoming.intake import FolderIntake
from serve.parts import Parts
from serve.settings import ServeSettings
from serve.turns import Crew, TurnService
from serve.upstream import Upstream
from serve.writers import LocalWriter, UpstreamWriter, Writer

REPLY = "That sounds like a lot at once. I am glad that you told me. What would help you most now?"
THOUGHTS = "The words [S1] sound low. It may also be tiredness.\n"
CONCLUSION = "Emotions: sad, tired\nLabel: sad\nValence: -0.5\nArousal: -0.2\nDominance: -0.1\nConfidence: 0.6"
WORDS = Appraisal(
    by_modality={"speech": leaning("sad", 0.7, -0.5)},
    reliability={"speech": 0.8},
    fused=leaning("sad", 0.7, -0.5),
    carried_by={"speech": ("S1",)},
    weights={"speech": 1.0},
    read_by={"speech": "fake words head"},
)


@dataclass
class Talker:
    """An engine that explains and replies as told, word by word, `pause_s` between words.

    `asked` keeps every prompt and how it was to be sampled; `n_words` counts the words that were asked of it.
    """

    reply: str = REPLY
    thoughts: str = ""
    pause_s: float = 0.0
    error: Exception | None = None
    asked: list[tuple[Prompt, Sampling]] = field(default_factory=list)
    n_words: int = 0
    n_closed: int = 0
    name: str = "talker"
    model: str = "talker-1"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Whole answers."""
        raise AssertionError("a gateway streams, so that it can stop")

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """The answer to this prompt."""
        self.asked.append((prompt, sampling))
        if self.error is not None:
            raise self.error
        text = (
            self.reply
            if prompt.prompt_id == "respond"
            else f"{prompt.opening}{self.thoughts or THOUGHTS}**Conclusion**\n{CONCLUSION}"
        )
        words = text.split(" ")[: sampling.max_tokens]
        is_whole = False
        try:
            for n, word in enumerate(words):
                time.sleep(self.pause_s)
                self.n_words += 1
                yield word if n == 0 else f" {word}"
            is_whole = True
        finally:
            self.n_closed += not is_whole
        reason = "length" if len(words) < len(text.split(" ")) else "stop"
        return stamp(self, prompt, " ".join(words), (10, len(words)), reason)

    def prompts(self, prompt_id: str) -> list[Prompt]:
        """Those of one kind that it was asked."""
        return [prompt for prompt, _ in self.asked if prompt.prompt_id == prompt_id]


@dataclass
class Reader:
    """Reads every clip alike; `hold` keeps it reading until it is given up. `error` is raised instead."""

    hold: bool = False
    error: Exception | None = None
    words: str = "I am so sorry about it"
    read: list[tuple[Path, AgentOptions, bytes]] = field(default_factory=list)
    n_cancelled: int = 0

    async def sense(
        self,
        path: Path | None,
        options: AgentOptions,
        on_progress: Progress,
        *,
        name: str = "",
        sha256: str | None = None,
    ) -> Senses:
        """Known tracks, less those of modalities that were not asked for."""
        if path is None:
            return AffectAgent(None, options).sense(None)
        self.read.append((path, options, path.read_bytes()))
        on_progress("face", 0.5)
        try:
            while self.hold:
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        on_progress("face", 1.0)
        words = options.speech.path.read_text() if options.speech.path else self.words
        said = fakes.transcript(words) if Modality.SPEECH in options.modalities else None
        clip = Clip(path, 4.0, 25.0, True, True, 640, 480)
        if options.setting is not None:
            said_there = AgentOptions(setting=options.setting, speech=SpeechOptions(text=words))
            return AffectAgent(None, said_there).sense(None)
        face = fakes.face_track(AU12=4.0) if Modality.FACE in options.modalities else None
        voice = fakes.voice_track(f0_median_hz=2.4) if Modality.VOICE in options.modalities else None
        return Senses(clip, face, voice, said)


class KnowingIntake(FolderIntake):
    """Says of each clip that it plays for three seconds, as a worker would after a look at its header."""

    async def take_stream(self, chunks: AsyncIterator[bytes], name: str) -> Attachment:
        """See `Intake.take_stream`."""
        taken = await super().take_stream(chunks, name)
        return replace(taken, duration_s=0.0 if taken.kind == "transcript" else 3.0)


def crew(engine: Any, reader: Any = None, writer: Writer | None = None, chosen: ServeSettings | None = None) -> Crew:
    """One engine for both texts, known tracks, a known appraisal, and companions who hear by keywords."""
    own, screen = writer or LocalWriter(engine), Screen()
    parts = DialogueParts(screen, dialogue_fakes.KeywordHearing(), dialogue_fakes.transitions())
    companions = Companions(chosen or settings(), parts)
    return Crew(own, own, reader or Reader(), screen, KnownAppraiser(WORDS), companions=companions)


def settings(**given: Any) -> ServeSettings:
    """Settings as a test wants them: no page, nothing kept."""
    return ServeSettings(**{"page": False, "database": "memory", **given}).check()


@dataclass
class Gateway:
    """A gateway that runs, and what it stands on."""

    url: str
    turns: TurnService
    engine: Any
    reader: Any
    folder: Path
    clients: list[openai.OpenAI] = field(default_factory=list)

    def client(self) -> openai.OpenAI:
        """OpenAI's own client; closed with the gateway."""
        self.clients.append(openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0))
        return self.clients[-1]

    def files(self) -> list[Path]:
        """What lies in the upload folder."""
        return sorted(self.folder.iterdir())


@contextmanager
def running(
    engine: Any = None, reader: Any = None, *, upstream: Upstream | None = None, parts: Any = None, **given: Any
) -> Iterator[Gateway]:
    """A gateway on the loopback."""
    engine, reader = engine or Talker(), reader or Reader()
    chosen = settings(**given)
    writer = UpstreamWriter(upstream, "base") if upstream else None
    intake = FolderIntake(chosen.max_upload_bytes)
    own = parts or Parts(crew(engine, reader, writer, chosen), intake, upstream, closing=[intake.close])
    app = create_app(chosen, own)
    with listening(app) as url:
        gateway = Gateway(url, app.state.doors.turns, engine, reader, intake.folder)
        yield gateway
        for client in gateway.clients:
            client.close()


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """An application on a free port of the loopback, in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def wait_for(truth: Callable[[], object], within_s: float = 10.0) -> None:
    """Return as soon as it holds; fail where it does not."""
    end_s = time.monotonic() + within_s
    while not truth():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.01)


# ---------------------------------------------------------------- a server behind


class Behind(ThreadingHTTPServer):
    """An OpenAI-compatible server of two models: answers `words`, one a chunk, `pause_s` apart.

    A stream that `is_mute` holds nothing, one that `is_cut` ends after the words as if the server had died.
    `asked` keeps the requests; `n_broken` counts the streams whose reader left.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Behind)
        self.reset()

    def reset(self) -> None:
        """As new."""
        self.words = ["Well, ", "well. ", "It ", "rains ", "today."]
        self.tool_calls: list[dict[str, Any]] | None = None
        self.error: tuple[int, dict[str, Any]] | None = None
        self.models = [{"id": "base", "owned_by": "vllm"}, {"id": "adapter", "owned_by": "vllm", "parent": "base"}]
        self.pause_s = 0.0
        self.is_mute = False
        self.is_cut = False
        self.asked: list[dict[str, Any]] = []
        self.n_broken = 0

    @property
    def url(self) -> str:
        """With its /v1."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Behind(BaseHTTPRequestHandler):
    server: Behind
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": self.server.models})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        if self.server.error:
            self._send(*self.server.error)
        elif asked.get("stream"):
            self._stream(asked)
        else:
            time.sleep(self.server.pause_s)
            message = {"role": "assistant", "content": "".join(self.server.words), "tool_calls": self.server.tool_calls}
            choice = {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if self.server.tool_calls else "stop",
            }
            self._send(200, {**self._head(asked, "chat.completion"), "choices": [choice], "usage": self._usage()})

    def _stream(self, asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        head = self._head(asked, "chat.completion.chunk")
        try:
            for word in [] if self.server.is_mute else self.server.words:
                self._event({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
                time.sleep(self.server.pause_s)
            for i, call in enumerate(self.server.tool_calls or ()):
                delta = {"tool_calls": [{"index": i, **call}]}
                self._event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            if self.server.is_mute or self.server.is_cut:
                return
            self._event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            if (asked.get("stream_options") or {}).get("include_usage"):
                self._event({**head, "choices": [], "usage": self._usage()})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.n_broken += 1

    def _event(self, document: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(document)}\n\n".encode())
        self.wfile.flush()

    def _head(self, asked: dict[str, Any], kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-behind", "object": kind, "created": 1, "model": asked["model"]}

    def _usage(self) -> dict[str, int]:
        n = len(self.server.words)
        return {"prompt_tokens": 7, "completion_tokens": n, "total_tokens": 7 + n}

    def _send(self, status: int, document: dict[str, Any]) -> None:
        raw = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def behind() -> Iterator[Behind]:
    """A server behind, on the loopback."""
    server = Behind()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
