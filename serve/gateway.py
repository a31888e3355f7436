"""The gateway: one application over its parts. Whatever is slow or large happens behind it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from affectgpt.errors import AffectError
from affectgpt.versions import own_version
from serve.api.callers import Gate
from serve.api.chat_api import chat_router
from serve.api.docs_page import docs_page
from serve.api.doors import MODEL, Doors
from serve.api.explain_api import explain_router
from serve.api.failures import add_handlers
from serve.api.history_api import history_router
from serve.api.keys import KeyRing
from serve.api.mcp_api import add_mcp
from serve.api.openai_form import ApiError
from serve.api.speech_api import speech_router
from serve.observing import ObservedTurns, Observer
from serve.parts import Parts, open_parts
from serve.settings import ServeSettings, read_settings
from serve.store import Store
from serve.store.database import StoreError

__all__ = ["Parts", "create_app"]

log = logging.getLogger(__name__)

DESCRIPTION = """What a person seems to feel, from face, voice and words, every claim held against what was observed.

Answers are made by AI and describe how a person seems, never what they truly feel; they must not decide anything about
anybody. Inferring emotion from face or voice at a workplace or in education is prohibited in the EU: say `setting`.
"""


def create_app(settings: ServeSettings | None = None, parts: Parts | None = None) -> FastAPI:
    """The application over `parts`, or those that `settings` name; it closes them at its end.

    Raises:
        AffectError: a part cannot be had.
    """
    settings = settings or read_settings()
    parts = parts or open_parts(settings)
    observer = Observer(parts.tracing)
    turns = ObservedTurns(parts.crew, settings, observer)
    gate = Gate(KeyRing(settings.keys) if settings.keys else None)
    doors = Doors(settings, turns, gate, parts.intake, parts.upstream, observer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        upkeep = [asyncio.create_task(keep()) for keep in parts.upkeep]
        for task in upkeep:
            task.add_done_callback(partial(_look_why, parts))
        yield
        for task in upkeep:
            task.cancel()
        await asyncio.gather(*upkeep, return_exceptions=True)
        turns.close()
        await parts.close()

    app = FastAPI(
        title="affectgpt",
        version=own_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # FastAPI's own: its spans hold addresses with their queries, its logs the messages of exceptions.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.doors = doors
    add_handlers(app)
    for router in (chat_router(doors), explain_router(doors), _models_router(doors), _state_router(doors, parts.store)):
        app.include_router(router)
    app.include_router(speech_router(doors, parts.recogniser))
    app.include_router(_uploads_router(doors))
    if parts.store is not None:
        app.include_router(history_router(parts.store, gate))
    add_mcp(app, doors)
    observer.install(app, gate, turns)
    if parts.store is not None and settings.page:
        from serve.web.page import mount

        _claim_api(app)
        return mount(app, turns, parts.store, settings, intake=parts.intake, gate=gate)
    return app


def _look_why(parts: Parts, task: asyncio.Task[None]) -> None:
    """An upkeep goes on until it is cancelled: one that ended otherwise is told of, and an AffectError is fatal."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("upkeep ended", exc_info=error)
    if isinstance(error, AffectError):
        parts.on_fault(error)


def _claim_api(app: FastAPI) -> None:
    """What is unknown below /v1 is answered here: the page, mounted at the root, would take it for its own."""

    @app.api_route("/v1/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def unknown(path: str) -> None:
        raise ApiError(f"nothing at /v1/{path[:80]}", "see /docs", status=404)


def _models_router(doors: Doors) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["models"], dependencies=[Depends(doors.gate.caller)])
    began_s = int(time.time())

    def row(name: str) -> dict[str, Any]:
        owner = "affectgpt" if name == MODEL else "upstream"
        return {"id": name, "object": "model", "created": began_s, "owned_by": owner, "ai_generated": True}

    async def names() -> list[str]:
        listed = await doors.upstream.models() if doors.upstream else []
        return [MODEL, *(name for name in listed if name != MODEL)]

    @router.get("/models", summary="Models that may be asked")
    async def models() -> dict[str, Any]:
        """`affectgpt`, whose answers are whole turns, and the models and adapters of the server behind."""
        return {"object": "list", "data": [row(name) for name in await names()]}

    @router.get("/models/{name:path}", summary="One model")
    async def model(name: str) -> dict[str, Any]:
        """As the list has it. 404 where there is none of this name."""
        if name not in await names():
            raise ApiError(f"no model {name[:80]!r}", "see /v1/models", status=404, code="model_not_found")
        return row(name)

    return router


def _uploads_router(doors: Doors) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["uploads"], dependencies=[Depends(doors.gate.caller)])

    @router.delete("/uploads/{upload_id}", status_code=204, summary="Delete a file that was kept")
    def delete(upload_id: str) -> Response:
        """By the id that the answer's `uploads` gave, which nobody else can guess. 404 where it is gone already."""
        if not doors.intake.delete(upload_id):
            raise ApiError("no such upload", "it may be gone already", status=404)
        return Response(status_code=204)

    return router


def _state_router(doors: Doors, store: Store | None) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/health", summary="Whether the process is alive")
    async def health() -> dict[str, str]:
        """Always 200: nothing is asked."""
        return {"status": "alive"}

    @router.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(docs_page(request.app.openapi()))

    @router.get("/ready", summary="Whether turns can be taken")
    async def ready() -> JSONResponse:
        """200 where the models are loaded and the server behind answers, else 503 and why."""
        try:
            if doors.upstream is not None:
                await doors.upstream.models(timeout_s=2.0)
            if store is not None and not await asyncio.to_thread(store.is_ready):
                raise StoreError("the database does not answer", "see whether it runs")
        except AffectError as error:
            return JSONResponse({"status": "waiting", "why": str(error)}, 503, {"Retry-After": "5"})
        return JSONResponse({"status": "ready", "model": doors.turns.model, "turns": doors.turns.n_running})

    return router
