"""What the server writes of itself: one JSON object a line, with ids, counts and times, and never a word of anybody's.

What somebody wrote, said or named can reach a log only through a message, so no message is written: of our own records
and uvicorn's the template without its words, of every other library's who spoke and how gravely, of an exception its
type and where it was raised.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

__all__ = ["JsonLines", "set_up_logs", "write"]

_TRUSTED: Final = ("affectgpt", "serve", "uvicorn")
"""Loggers whose templates are literals; tests hold ours to it."""
N_FRAMES: Final = 12
N_CAUSES: Final = 4
_SITE: Final = ("site-packages/", "dist-packages/", f"python{sys.version_info.major}.{sys.version_info.minor}/")


def write(logger: logging.Logger, event: str, **fields: object) -> None:
    """Log what happened: `event` is a literal, `fields` are ids, names that this program knows, counts and seconds."""
    logger.info(event, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """One line a record: time, level, logger, event, the fields, and what was raised."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name.split(".")[0] in _TRUSTED and isinstance(record.msg, str):
            line["event"] = record.msg.strip()
            numbers = [n for n in record.args if isinstance(n, int | float)] if isinstance(record.args, tuple) else []
            line |= {"numbers": numbers} if numbers else {}
        else:
            line["at"] = f"{_short(record.pathname)}:{record.lineno}"
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["raised"] = _told(record.exc_info[1])
        return json.dumps(line, ensure_ascii=True, default=lambda value: type(value).__name__)


def set_up_logs(level: str = "info", stream: TextIO | None = None) -> None:
    """Have this process write JSON lines alone, to stderr; also what nobody caught."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("serve", "affectgpt"):
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        logging.getLogger("serve").error("uncaught", exc_info=(kind, error, trace))

    sys.excepthook = uncaught
    threading.excepthook = lambda held: uncaught(held.exc_type, held.exc_value or held.exc_type(), held.exc_traceback)
    sys.unraisablehook = lambda held: uncaught(held.exc_type, held.exc_value or held.exc_type(), held.exc_traceback)


def _told(error: BaseException) -> list[dict[str, Any]]:
    """Types and places of an exception and of what caused it, the last frames first cut; no message."""
    told: list[dict[str, Any]] = []
    current: BaseException | None = error
    while current is not None and len(told) < N_CAUSES:
        frames = traceback.extract_tb(current.__traceback__)[-N_FRAMES:]
        told.append(
            {
                "type": f"{type(current).__module__}.{type(current).__qualname__}",
                "frames": [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return told


def _short(filename: str) -> str:
    """A source file's place in its package: where this program lies on the disk is nobody's business."""
    text = Path(filename).as_posix()
    for mark in _SITE:
        if mark in text:
            return text.rpartition(mark)[2]
    root = Path(__file__).resolve().parent.parent.as_posix()
    return text.removeprefix(f"{root}/")
