"""Answers asked for a batch at a time and kept a line each, so that what was stopped goes on where it was."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from affectgpt.engines.engine import Engine
from affectgpt.errors import InputError
from affectgpt.records import Completion, Prompt, Sampling

__all__ = ["Asker", "Engines", "Tell", "Who"]

Who = Literal["adapter", "untuned", "composer", "copier", "judge"]
"""Those who answer."""
Tell = Callable[[str], None]
Engines = Callable[[Who], Engine]
"""Opens the engine of one of those who answer; asked once each, and only where there is something to ask."""


class Asker:
    """Puts prompts to one engine, a batch of like length at a time, and keeps each answer as it comes."""

    def __init__(self, who: Who, folder: Path, engines: Engines, batches: tuple[int, int], tell: Tell) -> None:
        """`folder` keeps the answers; `batches` are the prompts put side by side, and the seed of their order."""
        self._who, self._folder, self._engines, self._tell = who, folder, engines, tell
        self._size, self._seed = max(1, batches[0]), batches[1]
        self._engine: Engine | None = None

    def ask(self, name: str, asked: Mapping[str, tuple[Prompt, int]], sampling: Sampling) -> dict[str, Completion]:
        """Answers by row id; `asked` gives each prompt with the length that its answer may have, in characters."""
        path = self._folder / f"{name}.jsonl"
        said = {i: c for i, c in _kept(path) if i in asked}
        batches = self._batches({i: a for i, a in asked.items() if i not in said})
        began, n_done, n_todo = time.monotonic(), 0, sum(map(len, batches))
        with path.open("a", encoding="utf-8") as file:
            for ids in batches:
                answers = self._opened().generate([asked[i][0] for i in ids], sampling)
                for i, completion in zip(ids, answers, strict=True):
                    said[i] = completion
                    file.write(json.dumps({"id": i, **asdict(completion)}, ensure_ascii=False) + "\n")
                file.flush()
                n_done += len(ids)
                left_s = (time.monotonic() - began) / n_done * (n_todo - n_done)
                self._tell(f"{name}: {n_done} of {n_todo} answers, {left_s / 60:.0f} min left")
        return said

    def _opened(self) -> Engine:
        self._engine = self._engine or self._engines(self._who)
        return self._engine

    def _batches(self, asked: Mapping[str, tuple[Prompt, int]]) -> list[list[str]]:
        """Like lengths side by side, the batches in random order, so that the time left can be told early."""
        size = self._size
        length = {i: n * 4 + sum(len(m.content) for m in p.messages) + len(p.opening) for i, (p, n) in asked.items()}
        ordered = sorted(asked, key=lambda i: (length[i], i))
        batches = [ordered[at : at + size] for at in range(0, len(ordered), size)]
        return random.Random(self._seed).sample(batches, len(batches))


def _kept(path: Path) -> Iterator[tuple[str, Completion]]:
    """The answers that a file holds; a line torn by a kill is cut off."""
    if not path.is_file():
        return
    lines = path.read_text("utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole), "utf-8")
    for line in whole:
        try:
            row = json.loads(line)
            id_ = row.pop("id")
            yield id_, Completion(**row)
        except (ValueError, TypeError, KeyError) as e:
            raise InputError(f"{path} holds a line that is no answer: {e}", "remove that file, and ask again") from e
