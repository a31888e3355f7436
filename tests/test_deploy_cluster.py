"""The cluster files are held to their programs' schemas and to the tree: what they name is there, nothing secret is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from affectgpt.cli import app

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = ROOT / "deploy" / "cluster"
FILES = sorted(path for path in CLUSTER.iterdir() if path.is_file())
SLURM = sorted(CLUSTER.glob("*.slurm.sh"))
TEXTS = {path.name: path.read_text("utf-8") for path in FILES}

# Of SkyPilot's own schema (its reference of the task's YAML, version 0.11): the fields that may stand at these places.
SKY_TASK = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-zA-Z0-9]+[a-zA-Z0-9._-]*$"},
        "workdir": {"type": "string"},
        "num_nodes": {"type": "integer", "minimum": 1},
        "resources": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "infra": {"type": "string"},
                "cpus": {"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?\+?$"},
                "memory": {"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?[+x]?$"},
                "accelerators": {"type": ["string", "object"]},
                "instance_type": {"type": "string"},
                "use_spot": {"type": "boolean"},
                "disk_size": {"type": ["integer", "string"]},
                "disk_tier": {"enum": ["low", "medium", "high", "ultra", "best"]},
                "ports": {"type": ["integer", "string", "array"]},
                "image_id": {"type": ["string", "object"]},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "autostop": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "idle_minutes": {"type": "integer", "minimum": 0},
                        "down": {"type": "boolean"},
                        "wait_for": {"enum": ["jobs_and_ssh", "jobs", "none"]},
                    },
                },
            },
        },
        "envs": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "secrets": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "file_mounts": {"type": "object"},
        "setup": {"type": "string"},
        "run": {"type": "string"},
    },
}

# Options of `sbatch` that may stand in a script, with the form of their values (its manual).
SBATCH = {
    "job-name": r"[\w-]+",
    "nodes": r"\d+",
    "ntasks": r"\d+",
    "ntasks-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "mem-per-cpu": r"\d+[KMGT]",
    "time": r"(\d+-)?\d{1,2}:\d{2}:\d{2}",
    "array": r"\d+-\d+",
    "output": r"[\w%.-]+\.log",
}


def cluster() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXTS["ray.yaml"])
    return found


def task() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXTS["sky.yaml"])
    return found


@cache
def batch_options() -> frozenset[str]:
    (command,) = [c for name, c in get_command(app).commands.items() if name == "batch"]  # type: ignore[attr-defined]
    return frozenset(name for parameter in command.params for name in parameter.opts)


# ---------------------------------------------------------------- schemas


def test_rays_own_validator_takes_the_cluster() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    filled = util.fillout_defaults(cluster())
    util.validate_config(filled)
    broken = {**filled, "available_node_types": {"head": {"resources": {"CPU": "many"}}}}
    with pytest.raises(Exception, match=r"many|Config"):
        util.validate_config(broken)


def test_the_cluster_grows_and_shrinks_and_its_head_reads_nothing() -> None:
    told = cluster()
    types = told["available_node_types"]
    assert told["head_node_type"] in types
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["reader"]["min_workers"] == 0 < types["reader"]["max_workers"] <= told["max_workers"]
    assert told["idle_timeout_minutes"] > 0


def test_skypilot_takes_the_task() -> None:
    jsonschema.validate(task(), SKY_TASK)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**task(), "resource": {}}, SKY_TASK)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**task(), "resources": {"cpus": "many"}}, SKY_TASK)


@pytest.mark.parametrize("path", SLURM, ids=lambda path: path.name)
def test_slurm_takes_the_scripts_options(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    given = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert given
    assert max(given) < first_command, "sbatch reads no option behind the first command"
    for n in given:
        match = re.fullmatch(r"#SBATCH --([a-z-]+)=(\S+)", lines[n])
        assert match, lines[n]
        assert re.fullmatch(SBATCH[match[1]], match[2]), lines[n]


# ---------------------------------------------------------------- shell


def scripts() -> dict[str, str]:
    """Every piece of shell, by a name for it."""
    pieces = {path.name: path.read_text("utf-8") for path in SLURM}
    pieces |= {f"sky {part}": "#!/bin/bash\n" + task()[part] for part in ("setup", "run")}
    for kind in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        pieces[f"ray {kind}"] = "#!/bin/bash\nexport RAY_HEAD_IP=x\n" + "\n".join(cluster()[kind]) + "\n"
    return pieces


@pytest.mark.parametrize("name", scripts())
def test_the_shell_is_sound(tmp_path: Path, name: str) -> None:
    script = tmp_path / "script.sh"
    script.write_text(scripts()[name], "utf-8")
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck absent")
@pytest.mark.parametrize("name", scripts())
def test_shellcheck_finds_nothing(tmp_path: Path, name: str) -> None:
    script = tmp_path / "script.sh"
    script.write_text(scripts()[name], "utf-8")
    # SC2086: RAY_HEAD_IP is an address, and has nothing in it to be split.
    checked = subprocess.run(["shellcheck", "--exclude=SC2086", script], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def called(tmp_path: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script's run where every program that it calls only tells how it was called."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("affectgpt", "srun", "ray"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name}: $*"\n')
        (programs / name).chmod(0o755)
    (programs / "scontrol").write_text('#!/bin/sh\nprintf "node1\\nnode2\\n"\n')
    (programs / "scontrol").chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin", **environment}
    return subprocess.run([CLUSTER / script, *arguments], env=env, capture_output=True, text=True)


def test_a_shard_of_an_array_does_its_part(tmp_path: Path) -> None:
    array = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "32", "SLURM_ARRAY_TASK_ID": "7"}
    run = called(tmp_path, "shards.slurm.sh", "in put", "out", SERVERS="http://a/v1 http://b/v1", **array)
    expected = "affectgpt: batch in put -o out --shard 7/32 --base-url http://a/v1 --base-url http://b/v1\n"
    assert (run.returncode, run.stdout) == (0, expected), run.stderr
    alone = {"SLURM_ARRAY_TASK_MIN": "7", "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_ID": "7"}
    run = called(tmp_path, "shards.slurm.sh", "in", "out", SERVERS="http://a/v1", **alone)
    assert run.returncode == 2, "one part alone does not know of how many it is"
    assert "usage" in run.stderr
    run = called(tmp_path, "shards.slurm.sh", "in", "out", SERVERS="http://a/v1", SHARDS="32", **alone)
    assert "--shard 7/32" in run.stdout


def test_the_ray_script_begins_one_cluster_and_one_job(tmp_path: Path) -> None:
    job = {
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
    }
    run = called(tmp_path, "ray.slurm.sh", "in put", "out", SERVERS="http://a/v1 http://b/v1", **job)
    assert run.returncode == 0, run.stderr
    port = 6379 + 123456 % 20000
    assert run.stdout == (
        f"srun: --kill-on-bad-exit=1 ray symmetric-run --address node1:{port} --min-nodes 2 --num-cpus=16 -- "
        f"affectgpt batch in put -o out --runner ray --ray-address node1:{port} "
        "--base-url http://a/v1 --base-url http://b/v1\n"
    )
    for arguments, servers in ((("in",), "http://a/v1"), (("in", "out"), "")):
        run = called(tmp_path, "ray.slurm.sh", *arguments, SERVERS=servers, **job)
        assert (run.returncode, run.stdout) == (2, "")


def test_rays_command_line_takes_what_it_is_given() -> None:
    scripts_of_ray = pytest.importorskip("ray.scripts.scripts")
    commands = scripts_of_ray.cli.commands
    known = {name: {option for p in command.params for option in p.opts} for name, command in commands.items()}
    flags = {
        "start": set(re.findall(r"ray start ([^&|;\n]*)", " ".join(scripts().values()))),
        "health-check": {"--address"},
        "symmetric-run": {"--address --min-nodes"},
    }
    for command, given in flags.items():
        assert given
        for flag in re.findall(r"--[a-z-]+", " ".join(given)):
            assert flag in known[command], (command, flag)


# ---------------------------------------------------------------- the tree


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_asked_of_batch_it_takes(name: str) -> None:
    joined = re.sub(r"\\\n#?", " ", TEXTS[name])
    lines = [line for line in joined.splitlines() if re.search(r"affectgpt batch ", line)]
    assert lines
    for line in lines:
        flags = re.findall(r"(?<=\s)--?[a-z][a-z-]*", line.partition("affectgpt batch ")[2].partition("'")[0])
        assert flags
        assert set(flags) <= batch_options(), line


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_named_exist_and_nothing_secret_is_in_them(name: str) -> None:
    for path in re.findall(r"deploy/[\w./-]+\.(?:yaml|sh)", TEXTS[name]):
        assert (ROOT / path).is_file(), path
    assert not re.search(r"(?i)(password|secret_access_key|sk-\w{8}|[0-9a-f]{32})", TEXTS[name])


def test_ray_reports_to_nobody_and_lets_nobody_in() -> None:
    for command in (*cluster()["head_start_ray_commands"][1:], *cluster()["worker_start_ray_commands"][1:]):
        assert "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0" in command
    assert "~/.ray/auth_token" in cluster()["file_mounts"]
    assert task()["envs"]["RAY_USAGE_STATS_ENABLED"] == "0"
    assert task()["envs"]["RAY_AUTH_MODE"] == "token"
    assert task()["secrets"]["RAY_AUTH_TOKEN"] is None, "to be given at each launch"
    assert "export RAY_USAGE_STATS_ENABLED=0" in TEXTS["ray.slurm.sh"]
    assert "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN" in TEXTS["ray.slurm.sh"]


def test_the_scripts_may_be_run() -> None:
    assert all(path.stat().st_mode & 0o111 for path in SLURM)
    assert json.loads(json.dumps(task()))["num_nodes"] > 1
    assert CliRunner().invoke(app, ["batch", "--help"]).exit_code == 0
