"""The chat page, mounted into the gateway at `/`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from serve.api.callers import Gate
from serve.companions import persona_choices
from serve.events import Turns
from serve.incoming.intake import Intake
from serve.settings import ServeSettings
from serve.store import Store
from serve.web.consent import Door, Guard
from serve.web.handlers import Handlers
from serve.web.layout import lay_out, theme
from serve.web.metering import Meter
from serve.web.notice import consent_version, notice_lines
from serve.web.routes import add_routes
from serve.web.running import Running
from serve.web.shelf import Shelf
from serve.web.texts import say
from serve.web.wiring import Wiring

__all__ = ["mount"]

SWEEP_SECONDS = 30
LEFTOVER_SECONDS = 900
"""What was uploaded and never sent is deleted after this."""

_HEAD = '<link rel="stylesheet" href="/web/static/page.css"><script src="/web/static/page.js" defer></script>'


def mount(
    app: FastAPI, turns: Turns, store: Store, settings: ServeSettings, *, intake: Intake, gate: Gate | None = None
) -> FastAPI:
    """Serve the chat page at `/` of this app, and what it fetches under `/web`; call it after every other route.

    `gate` says who may come; by default this machine alone.
    """
    folder = Path(tempfile.mkdtemp(prefix="affectgpt-page-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "arriving")
    shelf = Shelf(folder / "shown", settings.ttl_s)
    running = Running(turns, store, shelf)
    gate = gate or Gate(None)
    personas = persona_choices(settings)
    handlers = Handlers(
        store, running, shelf, intake, Meter(gate), settings.context, settings.fusion is not None, personas
    )
    kept = say("consent.kept") + ("" if settings.keys else " " + say("consent.kept_here"))
    notice = notice_lines(minutes=round(settings.ttl_s / 60), retains=settings.retain, kept=kept)
    door = Door(gate, consent_version(notice))
    router = APIRouter(include_in_schema=False)
    add_routes(router, handlers, door, notice)
    app.include_router(router)
    _live_with(app, running, shelf, folder)
    return gr.mount_gradio_app(
        app,
        _build(handlers, door),
        path="/",
        app_kwargs={"middleware": [Middleware(Guard, door=door)]},
        max_file_size=settings.max_upload_bytes,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        head=_HEAD,
    )


def _build(handlers: Handlers, door: Door) -> gr.Blocks:
    """The page's blocks, wired."""
    with gr.Blocks(
        title=say("title"), analytics_enabled=False, fill_width=True, delete_cache=(300, LEFTOVER_SECONDS)
    ) as blocks:
        parts = lay_out(handlers.setting, handlers.personas, has_soft=handlers.has_soft)
        Wiring(handlers, door, parts).connect(blocks)
    return blocks


def _live_with(app: FastAPI, running: Running, shelf: Shelf, folder: Path) -> None:
    """While the app is open, what is over its time is deleted; when it closes, everything is."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state:
            sweeping = asyncio.create_task(_sweep(shelf))
            try:
                yield state
            finally:
                sweeping.cancel()
                await running.close()
                shelf.close()
                shutil.rmtree(folder, ignore_errors=True)

    app.router.lifespan_context = lifespan


async def _sweep(shelf: Shelf) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await asyncio.to_thread(shelf.sweep)
