"""Traces for OpenTelemetry, where the environment names a collector: a request, its turn, the turn's stages.

They hold names that this program gives, counts and times, never what somebody wrote. They go out as OTLP in JSON over
HTTP (port 4318 of any collector): its protobuf form wants protobuf 5, and mediapipe wants protobuf 4.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit

import httpx

from affectgpt.errors import MissingDependency, OptionError
from affectgpt.versions import own_version
from serve.settings import is_loopback

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span

__all__ = ["JsonSpanExporter", "Tracing", "open_tracing"]

TIMEOUT_S: Final = 10.0
log = logging.getLogger(__name__)
Attributes = Mapping[str, str | int | float | Sequence[str]]


class Tracing:
    """Begins spans. The provider is ours alone, never the process's: other libraries' spans hold what they like."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("affectgpt", own_version())
        self._propagator = TraceContextTextMapPropagator()

    def begin_request(self, method: str, headers: Mapping[str, str]) -> Span:
        """The span of a request, which the caller's `traceparent` may continue."""
        from opentelemetry.trace import SpanKind

        brought = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        return self._tracer.start_span(
            method,
            context=self._propagator.extract(brought),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        )

    def begin(self, name: str, parent: Span | None, attributes: Attributes, begun_ns: int | None = None) -> Span:
        """A span below another; `begun_ns` since the epoch, None now."""
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        # An empty context of its own: what runs around it is nobody's parent.
        above = set_span_in_context(parent, Context()) if parent is not None else Context()
        return self._tracer.start_span(name, context=above, attributes=dict(attributes), start_time=begun_ns)

    def close(self) -> None:
        """Send what is held, and stop."""
        self._provider.shutdown()


def open_tracing(*, local_only: bool = False, env: Mapping[str, str] = os.environ) -> Tracing | None:
    """Tracing to the collector that OpenTelemetry's variables name; None where they name none.

    OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT), …_HEADERS, …_CERTIFICATE, OTEL_SERVICE_NAME,
    OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_…, OTEL_SDK_DISABLED and OTEL_TRACES_EXPORTER=none.

    Raises:
        OptionError: no http(s) URL, one that is elsewhere with `local_only`, or the gRPC protocol.
        MissingDependency: OpenTelemetry's SDK is not there.
    """
    url = _endpoint(env)
    if url is None:
        return None
    host = urlsplit(url).hostname
    if urlsplit(url).scheme not in ("http", "https") or not host:
        raise OptionError("OTEL_EXPORTER_OTLP_ENDPOINT is no http(s) URL", "write it like http://127.0.0.1:4318")
    if local_only and not is_loopback(host):
        raise OptionError(f"--local-only, and traces would go to {host}", "unset OTEL_EXPORTER_OTLP_ENDPOINT")
    if _of_traces(env, "PROTOCOL") == "grpc":
        raise OptionError("OTLP over gRPC is not spoken", "name the collector's HTTP port, mostly 4318")
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        remedy = "pip install 'affectgpt[otel]', or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        raise MissingDependency("traces want OpenTelemetry's SDK", remedy) from None
    named = {"service.name": env.get("OTEL_SERVICE_NAME") or "affectgpt", "service.version": own_version()}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    exporter = JsonSpanExporter(url, _headers(_of_traces(env, "HEADERS")), _of_traces(env, "CERTIFICATE"))
    provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", exporter)))  # it has its methods
    return Tracing(provider)


def _endpoint(env: Mapping[str, str]) -> str | None:
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    if whole := env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return whole
    base = env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return f"{base.rstrip('/')}/v1/traces" if base else None


def _of_traces(env: Mapping[str, str], name: str) -> str:
    return env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}", "")


def _headers(text: str) -> dict[str, str]:
    """`name=value,name=value`, percent-encoded, as the variable's specification has it."""
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name.strip(): unquote(value.strip()) for name, is_pair, value in pairs if is_pair}


class JsonSpanExporter:
    """OpenTelemetry's `SpanExporter` over OTLP/HTTP in JSON; a batch that cannot be sent is dropped, and told once.

    Exceptions are exported by their type: their messages hold what somebody sent.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, certificate: str = "") -> None:
        is_near = is_loopback(urlsplit(url).hostname or "")
        verify = ssl.create_default_context(cafile=certificate) if certificate else True
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT_S, trust_env=not is_near, verify=verify)
        self._url = url
        self._is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See OpenTelemetry's SpanExporter."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        body = json.dumps(request_json(spans)).encode()
        try:
            answer = self._client.post(self._url, content=body, headers={"content-type": "application/json"})
            is_sent = answer.is_success
        except httpx.HTTPError:
            is_sent = False
        if not is_sent and not self._is_failing:
            log.warning("traces cannot be sent: the collector does not take them")
        self._is_failing = not is_sent
        return SpanExportResult.SUCCESS if is_sent else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the connection."""
        self._client.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held here."""
        return True


def request_json(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """An ExportTraceServiceRequest in OTLP's JSON encoding (opentelemetry-proto 1.x): ids in hex, 64 bits as text."""
    resource = {"attributes": _attributes(spans[0].resource.attributes)} if spans else {}
    scope = {"name": "affectgpt", "version": own_version()}
    return {
        "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [*map(_span_json, spans)]}]}]
    }


def _span_json(span: ReadableSpan) -> dict[str, Any]:
    context = span.context
    return {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        **({"parentSpanId": f"{span.parent.span_id:016x}"} if span.parent is not None else {}),
        **({"traceState": context.trace_state.to_header()} if context.trace_state else {}),
        "name": span.name,
        "kind": span.kind.value + 1,  # the SDK counts from INTERNAL = 0, OTLP from UNSPECIFIED = 0
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": span.status.status_code.value},
    }


def _attributes(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in given.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}
