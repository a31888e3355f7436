"""The data card as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["page"]

_COUNTED = (
    ("Tasks", "tasks"),
    ("Writers", "writers"),
    ("Prompts", "prompts"),
    ("Channels shown", "channels"),
    ("Labels of explanations", "labels"),
)
_NUMBERS = (
    ("rows", "rows"),
    ("speakers", "n_speakers"),
    ("dialogues", "n_dialogues"),
    ("recordings", "n_media"),
    ("conflicts named", "conflicts_named"),
    ("explanations looked at", "explanations_looked_at"),
    ("shapes among them", "skeletons"),
    ("distinct-2", "distinct_2"),
)


def page(name: str, told: Mapping[str, Any]) -> str:
    """What `card.describe` counted, in tables."""
    splits: Mapping[str, Any] = told["splits"]
    lines = [f"# Data card: {name}", "", f"Recipe {told.get('fingerprint', 'unknown')[:12]}.", ""]
    lines += ["Every answer describes how a person seems, never what they feel.", ""]
    lines += ["## Licences", "", "Rows may be used only as every source in them allows.", ""]
    licensed = [(k, v, *(t["sources"].get(k, 0) for t in splits.values())) for k, v in told["licences"].items()]
    lines += _table(("source", "licence", *(f"{s} rows" for s in splits)), licensed)
    for title, key in _COUNTED:
        names = list(dict.fromkeys(k for t in splits.values() for k in t.get(key, {})))
        rows = [(k, *(t.get(key, {}).get(k, 0) for t in splits.values())) for k in names]
        lines += _section(title, (key, *splits), rows)
    numbers = [(label, *(t.get(key, "–") for t in splits.values())) for label, key in _NUMBERS]
    lines += _section("In numbers", ("", *splits), numbers)
    lengths = [
        (f"{split}: {task}", *(f"{n}" for n in q.values()))
        for split, t in splits.items()
        for task, q in t["words_of_an_answer"].items()
    ]
    lines += _section("Words of an answer", ("split: task", "least", "5 %", "median", "95 %", "most"), lengths)
    shared = [(kind, pair, n) for kind, pairs in told["shared_by_splits"].items() for pair, n in pairs.items()]
    lines += _section("What two splits share", ("what", "splits", "how many"), shared)
    for split, dropped in told.get("dropped", {}).items():
        rows = [(k, n) for k, n in dropped.items() if k != "tried"]
        lines += _section(
            f"Dropped from {split}, of {dropped.get('tried', 0)} tries", ("task: filter: reason", "tries"), rows
        )
    lines += _section("Left out of the sources", ("what", "how many"), told.get("left_out", {}).items())
    return "\n".join(lines) + "\n"


def _section(title: str, head: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """A heading and its table; nothing where the table would be empty."""
    listed = [tuple(row) for row in rows]
    return ["", f"## {title}", "", *_table(head, listed)] if listed else []


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    heads = list(head)
    body = [f"| {' | '.join(str(c).replace('|', '/') for c in row)} |" for row in rows]
    return [f"| {' | '.join(map(str, heads))} |", "|" + "---|" * len(heads), *body]
