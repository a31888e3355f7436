"""A clip brought into a turn: read here, told as observations, and never where face and voice must not be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from affectgpt.agent import AffectAgent
from affectgpt.cli.progress import open_display
from affectgpt.errors import OptionError
from affectgpt.readers import AgentOptions
from affectgpt.records import Outcome
from serve.composing import observed_lines
from serve.web.texts import say

__all__ = ["ClipReader", "Reader", "SensedClip", "refuse_clips"]


@dataclass(frozen=True, slots=True, eq=False)
class SensedClip:
    """What a clip shows. `name` is the file's, without its folder; `heard` the words that are said in it."""

    name: str
    outcome: Outcome
    heard: str = ""

    @property
    def observed(self) -> tuple[str, ...]:
        """The most telling observations in words, and how the person seems."""
        return observed_lines(self.outcome)


class Reader(Protocol):
    """Whoever reads clips."""

    def check(self, path: Path) -> None:
        """Raise what reading this file would raise on opening it; nothing is decoded."""
        ...

    def read(self, path: Path) -> SensedClip:
        """What the clip shows. Raises InputError, MissingDependency, ModelError."""
        ...


class ClipReader:
    """Reads clips by the agent's own steps; no language model is asked. The appraisers load with the first clip.

    `silent` shows no progress on stderr.
    """

    def __init__(self, options: AgentOptions, *, silent: bool) -> None:
        self._agent = AffectAgent(None, options)
        self._is_silent = silent

    def check(self, path: Path) -> None:
        """See `Reader.check`. Raises OptionError where face and voice must not be read."""
        refuse_clips(self._agent.options)
        self._agent.check(path)

    def read(self, path: Path) -> SensedClip:
        """See `Reader.read`."""
        self.check(path)
        with open_display(silent=self._is_silent) as progress:
            outcome = self._agent.explain(path, progress)
        said = outcome.transcript.utterances if outcome.transcript else ()
        return SensedClip(path.name, outcome, "\n".join(u.text for u in said))


def refuse_clips(options: AgentOptions) -> None:
    """Raise OptionError where the place forbids reading face and voice: there a talk is of words alone."""
    if options.setting is not None:
        raise OptionError("no clip is taken here", say(f"setting.{options.setting}"))
