"""Media that stand in a row themselves: base64, and `data:` URLs."""

from __future__ import annotations

import binascii
import re
from typing import Final

from affectgpt.errors import InputError

__all__ = ["decode", "read_data_url"]

_HEAD: Final = re.compile(
    r"data:([a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,80})?(?:;[^,;]{1,120}){0,4};base64,", re.I
)
_LONGEST_HEAD: Final = 700


def read_data_url(url: str) -> tuple[str, bytes]:
    """(a name whose suffix is the media type's, the content) of a `data:…;base64,…` URL (RFC 2397).

    Raises:
        InputError: of no such form, or no base64.
    """
    head = _HEAD.match(url[:_LONGEST_HEAD])
    if head is None:
        raise InputError("a data: URL that is not in base64", "write it data:video/mp4;base64,...")
    kind = (head[1] or "").partition("/")[2].lower().removeprefix("x-")
    return (f"medium.{kind}" if kind.isalnum() else "medium"), decode(url[head.end() :])


def decode(text: str) -> bytes:
    """The bytes of base64 (RFC 4648, section 4). Raises InputError."""
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise InputError("broken base64", "encode the file's bytes: padded, without line breaks") from None
    if not content:
        raise InputError("a medium without a byte", "encode the file's bytes")
    return content
