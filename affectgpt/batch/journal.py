"""Rows as they are done: a file of lines that grows, on the disk before `append` returns, mended after any end."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from affectgpt.batch.files import sync_folder, unwritable
from affectgpt.errors import OptionError

__all__ = ["Journal"]

_TAIL_BYTES: Final = 32 << 20
"""How far before the end lines are read in full. One sync never covers more, so what lies before was on the disk."""

_MOST_SYNCED_BYTES: Final = 8 << 20

BEGINNING: Final = b'{"id": "'
"""What every line of a journal begins with."""


class Journal:
    """Lines in `path`, for one process at a time.

    `check` raises ValueError for bytes that are no whole line of this journal's kind. On opening, what stands behind
    the last whole line is taken off: it was never acknowledged. A line that a failing disk damaged before that stays,
    for the reader to pass over.

    Raises:
        OptionError: the file cannot be written, another process writes it, or it is no journal.
    """

    def __init__(self, path: Path, check: Callable[[bytes], object]) -> None:
        self.path = path
        self._fd = -1
        try:
            is_new = not path.exists()
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _lock(self._fd, path)
            if is_new:
                sync_folder(path.parent)
        except BlockingIOError:
            self.release()
            raise OptionError(f"{path}: another job writes it", "wait for that one, or choose another output") from None
        except OSError as error:
            self.release()
            fault = unwritable(path, error)
            raise OptionError(fault.what, fault.remedy) from error
        try:
            self._n_bytes = self._mend(check)
        except BaseException:
            self.release()
            raise

    @property
    def n_bytes(self) -> int:
        """Bytes that are kept."""
        return self._n_bytes

    def append(self, lines: Sequence[bytes]) -> None:
        """Write whole lines and bring them to the disk.

        Raises:
            OutputError: they cannot be written; those of the last sync are kept and the file ends behind them.
        """
        group: list[bytes] = []
        n_bytes = 0
        for line in lines:
            if group and n_bytes + len(line) > _MOST_SYNCED_BYTES:
                self._write(b"".join(group))
                group, n_bytes = [], 0
            group.append(line)
            n_bytes += len(line)
        if group:
            self._write(b"".join(group))

    def lines(self) -> Iterator[bytes]:
        """Every line with its end, in order."""
        if not self._n_bytes:
            return
        with self.path.open("rb") as file:
            n_read = 0
            while n_read < self._n_bytes and (line := file.readline()):
                n_read += len(line)
                yield line

    def clear(self) -> None:
        """Forget all lines: they stand elsewhere by now."""
        self._cut(0)

    def rename(self, path: Path) -> None:
        """Become the file `path`, and let go of it."""
        try:
            os.fsync(self._fd)
            self.path.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error
        self._n_bytes = 0
        self.release()

    def remove(self) -> None:
        """Delete the file, and let go of it; nothing happens where that was done already."""
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            self._n_bytes = 0
            self.release()

    def release(self) -> None:
        """Let another process go on with the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        try:
            view, at = memoryview(data), self._n_bytes
            while view:
                n_written = os.pwrite(self._fd, view, at)
                view, at = view[n_written:], at + n_written
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)
        except OSError as error:
            self._cut(self._n_bytes)
            raise unwritable(self.path, error) from error
        self._n_bytes = at

    def _cut(self, n_bytes: int) -> None:
        try:
            os.ftruncate(self._fd, n_bytes)
            os.fsync(self._fd)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._n_bytes = n_bytes

    def _mend(self, check: Callable[[bytes], object]) -> int:
        """Take off what stands behind the last whole line; returns the bytes that are left."""
        size = os.fstat(self._fd).st_size
        kept = at = 0
        with self.path.open("rb") as file:
            for line in file:
                is_in_tail = size - at <= _TAIL_BYTES
                is_first, at = at == 0, at + len(line)
                if line.endswith(b"\n") and (not is_in_tail or _is_whole(line, check)):
                    kept = at
                elif is_first and not _is_remnant(line):
                    raise OptionError(f"{self.path}: no rows of a batch", "choose another output")
        if kept < size:
            self._cut(kept)
        return kept


def _lock(fd: int, path: Path) -> None:
    """Raise BlockingIOError where another process holds the file; some clusters' file systems know no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    # Between the opening and the lock another process may have finished, and given the file its final name.
    if not path.exists() or not os.path.samestat(os.fstat(fd), path.stat()):
        raise BlockingIOError


def _is_whole(line: bytes, check: Callable[[bytes], object]) -> bool:
    try:
        check(line)
    except ValueError:
        return False
    return True


def _is_remnant(line: bytes) -> bool:
    """Whether this can be what a power cut left of a line: nothing is cut from a file that is somebody else's."""
    return b"\0" in line or (not line.endswith(b"\n") and BEGINNING.startswith(line[: len(BEGINNING)]))
