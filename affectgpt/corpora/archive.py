"""Label archives (`.npz` of pickled dictionaries) read without running anything that stands in them.

Unpickling calls whatever the file names. Here every name but a handful is refused, and those few stand for inert
records of this module: no numpy constructor is ever called with the file's arguments.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from affectgpt.errors import InputError

__all__ = ["read_archive"]

LARGEST_ARCHIVE_MB = 64
"""The largest label archive of the benchmark has under 1 MB; a pickle can grow far beyond its size in memory."""

_REMEDY = "give the label archive as its authors published it"
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_KINDS = frozenset("biuf")


def read_archive(path: Path) -> dict[str, Any]:
    """Member name -> dictionary, list, text or number.

    Raises:
        InputError: not an archive, too large, damaged, or holding anything but such values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(m.file_size for m in archive.infolist()) > LARGEST_ARCHIVE_MB * 1_000_000:
                raise InputError(f"{path} unpacks to more than {LARGEST_ARCHIVE_MB} MB", _REMEDY)
            names = [n for n in archive.namelist() if n.endswith(".npy")]
            return {n.removesuffix(".npy"): _read_member(path, archive.read(n)) for n in names}
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} is no readable archive ({error})", _REMEDY) from None


def _read_member(path: Path, data: bytes) -> Any:
    stream = io.BytesIO(data)
    try:
        dtype = _header(stream)
        if not dtype.hasobject:
            return np.load(io.BytesIO(data), allow_pickle=False).tolist()
        return _Reader(stream).load()
    except InputError:
        raise
    # A pickle can fail in nearly any way that Python knows.
    except Exception as error:  # noqa: BLE001
        raise InputError(f"{path} holds what no label archive holds ({error})", _REMEDY) from None


def _header(stream: io.BytesIO) -> np.dtype[Any]:
    """The type of the stored array; the stream then stands at its data."""
    form: Any = np.lib.format  # numpy gives these functions no types
    read = form.read_array_header_1_0 if form.read_magic(stream) == (1, 0) else form.read_array_header_2_0
    return read(stream)[2]  # type: ignore[no-any-return]


class _Dtype:
    """What a pickled dtype says of itself: its code, such as `f8`."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code = str(code)
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numeric dtype; ValueError for any other."""
        dtype = np.dtype(self.order + self.code)
        if dtype.kind not in _KINDS:
            raise ValueError(f"the type {self.code}")
        return dtype


class _Array:
    """A pickled array: its items once the state is set."""

    def __init__(self) -> None:
        self.items: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, _, stored = state
        items = list(stored) if isinstance(stored, list) else np.frombuffer(_raw(stored), dtype.numpy).tolist()
        self.items = items[0] if shape == () else items


class _Name:
    """A class that the pickle names and that is never called."""


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, stored: object = b"") -> float | int | bool:
    return np.frombuffer(_raw(stored), dtype.numpy, count=1).tolist()[0]  # type: ignore[no-any-return]


def _raw(stored: object) -> bytes:
    if isinstance(stored, bytes):
        return stored
    raise ValueError(f"{type(stored).__name__} in place of bytes")


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Protocol 2 writes bytes as latin-1 text; no other codec is looked up."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError(f"the codec {encoding!r}")
    return text.encode("latin-1")


class _Reader(pickle.Unpickler):
    """An unpickler that knows five names."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        **{(m, "_reconstruct"): _reconstruct for m in _ARRAY_MODULES},
        **{(m, "scalar"): _scalar for m in _ARRAY_MODULES},
        ("numpy", "ndarray"): _Name,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; refused where it is not on the list."""
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return self._ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refused: a label needs no object from elsewhere."""
        raise pickle.UnpicklingError(f"it names the object {pid!r}")

    def load(self) -> Any:
        """The value in plain Python types."""
        return _plain(super().load())


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return _plain(value.items)
    if isinstance(value, dict):
        return {str(_plain(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"a value of type {type(value).__name__}")
