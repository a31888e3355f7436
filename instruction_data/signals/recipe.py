"""What a folder of scenes with signals is made of, as YAML; keys and overrides as in `instruction_data.recipe`."""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from affectgpt.errors import OptionError
from affectgpt.records.instruction import Split
from affectgpt.records.signal_example import WHOLE
from instruction_data import recipe as recipes
from instruction_data.composer import VERSION
from instruction_data.material import KINDS
from instruction_data.recipe import SourceEntry
from instruction_data.scenes import Mix
from instruction_data.signals.conditions import condition

__all__ = ["EMBEDDED", "SignalRecipe", "load_signal_recipe"]

EMBEDDED = ("face-units@1", "voice-descriptors@1")
"""The encoders that need no weights."""


@dataclass(frozen=True, slots=True)
class SignalRecipe:
    """A whole folder of scenes.

    data: folder from which the sources' paths start.
    out: folder that rows, features and the resolved recipe are written to.
    tracks: folder in which recordings that were read are kept; several recipes may share it.
    seed: of every draw, and of the splits.
    splits: share of speakers and dialogues that each split is given.
    joined: scenes a split that are put together from several recordings; of those that test, every condition is made.
    alone: sets whose recordings are rows by themselves too, each as it is.
    conditions: what is taken from scenes of the splits other than train, each a row of its own beside the whole.
    alone_conditions: the same, of recordings by themselves.
    noisy: share of training scenes whose voice is heard through noise, at one of `snrs_db`.
    worn: share of training scenes whose face is made worse.
    scenes: how faces, voices and words are put together; voices come from recordings alone, since only those sound.
    encoders: `id@version` of the embedded encoders, or `pictures:FOLDER`, `sounds:FOLDER` for a Hugging Face model.
    sources: the corpora.
    """

    name: str = "signals"
    data: Path = Path()
    out: Path = Path("runs/signals")
    tracks: Path = Path("runs/tracks")
    seed: int = 7
    splits: Mapping[Split, float] = field(default_factory=lambda: {"train": 0.8, "dev": 0.2})
    joined: Mapping[Split, int] = field(default_factory=lambda: {"train": 1000, "dev": 100})
    alone: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    alone_conditions: tuple[str, ...] = ()
    noisy: float = 0.2
    worn: float = 0.2
    snrs_db: tuple[float, ...] = (20.0, 10.0, 5.0)
    scenes: Mix = field(default_factory=lambda: Mix(real=1.0, degraded=0.0))
    encoders: tuple[str, ...] = EMBEDDED
    sources: tuple[SourceEntry, ...] = ()

    def __post_init__(self) -> None:
        """Raise OptionError for a value that no build can use."""
        for name in (*self.conditions, *self.alone_conditions):
            condition(name)
        for kind, given, known in (
            ("split in joined", self.joined, self.splits),
            ("set", [s.set for s in self.sources], KINDS),
            ("set in alone among the sources", self.alone, [s.set for s in self.sources]),
        ):
            if unknown := [k for k in given if k not in known]:
                raise OptionError(f"no {kind} {unknown[0]!r}", f"there are {', '.join(sorted(known))}")
        if WHOLE in (*self.conditions, *self.alone_conditions):
            raise OptionError(f"the condition {WHOLE!r} is always made", "leave it out")
        if self.scenes.degraded:
            raise OptionError("scenes.degraded wears voices without their sound", "use worn and noisy")
        if not self.snrs_db and self.noisy:
            raise OptionError("noisy scenes without a level of noise", "give snrs_db, or noisy: 0")

    def plain(self) -> dict[str, Any]:
        """The recipe in YAML's own types, every key written out."""
        return typing.cast(dict[str, Any], recipes.plain(self))

    def fingerprint(self) -> str:
        """A hash of what decides which rows come out; where things lie is left out."""
        decides = {k: v for k, v in self.plain().items() if k not in ("data", "out", "tracks")}
        return hashlib.sha256(json.dumps([decides, VERSION], sort_keys=True).encode()).hexdigest()


def load_signal_recipe(path: Path | str, overrides: Sequence[str] = ()) -> SignalRecipe:
    """Read a recipe, by path or by the name of a shipped one, and override keys by `key=value`.

    Raises: as `instruction_data.recipe.load_recipe`.
    """
    folder = Path(str(files("instruction_data"))) / "signals" / "recipes"
    shipped = {p.stem: p for p in sorted(folder.glob("*.yaml"))}
    return typing.cast(SignalRecipe, recipes.read_recipe(SignalRecipe, path, overrides, shipped))
