"""The cuts that ship with a set of heads: chosen conservatively, refused when damaged, absent where not calibrated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affectgpt.appraise.conformal import FILE, Calibration, load_calibration, reading_key
from affectgpt.errors import InputError, ModelError

CUTS = Calibration((0.8, 0.9), {"face": (0.3, 0.2), "face+voice": (0.15, 0.1)}, {"face": 100, "face+voice": 4000})


def test_the_cut_is_that_of_the_combination_at_the_next_higher_coverage() -> None:
    least = {c: CUTS.threshold(["face"], c).least for c in (0.5, 0.8, 0.85, 0.9, 0.95)}  # type: ignore[union-attr]
    assert least == {0.5: 0.3, 0.8: 0.3, 0.85: 0.2, 0.9: 0.2, 0.95: 0.0}
    both = CUTS.threshold(("voice", "face"), 0.9)
    assert both is not None
    assert (both.least, both.coverage, both.n) == (0.1, 0.9, 4000)
    assert both.choose({"happy": 0.7, "sad": 0.2, "angry": 0.1}).labels == ("happy", "sad", "angry")


def test_what_was_not_calibrated_has_no_cut() -> None:
    assert CUTS.threshold(["speech"]) is None
    assert CUTS.threshold([]) is None
    with pytest.raises(InputError):
        CUTS.threshold(["face"], 1.0)


def test_a_combination_has_one_name() -> None:
    assert reading_key(["voice", "face", "voice"]) == reading_key(("face", "voice")) == "face+voice"


@pytest.mark.parametrize(
    "document",
    [
        "nonsense",
        {"coverages": [0.9]},
        {"coverages": [0.9, 0.8], "readings": {"face": {"least": [0.1, 0.1], "n": 5}}},
        {"coverages": [0.9], "readings": {"face": {"least": [0.1, 0.2], "n": 5}}},
        {"coverages": [0.9], "readings": {"face": {"least": [1.5], "n": 5}}},
        {"coverages": [0.9], "readings": {"face": {"least": [None], "n": 5}}},
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, document: object) -> None:
    assert load_calibration(folder=tmp_path / "none") is None
    (tmp_path / FILE).write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    with pytest.raises(ModelError):
        load_calibration(folder=tmp_path)


@pytest.mark.parametrize("permissive", [False, True])
def test_the_shipped_cuts_widen_with_the_coverage_and_say_where_they_are_from(permissive: bool) -> None:
    from affectgpt.appraise.heads import head_folder

    cuts = load_calibration(permissive)
    assert cuts is not None
    assert "speech" in cuts.least
    for row in cuts.least.values():
        assert list(row) == sorted(row, reverse=True)
    document = json.loads((head_folder(permissive) / FILE).read_text(encoding="utf-8"))
    assert document["data"]
    assert set(document["licence"]) == set(document["data"])
    assert all(row["how"] in ("measured", "composed") and row["n"] >= 100 for row in document["readings"].values())
