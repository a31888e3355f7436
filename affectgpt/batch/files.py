"""Files that outlive whoever writes them: whole under their name or not there, on the disk before that is said."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from affectgpt.errors import OutputError

__all__ = ["replacing", "sync_folder", "unwritable"]


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes `path`'s place when the block ends well; else `path` stays as it was.

    Raises:
        OutputError: it cannot be written.
    """
    part = path.with_name(path.name + ".new")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    with suppress(OSError):  # not every file system syncs a folder; its names are then its own affair
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error for a file that cannot be written, with the remedy that fits."""
    remedy = {
        errno.ENOSPC: "free some space and give the same command again: it goes on from the rows that are kept",
        errno.EDQUOT: "free some of your quota and give the same command again: it goes on from the rows that are kept",
        errno.ENAMETOOLONG: "choose a shorter name",
    }.get(error.errno or 0, "see to its permissions, or choose another output; rows that were kept stay")
    return OutputError(f"{path}: cannot be written ({error.strerror or error})", remedy)
