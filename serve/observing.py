"""What the gateway tells of itself: figures for Prometheus, a line a turn and a request, and spans where traces go.

    observer = Observer(open_tracing(local_only=settings.local_only))
    turns = ObservedTurns(parts.crew, settings, observer)
    observer.install(app, gate, turns)                             # after every route

Labels are names that this program or its operator gives, so their number is bounded whatever clients send.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_fastapi_instrumentator import Instrumentator, metrics

from affectgpt.errors import InputError, PoolFull
from affectgpt.jobs import STAGES
from affectgpt.prompting import PromptLibrary
from affectgpt.safety.findings import RISKS
from serve.api.callers import Gate
from serve.events import Carded, Ended, Event, Reasoned, Said, Staged, TurnRequest
from serve.logs import write
from serve.marking import Marking
from serve.marks import MARK, Mark, current_mark
from serve.perception import Perception
from serve.settings import ServeSettings
from serve.tracing import Tracing
from serve.turns import Crew, TooManyTurns, TurnService

__all__ = ["ObservedTurns", "Observer"]

STAGE_NAMES: Final = frozenset({*STAGES, "queue", "reply"})
ENDS: Final = ("stop", "length", "content_filter", "given_up", "refused", "input", "failed")
"""How turns end: as `Ended` says; the client left or went over a limit; too many turns; a fault of the request's, of
the model's or of ours."""
_FIRST_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BUCKETS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_QUIET_ROUTES: Final = frozenset({"/health", "/ready", "/metrics"})

log = logging.getLogger(__name__)


class Observer:
    """The figures of one gateway, in a registry of its own."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.tracing = tracing
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        own: dict[str, Any] = {"namespace": "affectgpt", "registry": self.registry}
        self.stages = Histogram("turn_stage_seconds", "Time in a stage of a turn", ["stage"], buckets=_BUCKETS_S, **own)
        self.turns = Histogram("turn_seconds", "Time from a turn's begin to its end", buckets=_BUCKETS_S, **own)
        self.first = Histogram(
            "turn_first_text_seconds", "Time to the first text that may be shown", buckets=_FIRST_BUCKETS_S, **own
        )
        self.ends = Counter("turns", "Turns by how they ended", ["finish_reason"], **own)
        self.tokens = Counter("tokens", "Tokens read (prompt) and written (completion)", ["model", "kind"], **own)
        self.screened = Counter(
            "screened_turns",
            "Turns that got a help card (user) or whose reply was held (reply)",
            ["side", "risk"],
            **own,
        )
        for end in ENDS:
            self.ends.labels(end)  # a rate needs the zero before the first

    def install(self, app: FastAPI, gate: Gate, turns: TurnService) -> None:
        """Watch an application whose routes stand: /metrics, request ids, figures of every request."""
        self.registry.register(_Standing(turns))
        app.include_router(self._router(gate))
        watching = Instrumentator(should_group_status_codes=False, registry=self.registry)
        default = metrics.default(metric_namespace="affectgpt", registry=self.registry)
        assert default is not None
        watching.add(default, self.tell).instrument(app)
        app.add_middleware(Marking, tracing=self.tracing)

    def close(self) -> None:
        """Send what spans are held."""
        if self.tracing is not None:
            self.tracing.close()

    def tell(self, info: metrics.Info) -> None:
        """A request that is over: a line of the log, unless nobody would read it, and the name of its span."""
        own: Mark | None = info.request.scope.get(MARK)
        route, status = info.modified_handler, int(info.modified_status)
        if own is not None and own.span is not None:
            own.span.update_name(f"{info.method} {route}")
            own.span.set_attributes({"http.route": route, "http.response.status_code": status})
            if status >= 500:
                _mark_failed(own.span, str(status))
        is_asset = info.method == "GET" and status < 400 and not route.startswith("/v1")
        if own is not None and route not in _QUIET_ROUTES and not is_asset:
            key = {"key": own.key_id} if own.key_id else {}
            seconds = round(info.modified_duration, 4)
            what = {"method": info.method, "route": route, "status": status, "seconds": seconds, **key}
            write(log, "request", request_id=own.request_id, **what)

    def count_tokens(self, model: str, n_prompt: int, n_completion: int) -> None:
        """Tokens of a model that the operator serves."""
        self.tokens.labels(model, "prompt").inc(n_prompt)
        self.tokens.labels(model, "completion").inc(n_completion)

    def count_usage(self, model: str, usage: Mapping[str, Any] | None) -> None:
        """The same, as a server's answer has it."""
        if usage:
            self.count_tokens(model, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))

    def count_screened(self, side: str, risk: str) -> None:
        """A turn that screening changed; `risk` as `affectgpt.safety` names it."""
        self.screened.labels(side, risk if risk in RISKS else "other").inc()

    def _router(self, gate: Gate) -> APIRouter:
        router = APIRouter(tags=["state"])

        @router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
        async def figures(request: Request) -> Response:
            """For whoever has a key, and without keys for this machine; it counts against no limit."""
            gate.identify(request.headers, request.client.host if request.client else None)
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        return router


class ObservedTurns(TurnService):
    """Turns, each of them timed and counted."""

    def __init__(
        self, crew: Crew, settings: ServeSettings, observer: Observer, prompts: PromptLibrary | None = None
    ) -> None:
        super().__init__(crew, settings, prompts)
        self.observer = observer

    async def run(self, request: TurnRequest) -> AsyncGenerator[Event, None]:
        """See `TurnService.run`."""
        course = _Course(self.observer, self.crew, request)
        try:
            async with aclosing(super().run(request)) as events:
                async for event in events:
                    course.note(event)
                    yield event
            course.end()
        except (GeneratorExit, asyncio.CancelledError):
            course.end("stop" if course.ended is not None else "given_up")
            raise
        except (TooManyTurns, PoolFull) as error:
            course.end("refused", error)
            raise
        except Exception as error:
            course.end("input" if isinstance(error, InputError) else "failed", error)
            raise


class _Course:
    """What is noted of one turn while it runs."""

    def __init__(self, observer: Observer, crew: Crew, request: TurnRequest) -> None:
        self._observer, self._crew = observer, crew
        self._kinds = sorted({attachment.kind for attachment in request.attachments})
        self._mark = current_mark()
        self._begun_s, self._begun_ns = time.perf_counter(), time.time_ns()
        self._open: dict[str, float] = {}
        self._stages: list[tuple[str, float, float]] = []
        self._first_s: float | None = None
        self.ended: Ended | None = None

    def note(self, event: Event) -> None:
        if isinstance(event, Staged):
            self._note_stage(event.name if event.name in STAGE_NAMES else "other", event.share == 1.0)
        elif isinstance(event, Reasoned | Said | Carded) and self._first_s is None:
            self._first_s = time.perf_counter() - self._begun_s
            self._observer.first.observe(self._first_s)
        if isinstance(event, Carded):
            self._observer.count_screened("user", event.risk)
        elif isinstance(event, Ended):
            self.ended = event

    def _note_stage(self, name: str, is_over: bool) -> None:
        if name != "queue":
            self._close("queue")
        if is_over:
            self._close(name)
        else:
            self._open.setdefault(name, time.perf_counter())

    def _close(self, name: str) -> None:
        begun_s, now_s = self._open.pop(name, None), time.perf_counter()
        if begun_s is not None:
            self._stages.append((name, begun_s, now_s))
            self._observer.stages.labels(name).observe(now_s - begun_s)

    def end(self, how: str | None = None, error: BaseException | None = None) -> None:
        """Count the turn; `how` None: as its last event says."""
        self._close("reply")
        seconds, ended = time.perf_counter() - self._begun_s, self.ended
        how = ended.finish_reason if ended is not None else how or "failed"
        self._observer.ends.labels(how).inc()
        if ended is not None:
            self._observer.turns.observe(seconds)
            if ended.held:
                self._observer.count_screened("reply", ended.held)
            for stage, model, n_prompt, n_completion in self._used(ended):
                if stage:
                    self._observer.count_tokens(model, n_prompt, n_completion)
        fields: dict[str, Any] = {"finish_reason": how, "seconds": round(seconds, 4)}
        if self._mark is not None:
            fields = {"request_id": self._mark.request_id, **fields}
        if self._first_s is not None:
            fields["first_text_s"] = round(self._first_s, 4)
        if ended is not None:
            fields |= {"n_prompt_tokens": ended.n_prompt_tokens, "n_completion_tokens": ended.n_completion_tokens}
        stages = {name: round(end_s - begun_s, 4) for name, begun_s, end_s in self._stages}
        failed = {"error": type(error).__name__} if error is not None else {}
        write(log, "turn", **fields, kinds=self._kinds, stages=stages, **failed)
        if self._observer.tracing is not None:
            self._trace(self._observer.tracing, how, seconds, error)

    def _used(self, ended: Ended) -> Iterator[tuple[str, str, int, int]]:
        """(stage, model, prompt tokens, completion tokens) of who explained and who replied."""
        completion = ended.outcome.completion if ended.outcome is not None else None
        n_prompt, n_completion = ended.n_prompt_tokens, ended.n_completion_tokens
        if completion is not None:
            n_prompt, n_completion = (
                n_prompt - completion.n_prompt_tokens,
                n_completion - completion.n_completion_tokens,
            )
            yield "answer", self._crew.explainer.model, completion.n_prompt_tokens, completion.n_completion_tokens
        if n_prompt or n_completion:
            yield "reply", self._crew.replier.model, n_prompt, n_completion

    def _trace(self, tracing: Tracing, how: str, seconds: float, error: BaseException | None) -> None:
        """Spans of a turn that is over, named as OpenTelemetry's conventions for generative AI have it."""
        parent = self._mark.span if self._mark is not None else None
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "affectgpt"}
        turn = tracing.begin(
            "invoke_agent affectgpt", parent, {**agent, "affectgpt.finish_reason": how}, self._begun_ns
        )
        if error is not None:
            _mark_failed(turn, type(error).__name__)
        used = {stage: rest for stage, *rest in self._used(self.ended)} if self.ended is not None else {}
        for name, begun_s, end_s in self._stages:
            attributes: dict[str, Any] = {"affectgpt.stage": name}
            if name in used:
                model, n_prompt, n_completion = used[name]
                attributes |= {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.request.model": model,
                    "gen_ai.usage.input_tokens": n_prompt,
                    "gen_ai.usage.output_tokens": n_completion,
                }
            title = f"chat {used[name][0]}" if name in used else name
            tracing.begin(title, turn, attributes, self._ns(begun_s)).end(self._ns(end_s))
        turn.end(self._ns(self._begun_s + seconds))

    def _ns(self, moment_s: float) -> int:
        return self._begun_ns + int((moment_s - self._begun_s) * 1e9)


class _Standing(Collector):
    """What holds at the moment of asking."""

    def __init__(self, turns: TurnService) -> None:
        self._turns = turns

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        yield GaugeMetricFamily("affectgpt_turns_running", "Turns in work", self._turns.n_running)
        perception = self._turns.crew.perceiver
        if not isinstance(perception, Perception):
            return
        pool, cache = perception.pool, perception.cache
        yield GaugeMetricFamily("affectgpt_readings_running", "Clips that a process reads", pool.n_running)
        yield GaugeMetricFamily("affectgpt_readings_waiting", "Clips that wait for a process", pool.n_waiting)
        yield GaugeMetricFamily("affectgpt_workers_ready", "Processes that are up and warm", pool.n_ready)
        readings = CounterMetricFamily("affectgpt_readings", "Clips by how they were read", labels=["how"])
        for how, n in (("read", perception.n_read), ("shared", perception.n_shared), ("cached", perception.n_cached)):
            readings.add_metric([how], n)
        yield readings
        lookups = CounterMetricFamily("affectgpt_cache_lookups", "Readings looked for on disk", labels=["result"])
        lookups.add_metric(["hit"], cache.n_hits)
        lookups.add_metric(["miss"], cache.n_misses)
        yield lookups


def _mark_failed(span: Any, kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
