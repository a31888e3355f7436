"""Requests of an OpenAI batch file as items: what is asked about is explained.

The last message's video, sound or picture is the medium; a text beside it is kept in `extra` as `asked`, for a batch
explains and does not converse. Without a medium the last user's text is what was said. `transcript`, `modalities`,
`subject` and `setting`, at the body's top level, and the sampling's own fields are wishes, as at the gateway's door.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from affectgpt.batch.plain import plain
from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.sources.inline import decode, read_data_url
from affectgpt.batch.sources.places import Reach
from affectgpt.batch.wishes import read_wishes
from affectgpt.errors import InputError

__all__ = ["Requests", "is_request"]

_URLS: Final = ("video_url", "audio_url", "image_url")
_WISHES: Final = ("modalities", "subject", "setting", "temperature", "top_p", "seed", "stop")


def is_request(row: Mapping[str, object]) -> bool:
    """Whether this is a line of an OpenAI batch file."""
    return "custom_id" in row and isinstance(row.get("body"), Mapping)


class Requests:
    """Reads requests whose media lie within `reach`, or in the request itself."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def read(self, number: int, row: Mapping[str, object]) -> Item | BadItem:
        """The request's item, or what is wrong with it."""
        id = row.get("custom_id")
        try:
            if not isinstance(id, str):
                raise InputError("no custom_id", "give every request a text of its own")
            return self._item(number, id, row)
        except InputError as error:
            return BadItem(number, id if isinstance(id, str) else None, str(error))

    def _item(self, number: int, id: str, row: Mapping[str, object]) -> Item:
        body = row.get("body")
        if row.get("method", "POST") != "POST" or not str(row.get("url", "")).rstrip("/").endswith("/chat/completions"):
            raise InputError(f"no request for {str(row.get('url'))[:80]!r}", "only /v1/chat/completions is answered")
        if not isinstance(body, Mapping) or not isinstance(body.get("messages"), list) or not body["messages"]:
            raise InputError("a body without messages", 'give {"messages": [{"role": "user", "content": …}]}')
        texts, media = self._last(body["messages"])
        wishes = _wishes(body)
        transcript = body.get("transcript")
        if transcript is not None and not isinstance(transcript, str):
            raise InputError("transcript is no text", "write the words themselves")
        if len(media) > 1:
            raise InputError(f"{len(media)} media in one request", "send one a request")
        extra: dict[str, object] = {"model": plain(body["model"])} if "model" in body else {}
        asked = "\n".join(text for text in texts if text.strip())
        name, content = media[0] if media else (None, None)
        if name is None:
            transcript = transcript or asked
            if not transcript.strip():
                raise InputError("neither a medium nor words", "send a video, a sound, a picture, or what was said")
        elif asked:
            extra["asked"] = plain(asked)
        return Item(id, number, name, content, transcript, wishes, extra)

    def _last(self, messages: list[Any]) -> tuple[list[str], list[tuple[str, bytes | None]]]:
        """Texts and media of the last message of the user."""
        for message in reversed(messages):
            if isinstance(message, Mapping) and message.get("role") == "user":
                content = message.get("content")
                if isinstance(content, str):
                    return [content], []
                if isinstance(content, list):
                    return self._parts(content)
                break
        raise InputError("no message of the user with content", "end the messages with the user's")

    def _parts(self, parts: list[Any]) -> tuple[list[str], list[tuple[str, bytes | None]]]:
        texts: list[str] = []
        media: list[tuple[str, bytes | None]] = []
        for part in parts:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind == "text" and isinstance(part.get("text"), str):
                texts.append(part["text"])
            elif kind in _URLS:
                media.append(self._of_url(_text(part.get(kind), "url")))
            elif kind == "input_audio":
                sound = part.get(kind)
                form = sound.get("format", "wav") if isinstance(sound, Mapping) else "wav"
                media.append((f"sound.{str(form)[:10].lower()}", decode(_text(sound, "data"))))
            elif kind == "file":
                media.append(self._of_file(part.get(kind)))
            else:
                raise InputError(f"no content part of type {str(kind)[:40]!r}", f"use text, {', '.join(_URLS)}, …")
        return texts, media

    def _of_url(self, url: str) -> tuple[str, bytes | None]:
        if url[:5].lower() == "data:":
            return read_data_url(url)
        return self._reach.resolve(url), None

    def _of_file(self, file: object) -> tuple[str, bytes | None]:
        data = _text(file, "file_data")
        assert isinstance(file, Mapping)
        name, content = read_data_url(data) if data[:5].lower() == "data:" else ("file", decode(data))
        given = file.get("filename")
        return (given[:200] if isinstance(given, str) and given else name), content


def _wishes(body: Mapping[str, Any]) -> dict[str, object]:
    fields: dict[str, object] = {name: body.get(name) for name in _WISHES}
    if fields["modalities"] == ["text"]:  # OpenAI's own field of this name asks for the answer's form
        del fields["modalities"]
    limit = body.get("max_completion_tokens")
    return read_wishes({**fields, "max_tokens": body.get("max_tokens") if limit is None else limit})


def _text(row: object, name: str) -> str:
    value = row if isinstance(row, str) and name == "url" else row.get(name) if isinstance(row, Mapping) else None
    if not isinstance(value, str) or not value:
        raise InputError(f"{name} is missing", "it must be a text")
    return value
