"""Counting: what follows what, by oneself and by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectgpt.corpora import MELD
from affectgpt.dialogue.transitions import count, load_transitions, log_ratios, steps, weights_folder
from affectgpt.errors import InputError, ModelError


def test_steps_find_the_own_line_before_and_the_last_of_another() -> None:
    before = steps(["a", "b", "b", "a", "c"])
    assert before.own == (-1, -1, 1, 0, -1)
    assert before.other == (-1, 0, 0, 2, 3)


def test_pairs_are_counted_apart() -> None:
    own, other = count([[("a", 0), ("b", 1), ("a", 2)], [("a", 1), ("a", 1)]], 3)
    assert own[0, 2] == 1
    assert own[1, 1] == 1
    assert own.sum() == 2
    assert other[0, 1] == 1
    assert other[1, 2] == 1
    assert other.sum() == 2


def test_a_label_outside_the_set_is_refused() -> None:
    with pytest.raises(InputError, match="outside"):
        count([[("a", 3)]], 3)


def test_ratios_leave_the_shares_of_labels_out() -> None:
    alone = np.outer([3.0, 1.0], [30.0, 10.0])
    assert log_ratios(alone * 1000) == pytest.approx(np.zeros((2, 2)), abs=1e-3)
    stays = log_ratios(np.array([[90.0, 10.0], [10.0, 90.0]]))
    assert (np.diag(stays) > 0).all()
    assert stays[0, 1] < 0


def test_the_shipped_matrices_say_that_feelings_last() -> None:
    shipped = load_transitions()
    assert shipped.labels == MELD
    felt = [k for k, label in enumerate(MELD) if label != "neutral"]
    assert (np.diag(shipped.own)[felt] > 0).all()
    assert 0 <= shipped.inertia <= 1
    assert 0 <= shipped.contagion <= 1


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    for name in ("transitions.json", "transitions.safetensors"):
        (tmp_path / name).write_bytes((weights_folder() / name).read_bytes())
    data = bytearray((tmp_path / "transitions.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "transitions.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="not those of their card"):
        load_transitions(tmp_path)
    with pytest.raises(ModelError, match="card"):
        load_transitions(tmp_path / "nowhere")
