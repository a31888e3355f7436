"""`affectgpt chat`: how a conversation is shown, saved and spoken, what a mistake costs, and what a pipe gets."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import dialogue_fakes
import pytest
from chat_fakes import CRISIS, REPLY, SAD, Clips, Shown, session
from rich.console import Console
from typer.testing import CliRunner

from affectgpt.cli import app
from affectgpt.cli.chat.displays import Display, JsonDisplay, PlainDisplay, TerminalDisplay
from affectgpt.cli.chat.saving import save
from affectgpt.cli.chat.session import Crew, Session
from affectgpt.cli.chat.speaking import Speaker
from affectgpt.cli.chat.talk import Talk
from affectgpt.dialogue import Strategy, persona_names
from affectgpt.errors import AffectError, InputError, OptionError

COMMAND = [sys.executable, "-c", "from affectgpt.cli import main; main()", "chat", "--engine", "echo"]


# ---------------------------------------------------------------- displays


def told(display: Display, held: Session) -> None:
    """The session's turns, shown by another display."""
    other = Session(Crew(held.crew.companion, held.crew.engine, held.crew.clips, display), Talk(held.talk.locale))
    for words in (SAD, CRISIS, "Thank you."):
        other.take(words)


def test_json_is_a_line_a_turn(capsys: pytest.CaptureFixture[str]) -> None:
    told(JsonDisplay(), session())
    lines = capsys.readouterr().out.splitlines()
    sad, crisis, thanks = (json.loads(line) for line in lines)
    assert sad["schema_version"] == "1"
    assert sad["ai_generated"]
    assert sad["strategy"]["chosen"] in list(Strategy)
    assert sad["clip"] is None
    assert crisis["card"]
    assert crisis["understanding"] is None
    assert thanks["card"] == ""


def test_plain_lines_hold_a_reply_each_and_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "Well.\x1b]0;owned\x07\nIt [red]rains[/red]."
    held = session(dialogue_fakes.AskedEngine(hostile))
    display = PlainDisplay()
    Session(Crew(held.crew.companion, held.crew.engine, Clips(), display), Talk()).take(SAD)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "[red]rains[/red]" in out
    assert not set(out) & {"\x1b", "\x07"}


def test_the_terminal_folds_the_chain_and_keeps_the_card() -> None:
    out = io.StringIO()
    console = Console(file=out, highlight=False, soft_wrap=True, width=100, force_terminal=False)
    told(TerminalDisplay(console), session())
    text = out.getvalue()
    assert REPLY in text
    assert "understood as devastated" in text or "understood as sad" in text
    assert "/why" in text
    assert text.count("Help from people") == 2, "once for the crisis, once more under the turn after it"
    assert text.index("116") < text.rindex("116")


def test_the_terminal_breaks_a_reply_between_words_beside_the_name() -> None:
    out = io.StringIO()
    words = " ".join(f"word{n}" for n in range(40)) + ". "
    held = session(dialogue_fakes.AskedEngine(words + "日本語の文章です。 " + "x" * 60))
    display = TerminalDisplay(Console(file=out, highlight=False, soft_wrap=True, width=40))
    Session(Crew(held.crew.companion, held.crew.engine, Clips(), display), Talk()).take(SAD)
    said = out.getvalue().split("understood as")[0].splitlines()[:-1]
    assert said[0].startswith("affectgpt  word0 word1")
    assert all(line.startswith(" " * 11) and line[11] != " " for line in said[1:])
    assert max(map(len, said[:-1])) <= 40
    assert " ".join(" ".join(said).split()[1:]).startswith(words.strip())


def test_the_terminal_folds_the_chain_out() -> None:
    out = io.StringIO()
    held = session()
    display = TerminalDisplay(Console(file=out, highlight=False, soft_wrap=True, width=100))
    Session(Crew(held.crew.companion, held.crew.engine, Clips(), display), held.talk).take(SAD)
    display.explain(held.talk.spoken[0])
    text = out.getvalue()
    for part in (
        "What was understood",
        "Strategy",
        "The agent's own emotion",
        "ruled out:",
        "my dog died",
        "persona warm",
    ):
        assert part in text


# ---------------------------------------------------------------- saving


def test_a_conversation_is_saved_whole_and_nothing_is_written_over(tmp_path: Path) -> None:
    held = session()
    held.take("/clip me.mp4")
    held.take("<b>look</b> ![x](http://example.org/x.png)\n# no heading")
    held.take(CRISIS)
    held.take(f"/save {tmp_path / 'talk.md'}")
    text = (tmp_path / "talk.md").read_text("utf-8")
    assert "<b>" not in text
    assert "![x]" not in text
    assert "\n# no" not in text
    assert "me.mp4" in text
    assert "### Help from people" in text
    assert "Strategy" in text
    assert "Made by AI" in text
    held.take("And on.")
    held.take(f"/save {tmp_path / 'talk.md'}")
    assert "And on." in (tmp_path / "talk.md").read_text("utf-8"), "one's own file is brought up to date"
    other = tmp_path / "diary.json"
    other.write_text("mine", "utf-8")
    with pytest.raises(InputError, match="there already"):
        held.take(f"/save {other}")
    assert other.read_text("utf-8") == "mine"
    held.take(f"/save {tmp_path / 'talk.json'}")
    document = json.loads((tmp_path / "talk.json").read_text("utf-8"))
    assert [turn["clip"] for turn in document["turns"]] == ["me.mp4", None, None]
    assert document["ai_generated"]


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    held = session()
    with pytest.raises(InputError, match="nothing was said"):
        save(tmp_path / "talk.md", held.talk, "m")
    held.take(SAD)
    with pytest.raises(OptionError, match=r"\.md"):
        save(tmp_path / "talk.docx", held.talk, "m")
    with pytest.raises(AffectError, match="cannot be written"):
        save(tmp_path / "no" / "such" / "talk.md", held.talk, "m")
    assert list(tmp_path.iterdir()) == []


def test_a_lone_surrogate_does_not_spoil_a_file(tmp_path: Path) -> None:
    held = session()
    held.take("broken \ud83d paste")
    for name in ("a.md", "a.json"):
        save(tmp_path / name, held.talk, "m")
        assert "broken" in (tmp_path / name).read_text("utf-8")


# ---------------------------------------------------------------- speaking


@pytest.fixture
def voice(tmp_path: Path) -> tuple[Path, Path]:
    """A program that writes down what it is to speak, and where it does."""
    heard, program = tmp_path / "heard.txt", tmp_path / "espeak-ng"
    program.write_text(f'#!/bin/sh\necho "$@" > {heard}.args\nexec cat >> {heard}\n', "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, heard


def test_replies_and_cards_are_spoken_without_their_marks(voice: tuple[Path, Path]) -> None:
    program, heard = voice
    held = session()
    speaker = Speaker(str(program), "en")
    crew = Crew(held.crew.companion, held.crew.engine, Clips(), Shown(), speaker)
    spoken = Session(crew, Talk())
    spoken.take(SAD)
    speaker.finish()
    spoken.take(CRISIS)
    speaker.finish()
    said = heard.read_text("utf-8")
    assert said.startswith("That sounds hard.\nWhat happened then?\n")
    assert not set(said) & set("*#_")
    assert "-v en" in Path(f"{heard}.args").read_text("utf-8")


def test_a_voice_that_is_not_there_stops_nothing() -> None:
    speaker = Speaker("/no/such/espeak-ng", "en")
    speaker.speak("hello")
    speaker.hush()
    speaker.finish()


# ---------------------------------------------------------------- the command


def invoke(*arguments: str, said: str = "", cache: Path) -> object:
    env = {"AFFECTGPT_CACHE": str(cache), "LANG": "en_GB.UTF-8", "LC_ALL": ""}
    return CliRunner().invoke(app, ["chat", "--engine", "echo", *arguments], input=said, env=env)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--persona", "nobody"], "no persona 'nobody'"),
        (["--max-tokens", "0"], "--max-tokens"),
        (["--temperature", "9"], "--temperature"),
        (["--locale", "not a tag"], "--locale"),
        (["--clip", "nowhere.mp4"], "nowhere.mp4"),
        (["--modalities", "smell"], "smell"),
        ([], "--yes"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_exit_2(arguments: list[str], named: str, tmp_path: Path) -> None:
    given = [*arguments, "--yes"] if arguments else []
    done = invoke(*given, cache=tmp_path)
    assert done.exit_code == 2, done.output
    assert named in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_the_notice_says_what_the_page_says_before_anything_is_read(tmp_path: Path) -> None:
    done = invoke(said="hello\n", cache=tmp_path)
    for part in ("You are talking to an AI", "adults who agreed", "stays", "no crisis service", "Not for work"):
        assert part.replace("stays", "goes nowhere else") in done.stderr
    served = invoke("--engine", "http", "--base-url", "http://model.example.org:1/v1", cache=tmp_path)
    assert "goes to model.example.org" in served.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_shipped_personas() -> None:
    done = CliRunner().invoke(app, ["chat", "--help"], env={"COLUMNS": "200"})
    assert all(name in done.stdout for name in persona_names())


@pytest.mark.slow
def test_a_line_of_stdin_is_a_turn(tmp_path: Path) -> None:
    env = {**os.environ, "AFFECTGPT_CACHE": str(tmp_path)}
    said = f"{SAD}\n\n{CRISIS}\nthank you \udcff\n".encode("utf-8", "surrogateescape")
    done = subprocess.run([*COMMAND, "--yes", "--json"], input=said, capture_output=True, timeout=240, env=env)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["reply"]["by"] for row in rows] == ["engine", "card", "engine"]
    assert rows[0]["understanding"]["feeling"]["label"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_at_a_terminal_the_notice_is_asked_once_and_ctrl_c_twice_ends_it(tmp_path: Path) -> None:
    import pty

    def talk(*typed: str) -> tuple[str, int]:
        master, slave = pty.openpty()
        env = {**os.environ, "AFFECTGPT_CACHE": str(tmp_path), "TERM": "xterm", "COLUMNS": "100"}
        process = subprocess.Popen(COMMAND, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
        os.close(slave)
        seen = _type(master, process, typed)
        code = process.wait(60)
        os.close(master)
        return seen, code

    seen, code = talk("[y/N]", "y\n", "you  ", f"{SAD}\n", "/why", "/quit\n")
    assert code == 0, seen
    assert "Before you begin" in seen
    seen, code = talk("you  ", "\x03", "Ctrl-C once more", "\x03")
    assert code == 130, seen
    assert "Before you begin" not in seen, "remembered"


def _type(master: int, process: subprocess.Popen[bytes], typed: Sequence[str]) -> str:
    """Wait for each first of a pair to be shown, then type the second; all that was shown."""
    os.set_blocking(master, False)
    seen, read_up_to, end_s = "", 0, time.monotonic() + 240
    for awaited, keys in zip(typed[::2], typed[1::2], strict=True):
        while awaited not in seen[read_up_to:]:
            assert time.monotonic() < end_s, seen
            seen += _drain(master)
        read_up_to = len(seen)
        if keys == "\x03":
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.write(master, keys.encode())
    while process.poll() is None and time.monotonic() < end_s:
        seen += _drain(master)
    return seen + _drain(master)


def _drain(master: int) -> str:
    time.sleep(0.05)
    try:
        return os.read(master, 65536).decode("utf-8", "replace")
    except OSError:
        return ""
