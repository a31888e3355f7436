"""What a gateway stands on, opened as the settings ask: models, readers, the folder for uploads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from affectgpt.agent import AffectAgent, Progress, quiet
from affectgpt.agent import Parts as AgentParts
from affectgpt.appraise.panel import Panel
from affectgpt.batch.reading import warm_readers
from affectgpt.dialogue import Parts as DialogueParts
from affectgpt.engines.adapter import read_manifest, shipped
from affectgpt.engines.echo import EchoEngine
from affectgpt.engines.embedded import MODEL_ID, cache_root
from affectgpt.engines.engine import Engine, EngineOptions, open_engine
from affectgpt.errors import AffectError, EngineError, EngineUnreachable, OptionError
from affectgpt.fusion.soft_reader import find_fusion, lora_folder
from affectgpt.perceive.whisper import find_whisper, open_whisper
from affectgpt.readers import AgentOptions, SpeechOptions
from affectgpt.safety import Screen
from affectgpt.workers import Limits, MediaCache, WorkerPool
from serve.appraising import OneThread
from serve.companions import Companions
from serve.fusing import open_fusion
from serve.incoming.intake import FolderIntake, Intake
from serve.incoming.remote import Remote
from serve.incoming.uploads import UploadLimits, Uploads
from serve.perceiver import Perceiver, ThreadPerceiver
from serve.perception import Perception
from serve.settings import ServeSettings
from serve.store import Retention, Store, open_store
from serve.tracing import Tracing, open_tracing
from serve.turns import Crew
from serve.upstream import Upstream, key_for
from serve.writers import LocalWriter, UpstreamWriter, Writer

__all__ = ["Parts", "open_parts"]

Ending = Callable[[], object]
"""What lets go of a part; it may be a coroutine."""
Upkeep = Callable[[], Coroutine[Any, Any, None]]
"""What goes on beside the requests, until it is cancelled."""


HEADER_BYTES = 1 << 30
HEADER_SECONDS = 60.0
"""Memory and time for looking at a file's header."""
SWEEP_SECONDS = 60.0


@dataclass(slots=True)
class Parts:
    """Everything that a gateway is given. `closing` is run at its end, the last first, `upkeep` beside it all along.

    An AffectError that ends an upkeep is told to `on_fault`: without that part nothing can be served any more.
    `store` None: no history. `recogniser` None: /v1/audio/transcriptions says what is missing; else its name.
    `tracing` None: no traces.
    """

    crew: Crew
    intake: Intake
    upstream: Upstream | None = None
    store: Store | None = None
    recogniser: str | None = None
    tracing: Tracing | None = None
    closing: list[Ending] = field(default_factory=list)
    upkeep: list[Upkeep] = field(default_factory=list)
    on_fault: Callable[[AffectError], object] = lambda error: None

    @classmethod
    def of(cls, engine: Engine, settings: ServeSettings, perceiver: Perceiver | None = None) -> Parts:
        """One engine for everything, reading in this process, nothing kept: for tests, and for trying it out."""
        writer, intake = LocalWriter(engine), FolderIntake(settings.max_upload_bytes)
        return cls(Crew(writer, writer, perceiver or ThreadPerceiver(), Screen()), intake, closing=[intake.close])

    def warm(self, progress: Progress = quiet) -> None:
        """Appraise and understand a sentence, so that the first turn does not wait for heads and encoder to load."""
        progress("appraise", None)
        alone = AgentOptions(speech=SpeechOptions(text="I am glad that you are here."))
        AffectAgent(None, alone, parts=AgentParts(appraiser=self.crew.appraiser)).explain(None)
        if self.crew.companions is not None:
            self.crew.companions.warm()
        progress("appraise", 1.0)

    async def close(self) -> None:
        """Let go of everything."""
        while self.closing:
            if isinstance(ending := self.closing.pop()(), Awaitable):
                await ending


def open_parts(settings: ServeSettings, progress: Progress = quiet) -> Parts:
    """The parts that the settings name; `progress` is told `model` while one loads or starts.

    Raises:
        OptionError: a model that is not there. ModelError, MissingDependency: weights that cannot be had.
        EngineError, EngineUnreachable: the server that should answer does not. StoreError: the database.
    """
    settings.check()
    closing: list[Ending] = []
    upkeep: list[Upkeep] = []
    try:
        screen = Screen()
        companions = Companions(settings, DialogueParts(screen=screen))
        closing.append(companions.close)
        if (tracing := open_tracing(local_only=settings.local_only)) is not None:
            closing.append(tracing.close)
        progress("model", None)
        folder = find_fusion(settings.fusion) if settings.fusion else None
        explainer, replier, upstream = _open_writers(settings, progress, closing, upkeep)
        fusion = open_fusion(folder, settings, explainer) if folder else None
        progress("model", 1.0)
        store = open_store(
            "" if settings.database in (None, "memory") else str(settings.database),
            retain=settings.database != "memory",
            retention=Retention(seconds=settings.history_days * 86400) if settings.history_days else None,
        )
        closing.append(store.close)
        # The workers open their own; here it is only seen whether that can be.
        recogniser = open_whisper(settings.whisper) if settings.whisper else find_whisper()
        uploads, perception = _open_readers(settings, closing, upkeep)
    except BaseException:
        for ending in reversed(closing):
            if isinstance(left := ending(), Coroutine):
                left.close()  # nothing was asked over its connections yet
        raise
    appraiser = OneThread(Panel(settings.permissive))
    closing.append(appraiser.close)
    crew = Crew(explainer, replier, perception, screen, appraiser, fusion, companions)
    heard_by = recogniser.name if recogniser else None
    return Parts(crew, uploads, upstream, store, heard_by, tracing, closing, [*upkeep, store.keep_swept])


def _open_writers(
    settings: ServeSettings, progress: Progress, closing: list[Ending], upkeep: list[Upkeep]
) -> tuple[Writer, Writer, Upstream | None]:
    """Who explains, who replies, and the server that they are models of, if one."""
    if settings.launch:
        settings = _launch(settings, progress, closing, upkeep)
    if settings.base_url is not None:
        upstream, explainer, replier = _open_upstream(settings, settings.base_url)
        closing.append(upstream.close)
        return explainer, replier, upstream
    if settings.engine == "echo":
        echo = LocalWriter(EchoEngine())
        return echo, echo, None
    local = EngineOptions(engine="local", model=settings.model, adapter=settings.adapter)
    with_adapter = LocalWriter(open_engine(local, {}))
    if settings.adapter == "none":
        return with_adapter, with_adapter, None
    return with_adapter, LocalWriter(open_engine(replace(local, adapter="none"), {})), None


def _launch(settings: ServeSettings, progress: Progress, closing: list[Ending], upkeep: list[Upkeep]) -> ServeSettings:
    """The settings with the address, key and names of a vLLM server, which was started and ends with the gateway."""
    from serve.launching.command import LaunchOptions, command_for
    from serve.launching.keeping import Keeper
    from serve.launching.launch import ModelServer

    adapters = {"default": None, "none": ()}.get(settings.adapter, (Path(settings.adapter),))
    lora = lora_folder(settings.fusion) if settings.fusion else None
    if lora:
        adapters = (*(_own_adapter(settings) if adapters is None else adapters), lora)
    server = ModelServer(
        command_for(LaunchOptions(model=settings.model, adapters=adapters)),
        tell=lambda stage, seconds: progress("model", None, f"{stage}, {seconds:.0f} s"),
    )
    keeper = Keeper(server)
    closing.append(keeper.stop)
    server.start()
    upkeep.append(keeper.keep)
    beside = read_manifest(lora).id if lora else None
    names = {"model": server.base, "adapter": next((name for name in server.adapters if name != beside), "none")}
    return settings.model_copy(update={"base_url": server.base_url, "api_key": SecretStr(server.key), **names})


def _own_adapter(settings: ServeSettings) -> tuple[Path, ...]:
    """What `default` stands for: the shipped adapter, with the embedded model."""
    own = shipped() if settings.model in (None, MODEL_ID) else None
    return (own,) if own else ()


def _open_upstream(settings: ServeSettings, base_url: str) -> tuple[Upstream, UpstreamWriter, UpstreamWriter]:
    key = key_for(base_url, settings.api_key.get_secret_value() if settings.api_key else None)
    listed = list_models(base_url, key)
    model, adapter, is_vllm = choose_models(listed, settings)
    upstream = Upstream(base_url, key, timeout_s=settings.timeout_s, is_kept=settings.launch)
    explainer = UpstreamWriter(upstream, adapter, continues=is_vllm, listed=listed)
    return upstream, explainer, UpstreamWriter(upstream, model)


def _open_readers(settings: ServeSettings, closing: list[Ending], upkeep: list[Upkeep]) -> tuple[Uploads, Perception]:
    """Where files come in, what reads them, and their upkeep; decoding happens in workers alone.

    Headers are checked in a worker of their own, so that a file is refused without waiting behind long readings, and
    no reading outlives the file that it was read from.
    """
    limits = Limits(settings.worker_memory_bytes, settings.worker_seconds)
    pool = WorkerPool(settings.n_workers, settings.queue_length, limits, warm=warm_readers)
    closing.append(pool.close)
    cache = MediaCache(cache_root() / "readings", settings.cache_bytes, settings.ttl_s)
    perception = Perception(pool, cache)
    closing.append(perception.close)
    headers = WorkerPool(1, settings.queue_length, Limits(HEADER_BYTES, HEADER_SECONDS))
    closing.append(headers.close)
    uploads = Uploads(
        cache_root() / "uploads",
        UploadLimits(
            max_bytes=settings.max_upload_bytes, max_duration_s=settings.max_duration_s, max_pixels=settings.max_pixels
        ),
        headers,
        ttl_s=settings.ttl_s,
        retain=settings.retain,
        remote=Remote(settings.allow_host) if settings.allow_host else None,
    )
    uploads.forget = cache.forget
    closing.append(uploads.close)

    async def keep_cache_swept() -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await asyncio.to_thread(cache.sweep)

    upkeep += [uploads.keep_swept, keep_cache_swept]
    return uploads, perception


def list_models(base_url: str, key: str | None, timeout_s: float = 10.0) -> list[dict[str, Any]]:
    """What a server lists at /models. Raises EngineError, EngineUnreachable."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    shown = Upstream(base_url).shown
    try:
        response = httpx.get(f"{base_url.rstrip('/')}/models", headers=headers, timeout=timeout_s)
        rows = response.json()["data"]
        return [{**row, "id": str(row["id"])} for row in rows]
    except httpx.HTTPError:
        raise EngineUnreachable(f"nothing answers at {shown}", "start the server, or correct --base-url") from None
    except (ValueError, KeyError, TypeError):
        remedy = "give its key by --api-key" if response.status_code in (401, 403) else "the base URL ends in /v1"
        raise EngineError(f"{shown} answered {response.status_code} and listed no models", remedy) from None


def choose_models(listed: list[dict[str, Any]], settings: ServeSettings) -> tuple[str, str, bool]:
    """(writes replies, writes explanations, is a vLLM server) of those that a server lists.

    vLLM names an adapter's base as its `parent`. Raises OptionError where the choice is not plain.
    """
    names = [row["id"] for row in listed]
    shown = ", ".join(names[:20]) or "none"
    bases = [row["id"] for row in listed if not row.get("parent")]
    model = settings.model or (bases[0] if len(bases) == 1 else None)
    if model is None or model not in names:
        what = f"the server has no model {model!r}" if model else "the server has several models"
        raise OptionError(f"{what}: {shown}", "name one with --model")
    adapters = [row["id"] for row in listed if row.get("parent") == model]
    adapter = settings.adapter
    if adapter in ("default", "none"):
        adapter = adapters[0] if adapter == "default" and len(adapters) == 1 else model
    if adapter not in names:
        raise OptionError(f"the server has no adapter {adapter!r}: {shown}", "name one that it serves with --adapter")
    return model, adapter, any(row.get("owned_by") == "vllm" for row in listed)
