"""What can go wrong, found before any weight is loaded: bad rows, long rows, too little memory or disk, leaks.

Rows are read and encoded once; what passes goes straight to a file of tokens, so that memory stays bounded however
many rows there are.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectgpt.engines import models
from affectgpt.errors import OptionError
from finetune import sizing
from finetune.config import Recipe
from finetune.loading import check_device, device_of, load_tokenizer, need_packages
from finetune.rows import BadRow, Encoded, Row, choose, encode, fit, read_rows

__all__ = ["Report", "Survey", "inspect", "survey"]

SHOWN = 8
"""Bad rows that are named; the others are counted."""


@dataclass(slots=True)
class Survey:
    """One split: token lengths of the rows that stay, tokens that take a loss, tasks, prompts, and what is wrong."""

    path: Path
    lengths: list[int] = field(default_factory=list)
    n_answer: int = 0
    n_cut: int = 0
    n_dropped: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    asked: set[bytes] = field(default_factory=set)
    problems: list[BadRow] = field(default_factory=list)

    def quantile(self, q: float) -> int:
        """Tokens that a share `q` of rows does not exceed."""
        ordered = sorted(self.lengths)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: the splits, what is needed against what there is, and warnings that stop nothing."""

    train: Survey
    dev: Survey
    shape: sizing.Shape
    need: sizing.Need
    device: str
    free_bytes: float
    free_disk_bytes: float
    warnings: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report as text."""
        found = [_line("train", self.train), _line("dev", self.dev)]
        n, s = self.need, self.shape
        found += [
            f"model: {s.n_base / 1e6:,.1f} M parameters, adapter {s.n_adapter / 1e6:.2f} M",
            f"steps: {n.n_steps}, about {_span(n.seconds)} on this {self.device}",
            f"memory: about {n.memory_bytes / 1e9:.1f} GB of {self.free_bytes / 1e9:.1f} GB free; "
            f"disk: {n.disk_bytes / 1e9:.2f} GB of {self.free_disk_bytes / 1e9:.1f} GB",
        ]
        return found + [f"warning: {w}" for w in self.warnings]


def inspect(recipe: Recipe, *, nf4_on_cpu: bool = False, take: Callable[[str, Encoded], None] | None = None) -> Report:
    """Look at everything; `take` gets each row that stays, with its split's name.

    Raises:
        OptionError: a bad row (the first few are named), nothing to train on, or a recipe that this machine cannot do.
        ModelError: the base has no configuration or tokenizer.
    """
    need_packages("trl", "datasets")
    for tracker in recipe.report_to:
        need_packages(tracker, remedy=f"pip install {tracker}, or drop it from report_to")
    device = device_of()
    check_device(recipe, device, nf4_on_cpu=nf4_on_cpu)
    place = models.resolve(recipe.model)[1]
    tokenizer = load_tokenizer(recipe, place)
    folder = Path(recipe.data).expanduser()
    surveys = {}
    for name, n in (("train", recipe.n_rows), ("dev", recipe.n_dev_rows)):
        sink = (lambda e, name=name: take(name, e)) if take else None  # type: ignore[misc]
        surveys[name] = survey(folder / f"{name}.jsonl", recipe, tokenizer, n, sink)
    train, dev = surveys["train"], surveys["dev"]
    _refuse(train, dev)
    shape = sizing.shape_of(recipe, place)
    flops = sizing.measure_flops(shape, recipe.dtype, device)
    need = sizing.need(recipe, shape, train.lengths, train.n_answer, flops)
    disk = shutil.disk_usage(_standing(Path(recipe.out))).free
    free = sizing.free_memory_bytes(device)
    return Report(train, dev, shape, need, device, free, disk, tuple(_warnings(train, dev, need, free, disk)))


def survey(
    path: Path, recipe: Recipe, tokenizer: Any, n: int | None, take: Callable[[Encoded], None] | None = None
) -> Survey:
    """Read, choose and encode one split."""
    found = Survey(path)
    for row in choose(read_rows(path, found.problems), recipe.tasks, n, recipe.seed):
        try:
            whole = encode(row, tokenizer)
            kept = fit(whole, row, recipe.max_length, recipe.too_long)
        except BadRow as e:
            found.problems.append(BadRow(f"{path.name} {e.what}", e.remedy))
            continue
        if kept is None:
            found.n_dropped += 1
            continue
        _note(found, row, kept, len(whole.input_ids))
        if take:
            take(kept)
    return found


def _note(found: Survey, row: Row, kept: Encoded, n_before: int) -> None:
    found.lengths.append(len(kept.input_ids))
    found.n_answer += kept.n_answer
    found.n_cut += len(kept.input_ids) < n_before
    found.tasks[row.task or "untold"] += 1
    if prompt := row.provenance.get("prompt_id"):
        found.prompts[f"{prompt} {row.provenance.get('prompt_version', '')}".strip()] += 1
    text = "\x00".join(m.content for m in row.messages[:-1])
    found.asked.add(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).digest())


def _refuse(*surveys: Survey) -> None:
    bad = [p for s in surveys for p in s.problems]
    if bad:
        shown = " | ".join(p.what for p in bad[:SHOWN])
        more = f" | and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise OptionError(f"{len(bad)} bad rows: {shown}{more}", bad[0].remedy)
    for s in surveys:
        if not s.lengths:
            raise OptionError(f"no row of {s.path} is left to use", "see tasks, max_length and too_long")


def _warnings(train: Survey, dev: Survey, need: sizing.Need, free: float, disk: float) -> list[str]:
    told = []
    if shared := len(train.asked & dev.asked):
        told.append(
            f"{shared} dev prompts stand in train too: the best checkpoint will be the one that learned them by heart"
        )
    for s in (train, dev):
        if s.n_cut:
            told.append(f"{s.n_cut} answers of {s.path.name} are cut at max_length and teach to stop anywhere")
    if need.memory_bytes > free:
        told.append("this is more memory than is free: lower batch or max_length, or set gradient_checkpointing=true")
    if need.disk_bytes > disk:
        told.append("this is more disk than is free: lower keep, or name another out")
    return told


def _line(name: str, s: Survey) -> str:
    tasks = ", ".join(f"{task} {n}" for task, n in s.tasks.most_common(6))
    left = f", {s.n_dropped} dropped as too long" if s.n_dropped else ""
    return (
        f"{name}: {len(s.lengths)} rows ({tasks}){left}; tokens a row: median {s.quantile(0.5)}, "
        f"95 % {s.quantile(0.95)}, longest {s.quantile(1.0)}; {s.n_answer / max(1, sum(s.lengths)):.0%} take a loss"
    )


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _standing(path: Path) -> Path:
    return next(p for p in (path.resolve(), *path.resolve().parents) if p.exists())
