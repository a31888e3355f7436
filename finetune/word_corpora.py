"""The corpora of the words' heads, each in three parts: fitted on, held out of that, and judged.

What is held out of the training side is seen by neither the encoder nor a head: temperatures, thresholds and slopes are
set there. What is judged sets nothing. Dialogues stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.words import DIMENSIONS
from affectgpt.corpora import Example, read_emobank, read_empathetic_dialogues, read_goemotions, read_meld
from affectgpt.emotions import load_lexicon
from finetune.tune_encoder import Task

__all__ = [
    "LABEL_SETS", "LICENCES", "RATED", "Parts", "dialogues", "drawn", "numbers", "read_parts", "tags",
    "targets", "tasks",
]  # fmt: skip

LICENCES = {
    "lexicon": "Apache-2.0",
    "GoEmotions": "Apache-2.0",
    "EmoBank": "CC BY-SA 4.0",
    "MELD": "GPL-3.0",
    "EmpatheticDialogues": "CC BY-NC 4.0",
    "RECCON": "research use; its source DailyDialog is CC BY-NC-SA 4.0",
}
LABEL_SETS = {"GoEmotions": "goemotions28", "MELD": "meld7", "EmpatheticDialogues": "empathetic32"}
RATED = tuple(f"{d}_{side}" for side in ("both", "reader", "writer") for d in DIMENSIONS)
"""EmoBank's numbers, a column each: valence, arousal, dominance by both perspectives, the reader's, the writer's."""
HELD_SHARE = 0.1

Examples = tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows to fit on, rows held out to set what calibrates, rows to judge on."""

    fitted: Examples
    held: Examples
    judged: Examples


def read_parts(text: Path, seed: int, share: float = HELD_SHARE) -> dict[str, Parts]:
    """Every corpus under `text`. EmpatheticDialogues has no side to judge on: a fifth is halved for that.

    Raises:
        InputError: a corpus is not there.
    """

    def sides(read: Callable[[Path], Any], folder: str, names: tuple[str, str]) -> Parts:
        train, dev = (read(text / folder / name).usable for name in names)
        return Parts(*_split(train, share, seed), dev)

    rated = _emobank(text / "emobank" / "emobank.csv")
    own = {side: tuple(e for e in rated if e.group["split"] == side) for side in ("train", "dev")}
    situations = read_empathetic_dialogues(text / "empathetic_dialogues" / "ed_valid.jsonl").usable
    fitted, rest = _split(situations, 0.2, seed)
    judged, held = _split(rest, 0.5, seed + 1)
    return {
        "GoEmotions": sides(read_goemotions, "goemotions", ("train.tsv", "dev.tsv")),
        "EmoBank": Parts(*_split(own["train"], share, seed), own["dev"]),
        "MELD": sides(read_meld, "meld", ("train_sent_emo.csv", "dev_sent_emo.csv")),
        "EmpatheticDialogues": Parts(fitted, held, judged),
    }


def tasks(parts: Mapping[str, Parts], passes: Mapping[str, float], part: str = "fitted") -> list[Task]:
    """What the encoder is tuned on: the corpora named in `passes`, each seen so often."""
    made = []
    for name, n in passes.items():
        rows: Examples = getattr(parts[name], part)
        texts = [e.text or "" for e in rows]
        if name == "EmoBank":
            y = numbers(parts[name].fitted)
            mean, spread = np.nanmean(y, axis=0), np.nanstd(y, axis=0)
            made.append(Task(name, "regression", texts, (numbers(rows) - mean) / spread, n))
        elif name == "GoEmotions":
            made.append(Task(name, "sigmoid", texts, tags(rows), n))
        else:
            made.append(Task(name, "softmax", texts, targets(rows, LABEL_SETS[name]), n))
    return made


def targets(rows: Sequence[Example], label_set: str) -> NDArray[np.intp]:
    """Each row's label as its number in the label set (B,)."""
    labels = list(load_lexicon().labels(label_set))
    return np.array([labels.index(str(e.label)) for e in rows], dtype=np.intp)


def tags(rows: Sequence[Example]) -> NDArray[np.float32]:
    """Each row's GoEmotions labels as 0 and 1 (B, 28)."""
    labels = load_lexicon().labels("goemotions28")
    return np.array([[label in e.labels for label in labels] for e in rows], np.float32)


def numbers(rows: Sequence[Example]) -> NDArray[np.float64]:
    """Each row's numbers (B, 9) in the order of RATED; NaN where a perspective is missing."""
    return np.array([[e.values.get(name, np.nan) for name in RATED] for e in rows])


def dialogues(rows: Sequence[Example]) -> list[str]:
    """Each row's dialogue, or its id where it stands alone."""
    return [e.group.get("dialogue", e.id) for e in rows]


def drawn(names: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows fall in a share drawn by name: rows of one name stay together."""
    unlike = sorted(set(names))
    n = round(share * len(unlike))
    chosen = {unlike[k] for k in np.random.default_rng(seed).permutation(len(unlike))[:n]}
    return np.array([name in chosen for name in names], dtype=np.bool_)


def _split(rows: Sequence[Example], share: float, seed: int) -> tuple[Examples, Examples]:
    aside = drawn(dialogues(rows), share, seed)
    kept, held = ([e for e, a in zip(rows, aside, strict=True) if a == side] for side in (False, True))
    return tuple(kept), tuple(held)


def _emobank(path: Path) -> Examples:
    """Each sentence once, with the numbers of every perspective that rated it."""
    found: dict[str, Example] = {}
    values: dict[str, dict[str, float]] = {}
    for side in ("both", "reader", "writer"):
        for row in read_emobank(path, side).usable:
            found.setdefault(row.id, row)
            values.setdefault(row.id, {}).update({f"{d}_{side}": v for d, v in row.values.items()})
    return tuple(
        Example(e.id, e.text, values=values[e.id], group=e.group)
        for e in found.values()
        if "valence_both" in values[e.id]
    )
