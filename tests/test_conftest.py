"""What the tests stand on is itself tested: the ledger of skips and the closed network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest
def test_unlisted(): pytest.skip("because I say so")
def test_real(shared_data): pass
@pytest.mark.shared
def test_marked(): pass
"""


@pytest.fixture
def tree(repo: Path, tmp_path: Path) -> Path:
    """A project of one test file, under this project's conftest, list and settings, with no recordings beside it."""
    (tmp_path / "tests").mkdir()
    for name in ("tests/conftest.py", "tests/allowed_skips.txt", "pyproject.toml"):
        shutil.copy(repo / name, tmp_path / name)
    return tmp_path


def run_pytest(tree: Path, code: str, *, ci: bool) -> subprocess.CompletedProcess[str]:
    (tree / "tests" / "test_one.py").write_text(code, encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if k not in {"CI", "AFFECTGPT_SHARED", "PYTEST_ADDOPTS"}}
    command = [sys.executable, "-m", "pytest", "-q"]
    return subprocess.run(
        command, cwd=tree, env=env | ({"CI": "true"} if ci else {}), capture_output=True, text=True, check=False
    )


def test_an_unlisted_skip_fails_ci_and_is_named(tree: Path) -> None:
    done = run_pytest(tree, SKIPS, ci=True)
    assert done.returncode == 1
    assert "SKIP NOT ALLOWED tests/test_one.py::test_unlisted: because I say so" in done.stdout
    assert done.stdout.count("SKIP NOT ALLOWED") == 1


def test_a_listed_skip_passes_ci(tree: Path) -> None:
    assert run_pytest(tree, SKIPS.replace("def test_unlisted", "def unlisted"), ci=True).returncode == 0


def test_a_skip_is_free_elsewhere(tree: Path) -> None:
    assert run_pytest(tree, SKIPS, ci=False).returncode == 0


def test_a_module_that_skips_itself_counts(tree: Path) -> None:
    (tree / "tests" / "test_two.py").write_text("def test_x(): pass\n", encoding="utf-8")
    code = 'import pytest\npytest.skip("whole module", allow_module_level=True)\n'
    done = run_pytest(tree, code, ci=True)
    assert "1 passed, 1 skipped" in done.stdout
    assert done.returncode == 1


def test_a_warning_is_an_error(tree: Path) -> None:
    assert run_pytest(tree, 'import warnings\ndef test_x(): warnings.warn("old")\n', ci=False).returncode == 1


def test_no_test_reaches_the_network() -> None:
    with socket.socket() as one, pytest.raises(RuntimeError, match="this machine only"):
        one.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="this machine only"):
        socket.getaddrinfo("example.org", 443)


def test_this_machine_may_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
