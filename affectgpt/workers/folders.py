"""Folders that only this user can read, and folders that do not outlive their process."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from affectgpt.errors import OptionError

__all__ = ["ProcessFolder", "locked", "private_folder"]


def private_folder(folder: Path) -> Path:
    """Make `folder` if need be, readable by this user alone (0700).

    Raises:
        OptionError: it is a link, no directory, another user's, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise OptionError(f"{folder}: a link, or another user's folder", "name a folder of your own")
        folder.chmod(0o700)
    except OSError as error:
        raise OptionError(f"{folder}: cannot be used as a folder ({error})", "name another folder") from error
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time is in the block; the lock ends with the process, however that ends."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


class ProcessFolder:
    """A new private folder under `root` for this process alone, removed by `close`.

    What a process that is gone (killed, crashed, power lost) left under `root` is removed first: each holds a lock on
    its own folder for as long as it lives.
    """

    def __init__(self, root: Path) -> None:
        private_folder(root)
        with locked(root / ".lock"):
            for folder in root.iterdir():
                if folder.is_dir() and _is_orphan(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            self.path = Path(tempfile.mkdtemp(dir=root))
            self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._is_open = True

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        if self._is_open:
            self._is_open = False
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_orphan(folder: Path) -> bool:
    try:
        lock = os.open(folder / ".lock", os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            os.close(lock)
    return True
