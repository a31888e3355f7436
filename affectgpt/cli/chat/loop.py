"""Lines read and taken until the conversation is over. Ctrl-C stops an answer; twice, it stops everything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from affectgpt.errors import AffectError, InputError

if TYPE_CHECKING:
    from affectgpt.cli.chat.session import Session

__all__ = ["LONGEST_LINE", "converse", "from_keyboard", "from_pipe"]

LONGEST_LINE = 1_000_000
"""Characters of one message: ten times a long chapter. What is longer is no message."""

Read = Callable[[], str | None]
"""Gives the next line, and None at the end."""


def converse(session: Session, read: Read, *, is_patient: bool) -> None:
    """Take lines until there are no more. `is_patient`: a mistake is told and the talk goes on, as with a person.

    Raises:
        AffectError: a line could not be taken, and nobody is there to be told. KeyboardInterrupt: the person left.
    """
    is_pressed = False
    while True:
        try:
            line = read()
            if line is None:
                return
            is_pressed = False
            if not session.take(line):
                return
        except KeyboardInterrupt:
            if is_pressed or not is_patient:
                raise
            is_pressed = True
            session.hush()
            session.crew.display.tell("Stopped. Ctrl-C once more, or /quit, ends the conversation.")
        except AffectError as error:
            if not is_patient:
                raise
            session.crew.display.tell(str(error))


def from_pipe() -> str | None:
    """The next line of standard input. Raises InputError where it is too long."""
    line = sys.stdin.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise InputError(f"a line of more than {LONGEST_LINE:,} characters", "send it in several turns")
    return line.rstrip("\r\n") if line else None


def from_keyboard(prompt: str, *, on_stderr: bool) -> Read:
    """Reads what a person types, with the system's own line editing where there is one."""
    with suppress(ImportError):
        import readline  # noqa: F401 - that it is imported gives `input` its history and its arrow keys

    def read() -> str | None:
        try:
            if on_stderr:  # stdout holds nothing but the turns
                sys.stderr.write(prompt)
                sys.stderr.flush()
            return input("" if on_stderr else prompt)
        except EOFError:
            return None

    return read
