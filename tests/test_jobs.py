"""Reading ahead: the same items in the same order, errors where they belong, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from affectgpt.jobs import read_ahead
from affectgpt.records import Frame


def frames(n: int, *, fails: bool = False, closed: list[bool] | None = None) -> Iterator[Frame]:
    try:
        for i in range(n):
            yield Frame(np.zeros((1, 1, 3), np.uint8), float(i))
        if fails:
            raise ValueError("damaged")
    finally:
        if closed is not None:
            closed.append(True)


def n_threads() -> int:
    return sum(t.name == "read-ahead" for t in threading.enumerate())


@pytest.mark.parametrize("n_ahead", [1, 4, 100])
def test_every_item_comes_once_and_in_order(n_ahead: int) -> None:
    assert [f.time_s for f in read_ahead(frames(50), n_ahead)] == list(range(50))
    assert n_threads() == 0


def test_what_was_read_before_a_failure_comes_before_it() -> None:
    ahead = read_ahead(frames(5, fails=True))
    assert [next(ahead).time_s for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="damaged"):
        next(ahead)
    assert n_threads() == 0


def test_closing_early_closes_the_source_and_ends_the_thread() -> None:
    closed: list[bool] = []
    ahead = read_ahead(frames(10_000, closed=closed))
    assert next(ahead).time_s == 0
    ahead.close()
    assert closed == [True]
    assert n_threads() == 0
