"""Prompts of many threads, handed to a model of this process in batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from affectgpt.records import Completion, Prompt, Sampling

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["GatheringEngine"]

_Asked = tuple[Prompt, Sampling, "Future[Completion]"]


class GatheringEngine:
    """An engine over another that writes several answers side by side, for callers that ask for one each.

    While a batch is written the next one gathers: whoever asks meanwhile, up to `size`, with the same sampling. A
    prompt that fails its batch fails alone: the batch is then written one by one.
    """

    def __init__(self, inner: Engine, size: int) -> None:
        self.name, self.model = inner.name, inner.model
        self._inner, self._size = inner, size
        self._waiting: deque[_Asked] = deque()
        self._changed = threading.Condition()
        self._is_started = False

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """See `Engine.generate`."""
        asked: list[_Asked] = [(prompt, sampling, Future()) for prompt in prompts]
        with self._changed:
            self._waiting.extend(asked)
            if not self._is_started:
                self._is_started = True
                threading.Thread(target=self._serve, name="gather", daemon=True).start()
            self._changed.notify()
        return [future.result() for _, _, future in asked]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """See `Engine.stream`; streams are not gathered."""
        return self._inner.stream(prompt, sampling)

    def _serve(self) -> None:
        while True:
            self._write(self._next())

    def _next(self) -> list[_Asked]:
        """Wait for a prompt; it, and those that can be written beside it, oldest first."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            sampling = self._waiting[0][1]
            batch = [asked for asked in self._waiting if asked[1] == sampling][: self._size]
            taken = {id(asked) for asked in batch}
            self._waiting = deque(asked for asked in self._waiting if id(asked) not in taken)
            return batch

    def _write(self, batch: Sequence[_Asked]) -> None:
        try:
            written = self._inner.generate([prompt for prompt, _, _ in batch], batch[0][1])
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            if len(batch) > 1:
                for asked in batch:
                    self._write([asked])
            else:
                batch[0][2].set_exception(error)
            return
        for (_, _, future), completion in zip(batch, written, strict=True):
            future.set_result(completion)
