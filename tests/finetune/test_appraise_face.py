"""Fitting the face head: people stay together, the rare keep the prior, and chance does not choose the penalty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectgpt.errors import InputError
from finetune.appraise_face import LEAST, fit_correction, person, rows_of, strongest


def test_a_label_that_is_hardly_shown_keeps_its_offset() -> None:
    draw = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [60, 60, LEAST - 1])
    x = draw.normal(size=(len(label), 3))
    x[:, 0] += label
    weight, bias, _, _ = fit_correction(x, label, np.zeros((len(label), 8)), 0.03)
    assert np.abs(weight[:, :2]).max() > 0.1
    assert not weight[:, 2:].any()
    assert not bias[2:].any()


def test_a_person_is_told_by_the_files_name_without_its_number() -> None:
    assert person(Path("images/Anna_Example_0001.jpg")) == person(Path("Anna_Example_0012.png")) == "Anna_Example"


def test_no_face_anywhere_is_named() -> None:
    with pytest.raises(InputError):
        rows_of([])


def test_the_strongest_penalty_within_one_standard_error_is_taken() -> None:
    spread = np.tile([-1.0, 1.0], 50)
    losses = {0.01: 1.0 + spread, 0.1: 1.05 + spread, 1.0: 1.5 + spread}
    assert strongest(losses) == 0.1
    assert strongest({p: loss - 2.0 * (p == 0.01) for p, loss in losses.items()}) == 0.01
