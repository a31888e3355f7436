"""The vocabulary of observable cues: what an action unit or acoustic measure is called, and how strong is how strong.

One vocabulary for the textualizers, the prompt, the answer's check and the training data; the facts and their sources
stand in data/action_units.toml and data/acoustic_cues.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from affectgpt.records import Observation

__all__ = ["CueVocabulary", "FaceCue", "FaceLevel", "VoiceCue", "VoiceLevel", "load_cues", "noun_phrase", "unit_of"]

VoiceLevel = Literal["much lower", "lower", "near", "higher", "much higher"]


@dataclass(frozen=True, slots=True)
class FaceLevel:
    """One class of FACS intensity: letter A to E, the least intensity in [0, 5], and its words, ours first."""

    letter: str
    least: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FaceCue:
    """One action unit: FACS number and name, the movement as noun and clause, its phrases.

    `mouth` if speech moves it too; `telling` in (0, 1] weighs its rank among observations.
    """

    unit: int
    name: str
    noun: str
    movement: str
    phrases: tuple[str, ...]
    mouth: bool = False
    telling: float = 1.0

    @property
    def key(self) -> str:
        """The cue key used in observations, for example `AU12`."""
        return f"AU{self.unit}"


@dataclass(frozen=True, slots=True)
class VoiceCue:
    """One acoustic measure: its name, unit and digits in print, and the adjectives for each direction."""

    key: str
    name: str
    noun: str
    unit: str
    digits: int
    up: str
    down: str
    phrases: tuple[str, ...]
    up_words: tuple[str, ...]
    down_words: tuple[str, ...]

    def adjective(self, level: str) -> str:
        """The words for a voice level, for example `much wider`; `near the baseline` when it is near."""
        if level == "near":
            return "near the baseline"
        word = self.up if level.endswith("higher") else self.down
        return f"much {word}" if level.startswith("much") else word


@dataclass(frozen=True, slots=True)
class CueVocabulary:
    """All cues with their words and classes."""

    face: Mapping[int, FaceCue]
    face_levels: tuple[FaceLevel, ...]
    voice: Mapping[str, VoiceCue]
    voice_told_sd: float
    voice_much_sd: float

    def face_level(self, intensity: float) -> FaceLevel | None:
        """The FACS class of an intensity in [0, 5], or None below a trace."""
        reached = [level for level in self.face_levels if intensity >= level.least]
        return reached[-1] if reached else None

    def face_word(self, letter: str) -> str:
        """The word we write for a FACS letter."""
        return next(level.words[0] for level in self.face_levels if level.letter == letter)

    def voice_level(self, z: float) -> VoiceLevel:
        """The class of a difference of `z` standard deviations."""
        if abs(z) < self.voice_told_sd:
            return "near"
        if z > 0:
            return "much higher" if z >= self.voice_much_sd else "higher"
        return "much lower" if z <= -self.voice_much_sd else "lower"


def noun_phrase(o: Observation) -> str:
    """What was observed as a noun phrase: `raised cheeks`, `a much higher pitch`, `the words`."""
    cues, unit = load_cues(), unit_of(o.cue)
    if unit is not None:
        return cues.face[unit].noun
    if o.cue not in cues.voice:
        return "the words"
    cue = cues.voice[o.cue]
    return f"a {cue.adjective(o.level or 'near')} {cue.noun}"


def unit_of(cue: str) -> int | None:
    """The FACS number in a cue key such as `AU12`, or None for other cues."""
    match = re.fullmatch(r"AU(\d+)", cue)
    return int(match.group(1)) if match else None


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(files("affectgpt").joinpath("data", name).read_text(encoding="utf-8"))


def _lists_to_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}


@cache
def load_cues() -> CueVocabulary:
    """The shipped vocabulary, read once."""
    face, voice = _table("action_units.toml"), _table("acoustic_cues.toml")
    levels = tuple(FaceLevel(k, v["from"], tuple(v["words"])) for k, v in sorted(face["levels"].items()))
    units = {
        int(n): FaceCue(
            int(n),
            row["name"],
            row["noun"],
            row["movement"],
            tuple(row["phrases"]),
            row.get("mouth", False),
            row.get("telling", 1.0),
        )
        for n, row in face["units"].items()
    }
    measures = {key: VoiceCue(key=key, **_lists_to_tuples(row)) for key, row in voice["measures"].items()}
    return CueVocabulary(units, levels, measures, voice["levels"]["told"], voice["levels"]["much"])
