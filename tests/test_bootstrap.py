"""The bootstrap: what pip was told reaches uv, and an environment that is not sound is found out."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import bootstrap
import check_docs
import pytest

LISTING = r"""
:env:.find-links='/wheels'
:env:.disable-pip-version-check='1'
global.cert='/etc/ca.crt'
global.extra-index-url='\nhttps://one.example/simple\nhttps://two.example/simple'
global.find-links='/other'
install.index-url='https://mirror.example/simple'
freeze.timeout='10'
"""


def test_settings_are_read_with_pips_own_precedence() -> None:
    settings = bootstrap.parse_settings(LISTING)
    assert settings["find-links"] == "/wheels"
    assert settings["index-url"] == "https://mirror.example/simple"
    assert settings["extra-index-url"].split() == ["https://one.example/simple", "https://two.example/simple"]
    assert "timeout" not in settings


def run_bootstrap(code: str, root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` beside the bootstrap in a process of its own, with a pip configuration of its own and nothing else."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_")) and k != "SSL_CERT_FILE"}
    env |= {"PYTHONPATH": str(root), "HOME": str(root), "XDG_CONFIG_HOME": str(root), "XDG_CONFIG_DIRS": str(root)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**env, **environment}, check=False
    )


def uv_variables(tmp_path: Path, configuration: str, **environment: str) -> dict[str, str]:
    config = tmp_path / "pip.conf"
    config.write_text(configuration, encoding="utf-8")
    tools = str(Path(bootstrap.__file__).parent)
    code = f"import sys; sys.path.insert(0, {tools!r}); import bootstrap; print(bootstrap.uv_variables())"
    answer = run_bootstrap(code, tmp_path, PIP_CONFIG_FILE=str(config), **environment)
    assert answer.returncode == 0, answer.stderr
    return dict(ast.literal_eval(answer.stdout))


def test_pip_is_asked_and_uv_is_told(tmp_path: Path) -> None:
    told = uv_variables(
        tmp_path,
        "[global]\nfind-links = /a\n    /b\nextra-index-url = https://one.example/simple https://two.example/simple\n"
        "cert = /ca.crt\ntimeout = 77\nkeyring-provider = import\n",
    )
    assert told["UV_FIND_LINKS"] == "/a,/b"
    assert told["UV_INDEX"] == "https://one.example/simple https://two.example/simple"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert told["SSL_CERT_FILE"] == "/ca.crt"
    assert told["UV_HTTP_TIMEOUT"] == "77"
    assert "UV_KEYRING_PROVIDER" not in told


def test_pips_environment_wins_over_its_files_and_uvs_over_both(tmp_path: Path) -> None:
    configuration = "[global]\nfind-links = /file\n"
    assert uv_variables(tmp_path, configuration, PIP_FIND_LINKS="/shell")["UV_FIND_LINKS"] == "/shell"
    assert "UV_FIND_LINKS" not in uv_variables(tmp_path, configuration, UV_FIND_LINKS="/mine")


def test_one_index_keeps_uvs_own_strategy(tmp_path: Path) -> None:
    told = uv_variables(tmp_path, "[global]\nindex-url = https://mirror.example/simple\n")
    assert told["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert "UV_INDEX_STRATEGY" not in told


@pytest.mark.parametrize(
    ("environment", "linux"),
    [
        ({}, "auto"),
        ({"UV_FIND_LINKS": "/w"}, None),
        ({"UV_DEFAULT_INDEX": "x"}, None),
        ({"UV_TORCH_BACKEND": "cpu"}, None),
    ],
)
def test_torch_comes_from_what_is_configured_and_else_fits_the_machine(
    environment: dict[str, str], linux: str | None
) -> None:
    assert bootstrap.wanted_torch_backend(environment) == (linux if sys.platform == "linux" else None)


def test_the_makefile_refuses_a_python_that_will_not_do(repo: Path, tmp_path: Path) -> None:
    asked = subprocess.run(
        ["make", "-s", "-C", str(repo), "setup", "PYTHON="], capture_output=True, text=True, check=False
    )
    assert asked.returncode != 0
    assert "3.11 or 3.12" in asked.stderr


def test_a_python_without_venv_is_told_which_package_to_install(tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError('kept in a package of its own')", encoding="utf-8")
    tools = str(Path(bootstrap.__file__).parent)
    code = (
        f"import sys; sys.path.insert(1, {tools!r}); import bootstrap\n"
        f"bootstrap.VENV = bootstrap.Path({str(tmp_path / 'venv')!r})\nbootstrap.make_venv()"
    )
    answer = run_bootstrap(code, tmp_path)
    assert answer.returncode == 1
    assert f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in answer.stderr


def test_documents_are_read_for_commands_and_links(tmp_path: Path) -> None:
    shell = "```sh\nmake nowhere # no such target\nmake test \\\n  && true\n```\n"
    text = shell + "Run `make test`, see [x](gone.md) and [y](#here).\n"
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    assert list(check_docs.check(page)) == ["the link to gone.md leads nowhere", "`make nowhere` is no target"]
