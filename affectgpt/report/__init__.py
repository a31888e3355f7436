"""An outcome as one self-contained page: the clip, its timelines, and every claim linked to what it cites."""

from affectgpt.report.page import render, write

__all__ = ["render", "write"]
