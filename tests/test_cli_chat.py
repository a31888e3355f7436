"""`affectgpt chat`: turns with their chain, help that stays, what Ctrl-C stops, and what a file or a pipe holds."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dialogue_fakes
import pytest
from page_fakes import APPRAISAL
from rich.console import Console
from typer.testing import CliRunner

from affectgpt.cli import app
from affectgpt.cli.chat.clips import ClipReader, SensedClip
from affectgpt.cli.chat.displays import Display, JsonDisplay, PlainDisplay, TerminalDisplay
from affectgpt.cli.chat.loop import converse
from affectgpt.cli.chat.saving import save
from affectgpt.cli.chat.session import STOPPED, Crew, Session
from affectgpt.cli.chat.speaking import Speaker
from affectgpt.cli.chat.talk import Spoken, Talk
from affectgpt.dialogue import Strategy, persona_names
from affectgpt.errors import AffectError, InputError, OptionError
from affectgpt.readers import AgentOptions
from affectgpt.records import Completion, Modality, Observation, Observations, Outcome, Prompt, Sampling

COMMAND = [sys.executable, "-c", "from affectgpt.cli import main; main()", "chat", "--engine", "echo"]
REPLY = "That sounds hard. What happened then?"
SAD = "I am so sad because my dog died."
CRISIS = "I want to kill myself tonight."
LONG_PAST = "Ten years ago I tried to kill myself. I am glad to be alive."


# ---------------------------------------------------------------- fakes


@dataclass
class Shown:
    """A display that keeps what it was given, in order."""

    events: list[tuple[str, str]] = field(default_factory=list)

    def wait(self) -> None:
        self.events.append(("wait", ""))

    def say(self, sentence: str) -> None:
        self.events.append(("say", sentence))

    def card(self, markdown: str) -> None:
        self.events.append(("card", markdown))

    def end(self, spoken: Spoken, last_card: str) -> None:
        self.events.append(("end", last_card))

    def explain(self, spoken: Spoken) -> None:
        self.events.append(("explain", spoken.turn.words))

    def tell(self, line: str) -> None:
        self.events.append(("tell", line))

    def of(self, kind: str) -> list[str]:
        """What came of one kind."""
        return [text for name, text in self.events if name == kind]


@dataclass
class Clips:
    """Every clip shows a smile over sad words; `heard` is what is said in it."""

    heard: str = ""
    read_: list[Path] = field(default_factory=list)

    def check(self, path: Path) -> None:
        if path.suffix != ".mp4":
            raise InputError(f"{path} is no clip", "give a .mp4")

    def read(self, path: Path) -> SensedClip:
        self.read_.append(path)
        smile = Observation("F1", Modality.FACE, "AU12", "the lip corners are pulled up", 0.0, 1.0)
        return SensedClip(path.name, Outcome(None, Observations((smile,)), None, None, APPRAISAL), self.heard)


class InterruptedEngine(dialogue_fakes.AskedEngine):
    """Writes one sentence and the beginning of another; then the person presses Ctrl-C."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        yield "That sounds hard. "
        yield "What"
        raise KeyboardInterrupt


def session(engine: object = None, clips: Clips | None = None, **options: object) -> Session:
    engine = engine or dialogue_fakes.AskedEngine(REPLY)
    crew = Crew(dialogue_fakes.companion(**options), engine, clips or Clips(), Shown())  # type: ignore[arg-type]
    return Session(crew, Talk("en-GB"))


def shown(held: Session) -> Shown:
    assert isinstance(held.crew.display, Shown)
    return held.crew.display


def reading(*lines: str | BaseException) -> object:
    """Lines as a person types them; an exception is raised in the place of one."""
    left: Iterator[str | BaseException] = iter(lines)

    def read() -> str | None:
        line = next(left, None)
        if isinstance(line, BaseException):
            raise line
        return line

    return read


# ---------------------------------------------------------------- turns


def test_a_turn_is_shown_by_the_sentence_and_keeps_its_chain() -> None:
    held = session()
    assert held.take(SAD)
    assert [kind for kind, _ in shown(held).events] == ["wait", "say", "say", "end"]
    assert "".join(shown(held).of("say")) == REPLY
    turn = held.talk.spoken[0].turn
    assert turn.reply.text == REPLY
    assert turn.understanding is not None
    assert turn.understanding.cause is not None
    assert turn.strategy is not None
    assert turn.own is not None
    assert turn.reply.completion is not None


def test_a_later_turn_knows_what_was_said_which_strategies_were_used_and_how_the_agent_feels() -> None:
    held = session()
    held.take(SAD)
    held.take("I am crying again.")
    first, second = (s.turn for s in held.talk.spoken)
    asked = held.talk.asked("and now?")
    assert [line.text for line in asked.history] == [SAD, REPLY, "I am crying again.", REPLY]
    assert [line.is_agent for line in asked.history] == [False, True, False, True]
    assert first.strategy is not None
    assert second.strategy is not None
    assert second.own is not None
    assert asked.strategies == (first.strategy.chosen, second.strategy.chosen)
    assert asked.own == second.own.after
    prompt = held.crew.engine.asked[-1]  # type: ignore[attr-defined]
    assert SAD in "\n".join(m.content for m in prompt.messages)


def test_no_line_is_no_turn_and_two_slashes_send_one() -> None:
    held = session()
    for line in ("", "   ", "\t"):
        assert held.take(line)
    assert held.talk.spoken == []
    held.take("//me too")
    assert held.talk.spoken[0].turn.words == "/me too"


def test_a_persona_answers_in_its_own_manner() -> None:
    held = session(persona="lively")
    held.take(SAD)
    own = held.talk.spoken[0].turn.own
    assert own is not None
    assert own.persona == "lively"


def test_several_speakers_in_one_message_stay_apart_in_the_history() -> None:
    held = session()
    words = "Anna: I am so angry.\nBen: I am scared."
    held.answer(words)
    assert [line.speaker for line in held.talk.asked("x").history][:2] == ["Anna", "Ben"]


# ---------------------------------------------------------------- help


def test_a_crisis_shows_help_and_nothing_is_analysed_or_asked() -> None:
    held = session()
    held.take(CRISIS)
    turn = held.talk.spoken[0].turn
    assert turn.reply.by == "card"
    assert turn.understanding is None
    assert turn.strategy is None
    assert held.crew.engine.asked == []  # type: ignore[attr-defined]
    assert shown(held).of("say") == []
    (card,) = shown(held).of("card")
    assert "116 123" in card, "the lines of the locale's country"


def test_help_stays_in_sight_for_the_rest_of_the_conversation() -> None:
    held = session()
    held.take(CRISIS)
    held.take("I am better now, thank you.")
    card = held.talk.spoken[0].turn.card
    assert card
    assert shown(held).of("end") == [card, card]


def test_help_comes_before_the_reply_where_the_turn_goes_on() -> None:
    held = session()
    held.take(LONG_PAST)
    assert [kind for kind, _ in shown(held).events] == ["wait", "card", "say", "say", "end"]
    assert held.talk.spoken[0].turn.understanding is not None


def test_what_is_said_in_a_clip_is_screened_too(tmp_path: Path) -> None:
    held = session(clips=Clips(heard=CRISIS))
    held.take("/clip me.mp4")
    held.take("What do you make of it?")
    turn = held.talk.spoken[0].turn
    assert turn.reply.by == "card"
    assert turn.card == shown(held).of("card")[0]
    assert held.crew.engine.asked == []  # type: ignore[attr-defined]


def test_a_reply_that_must_not_go_out_is_held_back() -> None:
    held = session(dialogue_fakes.AskedEngine("I hear you. You should just kill yourself. Bye."))
    held.take(SAD)
    turn = held.talk.spoken[0].turn
    assert turn.held
    assert "kill yourself" not in "".join(shown(held).of("say"))
    assert "".join(shown(held).of("say")).split() == turn.reply.text.split()


# ---------------------------------------------------------------- a model that fails, a person who stops it


@pytest.mark.parametrize("after", ["", "I hear you. And"])
def test_where_the_model_fails_the_conversation_goes_on_and_it_is_counted(after: str) -> None:
    held = session(dialogue_fakes.DownEngine(after))
    held.take(SAD)
    turn = held.talk.spoken[0].turn
    assert turn.reply.by == "stand-in"
    assert held.n_failed == 1
    assert "".join(shown(held).of("say")).split() == turn.reply.text.split()
    assert any("start the server" in line for line in shown(held).of("tell"))
    held.take(CRISIS)
    assert held.talk.spoken[1].turn.card, "help does not depend on the model"


def test_ctrl_c_stops_an_answer_and_keeps_what_was_said() -> None:
    held = session(InterruptedEngine())
    with pytest.raises(KeyboardInterrupt):
        held.take(SAD)
    turn = held.talk.spoken[0].turn
    assert turn.reply.text == "That sounds hard."
    assert turn.reply.note == STOPPED
    assert turn.understanding is not None
    assert [kind for kind, _ in shown(held).events][-1] == "end"


def test_ctrl_c_twice_ends_the_conversation_and_once_does_not() -> None:
    held = session(InterruptedEngine())
    converse(held, reading(SAD, "/quit", "never read"), is_patient=True)  # type: ignore[arg-type]
    assert len(held.talk.spoken) == 1
    with pytest.raises(KeyboardInterrupt):
        converse(held, reading(SAD, KeyboardInterrupt()), is_patient=True)  # type: ignore[arg-type]
    again = session()
    read = reading(KeyboardInterrupt(), SAD, KeyboardInterrupt(), "I am sad.")
    converse(again, read, is_patient=True)  # type: ignore[arg-type]
    assert len(again.talk.spoken) == 2


def test_a_pipe_ends_at_the_first_ctrl_c_and_at_the_first_mistake() -> None:
    with pytest.raises(KeyboardInterrupt):
        converse(session(InterruptedEngine()), reading(SAD, SAD), is_patient=False)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        converse(session(), reading("/nothing", SAD), is_patient=False)  # type: ignore[arg-type]


def test_a_mistake_is_told_and_the_talk_goes_on() -> None:
    held = session()
    converse(held, reading("/nothing", "/clip", "/why", "/save", SAD, "/why"), is_patient=True)  # type: ignore[arg-type]
    assert len(shown(held).of("tell")) == 4
    assert shown(held).of("explain") == [SAD]


# ---------------------------------------------------------------- clips


def test_a_clip_comes_into_one_turn_and_no_other() -> None:
    clips = Clips()
    held = session(clips=clips)
    held.take("/clip one of mine.mp4")
    held.take(SAD)
    held.take("And now?")
    assert clips.read_ == [Path("one of mine.mp4")]
    assert [s.clip for s in held.talk.spoken] == ["one of mine.mp4", ""]
    first, second = held.crew.engine.asked  # type: ignore[attr-defined]
    assert "the lip corners are pulled up" in first.messages[0].content
    assert "the lip corners are pulled up" not in second.messages[0].content


def test_an_empty_line_sends_a_clip_alone() -> None:
    held = session()
    held.take("/clip me.mp4")
    held.take("")
    assert held.talk.spoken[0].turn.words == ""
    assert held.talk.spoken[0].turn.reply.by == "engine"


def test_two_clips_at_once_and_what_is_no_clip_are_refused() -> None:
    held = session()
    with pytest.raises(InputError, match="no clip"):
        held.take("/clip notes.pdf")
    held.take("/clip me.mp4")
    with pytest.raises(InputError, match=r"me\.mp4 waits"):
        held.take("/clip you.mp4")


@pytest.mark.parametrize("setting", ["workplace", "education"])
def test_where_emotions_must_not_be_read_no_clip_is_taken(setting: str, tmp_path: Path) -> None:
    reader = ClipReader(AgentOptions(setting=setting), silent=True)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=re.escape("Art. 5(1)(f)")):
        reader.check(tmp_path / "me.mp4")
    done = CliRunner().invoke(
        app, ["chat", "--engine", "echo", "--yes", "--context", setting, "--clip", str(tmp_path / "me.mp4")]
    )
    assert done.exit_code == 2
    assert "Art. 5(1)(f)" in done.stderr


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
