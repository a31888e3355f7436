"""Work in processes of its own: a bounded pool that survives its tasks, and a cache of what was read from media.

A worker runs one task at a time. A task that crashes, hangs or eats memory costs its own worker and nothing else. This
is no sandbox: a worker runs as the same user and what it answers is unpickled here.
"""

from __future__ import annotations

from affectgpt.workers.archive import pack, unpack
from affectgpt.workers.cache import MediaCache
from affectgpt.workers.folders import ProcessFolder, private_folder
from affectgpt.workers.keys import reading_key
from affectgpt.workers.pool import WorkerPool
from affectgpt.workers.ticket import Limits, Ticket
from affectgpt.workers.worker import report

__all__ = [
    "Limits",
    "MediaCache",
    "ProcessFolder",
    "Ticket",
    "WorkerPool",
    "pack",
    "private_folder",
    "reading_key",
    "report",
    "unpack",
]
