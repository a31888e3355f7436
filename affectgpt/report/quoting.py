"""Words from outside in Markdown: read as words, never as headings, markup or pictures fetched from elsewhere."""

from __future__ import annotations

__all__ = ["inert", "quoted"]


def inert(text: str) -> str:
    """Text in which no tag and no picture begins; what UTF-8 cannot hold becomes a question mark."""
    safe = text.encode("utf-8", "replace").decode("utf-8")
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace("![", "!\\[")


def quoted(text: str) -> str:
    """A block of it, each line behind its mark: nothing in it becomes a heading."""
    return "".join(f"> {inert(line)}\n" for line in text.splitlines() or [""])
