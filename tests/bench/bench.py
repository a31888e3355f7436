"""Speed and memory, printed as one JSON document: `make bench`. Never a timed test; progress goes to stderr.

Each figure stands beside its target. Perception is face at 12.5 Hz and voice, no recogniser and no language model, of a
720p clip at 30 frames a second that is made here from the example. Every measurement runs in a process of its own.
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
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "astronaut_smile.mp4"
BIN = Path(sys.executable).parent
WIDTH, HEIGHT, FPS, RATE_HZ = 1280, 720, 30, 48_000
UNIT_S = 60

SENSE = """
import json, resource, sys, time
from affectgpt import AffectAgent, AgentOptions, Modality
options = AgentOptions(modalities=frozenset({Modality.FACE, Modality.VOICE}))
start = time.perf_counter()
senses = AffectAgent(None, options).sense(sys.argv[1])
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"clip_s": senses.clip.duration_s, "seconds": seconds, "peak_bytes": peak,
    "cpu_s": time.process_time(),
    "n_face_frames": len(senses.face.times_s), "found_ratio": float(senses.face.found.mean()),
    "speech_s": sum(s.end_s - s.start_s for s in senses.voice.speech), "stages_s": dict(senses.timings_s)}))
"""

EXPLAIN = """
import json, sys, time
import affectgpt
agent = affectgpt.AffectAgent(affectgpt.open_engine())
runs = []
for _ in range(2):
    start = time.perf_counter()
    outcome = agent.explain(sys.argv[1])
    runs.append(time.perf_counter() - start)
print(json.dumps({"first_s": runs[0], "second_s": runs[1], "engine": outcome.completion.engine,
    "model": outcome.completion.model, "parsed": type(outcome.answer).__name__ == "Explanation",
    "n_completion_tokens": outcome.completion.n_completion_tokens, "stages_s": dict(outcome.timings_s)}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=10, help="length of the long clip")
    parser.add_argument("--only", choices=["start", "perception", "explain"], help="one part alone")
    args = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine()}
    if args.only in (None, "start"):
        figures |= start_up()
    if args.only in (None, "perception"):
        figures |= perception(args.minutes)
    if args.only in (None, "explain"):
        figures |= embedded_model()
    print(json.dumps(figures, indent=2))


# ---------------------------------------------------------------- what is measured


def start_up() -> dict[str, Any]:
    """Median of seven, of which the first (cold files) is dropped."""
    say("start-up")
    inside = "import time; t = time.perf_counter(); import affectgpt; print(time.perf_counter() - t)"
    imports = [float(run([sys.executable, "-c", inside]).stdout) for _ in range(7)][1:]
    helps = [wall([BIN / "affectgpt", "--help"]) for _ in range(7)][1:]
    return {
        "import_s": judged(statistics.median(imports), most=0.2),
        "help_s": judged(statistics.median(helps), most=0.5),
    }


def perception(n_minutes: int) -> dict[str, Any]:
    """Speed in multiples of real time, and peak memory of a long clip against that of one minute."""
    with tempfile.TemporaryDirectory() as folder:
        say("making one minute of 720p")
        short = make_minute(Path(folder, "one.mp4"))
        say(f"making {n_minutes} minutes of it")
        long = repeat(short, Path(folder, "long.mp4"), n_minutes)
        say("sensing one minute")
        one = measure(SENSE, short)
        say(f"sensing {n_minutes} minutes")
        many = measure(SENSE, long)
    growth = many["peak_bytes"] / one["peak_bytes"] - 1
    return {
        "perception_speed": judged(many["clip_s"] / many["seconds"], least=8.0),
        "perception_speed_one_minute": one["clip_s"] / one["seconds"],
        "peak_mb": judged(many["peak_bytes"] / 1e6, most=1500),
        "peak_growth": judged(growth, most=0.10),
        "perception": {"one_minute": one, f"{n_minutes}_minutes": many},
    }


def embedded_model() -> dict[str, Any]:
    """The example by the embedded model: in one warm process, and as a command whose caches are warm."""
    say("explaining the example")
    runs = measure(EXPLAIN, EXAMPLE)
    command = [BIN / "affectgpt", "explain", EXAMPLE, "--json"]
    return {
        "explain_warm_s": judged(runs["second_s"], most=20.0),
        "explain_command_s": judged(wall(command), most=20.0),
        "explain": runs,
    }


# ---------------------------------------------------------------- the clip


def make_minute(path: Path) -> Path:
    """One minute of 1280 x 720 at 30 frames a second, h264 and aac: the example, looped in the middle of itself."""
    frames, samples = read_example()
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23", "g": "60"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("aac", rate=RATE_HZ, layout="mono")
        # Forth and back, so that the loop has no jump a viewer would never see.
        there_and_back = [*range(len(frames)), *range(len(frames) - 1, -1, -1)]
        for number in range(UNIT_S * FPS):
            frame = av.VideoFrame.from_ndarray(frames[there_and_back[number % len(there_and_back)]], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        looped = np.resize(samples, UNIT_S * RATE_HZ)
        for start in range(0, len(looped), 1024):
            block = av.AudioFrame.from_ndarray(looped[None, start : start + 1024], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
            out.mux(audio.encode(block))
        out.mux(audio.encode(None))
    return path


def read_example() -> tuple[list[np.ndarray], np.ndarray]:
    """Give its frames at 30 Hz, 720p with the face in the middle, and its sound (N,) float32 at 48 kHz."""
    frames: list[np.ndarray] = []
    with av.open(str(EXAMPLE)) as source:
        stream = source.streams.video[0]
        for frame in source.decode(stream):
            while len(frames) / FPS <= frame.time:
                frames.append(on_a_stage(frame))
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE_HZ)
    with av.open(str(EXAMPLE)) as source:
        blocks = [b.to_ndarray()[0] for f in source.decode(audio=0) for b in resampler.resample(f)]
    return frames, np.concatenate(blocks).astype(np.float32)


def on_a_stage(frame: av.VideoFrame) -> np.ndarray:
    """The picture at full height, over a darkened, widened copy of itself."""
    stage = frame.to_ndarray(width=WIDTH, height=HEIGHT, format="rgb24") // 3
    left = (WIDTH - HEIGHT) // 2
    stage[:, left : left + HEIGHT] = frame.to_ndarray(width=HEIGHT, height=HEIGHT, format="rgb24")
    return stage


def repeat(minute: Path, path: Path, n_times: int) -> Path:
    """The same packets over and over, their times moved on; nothing is encoded again."""
    with av.open(str(path), "w") as out, av.open(str(minute)) as source:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for turn in range(n_times):
            source.seek(0)
            for packet in packets(source):
                offset = round(turn * UNIT_S / packet.time_base)
                packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


def packets(source: Any) -> Iterator[Any]:
    """Its packets less the empty ones that flush a decoder, and less the encoder's padding outside of the minute."""
    for packet in source.demux():
        if packet.dts is not None and 0 <= packet.pts * packet.time_base < UNIT_S:
            yield packet


# ---------------------------------------------------------------- how


def measure(code: str, clip: Path) -> dict[str, Any]:
    """Run `code` on a clip in a process of its own and read the JSON that it prints last."""
    return dict(json.loads(run([sys.executable, "-c", code, str(clip)]).stdout.splitlines()[-1]))


def run(command: list[Any]) -> subprocess.CompletedProcess[str]:
    """Run a command; what it says on stderr is shown when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done


def wall(command: list[Any]) -> float:
    """Wall seconds of a command."""
    start = time.perf_counter()
    run(command)
    return time.perf_counter() - start


def judged(value: float, *, least: float | None = None, most: float | None = None) -> dict[str, Any]:
    """Set a figure beside its target."""
    met = (least is None or value >= least) and (most is None or value <= most)
    target = {"at_least": least} if least is not None else {"at_most": most}
    return {"value": round(value, 4), **target, "met": met}


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {"system": platform.platform(), "python": platform.python_version(), "n_cpus": os.cpu_count()}


def say(what: str) -> None:
    """Tell what goes on, on stderr."""
    print(f"bench: {what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
