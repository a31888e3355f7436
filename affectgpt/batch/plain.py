"""Values of any table in JSON's own types, and texts that every reader of JSON accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal

__all__ = ["plain", "sound"]


def plain(value: object) -> object:
    """`value` in JSON's types: times as ISO 8601, a NaN or an infinity as None, bytes as None, the rest as its text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {sound(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return None
    if hasattr(value, "item"):  # a numpy scalar
        return plain(value.item())
    return sound(str(value))


def sound(text: str) -> str:
    r"""`text` as valid Unicode: a file name's byte that is no UTF-8 as `\xff`, any other lone surrogate as U+FFFD.

    Names that differ stay different; a lone surrogate is refused by every JSON reader but Python's.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        kept = "".join(c if not "\ud800" <= c <= "\udfff" or "\udc80" <= c <= "\udcff" else "�" for c in text)
        return kept.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text
