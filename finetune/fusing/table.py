"""A grid's results as Markdown: settings in lines, conditions in columns, intervals beside every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["write_table"]


def write_table(results: Mapping[str, Any]) -> str:
    """The tables: whole scenes first, then UAR under every condition, a table for each kind of scene."""
    rows, whole = results["rows"], results["whole"]
    parts = [f"Asked: {results['n_asked']} dev scenes; majority of the train side: {results['majority']}.", ""]
    for kind, signals in dict.fromkeys((r["kind"], r["signals"]) for r in rows):
        chosen = [r for r in rows if (r["kind"], r["signals"]) == (kind, signals)]
        parts += [f"### {kind}, {signals}", "", *_whole([r for r in chosen if r["condition"] == whole]), ""]
        if taken := [r for r in chosen if r["condition"] != whole]:
            parts += ["UAR under conditions:", "", *_conditions(taken), ""]
    return "\n".join(parts).rstrip() + "\n"


def _whole(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| setting | n | UAR | weighted F1 |", "|---|---|---|---|"]
    for row in rows:
        told = row["figures"]
        lines.append(f"| {row['setting']} | {told['UAR']['n']} | {_told(told['UAR'])} | {_told(told['weighted F1'])} |")
    return lines


def _conditions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({r["condition"] for r in rows})
    lines = ["| setting | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for setting in dict.fromkeys(r["setting"] for r in rows):
        found = {r["condition"]: r["figures"]["UAR"] for r in rows if r["setting"] == setting}
        lines.append(f"| {setting} | " + " | ".join(_told(found.get(n)) for n in names) + " |")
    return lines


def _told(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
