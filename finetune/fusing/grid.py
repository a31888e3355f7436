"""Many settings, trained and compared over the same dev scenes: `python -m finetune.fusing.grid GRID.yaml`.

Each setting is a chain of stages with keys of its own. Everything is kept as it is done: what was cut short goes on
where it stood when the same command is given again. `--minutes` ends between two pieces of work, `--only` names the
settings of one piece. The table is printed and written from whatever is done so far.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from affectgpt.errors import AffectError, InputError, OptionError
from affectgpt.evaluation.intervals import Figure
from affectgpt.fusion.cache import FeatureCache
from affectgpt.records.signal_example import WHOLE, SignalExample
from finetune.fusing.answering import always, answer_all, figures, open_answerer
from finetune.fusing.recipe import FusingRecipe, load_fusing_recipe
from finetune.fusing.scenes import FEATURES, read_scenes
from finetune.fusing.table import write_table
from finetune.fusing.training import fuse

__all__ = ["Grid", "Setting", "load_grid", "main", "run"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. stages: presets in their order, each starting from the one before · keys: overrides."""

    name: str
    stages: tuple[str, ...]
    keys: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid file.

    data: folder of scenes · out: where everything goes · stage_keys: overrides by preset · keys: overrides of all ·
    n_answers: scenes a condition that are asked about, the same in every setting · seeds: of every setting that names
    none · n_resamples: of the intervals · given: answers of another program over the same recordings, by name, as JSON
    lines (id, probabilities).
    """

    data: Path
    out: Path
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...] = (7,)
    n_answers: int = 120
    keys: Mapping[str, Any] = field(default_factory=dict)
    stage_keys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    n_resamples: int = 1000

    def recipes(self, setting: Setting, seed: int) -> list[FusingRecipe]:
        """The stages of a setting, each starting where the last one ends."""
        made: list[FusingRecipe] = []
        for n, preset in enumerate(setting.stages):
            keys = {**self.keys, **self.stage_keys.get(preset, {}), **setting.keys}
            folder = self.out / f"{setting.name}-{seed}" / f"{n + 1}-{preset}"
            is_last = n == len(setting.stages) - 1
            if not is_last:
                # The prompt and the answer are what the setting is asked in the end.
                keys = {k: v for k, v in keys.items() if k not in ("prompt", "answer", "kinds", "max_length")}
            start = f"{made[-1].out}/fusion" if made else None
            fixed = {"data": self.data, "out": folder, "seed": seed, "start_from": start, "name": setting.name}
            made.append(load_fusing_recipe(preset, [f"{k}={_plain(v)}" for k, v in {**keys, **fixed}.items()]))
        return made


def load_grid(path: Path) -> Grid:
    """A grid from YAML.

    Raises:
        OptionError: an unknown key, a setting without stages, or two of one name. InputError: no such file, or no YAML.
    """
    try:
        row = yaml.safe_load(path.read_text("utf-8"))
        settings = [Setting(**_tuples(s)) for s in row.pop("settings")]
        grid = Grid(Path(row.pop("data")), Path(row.pop("out")), tuple(settings), **_tuples(row))
    except OSError as e:
        raise InputError(f"no grid at {path}: {e.strerror}", "name a YAML file") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as e:
        raise OptionError(f"{path} is no grid: {' '.join(str(e).split())}", "see finetune/configs/grids") from None
    names = [s.name for s in settings]
    if len(set(names)) < len(names) or not all(s.stages for s in settings):
        raise OptionError(f"{path}: two settings of one name, or one without stages", "name each, and its stages")
    for setting in grid.settings:
        grid.recipes(setting, grid.seeds[0])
    return grid


def run(
    grid: Grid, only: Sequence[str] = (), minutes: float | None = None, tell: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train and ask what is not done yet, then score everything that is; the results, as they lie in results.json."""
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    asked = asked_scenes(grid)
    for setting in grid.settings:
        for seed in setting.seeds or grid.seeds:
            if only and setting.name not in only:
                continue
            if ends is not None and time.monotonic() > ends:
                tell("the time is over; the same command goes on")
                return collect(grid, asked)
            tell(f"{setting.name}, seed {seed}")
            _one(grid, setting, seed, asked, tell)
    return collect(grid, asked)


def asked_scenes(grid: Grid) -> list[SignalExample]:
    """The labelled dev scenes that every setting is asked about: `n_answers` a kind and condition."""
    found: list[SignalExample] = []
    groups: dict[tuple[str, str, str], list[SignalExample]] = {}
    for scene in read_scenes(grid.data / "dev.jsonl"):
        if scene.label is not None:
            groups.setdefault(group_of(scene), []).append(scene)
    for _, scenes in sorted(groups.items()):
        # By the scene's own hash: the same scenes under every condition, as far as it fits them.
        found += sorted(scenes, key=lambda s: hashlib.sha256(s.scene.encode()).digest())[: grid.n_answers]
    return found


def group_of(scene: SignalExample) -> tuple[str, str, str]:
    """Kind, what is there, condition: what is told as one line of a table."""
    signals = "+".join(m.value for m in scene.features) if scene.kind == "alone" else "all"
    return scene.kind, signals, scene.condition


def _one(grid: Grid, setting: Setting, seed: int, asked: Sequence[SignalExample], tell: Callable[[str], None]) -> None:
    recipes = grid.recipes(setting, seed)
    result = Path()
    for recipe in recipes:
        result = fuse(recipe, tell=lambda line: tell(f"  {line}"))
    last = recipes[-1]
    cache = FeatureCache(grid.data / FEATURES)
    path = Path(last.out).parent / "answers.jsonl"
    answer_all(
        lambda: open_answerer(result, last.model, last.prompt, cache, last.dtype),
        asked,
        path,
        lambda done, n: tell(f"  asked about {done} of {n}") if done % 200 < 8 else None,
    )


def collect(grid: Grid, asked: Sequence[SignalExample]) -> dict[str, Any]:
    """Score every setting whose answers are all there; write results.json and table.md beside them."""
    from finetune.fusing.answering import read_answers
    from finetune.fusing.baselines import given_answers

    majority = _majority(grid)
    columns = {"constant": always("neutral", asked), "majority": always(majority, asked)}
    columns |= {name: given_answers(Path(path), asked) for name, path in grid.given.items()}
    for setting in grid.settings:
        for seed in setting.seeds or grid.seeds:
            texts = read_answers(grid.out / f"{setting.name}-{seed}" / "answers.jsonl")
            if all(scene.id in texts for scene in asked):
                columns[f"{setting.name} (seed {seed})"] = texts
    groups: dict[tuple[str, str, str], list[SignalExample]] = {}
    for scene in asked:
        groups.setdefault(group_of(scene), []).append(scene)
    rows = [
        {"setting": name, "kind": g[0], "signals": g[1], "condition": g[2], "figures": _plain_figures(found)}
        for name, texts in columns.items()
        for g, scenes in groups.items()
        if (known := [s for s in scenes if s.id in texts])
        and (found := figures(known, texts, n_resamples=grid.n_resamples))
    ]
    results = {"data": str(grid.data), "majority": majority, "n_asked": len(asked), "rows": rows, "whole": WHOLE}
    grid.out.mkdir(parents=True, exist_ok=True)
    _write(grid.out / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    _write(grid.out / "table.md", write_table(results))
    return results


def _majority(grid: Grid) -> str:
    counted = Counter(s.label for s in read_scenes(grid.data / "train.jsonl") if s.label is not None)
    if not counted:
        raise OptionError(f"{grid.data} has no labelled train scene", "build scenes with labels")
    return str(counted.most_common(1)[0][0])


def _plain_figures(found: Mapping[str, Figure]) -> dict[str, Any]:
    return {
        name: {k: None if isinstance(v, float) and v != v else v for k, v in asdict(f).items() if k not in ("name",)}
        for name, f in found.items()
    }


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}


def _plain(value: Any) -> str:
    """As an override's text."""
    return (
        yaml.safe_dump(str(value) if isinstance(value, Path) else value, default_flow_style=True, width=10_000)
        .split("\n...")[0]
        .strip()
    )


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a grid, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--only", action="append", default=[], help="a setting's name; may be given several times")
    parser.add_argument("--minutes", type=float, help="begin no new setting after so many minutes")
    parser.add_argument("--table", action="store_true", help="train nothing: score what is there and print the table")
    asked = parser.parse_args(argv)
    try:
        grid = load_grid(asked.grid)
        if unknown := [n for n in asked.only if n not in [s.name for s in grid.settings]]:
            raise OptionError(f"no setting {unknown[0]!r}", f"there are {', '.join(s.name for s in grid.settings)}")
        if asked.table:
            results = collect(grid, asked_scenes(grid))
        else:
            results = run(grid, asked.only, asked.minutes, lambda line: print(line, file=sys.stderr, flush=True))
    except AffectError as e:
        print(f"grid: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    print(write_table(results), end="")


if __name__ == "__main__":
    main()
