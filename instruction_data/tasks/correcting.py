"""Rows over evidence whose reading somebody corrected: the gold is theirs, not the appraisal's."""

from __future__ import annotations

import random

from affectgpt.appraise.prototypes import appraise
from affectgpt.records import Observations
from affectgpt.textualize import Sensed
from instruction_data.drafts import Draft, Evidence, Workbench
from instruction_data.scenes import Part, StagedScene

__all__ = ["corrected"]


def corrected(rng: random.Random, bench: Workbench) -> Draft | None:
    """One basic label, or the words that were given; None where the recipe has no corrections."""
    pool = bench.pool("feedback")
    if not pool:
        return None
    said = rng.choice(pool)
    example, observations = said.example, Observations(said.example.observations)
    appraisal = appraise(observations, None)
    if example.label is not None and (not example.labels or rng.random() < 0.5):
        prompt, answer = bench.prompts.render("label", observations), example.label
    else:
        prompt, answer = bench.prompts.render("words", observations, appraisal), ", ".join(example.labels)
    quotes = tuple(o.quote for o in observations.items if o.quote)
    parts = tuple(
        Part(m, said.source, said.label, dialogue=f"{said.source}:{said.dialogue}", sha256=example.group["media"])
        for m in dict.fromkeys(o.modality for o in observations.items)
    )
    evidence = Evidence(StagedScene(observations, Sensed(None, None, None), None, parts), appraisal, said.label)
    return Draft(
        prompt,
        answer,
        writer="corpus",
        writer_version=said.source,
        label=said.label,
        evidence=evidence,
        parts=parts,
        foreign=quotes,
    )
