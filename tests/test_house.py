"""The laws of the tree: what a file may be called, how long it may grow, and what may never stand in it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
TEXT = {".py", ".toml", ".yaml", ".yml", ".md", ".cfg", ".txt", ".json", ".html", ".css", ".js", ".ipynb", ".sh", ""}
BANNED_NAMES = re.compile(r"^(utils?|helpers?|common|base|misc|managers?|stuff|my_.*|.*_v\d+|.*_(utils?|helpers?))$")
# Somebody's disk, in a default or an example: a home, or a folder at the root that only one machine has.
MACHINE_PATH = re.compile(
    r"(?<![\w.~/:-])/(?:home/(?!(?:user|x)\b)|Users/(?!you\b)|root/|work/|opt/|mnt/|data/|scratch/|srv/)\w"
)
# Where packages and models come from is the machine's business, told to pip and uv.
REGISTRY = re.compile(r"(?:files\.pythonhosted|pypi|download\.pytorch|test\.pypi)\.org|index-url *=|find-links *=")


def tracked(*patterns: str) -> list[Path]:
    """The files that git holds or would hold: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in sorted(set(listed)) if (ROOT / name).is_file()]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_with(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    found = []
    for path in files:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{shown(path)}:{number}: {line.strip()[:120]}")
    return found


def texts() -> list[Path]:
    """Every text file of the tree but this one, whose patterns would find themselves."""
    return [p for p in tracked() if p.suffix in TEXT and p.name != "LICENSE" and p != Path(__file__).resolve()]


def library() -> list[Path]:
    return [
        p for p in tracked("*.py") if shown(p).split("/")[0] in {"affectgpt", "instruction_data", "finetune", "serve"}
    ]


def test_no_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATH, texts()) == []


def test_the_pattern_of_machine_paths_finds_them() -> None:
    assert MACHINE_PATH.search('default="/home/anna/model"')
    assert MACHINE_PATH.search("cd /root/x")
    assert MACHINE_PATH.search("see /work/notes")
    assert not MACHINE_PATH.search("the ratio and/or the data/*.toml of affectgpt/data/x")
    assert not MACHINE_PATH.search("/usr/bin and /tmp/x are everybody's")


def test_no_registry_host() -> None:
    # The bootstrap names pip's options, as the keys it reads.
    files = [p for p in texts() if shown(p) not in {"tools/bootstrap.py", "tests/test_bootstrap.py"}]
    assert lines_with(REGISTRY, files) == []


def test_shared_recordings_are_for_tests_benches_and_documents() -> None:
    files = [
        p for p in texts() if not shown(p).startswith(("tests/", "tools/", ".ci/", "Makefile")) and p.suffix != ".md"
    ]
    assert lines_with(re.compile(r"\.\./shared|AFFECTGPT_SHARED"), files) == []


def test_no_lock_and_no_build_in_the_tree() -> None:
    names = {shown(p) for p in tracked()}
    assert "uv.lock" not in names
    assert not [n for n in names if n.startswith((".venv/", "dist/", "build/")) or "__pycache__" in n]


def test_no_large_file_but_the_weights() -> None:
    large = [shown(p) for p in tracked() if p.stat().st_size > 1_000_000 and "weights" not in p.parts]
    assert large == []
    assert sum(p.stat().st_size for p in tracked()) < 40_000_000


@pytest.mark.parametrize("path", tracked("*.py"), ids=shown)
def test_a_module_is_short_and_well_named(path: Path) -> None:
    n_lines = len(path.read_text("utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{n_lines} lines: split it"
    assert not BANNED_NAMES.match(path.stem)
    assert not any(BANNED_NAMES.match(part) for part in path.relative_to(ROOT).parts[:-1])


@pytest.mark.parametrize("path", library(), ids=shown)
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
        assert n_lines <= MAX_FUNCTION_LINES, f"{node.name} has {n_lines} lines"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        named = [a for a in arguments if a.arg not in {"self", "cls"}]
        if "cli" not in path.parts and path.stem != "cli":  # a command's parameters are its options
            assert len(named) <= MAX_PARAMETERS, f"{node.name} takes {len(named)} parameters: make it a dataclass"


@pytest.mark.parametrize("path", library(), ids=shown)
def test_no_bare_except_and_no_star_import(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"bare except, line {node.lineno}"
        assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*"), f"star import, line {node.lineno}"


def named_sources(table: dict[str, Any]) -> list[Any]:
    """Every value under a `source` or `sources` key, at any depth."""
    own = [value for key, value in table.items() if key in {"source", "sources"}]
    return own + [s for value in table.values() if isinstance(value, dict) for s in named_sources(value)]


@pytest.mark.parametrize("path", tracked("affectgpt/data/*.toml"), ids=shown)
def test_every_table_of_facts_names_its_sources(path: Path) -> None:
    text = path.read_text("utf-8")
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    cited = re.search(r"\b(?:19|20)\d\d\b|for this project", comments)
    assert cited or any(named_sources(tomllib.loads(text))), "cite a source: a `source` key, or authors and year"
    assert "placeholder" not in text.lower()


def test_every_module_of_the_library_stands_in_a_layer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = {name.strip("() ") for layer in layers for name in layer.split("|")}
    modules = {".".join(shown(p).removesuffix(".py").split("/")[:2]) for p in library() if p.name != "__init__.py"}
    top_level = {m.split(".")[0] if not m.startswith("affectgpt.") else m for m in modules}
    assert top_level <= placed, "add it to the import contract in pyproject.toml and to CONTRIBUTING.md"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ["torch", "mediapipe", "librosa", "transformers", "plotly", "av", "cv2", "scipy", "PIL", "openai", "typer"]
    code = f"import sys, affectgpt; print(*[m for m in {heavy!r} if m in sys.modules])"
    asked = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == []


def test_the_command_line_shows_its_help_without_the_heavy_libraries() -> None:
    heavy = ["torch", "mediapipe", "librosa", "transformers", "plotly", "av", "cv2", "scipy", "openai"]
    code = (
        "import sys; sys.argv = ['affectgpt', '--help']\n"
        "from affectgpt.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert asked.stderr.strip().splitlines()[-1] == "[]"
