"""One cue taken away or turned round, and whether the interpretation follows.

A row's evidence is read back out of its prompt and appraised again; only rows whose prompt comes out byte for byte the
same are used, so that what changes afterwards is the cue alone. The *decisive* cue is the one without which, or with
which the other way round, the appraisal comes to another label.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from affectgpt.answers import open_answer
from affectgpt.appraise.prototypes import appraise, distribute
from affectgpt.cues import load_cues, unit_of
from affectgpt.evaluation.faithfulness import Change, changes
from affectgpt.mentions import find_mentions, find_quotes
from affectgpt.parsing import parse, sentences
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Appraisal, Completion, Explanation, Modality, Observation, Observations, Prompt
from affectgpt.textualize import restate
from finetune.observed import read_appraisal, read_observations
from finetune.rows import Row
from finetune.slips import named_labels

__all__ = ["Evidence", "Flip", "Followed", "decisive", "draw_flips", "follow", "rebuild"]

PREFIXES = {Modality.FACE: "F", Modality.VOICE: "V", Modality.SPEECH: "S"}
GOLD_MATCH = 0.6
"""Match by which the training data appraise words whose corpus gives their feeling."""
_LEVEL_WORDS = {"above": "below", "below": "above"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """A row's evidence, and the reading of it that its prompt shows.

    `words` is the gold feeling of the words where the row was appraised by that; None where by the prior reading.
    """

    observations: Observations
    words: str | None = None

    def read(self, observations: Observations) -> Appraisal:
        """The appraisal of these observations, the words read as in the row."""
        if self.words is None or not observations.of(Modality.SPEECH):
            return appraise(observations)
        return appraise(observations, distribute({self.words: GOLD_MATCH} if self.words != "neutral" else {}))


@dataclass(frozen=True, slots=True)
class Flip:
    """A changed row: what was done to which cue, the prompt over the evidence after it, and its appraisal.

    `expected` is how far the appraisal's valence moves, `before` the label that it came to and `after` the new one.
    """

    row: Row
    cue: str
    quote: str | None
    kind: str
    expected: float
    before: str
    after: str
    prompt: Prompt
    appraisal: Appraisal


@dataclass(frozen=True, slots=True)
class Followed:
    """Whether an answer over changed evidence went along.

    label: its label is the new one. interpretation: also the cue is not told any more, every feeling that it reads in
    the evidence is one that a channel has now, and the new label is named. moved: how far the valence went.
    """

    label: bool
    interpretation: bool
    moved: float
    why_not: str = ""


def rebuild(row: Row, prompts: PromptLibrary) -> Evidence | None:
    """The evidence behind a row, or None where prompt or opening would not come out the same to the byte."""
    seen, shown = read_observations(row.messages), read_appraisal(row.messages)
    if shown is None:
        return None
    words = shown.by_modality.get(Modality.SPEECH.value)
    for evidence in (Evidence(seen), Evidence(seen, words.top if words else None)):
        prompt = _prompt(evidence.observations, evidence.read(seen), row, prompts)
        if prompt.messages == row.messages[:-1] and prompt.opening == row.opening:
            return evidence
    return None


def decisive(row: Row, evidence: Evidence, prompts: PromptLibrary) -> Flip | None:
    """The change of one cue that moves the reading furthest among those that bring another label; None without any."""
    before = evidence.read(evidence.observations).fused.top
    quotes = evidence.observations.of(Modality.SPEECH)
    for change in changes(evidence.observations, None, evidence.read):
        # What is left of several quotes has no reading of its own.
        if change.cue == "quote" and len(quotes) > 1 and evidence.words is not None:
            continue
        gone = _gone(evidence.observations, change)
        after = _renumbered(_reworded(evidence.observations, change.observations))
        appraisal = evidence.read(after)
        if appraisal.fused.top != before:
            prompt = _prompt(after, appraisal, row, prompts)
            return Flip(
                row,
                change.cue,
                gone.quote,
                change.kind,
                change.expected,
                before,
                appraisal.fused.top,
                prompt,
                appraisal,
            )
    return None


def draw_flips(rows: Iterable[Row], n: int, seed: int, prompts: PromptLibrary) -> tuple[list[Flip], dict[str, int]]:
    """At most `n` flips of rows drawn by the seed, in the rows' order; and how many rows were of what use."""
    counts = {"rows": 0, "not rebuilt": 0, "no decisive cue": 0, "with a decisive cue": 0}
    found = []
    for row in rows:
        counts["rows"] += 1
        evidence = rebuild(row, prompts)
        flip = decisive(row, evidence, prompts) if evidence is not None else None
        reason = "not rebuilt" if evidence is None else "no decisive cue" if flip is None else "with a decisive cue"
        counts[reason] += 1
        if flip is not None:
            found.append(flip)
    drawn = random.Random(seed).sample(range(len(found)), min(n, len(found)))
    return [found[i] for i in sorted(drawn)], counts


def follow(flip: Flip, before: Completion, after: Completion) -> Followed:
    """Set the answer over the changed evidence beside the one over the row's own."""
    first, then = parse(before), parse(after)
    if not isinstance(then, Explanation):
        return Followed(False, False, 0.0, f"not read: {then.reason}")
    moved = then.conclusion.valence - first.conclusion.valence if isinstance(first, Explanation) else 0.0
    if then.conclusion.label != flip.after:
        return Followed(False, False, moved, f"the label is {then.conclusion.label}, not {flip.after}")
    why_not = _clinging(flip, then.interpretation)
    return Followed(True, not why_not, moved, why_not)


def _clinging(flip: Flip, interpretation: str) -> str:
    """What in the interpretation still belongs to the evidence before the change; empty where nothing does."""
    if flip.quote is not None and any(q.strip(" .!?…") in flip.quote for q in find_quotes(interpretation)):
        return "the words that were taken away are quoted"
    # A measure of the voice that was turned round is still there; that it goes the right way is the claims' check.
    is_gone = flip.quote is None and not (flip.cue in load_cues().voice and flip.kind == "turned")
    if is_gone and any(m.cue == flip.cue and not m.negated for m in find_mentions(interpretation)):
        return f"{flip.cue} is still told"
    held = {d.top for d in flip.appraisal.by_modality.values()} | {flip.after}
    read = {label for s in sentences(interpretation) if "[" in s for label in named_labels(s)}
    if strange := sorted(read - held - {"neutral"}):
        return f"{strange[0]} is read where no channel is read so"
    if flip.after != "neutral" and flip.after not in named_labels(interpretation):
        return f"{flip.after} is not named"
    return ""


def _prompt(seen: Observations, appraisal: Appraisal, row: Row, prompts: PromptLibrary) -> Prompt:
    """The row's prompt over these observations, with an opening where the row has one."""
    prompt = prompts.render(str(row.provenance.get("prompt_id") or "explain"), seen, appraisal)
    return replace(prompt, opening=open_answer([restate(o) for o in seen.items]) if row.opening else "")


def _gone(before: Observations, change: Change) -> Observation:
    """The observation that was removed or turned round: the one of the change's cue that is no longer there."""
    return next(o for o in before.items if o.cue == change.cue and o not in change.observations.items)


def _renumbered(seen: Observations) -> Observations:
    """Ids without a gap, as the textualizers number: a gap would tell that something was taken away."""
    counted = dict.fromkeys(PREFIXES, 0)
    items = []
    for o in seen.items:
        if o.id.startswith("M"):
            items.append(o)
            continue
        counted[o.modality] += 1
        items.append(replace(o, id=f"{PREFIXES[o.modality]}{counted[o.modality]}"))
    return replace(seen, items=tuple(items))


def _reworded(before: Observations, after: Observations) -> Observations:
    """The turned observation told in the row's own vocabulary; the other items are as they were."""
    known = before.by_id()
    return replace(after, items=tuple(_as_told(known[o.id], o) for o in after.items))


def _as_told(old: Observation, new: Observation) -> Observation:
    if new == old:
        return new
    cues, unit, turned = load_cues(), unit_of(old.cue), unit_of(new.cue)
    if unit is not None and turned is not None and old.text.startswith(f"{old.cue}: "):
        told = f"{old.cue}: {cues.face[unit].movement}", f"{new.cue}: {cues.face[turned].movement}"
        return replace(new, text=old.text.replace(*told))
    if old.cue in cues.voice and old.text.startswith(f"{cues.voice[old.cue].noun}, "):
        words = (_LEVEL_WORDS.get(w, w) for w in old.text.split(" "))
        return replace(new, text=" ".join(words))
    return new
