"""What a conversation looks like: on a terminal, as plain lines, or as JSON. Words from outside are never acted on."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from affectgpt.cli.plain import plain
from affectgpt.dialogue import turn_json
from affectgpt.report.chain import chain_steps, chain_title

if TYPE_CHECKING:
    from rich.status import Status

    from affectgpt.cli.chat.talk import Spoken

__all__ = ["Display", "JsonDisplay", "PlainDisplay", "TerminalDisplay", "spoken_json"]

HELP_TITLE = "Help from people"
NAMES_WIDTH = 11
"""Columns that the names take at the left of a conversation; what is said stands beside them."""


class Display(Protocol):
    """Where a conversation is shown."""

    def wait(self) -> None:
        """A turn is being thought over."""
        ...

    def say(self, sentence: str) -> None:
        """A sentence of the reply."""
        ...

    def card(self, markdown: str) -> None:
        """Human help, as this turn calls for it."""
        ...

    def end(self, spoken: Spoken, last_card: str) -> None:
        """The turn is over; `last_card` is the help that has to stay in sight, from this turn or an earlier one."""
        ...

    def explain(self, spoken: Spoken) -> None:
        """The chain of a turn, folded out."""
        ...

    def tell(self, line: str) -> None:
        """Something of the program itself: a hint, a mistake, what was saved."""
        ...


def spoken_json(spoken: Spoken) -> dict[str, Any]:
    """A turn's document (see `affectgpt.dialogue.turn_json`), and `clip`: the name of the file that came with it."""
    return {**turn_json(spoken.turn), "clip": spoken.clip or None}


class JsonDisplay:
    """One line of JSON a turn on stdout, and nothing else there; what the program tells goes to stderr."""

    def wait(self) -> None:
        """Nothing: the line comes when the turn is over."""

    def say(self, sentence: str) -> None:
        """Nothing: see `wait`."""

    def card(self, markdown: str) -> None:
        """Nothing: the line holds it."""

    def end(self, spoken: Spoken, last_card: str) -> None:
        """The line."""
        sys.stdout.write(json.dumps(spoken_json(spoken), allow_nan=False) + "\n")
        sys.stdout.flush()

    def explain(self, spoken: Spoken) -> None:
        """On stderr; the line held it already."""
        for step in chain_steps(turn_json(spoken.turn)):
            self.tell("; ".join((step.title, *step.lines)))

    def tell(self, line: str) -> None:
        """On stderr."""
        sys.stderr.write(plain(line) + "\n")


class PlainDisplay:
    """For pipes: a line a reply, a card as its own lines before it."""

    def __init__(self) -> None:
        self._said = ""

    def wait(self) -> None:
        """Nothing."""

    def say(self, sentence: str) -> None:
        """Kept until the turn is over: a reply is one line."""
        self._said += sentence

    def card(self, markdown: str) -> None:
        """As it stands: Markdown is made to be read."""
        sys.stdout.write(markdown.strip() + "\n")

    def end(self, spoken: Spoken, last_card: str) -> None:
        """The reply's line; a card of an earlier turn is there already, for nothing scrolls away in a pipe."""
        if line := plain(self._said).strip():
            sys.stdout.write(line + "\n")
        self._said = ""
        sys.stdout.flush()

    def explain(self, spoken: Spoken) -> None:
        """The chain, its lines indented."""
        for step in chain_steps(turn_json(spoken.turn)):
            sys.stdout.write(f"{step.title}\n" + "".join(f"  {plain(line)}\n" for line in step.lines))

    def tell(self, line: str) -> None:
        """On stderr."""
        sys.stderr.write(plain(line) + "\n")


class TerminalDisplay:
    """For people: sentences as they are written, the chain folded into a line, and a help card that stays.

    A terminal scrolls, so that what has to stay in sight is shown again under every later turn.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._column = 0
        self._is_carded = False

    def wait(self) -> None:
        """A sign of life until the first sentence."""
        self._column, self._is_carded = 0, False
        self._status = self._console.status(Text("listening", "dim"))
        self._status.start()

    def say(self, sentence: str) -> None:
        """At once, after the agent's name, broken between words."""
        self._wake()
        if not self._column:
            self._console.print(Text("affectgpt".ljust(NAMES_WIDTH), "bold"), end="")
            self._column = NAMES_WIDTH
        self._console.print(Text(self._flowing(plain(sentence))), end="")

    def card(self, markdown: str) -> None:
        """In a frame, before anything else is said."""
        self._wake()
        self._is_carded = True
        self._frame(markdown)

    def end(self, spoken: Spoken, last_card: str) -> None:
        """The folded chain, and the card again where it was given in an earlier turn."""
        self._wake()
        if self._column:
            self._console.print()
        if folded := chain_title(turn_json(spoken.turn)):
            self._console.print(Text(f"{' ' * NAMES_WIDTH}{plain(folded)} · /why", "dim"))
        if last_card and not self._is_carded:
            self._frame(last_card)
        self._console.print()

    def explain(self, spoken: Spoken) -> None:
        """The chain, folded out."""
        for step in chain_steps(turn_json(spoken.turn)):
            self._console.print(Text(step.title, "bold"))
            for line in step.lines:
                self._console.print(Padding(Text(plain(line)), (0, 0, 0, 2)), soft_wrap=False)

    def tell(self, line: str) -> None:
        """Dimmed, between the turns."""
        self._wake()
        self._console.print(Text(plain(line), "dim"))

    def _flowing(self, text: str) -> str:
        """The text as it goes on from the column where the last sentence ended."""
        flowing = ""
        for word in text.split():
            size = cell_len(word)
            is_first = self._column == NAMES_WIDTH
            if not is_first and self._column + 1 + size > self._console.width:
                flowing += "\n" + " " * NAMES_WIDTH + word
                self._column = NAMES_WIDTH + size
            else:
                flowing += word if is_first else f" {word}"
                self._column += size + (not is_first)
        return flowing

    def _wake(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _frame(self, markdown: str) -> None:
        # The card's words are this package's own (data/help_lines.toml): nothing of the person's stands in them.
        panel = Panel(Markdown(markdown), title=HELP_TITLE, border_style="red", padding=(0, 1))
        self._console.print(panel, soft_wrap=False)
