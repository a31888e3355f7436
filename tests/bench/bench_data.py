"""How fast rows are built, printed as JSON: made-up evidence, on one process and on all cores.

python tests/bench/bench_data.py
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from instruction_data.build import build
from instruction_data.recipe import load_recipe

ROWS = 1500


def rows_per_second(recipe: str, workers: int) -> float:
    """Kept rows a second of wall time, filters, repetitions, journal and files included; the card is not."""
    begun, ended = 0.0, 0.0

    def told(stage: str, done: int, wanted: int) -> None:
        nonlocal begun, ended
        if stage.startswith("making"):
            begun, ended = begun or time.perf_counter(), time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        given = [f"out={folder}/out", f"tracks={folder}/t", f"rows={{train: {ROWS}}}", f"workers={workers}"]
        begun_all = time.perf_counter()
        build(load_recipe("drawn", [*given, recipe]), told)
        assert Path(folder, "out", "train.jsonl").read_bytes().count(b"\n") == ROWS
        # The first chunk is made before the build tells of any: it is counted in.
        return ROWS / (ended - min(begun, begun_all + 0.1))


def main() -> None:
    """Print the figures."""
    cores = os.cpu_count() or 1
    figures = {
        f"{name}, {n} process{'es' if n > 1 else ''}": round(rows_per_second(tasks, n))
        for name, tasks in (("explanations", "tasks={explain: 1}"), ("mix", "tasks={explain: 1, label: 3, yes-no: 1}"))
        for n in (1, cores)
    }
    print(json.dumps({"rows_per_second": figures, "cores": cores}, indent=1))


if __name__ == "__main__":
    main()
