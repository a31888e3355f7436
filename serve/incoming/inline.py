"""Media inside a request: base64, and data: URLs."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

from affectgpt.errors import UploadRefused, UploadTooLarge, UrlRefused

__all__ = ["decode_base64", "open_data_url"]


_SLICE_CHARS: Final = 1 << 18
_DATA_HEAD: Final = re.compile(
    r"data:(?:[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,80})?"
    r"(?:;[a-z0-9-]{1,40}=[a-z0-9!#$&^_.+,\" -]{1,80}){0,4};base64,",
    re.IGNORECASE,
)
_MAX_DATA_HEAD: Final = 700


def open_data_url(url: str, max_bytes: int) -> Iterator[bytes]:
    """The content of a `data:…;base64,…` URL (RFC 2397), decoded a block at a time as it is asked for.

    The media type that it states is checked for its form and then ignored. Text in percent encoding is not taken.

    Raises:
        UrlRefused: not of this form. UploadRefused, UploadTooLarge: as `decode_base64`.
    """
    head = _DATA_HEAD.match(url[:_MAX_DATA_HEAD])
    if head is None:
        raise UrlRefused("a data: URL that is not in base64", "write it data:image/png;base64,...")
    return decode_base64(url[head.end() :], max_bytes)


def decode_base64(text: str, max_bytes: int) -> Iterator[bytes]:
    """The bytes of `text` (RFC 4648, section 4: padded, no line breaks), a block at a time as they are asked for.

    Raises:
        UploadTooLarge: they would be more than `max_bytes`; nothing is decoded then.
        UploadRefused: no such text.
    """
    if len(text) // 4 * 3 - text[-2:].count("=") > max_bytes:
        raise UploadTooLarge(f"more than {max_bytes} bytes", "send a smaller file")
    broken = UploadRefused("broken base64", "encode the file's bytes: RFC 4648, padded, without line breaks")
    if len(text) % 4 or not text.isascii() or "=" in text[:-2]:
        raise broken

    def blocks() -> Iterator[bytes]:
        for begin in range(0, len(text), _SLICE_CHARS):
            try:
                yield binascii.a2b_base64(text[begin : begin + _SLICE_CHARS], strict_mode=True)
            except binascii.Error:
                raise broken from None

    return blocks()
