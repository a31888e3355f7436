"""Scenes drawn for one split: put together from several recordings, or one recording as it is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from affectgpt.records import Modality, Observations, Transcript, TranscriptSource
from affectgpt.records.instruction import Split
from affectgpt.textualize import Sensed
from instruction_data.degrading import worsen_face
from instruction_data.material import Material, Seen
from instruction_data.scenes import Part, Stage, StagedScene
from instruction_data.signals.conditions import CONDITIONS, Condition, condition
from instruction_data.signals.recipe import SignalRecipe
from instruction_data.signals.shelf import Shelf

__all__ = ["Take", "takes"]

REDRAWN = 40
"""Draws for one scene where its voice comes from nobody's recording."""
_F, _V, _S = Modality.FACE, Modality.VOICE, Modality.SPEECH
_WHOLE = next(iter(CONDITIONS.values()))
_ABSENT = {_F: "the clip has no pictures", _V: "the clip has no sound"}


@dataclass(frozen=True, slots=True)
class Take:
    """One scene under one condition. `snr_db`: of the noise that its voice is heard through; None for none."""

    scene_id: str
    split: Split
    kind: str
    scene: StagedScene
    condition: Condition
    snr_db: float | None = None

    @property
    def voice_sha256(self) -> str:
        """The recording that the voice is heard in; empty where there is none."""
        return self.part_sha256(_V)

    def part_sha256(self, modality: Modality) -> str:
        """The recording that a modality was taken from; empty for one that was made up."""
        return next((p.sha256 for p in self.scene.parts if p.modality is modality and p.sha256), "")


def takes(recipe: SignalRecipe, split: Split, material: Material, shelf: Shelf) -> Iterator[Take]:
    """Every scene of a split under every condition that it is to be seen under, in a fixed order."""
    for scene_id, scene in _alone(recipe, material):
        yield from _under(recipe.alone_conditions, Take(scene_id, split, "alone", scene, _WHOLE))
    stage = Stage(material, recipe.scenes)
    for i in range(recipe.joined.get(split, 0)):
        rng = random.Random(f"{recipe.seed}/{split}/signals/{i}")
        scene = _drawn(rng, stage, shelf)
        if scene is not None:
            take = Take(f"joined/{split}/{i:06d}", split, "joined", scene, _WHOLE)
            yield from [_worn(recipe, rng, take)] if split == "train" else _under(recipe.conditions, take)


def _under(names: tuple[str, ...], whole: Take) -> Iterator[Take]:
    """The scene whole and, in the splits that test, under each condition that fits it."""
    yield whole
    if whole.split == "train":
        return
    for given in map(condition, names):
        if given.fits(whole.scene.sensed):
            yield replace(whole, condition=given, snr_db=given.snr_db)


def _drawn(rng: random.Random, stage: Stage, shelf: Shelf) -> StagedScene | None:
    """A scene whose voice, where it has one, is in a recording at hand; None where no draw gives one."""
    for _ in range(REDRAWN):
        scene = stage.draw(rng)
        voices = [p for p in scene.parts if p.modality is _V]
        if all(shelf.has(p.sha256) for p in voices):
            return scene
    return None


def _worn(recipe: SignalRecipe, rng: random.Random, take: Take) -> Take:
    """A training scene as other recordings are: a face that is lost at times, a voice through noise."""
    sensed, snr_db = take.scene.sensed, None
    if sensed.face is not None and rng.random() < recipe.worn:
        sensed = replace(sensed, face=worsen_face(rng, sensed.face))
    if sensed.voice is not None and rng.random() < recipe.noisy:
        snr_db = rng.choice(recipe.snrs_db)
    return replace(take, scene=replace(take.scene, sensed=sensed), snr_db=snr_db)


def _alone(recipe: SignalRecipe, material: Material) -> Iterator[tuple[str, StagedScene]]:
    """Every recording of the named sets by itself, with its own words."""
    for seen in material.seen:
        if seen.source not in recipe.alone or seen.label is None:
            continue
        face, voice, said = seen.face, seen.voice, seen.recording.words
        if face is None and voice is None:
            continue
        absent = {m: why for m, why in _ABSENT.items() if (face if m is _F else voice) is None}
        sensed = Sensed(face, voice, said or Transcript((), TranscriptSource.NONE), absent)
        parts = tuple(_part(m, seen) for m, track in ((_F, face), (_V, voice)) if track is not None)
        name = f"alone/{seen.source}/{seen.recording.name}/{seen.recording.sha256[:8]}"
        yield name, StagedScene(Observations(()), sensed, None, parts, is_one_person=True)


def _part(modality: Modality, seen: Seen) -> Part:
    return Part(modality, seen.source, seen.label, f"{seen.source}:{seen.speaker}", "", seen.recording.sha256)
