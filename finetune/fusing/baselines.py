"""Answers that others gave over the same recordings, as texts beside those of a language model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from affectgpt.emotions import load_lexicon
from affectgpt.errors import InputError
from affectgpt.records.signal_example import WHOLE, SignalExample

__all__ = ["given_answers"]


def given_answers(path: Path, scenes: Sequence[SignalExample]) -> dict[str, str]:
    """The likeliest basic label by scene id, of recordings alone and whole that the file has probabilities for.

    path: JSON lines of `id` (a recording's name, with or without folders and ending) and `probabilities` over RAVDESS's
    eight labels or the basic eight, as `finetune.held_out` writes them.

    Raises:
        InputError: no such file, or a malformed line.
    """
    lexicon = load_lexicon()
    basic = set(lexicon.labels("basic8"))
    by_name: dict[str, str] = {}
    try:
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            shares: dict[str, float] = {}
            for label, p in row["probabilities"].items():
                place = label if label in basic else lexicon.convert(label, "ravdess8", "basic8")
                shares[place or label] = shares.get(place or label, 0.0) + float(p)
            by_name[PurePosixPath(row["id"]).stem] = max(shares, key=lambda k: shares[k])
    except OSError as e:
        raise InputError(
            f"no answers at {path}: {e.strerror}", "make them with `python -m finetune.held_out`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(
            f"{path} holds what are no answers: {e!r}", "give JSON lines of id and probabilities"
        ) from None
    alone = [s for s in scenes if s.kind == "alone" and s.condition == WHOLE]
    named = {s.id: PurePosixPath(s.scene.split("/")[-2]).stem for s in alone}
    return {name: by_name[stem] for name, stem in named.items() if stem in by_name}
