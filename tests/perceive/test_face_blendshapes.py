"""Blendshapes to units: the table as a pure function, and the refusal of files that are no task."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import ModelError
from affectgpt.perceive.blendshapes import BlendshapeReader, _rows, units_from_blendshapes
from affectgpt.perceive.face import open_reader
from affectgpt.perceive.geometry import load_table


def both(name: str, score: float) -> dict[str, float]:
    return {f"{name}Left": score, f"{name}Right": score}


@pytest.mark.parametrize(
    ("scores", "unit"),
    [
        ({"browInnerUp": 0.8}, 1),
        (both("browOuterUp", 0.8), 2),
        (both("browDown", 0.8), 4),
        (both("eyeWide", 0.8), 5),
        (both("eyeSquint", 0.8), 7),
        (both("noseSneer", 0.8), 9),
        (both("mouthUpperUp", 0.8), 10),
        (both("mouthSmile", 0.8), 12),
        ({"mouthDimpleLeft": 0.8}, 14),
        (both("mouthFrown", 0.8), 15),
        ({"mouthShrugLower": 0.8}, 17),
        (both("mouthStretch", 0.8), 20),
        (both("mouthPress", 0.8), 24),
        ({"jawOpen": 0.8}, 26),
        (both("eyeBlink", 0.8), 43),
    ],
)
def test_a_shape_is_told_as_its_unit(scores, unit):
    units = units_from_blendshapes(scores)
    assert units[unit] == pytest.approx(4.0)
    assert units[unit] == max(units.values())


def test_combinations():
    smile, squint = both("mouthSmile", 0.8), both("eyeSquint", 0.5)
    assert units_from_blendshapes(smile)[6] == 0
    assert units_from_blendshapes({**smile, **squint})[6] == pytest.approx(2.0)
    lip = both("mouthUpperUp", 0.6)
    assert units_from_blendshapes({**lip, **smile})[10] < units_from_blendshapes(lip)[10]
    assert units_from_blendshapes({"jawOpen": 0.4, "mouthClose": 0.4})[25] == 0
    assert units_from_blendshapes({"jawOpen": 0.4})[25] == pytest.approx(2.0)


def test_the_table_covers_the_units_with_a_stated_trust():
    assert set(_rows()) == set(load_table().units)
    assert all(0 < row["reliability"] < 1 for row in _rows().values())


shapes = sorted({n for row in _rows().values() for term in row["any"] for names in term.values() for n in names})


@given(st.dictionaries(st.sampled_from([*shapes, "_neutral", "unheardOf"]), st.floats(-2, 3)))
def test_units_stay_on_their_scale(scores):
    assert all(0 <= v <= 5 for v in units_from_blendshapes(scores).values())


def test_a_face_at_rest_has_no_units():
    assert set(units_from_blendshapes({}).values()) == {0.0}


@pytest.mark.parametrize("content", [b"", b"not a task", b"PK\x03\x04" + b"\x00" * 200])
def test_what_is_no_task_is_refused(tmp_path, content):
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="no face landmarker task") as caught:
        BlendshapeReader(path)
    assert "face_landmarker.task" in str(caught.value)


def test_a_missing_task_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no task file"):
        open_reader(task=tmp_path / "none.task")
