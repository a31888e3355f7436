"""Records as bytes and back, every bit kept: JSON for the plain parts, safetensors for the arrays, and no pickle.

What is read back is built from the type that the caller names, so a file can bring data and never code.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack", "unpack"]

_T = TypeVar("_T")
_RECORD = "record"
_ARRAY = "$array"


def pack(record: object) -> bytes:
    """A frozen dataclass of this package's kinds of fields, as one safetensors document.

    Fields may be None, booleans, numbers, strings, paths, enums, arrays, and dataclasses, tuples and mappings of these.

    Raises:
        TypeError: a value of another kind.
    """
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {}
    plain = _pack(record, arrays)
    return save(arrays, metadata={_RECORD: json.dumps(plain)})


def unpack(data: bytes, kind: type[_T]) -> _T:
    """The record of type `kind` that `pack` wrote.

    Raises:
        ValueError: damaged, or of another type.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        (length,) = struct.unpack_from("<Q", data)
        plain = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_RECORD])
        return cast(_T, _build(plain, kind, arrays))
    except (SafetensorError, struct.error, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a packed {kind.__name__} ({error!r})") from error


def _pack(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    import numpy as np  # every worker imports this module, and few need arrays

    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = np.ascontiguousarray(value)
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {f.name: _pack(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return [[_pack(k, arrays), _pack(v, arrays)] for k, v in value.items()]
    if isinstance(value, tuple | list):
        return [_pack(item, arrays) for item in value]
    raise TypeError(f"no archive form for {type(value).__name__}")


def _build(plain: Any, kind: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """`plain` as a value of the annotation `kind`."""
    import numpy as np

    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is np.ndarray:
        return arrays[plain[_ARRAY]]
    if origin in (typing.Union, types.UnionType):
        if plain is None and type(None) in args:
            return None
        (kind,) = (a for a in args if a is not type(None))  # unions of this package's records are with None only
        return _build(plain, kind, arrays)
    if origin is typing.Literal:
        if plain not in args:
            raise TypeError(f"{plain!r} is none of {args}")
        return plain
    if origin is tuple:
        kinds = [args[0]] * len(plain) if args[1:] == (Ellipsis,) else list(args)
        return tuple(_build(item, k, arrays) for item, k in zip(plain, kinds, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {_build(k, args[0], arrays): _build(v, args[1], arrays) for k, v in plain}
    if dataclasses.is_dataclass(kind):
        hints = _hints(cast(type, kind))
        if plain.keys() != hints.keys():
            raise TypeError(f"fields {sorted(plain)} where {kind} has {sorted(hints)}")
        return cast(Any, kind)(**{name: _build(plain[name], hint, arrays) for name, hint in hints.items()})
    return _build_scalar(plain, kind)


def _build_scalar(plain: Any, kind: Any) -> Any:
    if isinstance(kind, type) and (issubclass(kind, Enum) or kind is Path):
        return kind(plain)
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return plain  # a field of floats may hold 0, and its equal 0.0 prints otherwise
    if kind not in (bool, int, float, str) or type(plain) is not kind:
        raise TypeError(f"{plain!r} where {kind} is expected")
    return plain


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}
