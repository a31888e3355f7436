"""How well the intervals of `affectgpt trends` hold, and how long a run takes, as one JSON document.

    python tests/bench/bench_trends.py [--tries 400] [--rows 20000]

Coverage is the share of made courses whose interval holds the truth that they were made with; it aims at 0.95, and its
own standard error at 400 tries is 0.011. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from affect_courses import START_S, autoregressive, coupled, every

from affectgpt.trends.analysis import analyse
from affectgpt.trends.contagion import Grid, grid_of, received
from affectgpt.trends.figures import Course, Settings, measure
from affectgpt.trends.page import render
from affectgpt.trends.reading import ReadingOptions, read_points
from affectgpt.trends.resampling import Resampling
from affectgpt.trends.writing import to_json, write

SD = 0.25


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=400)
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    courses = [coverage(inertia, n, given.tries) for inertia in (0.0, 0.5, 0.8) for n in (60, 200, 600)]
    between = [influence(truth, n, given.tries) for truth in (0.0, 0.4) for n in (60, 200)]
    print(json.dumps({"coverage": courses, "contagion": between, "speed": speed(given.rows)}, indent=1))


def coverage(inertia: float, n: int, tries: int) -> dict[str, object]:
    """Shares of intervals that hold the truth of an AR(1) course of n points."""
    truth: Mapping[str, float] = {
        "mean": 0.0,
        "sd": SD,
        "rmssd": SD * np.sqrt(2 * (1 - inertia)),
        "inertia": inertia,
        "inertia_corrected": inertia,
        "continuous_inertia": inertia,
        "share_negative": float(norm.cdf(-0.1 / SD)),
    }
    held, told = Counter[str](), Counter[str]()
    for seed in range(tries):
        series = every(600, autoregressive(n, inertia, seed, sd=SD))
        for e in measure(Course({"valence": series}), Settings(resampling=Resampling(400))):
            if e.metric in truth and e.low is not None:
                told[e.metric] += 1
                held[e.metric] += e.low <= truth[e.metric] <= (np.inf if e.high is None else e.high)
    print(f"inertia {inertia:g}, {n} points", file=sys.stderr)
    return {"inertia": inertia, "n": n, "tries": tries,
            "held": {name: round(held[name] / told[name], 3) for name in truth if told[name]},
            "told": dict(told)}  # fmt: skip


def influence(truth: float, n: int, tries: int) -> dict[str, object]:
    """How often contagion's interval holds the truth, how often it excludes 0, and how often p is at most 0.05."""
    held = above = small = 0
    for seed in range(tries):
        grid = grid_of({f"p{i}": every(60, row) for i, row in enumerate(coupled(n, 3, 0.6, truth, seed))})
        assert isinstance(grid, Grid)
        found = received(grid, Resampling(500))["p0"]
        assert found.bounds.low is not None
        assert found.bounds.high is not None
        assert found.p is not None
        held += found.bounds.low <= truth <= found.bounds.high
        above += not found.bounds.low <= 0 <= found.bounds.high
        small += found.p <= 0.05
    print(f"contagion {truth:g}, {n} moments", file=sys.stderr)
    return {"contagion": truth, "n": n, "tries": tries, "held": round(held / tries, 3),
            "interval_excludes_0": round(above / tries, 3), "p_at_most_005": round(small / tries, 3)}  # fmt: skip


def speed(n_rows: int) -> dict[str, object]:
    """Seconds to read, measure and write rows of ten people, 1000 resamples an interval."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        with rows.open("w") as file:
            for person in range(10):
                values = autoregressive(n_rows // 10, 0.6, person)
                for k, v in enumerate(values.tolist()):
                    time_s = START_S + 600 * k
                    line = {"time": time_s, "person": f"p{person}", "valence": v, "arousal": -v / 2}
                    file.write(json.dumps(line) + "\n")
        began = time.perf_counter()
        points = read_points([rows], ReadingOptions(("person",)))
        read = time.perf_counter()
        trends = analyse(points, Settings())
        measured = time.perf_counter()
        document = to_json(trends)
        write(Path(folder) / "out", document, render(trends, document))
        written = time.perf_counter()
    return {"rows": n_rows, "read_s": read - began, "measure_s": measured - read, "write_s": written - measured}


if __name__ == "__main__":
    main()
