"""`affectgpt perspective`: a mistake is one line and exit 2, and JSON is one document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from affectgpt.cli.guard import GuardedGroup
from affectgpt.cli.perspective import perspective
from affectgpt.perspective import LONGEST_TEXT

app = typer.Typer(cls=GuardedGroup, pretty_exceptions_enable=False)
app.command()(perspective)


@app.callback()
def affectgpt() -> None:
    """A group, as the command line is one."""


def run(*arguments: object, said: str | None = None) -> Result:
    return CliRunner().invoke(app, ["perspective", *map(str, arguments)], input=said)


def test_a_mistake_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "long.txt").write_text("é" * (3 * LONGEST_TEXT), encoding="utf-8")
    mistakes = {
        "give either": [],
        "a text or --file": ["x", "--file", "y"],
        "without a word": [" \n"],
        "no text file": ["--file", tmp_path / "absent.txt"],
        "not UTF-8": ["--file", tmp_path / "latin.txt"],
        "longer than": ["--file", tmp_path / "long.txt"],
        "characters": ["a" * (LONGEST_TEXT + 1)],
    }
    for what, arguments in mistakes.items():
        done = run(*arguments)
        assert done.exit_code == 2, (what, done.output)
        assert what in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""


def test_a_text_is_read_from_both_sides(tmp_path: Path) -> None:
    text = "He beat the dog until it stopped moving. The meeting is on the second floor.\x1b[31m"
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    by_argument, by_file, by_pipe = (
        json.loads(run(*given, "--json", said=text).stdout) for given in ([text], ["--file", tmp_path / "t.txt"], ["-"])
    )
    assert by_argument == by_file == by_pipe
    assert [s["text"] for s in by_argument["sentences"]] == [
        "He beat the dog until it stopped moving.",
        "The meeting is on the second floor.\x1b[31m",
    ]
    assert by_argument["ai_generated"] is True
    shown = run(text)
    assert shown.exit_code == 0, shown.output
    assert "of 2 sentences flagged" in shown.stdout
    assert "\x1b" not in shown.stdout


@pytest.mark.slow
def test_a_clearer_wording_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(
        "They laughed while the old man begged for his life. I killed it! We burned them all to the ground, hurrah! "
        "The children were murdered in their beds. What a glorious massacre! I love to see them suffer and die. "
        "My enemies are dead at last, what a happy day for me!",
        encoding="utf-8",
    )
    done = run("--file", tmp_path / "t.txt", "--clearer", "--engine", "echo", "--json")
    assert done.exit_code == 0, done.output
    flagged = [s for s in json.loads(done.stdout)["sentences"] if s["told"]]
    for sentence in flagged:
        assert sentence["rewording"]["chosen"] is None
        assert len(sentence["rewording"]["tries"]) == 3
