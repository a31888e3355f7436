"""OpenAI's chat form: what a request holds, checked, and how answers, chunks and errors are written.

Beside OpenAI's own fields a request may hold, at its top level (`extra_body` of the `openai` client):

    affect      true: the answer's `affect` holds the whole outcome (see affectgpt.record_json)
    explain     false: the reply alone, without the three parts
    transcript  the words of the clip
    modalities  of face, voice, speech, with commas or as a list; OpenAI's own ["text"] asks for nothing else
    subject     the person to describe, from 0
    setting     workplace or education: face and voice are refused
    locale      whose help lines are shown (BCP 47)
    persona     who replies: one of the server's personas
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from affectgpt.errors import InputError
from affectgpt.readers import Setting
from affectgpt.records import Message, Modality, Sampling

__all__ = ["ApiError", "ChatRequest", "MediaPart", "TurnWishes", "error_body", "read_chat", "read_wishes"]

PART_KINDS: Final = ("text", "image_url", "input_audio", "audio_url", "video_url", "file")
MOST_MESSAGES: Final = 1_000
MOST_STOPS: Final = 8
PATHS: Final = ("text", "fused")
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ApiError(InputError):
    """A request at fault: HTTP `status`, OpenAI's `code`, and the field (`param`) that it lies in."""

    def __init__(
        self, what: str, remedy: str = "", *, status: int = 400, code: str | None = None, param: str | None = None
    ) -> None:
        self.status, self.code, self.param = status, code, param
        super().__init__(what, remedy)


def error_body(message: str, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's form."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True, slots=True)
class MediaPart:
    """A file inside a message: base64 `data`, or a `url` (data: or http). `name` as the client calls it."""

    part: str
    name: str
    url: str | None = None
    data: str | None = None


@dataclass(frozen=True, slots=True)
class TurnWishes:
    """What a request says of the turn itself, beside its words and files."""

    affect: bool = False
    is_explained: bool = True
    transcript: str | None = None
    modalities: frozenset[Modality] = frozenset(Modality)
    subject: int | None = None
    setting: Setting | None = None
    locale: str | None = None
    is_fused: bool = False
    persona: str = ""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion that was asked for. `messages` end with the user's last, with which `media` came.

    `after` are those that followed it, as they came: calls of tools, and what they gave. `body` is the whole request.
    """

    model: str
    messages: tuple[Message, ...]
    media: tuple[MediaPart, ...] = ()
    after: tuple[Mapping[str, Any], ...] = ()
    is_streamed: bool = False
    has_usage: bool = False
    max_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    wishes: TurnWishes = field(default_factory=TurnWishes)
    body: Mapping[str, Any] = field(default_factory=dict)


def read_chat(body: object) -> ChatRequest:
    """A request's JSON, read strictly where this gateway acts on it; what it only hands on is not looked at.

    Raises:
        ApiError: 400, naming the field.
    """
    if not isinstance(body, dict):
        raise ApiError("the request is no JSON object", 'send {"model": …, "messages": […]}')
    model = _field(body, "model", str, None)
    if not model:
        raise ApiError("no model named", "name one of /v1/models", param="model")
    listed = _field(body, "messages", list, [])
    if not 0 < len(listed) <= MOST_MESSAGES:
        raise ApiError(f"{len(listed)} messages", f"send 1 to {MOST_MESSAGES}", param="messages")
    read = [_message(row, f"messages[{i}]") for i, row in enumerate(listed)]
    n_said = _n_said(listed)
    # Of earlier turns what was said stays: calls, and what they gave, were for the answers that followed.
    said = [message for row, (message, _) in zip(listed[:n_said], read, strict=False) if not _is_of_tools(row)]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    options = _field(body, "stream_options", dict, {}) or {}
    return ChatRequest(
        model=model,
        messages=tuple(said),
        media=read[n_said - 1][1],
        after=tuple(listed[n_said:]),
        is_streamed=bool(_field(body, "stream", bool, False)),
        has_usage=bool(options.get("include_usage")),
        max_tokens=None if limit is None else int(_number(body, "max_tokens", limit, 1, 1_000_000)),
        sampling=_sampling(body),
        wishes=read_wishes(body),
        body=body,
    )


def _n_said(listed: Sequence[Mapping[str, Any]]) -> int:
    """How many messages there are up to the user's last, where only tools followed it; else all."""
    n = len(listed)
    while n and _is_of_tools(listed[n - 1]):
        n -= 1
    return n if n and listed[n - 1].get("role") == "user" else len(listed)


def _is_of_tools(row: Mapping[str, Any]) -> bool:
    """Whether a message calls tools and says nothing, or is what one gave."""
    return row.get("role") in ("tool", "function") or bool(row.get("tool_calls") and not row.get("content"))


def read_wishes(fields: Mapping[str, Any]) -> TurnWishes:
    """The fields of our own. Raises ApiError 400, naming the field."""
    setting, locale = _field(fields, "setting", str, None), _field(fields, "locale", str, None)
    if setting is not None and setting not in get_args(Setting):
        raise ApiError(f"no setting {setting[:40]!r}", f"one of {', '.join(get_args(Setting))}", param="setting")
    if locale is not None and len(locale) > 64:
        raise ApiError("the locale is too long", "give a BCP 47 tag, such as de-AT", param="locale")
    path = _field(fields, "path", str, "text")
    if path not in PATHS:
        raise ApiError(f"no path {path[:40]!r}", f"one of {', '.join(PATHS)}", param="path")
    persona = _field(fields, "persona", str, "")
    if len(persona) > 64:
        raise ApiError("the persona's name is too long", "name one of the server's", param="persona")
    subject = fields.get("subject")
    return TurnWishes(
        affect=bool(_field(fields, "affect", bool, False)),
        is_explained=bool(_field(fields, "explain", bool, True)),
        transcript=_field(fields, "transcript", str, None),
        modalities=_modalities(fields.get("modalities")),
        subject=None if subject is None else int(_number(fields, "subject", subject, 0, 1_000)),
        setting=setting,  # type: ignore[arg-type]
        locale=locale,
        is_fused=path == "fused",
        persona=persona,
    )


def _message(row: object, at: str) -> tuple[Message, tuple[MediaPart, ...]]:
    if not isinstance(row, dict):
        raise ApiError("a message is no object", 'send {"role": …, "content": …}', param=at)
    role: Literal["system", "user", "assistant"]
    match row.get("role"):
        case "system" | "developer":
            role = "system"
        case "assistant" | "tool" | "function":
            role = "assistant"
        case "user":
            role = "user"
        case other:
            raise ApiError(f"no role {str(other)[:40]!r}", "use system, user or assistant", param=f"{at}.role")
    content = row.get("content")
    if content is None and role == "assistant":
        return Message(role, ""), ()
    if isinstance(content, str):
        return Message(role, content), ()
    if not isinstance(content, list):
        raise ApiError("content is neither text nor a list of parts", "", param=f"{at}.content")
    texts: list[str] = []
    media: list[MediaPart] = []
    for i, part in enumerate(content):
        _take_part(part, f"{at}.content[{i}]", texts, media)
    return Message(role, "\n".join(texts)), tuple(media)


def _take_part(part: object, at: str, texts: list[str], media: list[MediaPart]) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or kind not in (*PART_KINDS, "refusal"):
        known = ", ".join(PART_KINDS)
        raise ApiError(f"no content part of type {str(kind)[:40]!r}", f"use {known}", param=f"{at}.type")
    if kind in ("text", "refusal"):
        texts.append(str(_field(part, str(kind), str, "", at)))
    elif kind == "input_audio":
        inner = _field(part, kind, dict, {}, at) or {}
        name = f"audio.{_field(inner, 'format', str, 'wav', at)}"[:100]
        media.append(MediaPart(kind, name, data=_needed(inner, "data", f"{at}.{kind}")))
    elif kind == "file":
        inner = _field(part, kind, dict, {}, at) or {}
        if inner.get("file_id"):
            raise ApiError("no files are stored by id", "send file_data", param=f"{at}.file.file_id")
        name = str(_field(inner, "filename", str, None, at) or "file")[:200]
        data = _needed(inner, "file_data", f"{at}.file")
        is_url = data.startswith("data:")
        media.append(MediaPart(kind, name, url=data if is_url else None, data=None if is_url else data))
    else:
        inner = part.get(str(kind))
        url = inner if isinstance(inner, str) else _needed(inner, "url", f"{at}.{kind}")
        media.append(MediaPart(str(kind), str(kind).removesuffix("_url"), url=url))


def _needed(row: object, name: str, at: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value:
        raise ApiError(f"{name} is missing", "it must be a text", param=f"{at}.{name}")
    return value


def _field(row: Mapping[str, Any], name: str, kind: type, default: Any, at: str = "") -> Any:
    value = row.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise ApiError(f"{name} must be of type {kind.__name__}", "", param=f"{at}.{name}" if at else name)
    return value


def _number(row: Mapping[str, Any], name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ApiError(f"{name} is no number", "", param=name)
    if not low <= value <= high:
        raise ApiError(f"{name} is {value:g}", f"give {low:g} to {high:g}", param=name)
    return value


def _sampling(body: Mapping[str, Any]) -> Sampling:
    temperature = _number(body, "temperature", body.get("temperature") or 0.0, 0, 2)
    top_p = _number(body, "top_p", 1.0 if body.get("top_p") is None else body["top_p"], 0, 1)
    seed = _number(body, "seed", body.get("seed") or 0, -(2**63), 2**63 - 1)
    stop = body.get("stop") or []
    marks: Sequence[Any] = [stop] if isinstance(stop, str) else stop
    if not isinstance(marks, list) or len(marks) > MOST_STOPS or not all(isinstance(m, str) and m for m in marks):
        raise ApiError("stop is neither a text nor a short list of texts", "", param="stop")
    if body.get("n") not in (None, 1):
        raise ApiError("one answer a request", "leave n out", param="n")
    return Sampling(temperature=temperature, top_p=top_p or 1.0, seed=int(seed) % 2**32, stop=tuple(marks))


def _modalities(value: object) -> frozenset[Modality]:
    named = value.split(",") if isinstance(value, str) else value
    if named is None or named == ["text"]:
        return frozenset(Modality)
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ApiError("modalities is no list", f"choose of {', '.join(Modality)}", param="modalities")
    chosen = {name.strip().lower() for name in named} - {""}
    if not chosen or chosen - set(Modality):
        raise ApiError(
            f"no modality {', '.join(sorted(chosen - set(Modality)))[:40]!r}",
            f"choose of {', '.join(Modality)}",
            param="modalities",
        )
    return frozenset(map(Modality, chosen))
