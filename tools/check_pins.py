"""Resolve the project afresh and hold pyproject.toml's pins against the answer.

Every direct dependency has one exact pin, every pin is still resolved by something, nothing excluded comes back, and
the whole (all extras, all groups, every supported platform and Python) has a solution. Writes nothing into the tree.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bootstrap

ROOT = bootstrap.ROOT


def main() -> int:
    """Print what does not hold; 0 when all does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    try:
        resolved = resolve(sorted(project["project"]["optional-dependencies"]))
    except subprocess.CalledProcessError as error:
        print(f"The project does not resolve:\n{error.stderr}", file=sys.stderr)
        return 1
    faults = list(compare(project, resolved))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"Pins hold: {len(resolved)} packages resolve afresh.")
    return 1 if faults else 0


def resolve(extras: list[str]) -> dict[str, set[str]]:
    """Ask uv for one solution over every supported platform: name -> versions, local parts (`+cpu`) dropped."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.in")
        wanted.write_text(f"-e {ROOT}[{','.join(extras)}]\n", encoding="utf-8")
        command = [bootstrap.UV, "pip", "compile", "--universal", "--python-version", "3.11", "--quiet"]
        command += ["--no-annotate", "--no-header", "--group", "pyproject.toml:dev", wanted]
        env = {**os.environ, **bootstrap.uv_variables()}
        answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=env).stdout
    resolved: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;+]+)", answer, re.MULTILINE):
        resolved.setdefault(canonical(name), set()).add(version)
    return resolved


def compare(project: dict[str, Any], resolved: dict[str, set[str]]) -> Iterable[str]:
    """Yield one line a fault."""
    settings = project["tool"]["uv"]
    pins = dict(pin.split("==") for pin in settings["constraint-dependencies"])
    for name in sorted(direct(project) - pins.keys()):
        yield f"{name} has no pin: add {name}=={max(resolved.get(name, {'?'}))} to constraint-dependencies"
    for name, version in pins.items():
        if name not in resolved:
            yield f"{name}=={version} is pinned and nothing needs it any more"
        elif resolved[name] != {version}:
            yield f"{name} is pinned to {version} and resolves to {', '.join(sorted(resolved[name]))}"
    for name in settings["exclude-dependencies"]:
        if name in resolved:
            yield f"{name} is excluded and came back"


def direct(project: dict[str, Any]) -> set[str]:
    """Names that pyproject.toml itself asks for, in its dependencies, extras and groups."""
    asked = [*project["project"]["dependencies"]]
    for requirements in project["project"]["optional-dependencies"].values():
        asked += requirements
    for requirements in project["dependency-groups"].values():
        asked += [entry for entry in requirements if isinstance(entry, str)]
    names = {canonical(re.match(r"[\w.-]+", entry).group()) for entry in asked}  # type: ignore[union-attr]
    return names - {project["project"]["name"]}


def canonical(name: str) -> str:
    """Spell a package's name as the index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
