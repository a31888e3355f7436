"""Cuts taken from stored runs hold their coverage on fresh draws, alone and composed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from affectgpt.appraise.conformal import load_calibration
from affectgpt.emotions import load_lexicon
from affectgpt.errors import InputError
from affectgpt.evaluation.samples import Prediction, Sample, append_sample
from affectgpt.records import Modality
from finetune import conformal

LABELS = load_lexicon().labels("basic8")


def material(seed: int, n: int = 1500, sharpness: float = 3.0) -> conformal.Material:
    """Calibrated readings: the gold is drawn from the probabilities."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.full(8, 1 / sharpness), n)
    gold = np.array([draw.choice(8, p=row) for row in p])
    return conformal.Material(p, gold, {"data": "made", "licence": "none", "n": n})


def test_the_lowest_cut_of_the_materials_stands() -> None:
    sharp, blunt = material(0, sharpness=8.0), material(1, sharpness=1.0)
    made = conformal.document({Modality.SPEECH: [sharp, blunt]})
    alone = conformal.document({Modality.SPEECH: [blunt]})
    assert made["readings"]["speech"]["n"] == 3000
    assert all(a <= b for a, b in zip(*(m["readings"]["speech"]["least"] for m in (made, alone)), strict=True))
    at = conformal.COVERAGES.index(0.9)
    fresh = material(2, sharpness=1.0).true
    assert (fresh >= made["readings"]["speech"]["least"][at]).mean() >= 0.88


def test_composed_clips_hold_their_coverage_on_fresh_ones() -> None:
    parts = {Modality.FACE: [material(3)], Modality.VOICE: [material(4)]}
    made = conformal.document(parts)
    assert set(made["readings"]) == {"face", "voice", "face+voice"}
    assert made["readings"]["face+voice"]["how"] == "composed"
    fresh = conformal.compose({m: rows[0] for m, rows in parts.items()}, 1000, seed=9)
    least = made["readings"]["face+voice"]["least"]
    for coverage in (0.7, 0.9):
        held = (fresh >= least[conformal.COVERAGES.index(coverage)]).mean()
        assert held == pytest.approx(coverage, abs=0.04)
    assert least == sorted(least, reverse=True)


def run_folder(tmp_path: Path, name: str, labels: list[str]) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    config = {"dataset": {"reader": "goemotions", "path": "text/dev.tsv"}}
    (folder / "run.json").write_text(json.dumps({"labels": labels, "config": config, "origin": "a head"}))
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as file:
        for i in range(60):
            p = {label: 0.65 if label == "sad" else 0.05 for label in LABELS}
            label = "sad" if i % 3 else "happy"
            append_sample(file, Sample(str(i), "scored", label=label, answer=Prediction("sad", probabilities=p)))
        append_sample(file, Sample("bad", "failed", "no", "no", label="zorbled"))
    return folder


def test_stored_runs_become_a_file_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(tmp_path, "run", list(LABELS))
    conformal.main(["--speech", str(folder), "--out", str(tmp_path / "set")])
    assert "speech: labels of at least 0.0" in capsys.readouterr().out
    cuts = load_calibration(folder=tmp_path / "set")
    assert cuts is not None
    assert cuts.n == {"speech": 60}
    chosen = cuts.threshold(["speech"], 0.6)
    assert chosen is not None
    assert chosen.choose({"sad": 0.65, "happy": 0.05}).labels == ("sad",)
    document = json.loads((tmp_path / "set" / "conformal.json").read_text())
    assert document["licence"] == {"GoEmotions": "Apache-2.0"}
    assert document["readings"]["speech"]["materials"][0]["n_asked"] == 61


def test_runs_that_cannot_serve_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run at"):
        conformal.read_material(tmp_path)
    with pytest.raises(InputError, match="other labels"):
        conformal.read_material(run_folder(tmp_path, "other", ["sad", "happy"]))
    with pytest.raises(InputError, match="no runs"):
        conformal.document({})
