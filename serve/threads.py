"""Work in a thread that is waited for, even by one who gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

__all__ = ["in_thread"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """`work(...)` in a thread. Whoever is cancelled meanwhile is so only when it is over.

    asyncio.to_thread lets its caller go on while the thread still runs: a file would be closed, and its number given to
    another client's file, while the first one's bytes are being written to it.
    """
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen, and of no interest any more
        raise
