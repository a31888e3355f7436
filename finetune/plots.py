"""The curves of a training as pictures, from its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["plot"]

_SHARES = ("parsed", "label_f1", "supported", "covered", "hallucinated", "exact")


def plot(history: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write loss.png and, where answers were judged, answers.png; the files that were written."""
    loss = {"train": _course(history, "loss"), "dev": _course(history, "eval_loss")}
    shares = {name: _course(history, f"eval_{name}") for name in _SHARES}
    made = [_draw(loss, "negative log-likelihood a token", folder / "loss.png")] if any(loss.values()) else []
    if any(shares.values()):
        made.append(_draw({k: v for k, v in shares.items() if v}, "share, dev answers", folder / "answers.png"))
    return made


def _course(history: Iterable[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(row["step"], row[key]) for row in history if key in row and "step" in row]


def _draw(courses: Mapping[str, Sequence[tuple[int, float]]], title: str, path: Path) -> Path:
    # Not pyplot: it keeps figures for ever and asks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, course in courses.items():
        if course:
            axes.plot(*zip(*course, strict=True), label=name, marker="o" if len(course) < 40 else None, markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)
    axes.legend()
    part = path.with_suffix(".part.png")
    figure.savefig(part, dpi=120)
    part.replace(path)
    return path
