"""Hold the documents against the tree: links that lead somewhere, commands and flags that exist.

In README.md, CONTRIBUTING.md and the other documents at the root, every relative link names a file, every `make x` in
a code span or block names a target, and every `affectgpt verb --flag` is in that verb's own `--help`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(affectgpt|make)\b(?!\[|\.|/|-)(.*)$")


def main() -> int:
    """Print each fault; 0 when there is none."""
    faults = [f"{path.relative_to(ROOT)}: {fault}" for path in documents() for fault in check(path)]
    print("\n".join(faults) or "Documents hold.", file=sys.stderr if faults else sys.stdout)
    return 1 if faults else 0


def documents() -> list[Path]:
    """Every Markdown file that git tracks, tests aside."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.splitlines() if not name.startswith("tests/")]


def check(path: Path) -> Iterator[str]:
    """Yield what does not hold in one document."""
    text = path.read_text("utf-8")
    for target in LINK.findall(FENCE.sub("", text)):
        if not (path.parent / target).exists():
            yield f"the link to {target} leads nowhere"
    for line in command_lines(text):
        match = COMMAND.match(line)
        if match:
            yield from check_make(match[2]) if match[1] == "make" else check_cli(match[2])


def command_lines(text: str) -> Iterator[str]:
    """Yield lines of shell blocks, continuations joined, and the code spans outside of blocks."""
    for language, block in FENCE.findall(text):
        if language in ("", "sh", "bash", "console", "shell"):
            yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    yield from SPAN.findall(FENCE.sub("", text))


def check_make(rest: str) -> Iterator[str]:
    """Yield the targets of one `make` line that the Makefile lacks."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for word in rest.split("#")[0].split():
        if "=" in word or not re.fullmatch(r"[a-z][\w-]*", word):
            return
        if word not in targets:
            yield f"`make {word}` is no target"


def check_cli(rest: str) -> Iterator[str]:
    """Yield the verbs and flags of one `affectgpt` line that its help does not name."""
    try:
        words = shlex.split(rest.split("|")[0].split(">")[0], comments=True)
    except ValueError:
        words = rest.split()
    verb = words[0] if words and re.fullmatch(r"[a-z][\w-]*", words[0]) else ""
    if verb and verb not in re.findall(r"[\w-]+", show_help()):
        yield f"`affectgpt {verb}` is no command"
        return
    path = (verb,) if verb else ()
    while 0 < len(path) < len(words) and words[len(path)] in subcommands(*path):
        path = (*path, words[len(path)])
    for word in words:
        flag = re.match(r"--[a-z][\w-]*", word)
        if flag and not re.search(rf"(?<![\w-]){flag.group()}(?![\w-])", show_help(*path)):
            yield f"`{' '.join(('affectgpt', *path))}` has no {flag.group()}"


def subcommands(*path: str) -> list[str]:
    """Return the commands that a command's help lists under that heading."""
    _, _, listed = show_help(*path).partition("─ Commands ")
    return re.findall(r"^│ ([a-z][\w-]*) ", listed, re.MULTILINE)


@cache
def show_help(*path: str) -> str:
    """Return the text of `affectgpt PATH… --help`."""
    command = [Path(sys.executable).parent / "affectgpt", *path, "--help"]
    # A wide, plain terminal: rich would cut long flags and colour them.
    env = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"}
    asked = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if asked.returncode:
        raise SystemExit(f"`affectgpt {' '.join(path)} --help` failed: {asked.stderr or asked.stdout}")
    return asked.stdout


if __name__ == "__main__":
    sys.exit(main())
