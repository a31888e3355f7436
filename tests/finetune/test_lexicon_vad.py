"""The fit's arithmetic on made-up predictions, and the shipped table against the script's own published values."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from affectgpt.emotions import load_lexicon
from finetune.lexicon_vad import (
    DIMENSIONS,
    FURTHER,
    NO_SYNONYM,
    PUBLISHED,
    TABLE,
    calibrate,
    judge,
    pearson,
    read_emobank,
    shrink,
    write_table,
)

LEXICON = load_lexicon()
FIGURES = {"emobank_dev_r": [0.6, 0.5, 0.3], "n_dev": 10, "further_terms_shrunk": {"n": 1, "r": [1.0], "mae": [0.0]}}


def test_calibration_undoes_any_affine_distortion() -> None:
    slopes, offsets = np.array([0.2, 0.1, 0.05]), np.array([0.1, -0.2, 0.3])
    raw = {node: slopes * np.array(value) + offsets for node, value in PUBLISHED.items()}
    for node, value in calibrate(raw).items():
        assert value == pytest.approx(np.array(PUBLISHED[node]), abs=1e-9)


def test_the_line_is_not_drawn_beyond_the_basics() -> None:
    raw = {node: np.array(value) for node, value in PUBLISHED.items()} | {"pleasure": np.full(3, 9.0)}
    assert calibrate(raw)["pleasure"] == pytest.approx(np.array([0.81, 0.82, 0.46]))


def test_the_weight_moves_a_node_from_its_basic_to_its_fit() -> None:
    fitted = {"despair": np.array([0.3, 0.9, 0.2]), "shock": np.array([-0.4, 0.5, 0.0]), "scorn": np.zeros(3)}
    none, whole = shrink(LEXICON, fitted, np.zeros(3)), shrink(LEXICON, fitted, np.ones(3))
    assert none["despair"].tolist() == list(PUBLISHED["sadness"])
    assert whole["despair"].tolist() == [0.3, 0.9, 0.2]
    assert none["shock"].tolist() == [-0.4, *PUBLISHED["surprise"][1:]]
    assert none["scorn"].tolist() == list(PUBLISHED["disgust"])


def test_perfect_values_are_judged_perfect() -> None:
    values = {LEXICON.node(term).name: np.array(value) for term, value in FURTHER.items()}
    assert judge(LEXICON, values, FURTHER) == {"n": len(FURTHER), "r": [1.0] * 3, "mae": [0.0] * 3}
    column = np.array([[1.0], [2.0], [4.0]])
    assert pearson(column, -column) == [-1.0]


def test_the_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    values = {name: np.full(3, 0.25) for name in LEXICON.nodes}
    path = tmp_path / "vad.toml"
    write_table(path, LEXICON, values, FIGURES)
    table = tomllib.loads(path.read_text("utf-8"))
    assert list(table["nodes"]) == list(LEXICON.nodes)
    assert table["nodes"]["elation"] == [0.25, 0.25, 0.25, "fitted"]
    assert table["nodes"]["anger"] == [*PUBLISHED["anger"], "norms"]


def test_the_shipped_table_carries_the_published_values() -> None:
    nodes = tomllib.loads(TABLE.read_text("utf-8"))["nodes"]
    for node, value in PUBLISHED.items():
        assert tuple(nodes[node][: len(DIMENSIONS)]) == value
    for term, value in FURTHER.items():
        if term not in NO_SYNONYM:
            assert tuple(nodes[LEXICON.node(term).name][: len(DIMENSIONS)]) == value


@pytest.mark.shared
def test_emobank_is_read_onto_the_unit_scale(shared_data: Path) -> None:
    texts, splits, ratings = read_emobank(shared_data / "text" / "emobank" / "emobank.csv")
    assert len(texts) == len(splits) == len(ratings)
    assert {"train", "dev"} <= set(splits)
    assert ratings.min() >= -1
    assert ratings.max() <= 1
