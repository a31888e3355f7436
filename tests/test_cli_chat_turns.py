"""Turns of `affectgpt chat`: their chain, help that stays, what a person or a failing model stops, clips."""

from __future__ import annotations

import re
from pathlib import Path

import dialogue_fakes
import pytest
from chat_fakes import CRISIS, REPLY, SAD, Clips, InterruptedEngine, reading, session, shown
from typer.testing import CliRunner

from affectgpt.cli import app
from affectgpt.cli.chat.clips import ClipReader
from affectgpt.cli.chat.loop import converse
from affectgpt.cli.chat.session import STOPPED
from affectgpt.errors import InputError, OptionError
from affectgpt.readers import AgentOptions

LONG_PAST = "Ten years ago I tried to kill myself. I am glad to be alive."


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
    converse(held, reading(SAD, "/quit", "never read"), is_patient=True)
    assert len(held.talk.spoken) == 1
    with pytest.raises(KeyboardInterrupt):
        converse(held, reading(SAD, KeyboardInterrupt()), is_patient=True)
    again = session()
    read = reading(KeyboardInterrupt(), SAD, KeyboardInterrupt(), "I am sad.")
    converse(again, read, is_patient=True)
    assert len(again.talk.spoken) == 2


def test_a_pipe_ends_at_the_first_ctrl_c_and_at_the_first_mistake() -> None:
    with pytest.raises(KeyboardInterrupt):
        converse(session(InterruptedEngine()), reading(SAD, SAD), is_patient=False)
    with pytest.raises(InputError):
        converse(session(), reading("/nothing", SAD), is_patient=False)


def test_a_mistake_is_told_and_the_talk_goes_on() -> None:
    held = session()
    converse(held, reading("/nothing", "/clip", "/why", "/save", SAD, "/why"), is_patient=True)
    assert len(shown(held).of("tell")) == 4
    assert shown(held).of("explain") == [SAD]


# ---------------------------------------------------------------- clips


def test_a_clip_comes_into_one_turn_and_no_other() -> None:
    clips = Clips()
    held = session(clips=clips)
    held.take("/clip one of mine.mp4")
    held.take(SAD)
    held.take("And now?")
    assert clips.taken == [Path("one of mine.mp4")]
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
