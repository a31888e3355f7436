"""The one renderer: prompts/*.yaml and a clip's observations in, chat messages out.

Training, batch, serving and evaluation call the same `render`, so that what a model was taught is what it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from affectgpt.answers import FORMS, answer_schema
from affectgpt.cues import noun_phrase
from affectgpt.errors import PromptError
from affectgpt.records import (
    SOFT_NAME,
    Appraisal,
    EmbeddedPrompt,
    Message,
    Modality,
    Observations,
    Prompt,
    SoftPart,
    soft_marker,
)

__all__ = ["PromptLibrary", "PromptTemplate", "appraisal_lines", "observation_lines", "shipped_folder"]

_FIELDS = {"id", "version", "description", "variables", "soft", "answer", "system", "user"}
_MAY_LACK = {"description", "soft"}
NOTHING = "none"
"""What a place shows where there is nothing to show."""
SHORTLIST = 3
"""Emotions shown to the model. HEF (arXiv 2402.11801) first lets the model decide among a small model's likeliest, then
among the rest."""
_CHANNELS: Mapping[str, str] = {"face": "face", "voice": "voice", "speech": "words"}
_TEMPLATE_TOKEN = re.compile(r"<\|[^|>\n]{0,64}\|>|</?s>|\[/?INST\]|<(?:bos|eos|start_of_turn|end_of_turn)>")
"""Control tokens of the chat templates in use (ChatML, Llama, Mistral, Gemma): in a variable they are an attack."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One prompt file: texts with `{variable}` places, the declared variables and the name of the answer's form.

    `soft` are the places of soft tokens, in their order; each stands alone on its line.
    """

    id: str
    version: str
    description: str
    variables: tuple[str, ...]
    answer: str
    system: str
    user: str
    soft: tuple[str, ...] = ()

    def render(self, parts: Sequence[SoftPart] = (), /, **variables: str) -> Prompt:
        """Fill the places; one that has places for soft tokens gives an EmbeddedPrompt, whichever of them are given.

        Raises:
            PromptError: a variable is missing, or was not declared; soft tokens that have no place, or do not fit.
        """
        if set(variables) != set(self.variables):
            missing, extra = set(self.variables) - set(variables), set(variables) - set(self.variables)
            raise PromptError(
                f"prompt {self.id!r} takes {sorted(self.variables)}",
                f"missing {sorted(missing)}, not declared {sorted(extra)}",
            )
        safe = {name: disarm(value) for name, value in variables.items()} | self._places(parts)
        messages = [Message("system", self.system.format_map(safe))] if self.system else []
        messages.append(Message("user", self.user.format_map(safe)))
        asked = (tuple(messages), self.id, self.version, answer_schema(self.answer))
        if not self.soft:
            return Prompt(*asked)
        try:
            return EmbeddedPrompt(*asked, parts=tuple(sorted(parts, key=lambda part: self.soft.index(part.name))))
        except ValueError as e:
            raise PromptError(f"prompt {self.id!r}: {e}", "give each place one part, all of one width") from None

    def _places(self, parts: Sequence[SoftPart]) -> dict[str, str]:
        """A marker for each place that is given soft tokens, and a word for each that is not."""
        names = {part.name for part in parts}
        if unknown := names - set(self.soft):
            remedy = f"it has places for {', '.join(self.soft)}" if self.soft else "name a prompt that has places"
            raise PromptError(f"prompt {self.id!r} has no place for the soft tokens {sorted(unknown)}", remedy)
        return {name: soft_marker(name) if name in names else NOTHING for name in self.soft}


def disarm(text: str) -> str:
    """Break chat-template control tokens in untrusted text so that no tokenizer reads them as structure."""
    while (broken := _TEMPLATE_TOKEN.sub(lambda m: re.sub(r"[<>|\[\]]", "·", m.group()), text)) != text:
        text = broken
    return text


def observation_lines(observations: Observations) -> str:
    """The observations as every prompt shows them: `[F1] …`, a line each."""
    return "\n".join(o.line.replace("\n", " ") for o in observations.items) or NOTHING


def appraisal_lines(appraisal: Appraisal | None, observations: Observations) -> str:
    """The appraisal as every prompt shows it: shortlist with a way out, dimensions, confidence, channels, conflicts.

    A channel's reading cites the observations that carry it; a channel that gave nothing cites what says so.
    """
    if appraisal is None or not appraisal.by_modality:
        return "Shortlist: none, there is no evidence"
    fused = appraisal.fused
    ranked = sorted(fused.probabilities, key=lambda label: -fused.probabilities[label])[:SHORTLIST]
    listed = ", ".join(f"{label} {fused.probabilities[label]:.2f}" for label in ranked)
    channels = "; ".join(_channel(m, appraisal, observations) for m in Modality if observations.of(m))
    # Adding zero turns -0.0 into 0.0.
    v, a, d = (round(x, 1) + 0.0 for x in (fused.valence, fused.arousal, fused.dominance))
    lines = [
        f"Shortlist: {listed}, or none of these",
        f"Valence {v:.1f}, arousal {a:.1f}, dominance {d:.1f}, confidence {appraisal.confidence:.1f}",
        f"By channel: {channels}",
    ]
    return "\n".join(lines + [f"Conflict: {c}" for c in appraisal.conflicts])


def _channel(modality: Modality, appraisal: Appraisal, observations: Observations) -> str:
    """`face happy: raised lip corners [F1], raised cheeks [F2]`, `face neutral [F1] [F2]`, or `voice unknown [M1]`."""
    read, known, name = appraisal.by_modality.get(modality.value), observations.by_id(), _CHANNELS[modality.value]
    if read is None:
        return f"{name} unknown [{observations.of(modality)[0].id}]"
    carriers = [known[i] for i in appraisal.carried_by.get(modality.value, ())]
    if read.top == "neutral" or modality is Modality.SPEECH or any(o.is_missing for o in carriers):
        return " ".join([name, read.top, *(f"[{o.id}]" for o in carriers)])
    return f"{name} {read.top}: {', '.join(f'{noun_phrase(o)} [{o.id}]' for o in carriers)}"


class PromptLibrary:
    """The prompts of one folder, by id."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or shipped_folder()
        self._templates = {t.id: t for t in map(_read, sorted(self.folder.glob("*.yaml")))}
        if not self._templates:
            raise PromptError(f"no prompts (*.yaml) in {self.folder}", "name a folder that holds prompt files")

    def ids(self) -> tuple[str, ...]:
        """Ids of all prompts, sorted."""
        return tuple(sorted(self._templates))

    def get(self, prompt_id: str) -> PromptTemplate:
        """One prompt.

        Raises:
            PromptError: no prompt has this id.
        """
        try:
            return self._templates[prompt_id]
        except KeyError:
            raise PromptError(f"no prompt {prompt_id!r}", f"there are {', '.join(self.ids())}") from None

    def render(
        self,
        prompt_id: str,
        observations: Observations,
        appraisal: Appraisal | None = None,
        parts: Sequence[SoftPart] = (),
        **variables: str,
    ) -> Prompt:
        """Render one prompt over a clip's observations, what the appraisers make of them, and its soft tokens.

        Observations and appraisal are shown where the prompt has places for them; soft tokens must have one.

        Raises:
            PromptError: no such prompt, or what is given does not fit its places.
        """
        template = self.get(prompt_id)
        if "appraisal" in template.variables:
            variables = {"appraisal": appraisal_lines(appraisal, observations), **variables}
        if "observations" in template.variables or not template.soft:
            variables = {"observations": observation_lines(observations), **variables}
        return template.render(parts, **variables)


@cache
def shipped_folder() -> Path:
    """Where the shipped prompts lie: inside the installed package, or beside it in a checkout."""
    inside = Path(str(files("affectgpt"))) / "prompts"
    return inside if inside.is_dir() else inside.parents[1] / "prompts"


def _read(path: Path) -> PromptTemplate:
    try:
        row = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise PromptError(f"prompt file {path} cannot be read: {e}", "mend the YAML") from None
    if not isinstance(row, Mapping) or set(row) - _FIELDS or _FIELDS - _MAY_LACK - set(row):
        raise PromptError(f"prompt file {path} must hold exactly {sorted(_FIELDS)}", "mend the keys")
    _check(path, row)
    texts: dict[str, Any] = {k: str(row.get(k, "")) for k in _FIELDS - {"variables", "soft"}}
    return PromptTemplate(variables=tuple(row["variables"]), soft=tuple(row.get("soft", ())), **texts)


def _check(path: Path, row: Mapping[str, Any]) -> None:
    try:
        used = [*_places(row["system"]), *_places(row["user"])]
    except (ValueError, TypeError) as e:
        raise PromptError(
            f"prompt file {path} has a malformed place: {e}", "write {name}, and {{ }} for braces"
        ) from None
    declared, soft = row["variables"], row.get("soft", [])
    are_names = all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in (declared, soft))
    if not are_names or set(used) != {*declared, *soft}:
        what = f"prompt file {path} uses {sorted(set(used))} and declares {declared} and soft {soft}"
        raise PromptError(what, "make the two agree")
    _check_soft(path, row, [name for name in used if name in soft])
    if row["answer"] not in FORMS:
        raise PromptError(f"prompt file {path}: no answer form {row['answer']!r}", f"use {' or '.join(FORMS)}")


def _check_soft(path: Path, row: Mapping[str, Any], used: list[str]) -> None:
    """Each place of soft tokens is a line of its own, once, in the declared order, and no variable has its name."""
    soft = row.get("soft", [])
    lines = f"{row['system']}\n{row['user']}".split("\n")
    alone = [name for line in lines for name in soft if line == f"{{{name}}}"]
    if not alone == soft == used or set(soft) & set(row["variables"]) or not all(map(SOFT_NAME.fullmatch, soft)):
        what = f"prompt file {path}: the places of soft tokens {soft} are not each alone on a line, once, in this order"
        raise PromptError(what, "give each a line of its own, a small letter first, and no variable its name")


def _places(text: str) -> Iterable[str]:
    for _, name, spec, conversion in Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"{{{name}}}")
        yield name
