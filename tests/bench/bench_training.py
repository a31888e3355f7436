"""Speed of training: packed rows against rows side by side, JSON on stdout: `make bench-training`.

The same rows, the same model, one step after another; every arrangement in a process of its own. Rows are the `drawn`
mix (instruction_data/recipes), explanations and short tasks together, or a folder given with --data. Seconds are of
this process' CPU where --cpu-time is given, which a busy machine moves less than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ARRANGEMENTS = {
    "packed": ("packing=true", "batch=1"),
    "side by side, padded": ("packing=false", "batch=4", "attention=sdpa"),
    "side by side, flat": ("packing=false", "batch=4"),
}
LEAST_GAIN = 1.4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with train.jsonl and dev.jsonl; default: the drawn mix")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds instead of the clock's")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--layers", type=int, help="keep so many layers of the model: a quick look, not the figure")
    parser.add_argument("--one", choices=ARRANGEMENTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or build(Path(folder), args.rows)
        if args.layers:
            args.model = str(shorten(args.model, args.layers, Path(folder) / "model"))
        found = {name: run_one(name, data, args) for name in ARRANGEMENTS}
    gain = found["packed"]["rows_per_s"] / found["side by side, padded"]["rows_per_s"]
    figures = {
        "machine": {
            "system": platform.platform(),
            "n_cpus": os.cpu_count(),
            "threads": args.threads,
            "layers": args.layers or "all",
        },
        "packed_gain": {"value": round(gain, 3), "at_least": LEAST_GAIN, "met": gain >= LEAST_GAIN},
        "arrangements": found,
    }
    print(json.dumps(figures, indent=2))


def build(folder: Path, n_rows: int) -> Path:
    """Rows of made-up evidence."""
    say("building rows")
    command = [sys.executable, "-c", "from affectgpt.cli import main; main()", "data", "build", "drawn"]
    subprocess.run(
        [*command, "-q", f"out={folder}", f"rows.train={n_rows}", "rows.dev=4"], check=True, cwd=ROOT, stdout=sys.stderr
    )
    return folder


def shorten(model: str, n_layers: int, folder: Path) -> Path:
    """The model with its first layers alone, at full width."""
    from affectgpt.engines import models

    place = models.resolve(model)[1]
    whole = models.load_model(place)
    whole.model.layers = whole.model.layers[:n_layers]
    whole.config.num_hidden_layers = n_layers
    whole.save_pretrained(folder)
    models.load_tokenizer(place).save_pretrained(folder)
    return folder


def run_one(name: str, data: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one arrangement in a fresh process."""
    say(name)
    command = [sys.executable, __file__, "--one", name, "--data", data, "--rows", str(args.rows)]
    command += ["--threads", str(args.threads), "--model", args.model, *(["--cpu-time"] if args.cpu_time else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One epoch by the preset, a step's time from its logs; the first step, which warms up, is left out."""
    from affectgpt.engines import models
    from finetune.config import load_recipe
    from finetune.train import train

    clock = time.process_time if args.cpu_time else time.perf_counter
    dtype = "bfloat16" if models.has_native_bfloat16() else "float32"
    marks: list[float] = []

    def tell(line: str) -> None:
        if " loss " in line or ": loss " in line:
            marks.append(clock())

    with tempfile.TemporaryDirectory() as out:
        recipe = load_recipe("smollm2-135m", [
            f"model={args.model}", f"data={args.data}", f"out={out}", f"dtype={dtype}", f"threads={args.threads}",
            f"n_rows={args.rows}", "n_answers=0", "log_steps=1", "eval_steps=10000", "save_steps=10000", "epochs=1",
            "max_length=2048", "n_dev_rows=2", *ARRANGEMENTS[args.one],
        ])  # fmt: skip
        train(recipe, tell=tell)
        notes = json.loads((Path(out) / "run.json").read_text("utf-8"))
        history = [json.loads(x) for x in (Path(out) / "history.jsonl").read_text("utf-8").splitlines()]
    steps = [b - a for a, b in pairwise(marks)]
    n_tokens = next(h["num_tokens"] for h in reversed(history) if "num_tokens" in h)
    # Rows a step differ where they are packed: whole epoch over all steps, at the mean of those timed.
    seconds = statistics.mean(steps) * (len(steps) + 1)
    n_rows = notes["rows"]["train"]
    return {
        "rows": n_rows,
        "steps": len(steps) + 1,
        "seconds": round(seconds, 2),
        "rows_per_s": round(n_rows / seconds, 4),
        "tokens": int(n_tokens),
        "counted_in": "CPU seconds" if args.cpu_time else "seconds",
    }


def say(what: str) -> None:
    """Tell what goes on, on stderr."""
    print(f"bench: {what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
