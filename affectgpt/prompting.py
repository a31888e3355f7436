"""The one renderer: prompts/*.yaml and a clip's observations in, chat messages out.

Training, batch, serving and evaluation call the same `render`, so that what a model was taught is what it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
from affectgpt.records import Appraisal, Message, Modality, Observations, Prompt

__all__ = ["PromptLibrary", "PromptTemplate", "appraisal_lines", "observation_lines", "shipped_folder"]

_FIELDS = {"id", "version", "description", "variables", "answer", "system", "user"}
SHORTLIST = 3
"""Emotions shown to the model. HEF (arXiv 2402.11801) first lets the model decide among a small model's likeliest, then
among the rest."""
_CHANNELS: Mapping[str, str] = {"face": "face", "voice": "voice", "speech": "words"}
_TEMPLATE_TOKEN = re.compile(r"<\|[^|>\n]{0,64}\|>|</?s>|\[/?INST\]|<(?:bos|eos|start_of_turn|end_of_turn)>")
"""Control tokens of the chat templates in use (ChatML, Llama, Mistral, Gemma): in a variable they are an attack."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One prompt file: texts with `{variable}` places, the declared variables and the name of the answer's form."""

    id: str
    version: str
    description: str
    variables: tuple[str, ...]
    answer: str
    system: str
    user: str

    def render(self, **variables: str) -> Prompt:
        """Fill the places.

        Raises:
            PromptError: a variable is missing, or was not declared.
        """
        if set(variables) != set(self.variables):
            missing, extra = set(self.variables) - set(variables), set(variables) - set(self.variables)
            raise PromptError(
                f"prompt {self.id!r} takes {sorted(self.variables)}",
                f"missing {sorted(missing)}, not declared {sorted(extra)}",
            )
        safe = {name: disarm(value) for name, value in variables.items()}
        messages = [Message("system", self.system.format_map(safe))] if self.system else []
        messages.append(Message("user", self.user.format_map(safe)))
        return Prompt(tuple(messages), self.id, self.version, answer_schema(self.answer))


def disarm(text: str) -> str:
    """Break chat-template control tokens in untrusted text so that no tokenizer reads them as structure."""
    while (broken := _TEMPLATE_TOKEN.sub(lambda m: re.sub(r"[<>|\[\]]", "·", m.group()), text)) != text:
        text = broken
    return text


def observation_lines(observations: Observations) -> str:
    """The observations as every prompt shows them: `[F1] …`, a line each."""
    return "\n".join(o.line.replace("\n", " ") for o in observations.items) or "none"


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
        self, prompt_id: str, observations: Observations, appraisal: Appraisal | None = None, **variables: str
    ) -> Prompt:
        """Render one prompt over a clip's observations and what the appraisers make of them."""
        template = self.get(prompt_id)
        if "appraisal" in template.variables:
            variables = {"appraisal": appraisal_lines(appraisal, observations), **variables}
        return template.render(observations=observation_lines(observations), **variables)


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
    if not isinstance(row, Mapping) or set(row) - _FIELDS or _FIELDS - {"description"} - set(row):
        raise PromptError(f"prompt file {path} must hold exactly {sorted(_FIELDS)}", "mend the keys")
    _check(path, row)
    texts: dict[str, Any] = {k: str(row.get(k, "")) for k in _FIELDS - {"variables"}}
    return PromptTemplate(variables=tuple(row["variables"]), **texts)


def _check(path: Path, row: Mapping[str, Any]) -> None:
    try:
        used = set(_places(row["system"])) | set(_places(row["user"]))
    except (ValueError, TypeError) as e:
        raise PromptError(
            f"prompt file {path} has a malformed place: {e}", "write {name}, and {{ }} for braces"
        ) from None
    declared = row["variables"]
    if not isinstance(declared, list) or used != set(declared):
        raise PromptError(f"prompt file {path} uses {sorted(used)} and declares {declared}", "make the two agree")
    if row["answer"] not in FORMS:
        raise PromptError(f"prompt file {path}: no answer form {row['answer']!r}", f"use {' or '.join(FORMS)}")


def _places(text: str) -> Iterable[str]:
    for _, name, spec, conversion in Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"{{{name}}}")
        yield name
