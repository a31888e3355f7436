"""A grid of settings: read strictly, scored as everything is scored, told as tables, gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectgpt.errors import AffectError
from affectgpt.records import Modality, Observation, Observations
from affectgpt.records.signal_example import SignalExample
from finetune.fusing.answering import always, answer_all, figures, read_answers
from finetune.fusing.baselines import given_answers
from finetune.fusing.grid import Grid, asked_scenes, collect, load_grid
from finetune.fusing.table import write_table

GRIDS = Path(__file__).resolve().parents[2] / "finetune" / "configs" / "grids"
LABELS = ("happy", "sad", "angry")


def scene(number: int, label: str | None, condition: str = "whole", split: str = "dev") -> SignalExample:
    seen = Observations((Observation("V1", Modality.VOICE, "f0_median_hz", "the pitch is high", value=1.0),))
    name = f"alone/ravdess/{number:02d}.flac/abcd"
    answers = {"label": label} if label else {}
    return SignalExample(
        f"{name}/{condition}", name, split, condition, "alone", label, seen, None, {Modality.VOICE: "k"}, answers,
        speakers=(f"ravdess:{number % 4}",),
    )  # fmt: skip


SCENES = [scene(i, LABELS[i % 3], c) for i in range(12) for c in ("whole", "SNR 10 dB")]


def lay(folder: Path) -> Grid:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev"):
        rows = [*SCENES, scene(99, None)] if split == "dev" else [scene(i, "sad", split="train") for i in range(3)]
        (folder / f"{split}.jsonl").write_text("".join(r.to_line() + "\n" for r in rows), "utf-8")
    settings = "[{name: a, stages: [smollm2-label], keys: {prompt: label}}]"
    (folder / "grid.yaml").write_text(
        f"data: {folder}\nout: {folder}/out\nn_answers: 8\nn_resamples: 20\nsettings: {settings}\n"
    )
    return load_grid(folder / "grid.yaml")


def test_right_answers_score_one_and_unreadable_ones_are_wrong() -> None:
    right = {s.id: f" {str(s.label).title()}." for s in SCENES}
    assert figures(SCENES, right, n_resamples=20)["UAR"].value == 1.0
    for nothing in ("", "no idea", "happy or sad", "cannot tell"):
        assert figures(SCENES, always(nothing, SCENES), n_resamples=20)["UAR"].value == 0.0
    constant = figures(SCENES, always("sad", SCENES), n_resamples=20)["UAR"]
    assert constant.value == pytest.approx(1 / 3)
    assert constant.n == len(SCENES)


def test_answers_are_kept_as_they_are_given_and_no_scene_is_asked_twice(tmp_path: Path) -> None:
    path, asked = tmp_path / "answers.jsonl", []

    def opened() -> object:
        def answer(scenes: list[SignalExample]) -> list[str]:
            asked.extend(s.id for s in scenes)
            if len(asked) > 8:
                raise KeyboardInterrupt
            return ["sad"] * len(scenes)

        return answer

    with pytest.raises(KeyboardInterrupt):
        answer_all(opened, SCENES, path)  # type: ignore[arg-type]
    with path.open("a", encoding="utf-8") as file:
        file.write('{"id": "cut sh')
    assert list(read_answers(path)) == [s.id for s in SCENES[:8]]
    asked.clear()
    whole = answer_all(lambda: lambda scenes: ["sad"] * len(scenes), SCENES, path)
    assert set(whole) == {s.id for s in SCENES} == set(read_answers(path))

    def never() -> object:
        raise AssertionError("nothing is missing")

    assert answer_all(never, SCENES, path) == whole  # type: ignore[arg-type]


def test_the_table_holds_what_is_done_beside_constant_and_majority(tmp_path: Path) -> None:
    grid = lay(tmp_path)
    asked = asked_scenes(grid)
    assert len(asked) == 16
    assert all(s.label for s in asked)
    noisy, whole = ({s.scene for s in asked if s.condition == c} for c in ("SNR 10 dB", "whole"))
    assert noisy == whole
    table = write_table(collect(grid, asked))
    assert "| constant | 8 |" in table
    assert "| majority | 8 |" in table
    assert "| a (seed 7) |" not in table
    answer_all(lambda: lambda scenes: [str(s.label) for s in scenes], asked, grid.out / "a-7" / "answers.jsonl")
    results = collect(grid, asked)
    assert results["majority"] == "sad"
    assert "| a (seed 7) | 8 | 1.000 [1.000, 1.000] |" in write_table(results)
    assert "SNR 10 dB" in write_table(results)
    assert (grid.out / "table.md").read_text("utf-8") == write_table(results)


def test_answers_of_others_are_read_over_the_same_recordings(tmp_path: Path) -> None:
    path = tmp_path / "voice.jsonl"
    path.write_text('{"id": "Actor_01/00.flac", "probabilities": {"calm": 0.3, "neutral": 0.3, "angry": 0.4}}\n')
    assert given_answers(path, SCENES) == {SCENES[0].id: "neutral"}
    path.write_text('{"id": 3}\n')
    with pytest.raises(AffectError):
        given_answers(path, SCENES)


@pytest.mark.parametrize("path", sorted(GRIDS.glob("*.yaml")), ids=lambda p: p.stem)
def test_a_shipped_grid_names_stages_that_there_are(path: Path) -> None:
    grid = load_grid(path)
    for setting in grid.settings:
        recipes = grid.recipes(setting, 7)
        assert [r.start_from for r in recipes] == [None, *(f"{r.out}/fusion" for r in recipes[:-1])]
        assert len({r.out for r in recipes}) == len(recipes)
        assert recipes[-1].answer == "label"


@pytest.mark.parametrize(
    "text",
    [
        "settings: []",
        "data: a\nout: b\nsettings: [{name: a, stages: []}]",
        "data: a\nout: b\nsettings: [{name: a, stages: [smollm2-label], keys: {lerning_rate: 1}}]",
        "data: a\nout: b\nsettings: [{name: a, stages: [smollm2-label], key: {seed: 1}}]",
        "data: a\nout: b\nspeed: 9\nsettings: []",
        "data: a\nout: b\nsettings: [{name: a, stages: [x]}]",
        "[]",
        "a: [",
    ],
)
def test_a_grid_that_cannot_be_run_is_refused_before_anything_trains(tmp_path: Path, text: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(AffectError):
        load_grid(path)
    with pytest.raises(AffectError):
        load_grid(tmp_path / "none.yaml")
