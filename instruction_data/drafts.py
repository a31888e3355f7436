"""A row before it is accepted: what is asked, what is answered, and everything that the filters look at."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from affectgpt.prompting import PromptLibrary
from affectgpt.records import Appraisal, Modality, Observations, Prompt
from instruction_data.material import Material, Said
from instruction_data.scenes import Part, Stage, StagedScene

__all__ = ["Draft", "Evidence", "Task", "Workbench", "of_said"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an explanation is written from. `label` is the conclusion that it must come to, None for `cannot tell`."""

    scene: StagedScene
    appraisal: Appraisal
    label: str | None

    @property
    def observations(self) -> Observations:
        """What was observed."""
        return self.scene.observations


@dataclass(frozen=True, slots=True)
class Draft:
    """One row in the making.

    answer: the text to learn, its opening included; empty where a writer has yet to write it from `evidence`.
    label: the basic label that the answer comes to, where it comes to one.
    foreign: texts by other people that stand in the row: quotes, dialogues, replies.
    """

    prompt: Prompt
    answer: str
    opening: str = ""
    writer: str = "composer"
    writer_version: str = ""
    label: str | None = None
    evidence: Evidence | None = None
    parts: tuple[Part, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def speaker(self) -> str:
        """Everybody seen, heard or quoted, with semicolons."""
        return "; ".join(dict.fromkeys(p.speaker.replace(";", ",") for p in self.parts if p.speaker))

    @property
    def dialogue(self) -> str:
        """Every dialogue quoted, with semicolons."""
        return "; ".join(dict.fromkeys(p.dialogue.replace(";", ",") for p in self.parts if p.dialogue))

    def over(self, evidence: Evidence) -> Draft:
        """The same, made from a scene."""
        parts = evidence.scene.parts
        foreign = tuple(p.text for p in parts if p.text and p.source != "drawn")
        return replace(self, evidence=evidence, parts=parts, foreign=foreign)


@dataclass(frozen=True, slots=True, eq=False)
class Workbench:
    """What tasks make rows from: one split's material, a stage for scenes, the prompts, and who appraises.

    restated: share of explanations whose key observations are given, as the agent gives them.
    in_turn: share of yes/no rows that ask many questions, one after the other.
    """

    material: Material
    stage: Stage
    appraise: Callable[[StagedScene], Appraisal]
    prompts: PromptLibrary = field(default_factory=PromptLibrary)
    restated: float = 0.9
    in_turn: float = 0.0
    writer: str = "composer"
    is_told: bool = True

    def pool(self, name: str) -> tuple[Said, ...]:
        """Utterances of one set; empty where the recipe has no such source."""
        return tuple(self.material.said.get(name, ()))


Task = Callable[[random.Random, Workbench], Draft | None]
"""Makes one row of its kind, or None where the material or the draw gives none; same generator, same row."""


def of_said(said: Said, prompt: Prompt, answer: str, *more: str) -> Draft:
    """A row whose answer a corpus gives. `more` are other texts of the corpus that stand in it."""
    part = Part(
        modality=Modality.SPEECH,
        source=said.source,
        label=said.label,
        speaker=f"{said.source}:{said.speaker}" if said.speaker else "",
        dialogue=f"{said.source}:{said.dialogue}" if said.dialogue else "",
        text=said.text,
    )
    return Draft(prompt, answer, writer="corpus", writer_version=said.source, parts=(part,), foreign=(said.text, *more))
