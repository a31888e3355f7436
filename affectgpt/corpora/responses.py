"""Readers of what people answered: replies in EmpatheticDialogues, and Empathic Reactions to sad news."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from affectgpt.corpora.example import Corpus, Example
from affectgpt.corpora.sides import place_of
from affectgpt.corpora.tables import csv_rows, json_lines, number

__all__ = ["Side", "read_empathic_reactions", "read_replies"]

Side = Literal["all", "train", "dev"]
_ROLES = ("speaker", "listener")
_REACTIONS = ("empathy", "distress")
_LOWEST, _HIGHEST = 1.0, 7.0  # the seven points of Batson's scales (Buechel et al. 2018)


def read_replies(path: Path | str, side: Side = "all", share: float = 0.15, seed: int = 7) -> Corpus:
    """EmpatheticDialogues as JSON lines: a row each turn of the speaker that the listener replied to.

    `text` is the turn, `context` what was said before it, `references` the one reply, `label` the dialogue's feeling.

    side: `dev` takes the dialogues that fall in `share` by `seed`, `train` the others. The numbers set here are those
        of the recipe `mix`, so that no row of it stands on the development side.

    Raises:
        InputError: no such file.
    """
    path = Path(path)
    rows = (row for n, parts in json_lines(path) for row in _replied(n, parts))
    kept = (r for r in rows if side == "all" or (side == "dev") == _is_dev(r, share, seed))
    return Corpus(f"{path.stem}-{side}", kept)


def _is_dev(row: Example, share: float, seed: int) -> bool:
    return place_of(f"empathetic_dialogues:dialogue:{row.group['dialogue']}", seed) >= 1 - share


def _replied(n: int, row: dict[str, Any] | None) -> Iterator[Example]:
    name = str((row or {}).get("conv_id") or f"line{n}")
    turns = (row or {}).get("turns")
    if row is None or not isinstance(turns, list):
        yield Example(name, group={"dialogue": name}, fault="not a dialogue")
        return
    label = str(row.get("emotion") or "")
    said = [(str(t.get("role")), str(t.get("text") or "")) for t in turns if isinstance(t, dict)]
    for i in range(len(said) - 1):
        if (said[i][0], said[i + 1][0]) == _ROLES:
            fault = "" if label else "no label"
            yield Example(
                f"{name}:{i}",
                said[i][1],
                label=label or None,
                labels=(label,) if label else (),
                group={"dialogue": name},
                context=tuple(text for _, text in said[:i]),
                references=(said[i + 1][1],),
                fault=fault if said[i + 1][1].strip() else "no reply",
            )


def read_empathic_reactions(path: Path | str) -> Corpus:
    """Empathic Reactions' `messages.csv` (Buechel et al. 2018): what people wrote after sad news, and how they felt.

    `values` are the writer's own empathy and distress, 1 to 7, each the mean of several items. `group` names the
    person, who wrote up to five, and the article.

    Raises:
        InputError: no such table.
    """
    path = Path(path)
    needs = ("message_id", "response_id", "article_id", *_REACTIONS, "essay")
    return Corpus(path.stem, (_reaction(row) for _, row in csv_rows(path, needs)))


def _reaction(row: dict[str, str]) -> Example:
    values = {name: number(row[name]) for name in _REACTIONS}
    fault = "" if all(not (v < _LOWEST or v > _HIGHEST) for v in values.values()) else "a rating outside 1 to 7"
    group = {"person": row["response_id"], "article": row["article_id"]}
    return Example(row["message_id"], row["essay"], values=values, group=group, fault=fault)
