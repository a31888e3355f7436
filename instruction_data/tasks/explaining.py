"""Rows over a scene's observations: the three-part explanation, the label alone, open words, a face in words."""

from __future__ import annotations

import random

from affectgpt.answers import CANNOT_TELL, open_answer
from affectgpt.cues import load_cues, unit_of
from affectgpt.records import Modality, Observation
from affectgpt.textualize import restate
from instruction_data.composer import VERSION, conclude
from instruction_data.drafts import Draft, Evidence, Workbench

__all__ = ["describe", "explain", "face_units", "label", "stage", "words"]

_LINKS = (". ", "; ", ", and ")


def stage(rng: random.Random, bench: Workbench) -> Evidence:
    """A scene with its appraisal and the label that the appraisal comes to."""
    scene = bench.stage.draw(rng)
    appraisal = bench.appraise(scene)
    return Evidence(scene, appraisal, conclude(scene.observations, appraisal).label)


def explain(rng: random.Random, bench: Workbench) -> Draft:
    """Three parts from observations. The answer is left to the writer; a part of the rows gives its first part."""
    evidence = stage(rng, bench)
    prompt = bench.prompts.render("explain", evidence.observations, evidence.appraisal)
    opening = open_answer([restate(o) for o in evidence.observations.items]) if rng.random() < bench.restated else ""
    return Draft(prompt, "", opening, label=evidence.label).over(evidence)


def label(rng: random.Random, bench: Workbench) -> Draft:
    """One basic label, or `cannot tell` where nothing was observed."""
    evidence = stage(rng, bench)
    prompt = bench.prompts.render("label", evidence.observations)
    answer = evidence.label or CANNOT_TELL
    return Draft(prompt, answer, writer_version=VERSION, label=evidence.label).over(evidence)


def words(rng: random.Random, bench: Workbench) -> Draft:
    """Open-vocabulary words, the likeliest first."""
    evidence = stage(rng, bench)
    prompt = bench.prompts.render("words", evidence.observations, evidence.appraisal)
    told = conclude(evidence.observations, evidence.appraisal)
    answer = ", ".join(told.emotions) or CANNOT_TELL
    return Draft(prompt, answer, writer_version=VERSION, label=evidence.label).over(evidence)


def describe(rng: random.Random, bench: Workbench) -> Draft | None:
    """Action units with their numbers to the movements that they are, and how far each goes."""
    evidence = stage(rng, bench)
    units = face_units(evidence)
    if not units:
        return None
    rng.shuffle(units)
    listed = "\n".join(f"{o.cue} {o.value:.1f}" for o in units)
    prompt = bench.prompts.get("describe").render(units=listed)
    link = rng.choice(_LINKS) if len(units) > 1 else ". "
    with_codes = rng.random() < 0.7
    told = [_movement(o, with_codes) for o in units]
    told = [_upper(t) if i == 0 or link == ". " else t for i, t in enumerate(told)]
    # Three clauses joined by "and" would read as a chain.
    text = "; ".join(told) if link == ", and " and len(told) > 2 else link.join(told)
    return Draft(prompt, f"{text}.", writer_version=VERSION).over(evidence)


def face_units(evidence: Evidence) -> list[Observation]:
    """The action units observed, with their numbers."""
    seen = evidence.observations.of(Modality.FACE)
    return [o for o in seen if unit_of(o.cue) is not None and o.value is not None and o.level]


def _movement(o: Observation, with_code: bool) -> str:
    unit = unit_of(o.cue)
    assert unit is not None
    code = f" ({o.cue})" if with_code else ""
    return f"{load_cues().face[unit].movement}{code}, {load_cues().face_word(o.level or 'A')}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
