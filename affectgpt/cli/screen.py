"""An outcome on a terminal. Every word that came from outside passes through `plain`; nothing is read as markup."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from affectgpt.cli.plain import plain
from affectgpt.record_json import NOTICE, describe_revision, leading, revision_json
from affectgpt.records import (
    Appraisal,
    CheckedClaim,
    Clip,
    Conclusion,
    Decision,
    EmotionDistribution,
    Explanation,
    Grounding,
    Observation,
    Outcome,
    UnparsedAnswer,
    Verdict,
)

__all__ = ["show"]

_MARKS = {Verdict.SUPPORTED: ("✓", "green"), Verdict.CONTRADICTED: ("✗", "red"), Verdict.UNCITED: ("?", "yellow")}
_ID = re.compile(r"\b[FVSM]\d+\b")


def show(outcome: Outcome, console: Console | None = None) -> None:
    """Print the outcome: observations, the three parts, grounding, who answered, and what was missing."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot print a letter should still get the rest
    console = console or Console(highlight=False)
    if outcome.clip:
        console.print(Text(_describe(outcome.clip), "dim"))
    _show_observations(console, outcome)
    if outcome.appraisal:
        _show_appraisal(console, outcome.appraisal)
    if isinstance(outcome.answer, Explanation):
        _show_explanation(console, outcome.answer, outcome.decision)
    elif isinstance(outcome.answer, UnparsedAnswer):
        _show_unparsed(console, outcome.answer)
    elif not any(not o.is_missing for o in outcome.observations.items):
        _heading(console, "Nothing to explain")
        console.print(_body("Nothing was seen, heard or said that could be weighed, so no model was asked."))
    _show_origin(console, outcome)


def _describe(clip: Clip) -> str:
    size = f"{clip.width_px}×{clip.height_px}" if clip.width_px else ""
    if clip.is_image:
        parts = [size, "still image"]
    else:
        rate = f" at {clip.fps:.3g} fps" if clip.has_video and clip.fps else ""
        sound = "sound" if clip.has_audio else "no sound"
        parts = [f"{clip.duration_s:.1f} s", size + rate if clip.has_video else "no pictures", sound]
    return " · ".join([plain(clip.path.name), *filter(None, parts)])


def _show_observations(console: Console, outcome: Outcome) -> None:
    items = outcome.observations.items
    present = [o for o in items if not o.is_missing]
    missing = [o for o in items if o.is_missing]
    if present:
        _heading(console, "Observations")
        console.print(_table(present, "cyan"))
    if missing:
        _heading(console, "Missing")
        console.print(_table(missing, "dim"))
    if outcome.transcript and outcome.transcript.note:
        console.print(_body(plain(f"words: {outcome.transcript.note}")))


def _show_appraisal(console: Console, appraisal: Appraisal) -> None:
    _heading(console, "Appraisal")
    table = Table.grid(padding=(0, 2))
    for name, distribution in (*appraisal.by_modality.items(), ("together", appraisal.fused)):
        table.add_row(Text(plain(name)), Text(_likely(distribution)), Text(_trust(appraisal, name), "dim"))
    console.print(Padding(table, (0, 0, 0, 2)))
    for conflict in appraisal.conflicts:
        console.print(_body(f"conflict: {conflict}"))
    for name, probability in appraisal.compounds.items():
        console.print(_body(f"compound: {name} {probability:.2f}"))
    if told := appraisal.emotion_set:
        kept = ", ".join(told.labels) if told.labels else "none"
        unsure = ": too many to tell" if told.abstains else ""
        console.print(_body(f"not ruled out at {told.coverage:.0%} coverage: {kept}{unsure}"))
    if appraisal.course:
        course = " · ".join(f"{m.start_s:.0f}–{m.end_s:.0f} s {m.fused.top}" for m in appraisal.course)
        console.print(_body(f"over time: {course}"))


def _likely(distribution: EmotionDistribution) -> str:
    return " · ".join(f"{emotion} {p:.2f}" for emotion, p in leading(distribution, 3))


def _trust(appraisal: Appraisal, name: str) -> str:
    if name not in appraisal.reliability:
        return ""
    weight = f", weight {appraisal.weights[name]:.2f}" if name in appraisal.weights else ""
    return f"reliability {appraisal.reliability[name]:.2f}{weight}"


def _show_decision(console: Console, decision: Decision) -> None:
    """The label that counts, and that the other side says otherwise where it does."""
    said = {"appraisal": ("the appraisers", decision.appraisal), "llm": ("the model", decision.llm)}
    other, label = said["llm" if decision.by == "appraisal" else "appraisal"]
    against = f"; {other} would say {plain(label or '')}" if decision.is_disputed else ""
    line = f"basic label {plain(decision.label or 'cannot tell')}, by {said[decision.by][0]}{against}"
    console.print(_body(line))


def _table(observations: Iterable[Observation], style: str) -> Padding:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for o in observations:
        table.add_row(Text(o.id, style), Text(plain(o.text)))
    return Padding(table, (0, 0, 0, 2))


def _show_explanation(console: Console, answer: Explanation, decision: Decision) -> None:
    verdicts = {c.claim.text: c.verdict for c in answer.grounding.claims} if answer.grounding else {}
    _heading(console, "Key observations")
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in answer.observations:
        table.add_row(Text(*_MARKS[verdicts[line]]) if line in verdicts else Text("•"), _cited(line))
    console.print(Padding(table, (0, 0, 0, 2)))
    _heading(console, "Interpretation")
    console.print(_body(answer.interpretation or "Nothing of it is carried by the evidence."))
    if answer.revision and (n := len(answer.revision.withdrawn)):
        gone = "1 sentence was" if n == 1 else f"{n} sentences were"
        console.print(Padding(Text(f"({gone} withdrawn, see Grounding)", "dim"), (0, 0, 0, 2)))
    _heading(console, "Conclusion")
    _show_conclusion(console, answer.conclusion)
    _show_decision(console, decision)
    if answer.grounding:
        _show_grounding(console, answer.grounding)
    if answer.revision:
        console.print(_body(describe_revision(revision_json(answer.revision))))
        for checked in answer.revision.withdrawn:
            _show_fault(console, checked)


def _show_conclusion(console: Console, conclusion: Conclusion) -> None:
    emotions = plain(", ".join(conclusion.emotions)) or "none named"
    console.print(Padding(Text(emotions, "bold"), (0, 0, 0, 2)))
    dimensions = (("valence", conclusion.valence), ("arousal", conclusion.arousal), ("dominance", conclusion.dominance))
    scales = " · ".join(f"{name} {value:+.2f}" for name, value in dimensions)
    console.print(Padding(Text(f"{scales} · confidence {conclusion.confidence:.2f}"), (0, 0, 0, 2)))


def _show_grounding(console: Console, grounding: Grounding) -> None:
    counts = ", ".join(f"{grounding.count(v)} {v.value}" for v in Verdict)
    _heading(console, "Grounding")
    console.print(_body(f"{len(grounding.claims)} claims checked against what they cite: {counts}"))
    for checked in grounding.claims:
        if checked.verdict is not Verdict.SUPPORTED:
            _show_fault(console, checked)


def _show_fault(console: Console, checked: CheckedClaim) -> None:
    mark, style = _MARKS[checked.verdict]
    line = Text.assemble((f"{mark} ", style), _cited(checked.claim.text), (f" – {plain(checked.reason)}", "dim"))
    console.print(Padding(line, (0, 0, 0, 2)))


def _show_unparsed(console: Console, answer: UnparsedAnswer) -> None:
    _heading(console, "The answer could not be read")
    console.print(_body(f"{answer.reason}. What the model wrote:"))
    for line in answer.raw.splitlines():
        console.print(Padding(Text(plain(line), "dim"), (0, 0, 0, 4)))


def _show_origin(console: Console, outcome: Outcome) -> None:
    console.print()
    seconds = outcome.timings_s.get("total", 0.0)
    if c := outcome.completion:
        writer = outcome.versions.get("key observations", "")
        line = f"engine {c.engine} · model {c.model} · prompt {c.prompt_id} {c.prompt_version} · {seconds:.1f} s"
        line += f" · key observations {writer}" if writer else ""
        console.print(Text(plain(line), "dim"))
        console.print(Text(NOTICE, "dim"))
    else:
        console.print(Text(f"affectgpt {outcome.versions.get('affectgpt', '')} · {seconds:.1f} s".strip(), "dim"))


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, "bold"))


def _body(text: str) -> Padding:
    return Padding(_cited(text), (0, 0, 0, 2))


def _cited(text: str) -> Text:
    shown = Text(plain(text))
    shown.highlight_regex(_ID, "cyan")
    return shown
