"""Turns taken one after the other: a clip read, the words understood, a reply streamed, and what stopped it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from affectgpt.cli.chat.saving import save
from affectgpt.cli.chat.talk import Talk
from affectgpt.dialogue import Companion, Prepared, Reply, Turn
from affectgpt.dialogue.writing import write
from affectgpt.errors import AffectError, InputError
from affectgpt.records import Sampling
from affectgpt.safety import gravest, help_card

if TYPE_CHECKING:
    from affectgpt.cli.chat.clips import Reader, SensedClip
    from affectgpt.cli.chat.displays import Display
    from affectgpt.cli.chat.speaking import Speaker
    from affectgpt.engines.engine import Engine

__all__ = ["COMMANDS", "Crew", "Session"]

COMMANDS = (
    "/clip PATH brings a clip, a voice, a picture or a transcript into your next message; an empty line sends it alone",
    "/why folds out how the last answer came about",
    "/save FILE writes the conversation to a .md or .json file",
    "/quit ends it; Ctrl-C stops an answer, and twice ends the conversation",
    "//… sends a message that begins with a slash",
)
STOPPED = "stopped by the person"


@dataclass(frozen=True, slots=True)
class Crew:
    """Who takes part: who understands, who writes, who reads clips, where it is shown, and who speaks, if anybody."""

    companion: Companion
    engine: Engine
    clips: Reader
    display: Display
    speaker: Speaker | None = None


@dataclass(slots=True)
class Session:
    """A conversation as it is held. `n_failed` counts the replies that the engine did not give."""

    crew: Crew
    talk: Talk
    clip: Path | None = None
    n_failed: int = 0
    _saved: set[Path] = field(default_factory=set)

    def take(self, line: str) -> bool:
        """A line that was entered: a command, or a message. False where the conversation is over.

        Raises:
            AffectError: it could not be done; the conversation stands as before.
            KeyboardInterrupt: the answer was stopped; what was said of it is kept.
        """
        if line.startswith("/") and not line.startswith("//"):
            name, _, rest = line.partition(" ")
            return self._command(name, rest.strip())
        words = line.removeprefix("/") if line.startswith("//") else line
        if words.strip() or self.clip is not None:
            self.answer(words.strip())
        return True

    def bring(self, path: Path) -> None:
        """Bring a clip into the next turn. Raises InputError: none that can be read, or one waits already."""
        if self.clip is not None:
            raise InputError(f"{self.clip.name} waits for your message already", "send it, and the other one after it")
        self.crew.clips.check(path)
        self.clip = path

    def answer(self, words: str) -> Turn:
        """A turn with these words and the clip that waits, shown as it comes. Raises as `take` does."""
        crew, path = self.crew, self.clip
        self.clip = None
        self.hush()
        sensed = crew.clips.read(path) if path is not None else None
        crew.display.wait()
        is_stopped = False
        turn = self._stopped_by(words, sensed)
        if turn is None:
            prepared = crew.companion.prepare(self.talk.asked(words, sensed), crew.engine)
            if prepared.card:
                self._show_card(prepared.card)
            turn, is_stopped = self._reply(prepared)
        spoken = self.talk.add(turn, sensed.name if sensed else "")
        crew.display.end(spoken, self.talk.last_card)
        if is_stopped:
            raise KeyboardInterrupt
        return turn

    def hush(self) -> None:
        """Say nothing more aloud of what was answered so far."""
        if self.crew.speaker is not None:
            self.crew.speaker.hush()

    def _stopped_by(self, words: str, sensed: SensedClip | None) -> Turn | None:
        """The turn that ends at what is said in a clip, where that calls for help before anything else."""
        heard = gravest(self.crew.companion.screen.user(sensed.heard)) if sensed and sensed.heard else None
        if heard is None or not heard.stops:
            return None
        card = help_card(self.talk.locale, heard)
        self._show_card(card)
        return Turn(words, Reply("", "card", None, f"stopped: {heard.risk}"), card=card)

    def _reply(self, prepared: Prepared) -> tuple[Turn, bool]:
        """The turn with its reply, and whether the person stopped it."""
        if prepared.prompt is None:
            turn = prepared.turn()
            self._show(turn.reply.text)
            return turn, False
        said = ""
        try:
            with closing(write(prepared.prompt, self.crew.engine, self._sampling, self.crew.companion.screen)) as reply:
                while True:
                    try:
                        sentence = next(reply)
                    except StopIteration as end:
                        written = end.value
                        break
                    said += sentence
                    self._show(sentence)
        except KeyboardInterrupt:
            return replace(prepared.turn(said), reply=Reply(said.strip(), "engine", None, STOPPED)), True
        except AffectError as error:  # a prompt that the model's context does not hold, weights that broke
            return self._failed(prepared, error, said), False
        if written.error is not None:
            return self._failed(prepared, written.error, said), False
        turn = prepared.turn(written.text, written.completion, written.held)
        self._show(turn.reply.text[len(said.strip()) :])
        return turn, False

    def _failed(self, prepared: Prepared, error: AffectError, said: str) -> Turn:
        self.n_failed += 1
        turn = prepared.failed(error, said)
        self._show(turn.reply.text[len(said.rstrip()) :])
        self.crew.display.tell(str(error))
        return turn

    @property
    def _sampling(self) -> Sampling:
        return self.crew.companion.options.sampling

    def _show(self, text: str) -> None:
        if text.strip():
            self.crew.display.say(text)
            if self.crew.speaker is not None:
                self.crew.speaker.speak(text)

    def _show_card(self, card: str) -> None:
        self.crew.display.card(card)
        if self.crew.speaker is not None:
            self.crew.speaker.speak(card)

    def _command(self, name: str, rest: str) -> bool:
        commands: dict[str, Callable[[str], object]] = {
            "/clip": self._clip,
            "/why": self._why,
            "/save": self._save,
            "/help": self._help,
        }
        if name in ("/quit", "/exit"):
            return False
        if name not in commands:
            raise InputError(f"no command {name[:40]}", f"there are {', '.join(commands)} and /quit")
        commands[name](rest)
        return True

    def _help(self, rest: str) -> None:
        for line in COMMANDS:
            self.crew.display.tell(line)

    def _clip(self, rest: str) -> None:
        if not rest:
            raise InputError("no clip named", "write /clip and its path")
        self.bring(Path(rest).expanduser())
        self.crew.display.tell("The clip goes with your next message; an empty line sends it alone.")

    def _why(self, rest: str) -> None:
        if not self.talk.spoken:
            raise InputError("nothing was answered yet", "ask after a turn")
        self.crew.display.explain(self.talk.spoken[-1])

    def _save(self, rest: str) -> None:
        if not rest:
            raise InputError("no file named", "write /save and a name like talk.md")
        path = save(Path(rest), self.talk, self.crew.engine.model, frozenset(self._saved))
        self._saved.add(path)
        self.crew.display.tell(f"saved to {path}")
