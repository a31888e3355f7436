"""The command and its options: everything is opened here, in the order in which a person waits for it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from affectgpt.cli.flags import AnswerFlags, SenseFlags, remember_debug, takes
from affectgpt.cli.plain import plain
from affectgpt.cli.progress import open_display
from affectgpt.errors import EngineError, OptionError

if TYPE_CHECKING:
    from affectgpt.cli.chat.displays import Display
    from affectgpt.cli.chat.session import Session
    from affectgpt.dialogue import Companion
    from affectgpt.engines.engine import Engine

__all__ = ["chat"]

_TALK = "How it talks"
_SHOWN = "What is shown"
_NOT_ASKED = (
    "path", "face_file", "face_task", "top_k", "coverage", "transcript", "transcript_file", "sphinx",
    "key_observations", "revisions", "decide", "max_tokens",
)  # fmt: skip
"""Options of the explanation that a conversation has no use for."""
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True)
class TalkFlags:
    """How the conversation is held, and what of it is shown."""

    persona: Annotated[
        str,
        typer.Option(
            "--persona", metavar="NAME", help="warm, calm, lively, or a YAML file like theirs.", rich_help_panel=_TALK
        ),
    ] = "warm"
    clip: Annotated[
        Path | None,
        typer.Option("--clip", metavar="PATH", help="Bring this clip into the first message.", rich_help_panel=_TALK),
    ] = None
    locale: Annotated[
        str | None,
        typer.Option(
            "--locale",
            metavar="TAG",
            help="Whose help lines are shown, like de-AT; otherwise this machine's.",
            rich_help_panel=_TALK,
        ),
    ] = None
    two_stages: Annotated[
        bool,
        typer.Option(
            "--two-stages",
            help="Let the language model decide the feeling: one or two short answers more a turn.",
            rich_help_panel=_TALK,
        ),
    ] = False
    reply_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", help="Longest reply.", rich_help_panel=_TALK)
    ] = 120
    speak: Annotated[
        bool, typer.Option("--speak", help="Also speak the replies, with espeak-ng.", rich_help_panel=_SHOWN)
    ] = False
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="I read the notice and agree to it; for scripts.", rich_help_panel=_SHOWN),
    ] = False
    json: Annotated[
        bool, typer.Option("--json", help="A line of JSON a turn on stdout instead.", rich_help_panel=_SHOWN)
    ] = False
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the traceback of an error.", rich_help_panel=_SHOWN, callback=remember_debug
        ),
    ] = False


@takes(TalkFlags, SenseFlags, AnswerFlags, without=_NOT_ASKED)
def chat(flags: TalkFlags, sense: SenseFlags, answer: AnswerFlags) -> None:
    """Talk with an agent that understands, chooses how to answer, and says how. A line is a message; /help lists more.

    What it understood, the strategy it chose and what it ruled out stand behind /why. Without a terminal every line of
    stdin is a turn.
    """
    from affectgpt.cli.chat.consent import ask_consent
    from affectgpt.cli.chat.loop import converse, from_keyboard, from_pipe

    is_typed = sys.stdin.isatty()
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):  # what is no UTF-8 is shown as such, and never ends a conversation
            stream.reconfigure(errors="replace")
    locale = _locale(flags.locale)
    companion = _open_companion(flags, sense, answer)
    asks = (lambda prompt: from_keyboard(prompt, on_stderr=True)() or "") if is_typed else None
    ask_consent(_server(answer), is_given=flags.yes, read=asks)
    session = _open_session(companion, flags, sense, answer, locale)
    if flags.clip is not None:
        session.bring(flags.clip)
    _greet(session, flags, is_typed=is_typed)
    read = from_keyboard("you        ", on_stderr=flags.json or not sys.stdout.isatty()) if is_typed else from_pipe
    try:
        converse(session, read, is_patient=is_typed)
        if session.clip is not None and not is_typed:
            session.answer("")  # a clip that no words followed
    except BaseException:
        session.hush()
        raise
    if session.crew.speaker is not None:
        session.crew.speaker.finish()
    if session.n_failed and not is_typed:
        n_turns = len(session.talk.spoken)
        raise EngineError(f"the language model did not answer {session.n_failed} of {n_turns} turns", "see the notes")


def _open_companion(flags: TalkFlags, sense: SenseFlags, answer: AnswerFlags) -> Companion:
    """Who understands and chooses; a wrong persona or number is said before any model loads."""
    from affectgpt.dialogue import Companion, CompanionOptions

    if flags.reply_tokens < 1:
        raise OptionError(f"--max-tokens {flags.reply_tokens}", "give at least 1")
    sampling = replace(answer.sampling(), max_tokens=flags.reply_tokens)
    return Companion(
        CompanionOptions(
            persona=flags.persona, two_stages=flags.two_stages, permissive=sense.permissive, sampling=sampling
        )
    )


def _open_session(
    companion: Companion, flags: TalkFlags, sense: SenseFlags, answer: AnswerFlags, locale: str
) -> Session:
    from affectgpt.cli.chat.clips import ClipReader, refuse_clips
    from affectgpt.cli.chat.session import Crew, Session
    from affectgpt.cli.chat.speaking import PROGRAM, find_speaker
    from affectgpt.cli.chat.talk import Talk

    options = sense.options()
    if flags.clip is not None:
        refuse_clips(options)
        ClipReader(options, silent=True).check(flags.clip)
    display = _open_display(flags)
    is_silent = not sys.stderr.isatty()
    with open_display(silent=is_silent) as progress:
        progress("model", None)
        engine = _open_engine(answer)
        progress("model", 1.0)
    speaker = find_speaker(locale) if flags.speak else None
    if flags.speak and speaker is None:
        display.tell(f"{PROGRAM} is not installed, so that nothing is spoken; install it, or drop --speak")
    clips = ClipReader(options, silent=is_silent)
    return Session(Crew(companion, engine, clips, display, speaker), Talk(locale))


def _open_engine(answer: AnswerFlags) -> Engine:
    from affectgpt.engines.engine import open_engine

    # The shipped adapter explains clips: a reply is written by the model as it is, unless another is named.
    asked = answer.engine_options()
    return open_engine(replace(asked, adapter="none") if asked.adapter == "default" else asked)


def _open_display(flags: TalkFlags) -> Display:
    from affectgpt.cli.chat.displays import JsonDisplay, PlainDisplay, TerminalDisplay

    if flags.json:
        return JsonDisplay()
    return TerminalDisplay() if sys.stdin.isatty() and sys.stdout.isatty() else PlainDisplay()


def _greet(session: Session, flags: TalkFlags, *, is_typed: bool) -> None:
    """That one talks to an AI stands at the head of every conversation, agreed or not."""
    from serve.web.texts import say

    session.crew.display.tell(say("notice.strip"))
    if is_typed:
        session.crew.display.tell(f"persona {flags.persona} · model {session.crew.engine.model} · /help · /quit")


def _server(answer: AnswerFlags) -> str:
    """The host that what is written goes to; empty where a model of this machine answers."""
    asked = answer.engine_options()
    kind = os.environ.get("AFFECTGPT_ENGINE", "auto") if asked.engine == "auto" else asked.engine
    base_url = asked.base_url or os.environ.get("OPENAI_BASE_URL", "")
    if kind in ("local", "echo") or not base_url:
        return ""
    try:
        return plain(urlsplit(base_url).hostname or "")
    except ValueError:
        raise OptionError("--base-url is no URL", "write it like http://localhost:8000/v1") from None


def _locale(given: str | None) -> str:
    """The BCP 47 tag given, or that of the environment (POSIX: LC_ALL before LC_MESSAGES before LANG), or `en`.

    Raises:
        OptionError: what was given is no tag.
    """
    if given is not None:
        if not _LOCALE.fullmatch(given):
            raise OptionError(f"--locale {plain(given)[:40]!r} is no language tag", "write it like en, or de-AT")
        return given
    names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    tag = next(filter(None, names), "").split(".")[0].split("@")[0].replace("_", "-")
    return tag if _LOCALE.fullmatch(tag) else "en"
