"""Answers by the model in training, through the engine that inference uses, and what they are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from affectgpt.engines.local import LocalEngine
from affectgpt.records import Sampling
from finetune.judging import Judged, judge, summarise
from finetune.rows import Row

__all__ = ["Examiner", "TrainingEngine"]


class TrainingEngine(LocalEngine):
    """The local engine over weights that are in training (`of`): the adapter beside the base, not merged."""

    name = "training"


class Examiner:
    """Asks the model in training a fixed sample of dev rows, keeps what it wrote, and gives the figures."""

    def __init__(self, rows: Sequence[Row], tokenizer: Any, answer_tokens: int, folder: Path) -> None:
        self._rows, self._tokenizer = rows, tokenizer
        self._sampling = Sampling(max_tokens=answer_tokens)
        self._folder = folder
        self.latest: list[Judged] = []
        self.n_looks = 0

    def __call__(self, model: Any) -> Mapping[str, float]:
        """Write, judge and keep; several processes share the rows."""
        from accelerate import PartialState
        from accelerate.utils import gather_object

        state = PartialState()
        rows = self._rows[state.process_index :: state.num_processes]
        was_training = model.training
        model.eval()
        try:
            engine = TrainingEngine.of(model, self._tokenizer, "in training")
            written = engine.generate([row.prompt for row in rows], self._sampling)
        finally:
            model.train(was_training)
        judged = [judge(row, answer) for row, answer in zip(rows, written, strict=True)]
        self.latest = gather_object(judged) if state.num_processes > 1 else judged
        self.n_looks += 1
        if state.is_main_process:
            self._keep()
        return summarise(self.latest)

    def _keep(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"look-{self.n_looks:04d}.jsonl"
        path.write_text("".join(json.dumps(asdict(j), ensure_ascii=False) + "\n" for j in self.latest), "utf-8")
