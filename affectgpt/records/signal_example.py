"""A scene to learn from with its signals: what was observed of it, its features by key, and what it should be told as.

`instruction_data` writes such scenes and `finetune` reads them. Prompts are rendered where they are needed, so that one
file serves prompts with observations, with soft tokens and with both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from affectgpt.records.evidence import Appraisal, Observations
from affectgpt.records.instruction import Split
from affectgpt.records.tracks import Modality

__all__ = ["WHOLE", "SignalExample"]

WHOLE = "whole"
"""The condition of a scene of which nothing was taken away."""


@dataclass(frozen=True, slots=True)
class SignalExample:
    """One scene under one condition.

    id: of its own · scene: what its conditions share · condition: `whole`, or what was taken away, as in `no face`,
    `frames lost 20 %`, `SNR 10 dB` · kind: `alone` for one recording as it is, `joined` for one put together from
    several · label: the basic label that all labelled parts show, None where they differ · observations, appraisal:
    what the agent would tell of it, and its appraisers' reading, None without evidence · features: `FeatureCache` keys
    by modality; a modality without features has none · answers: what may be asked for (`label`, `describe`, `explain`)
    and the text · speakers, sources, media_sha256: who is seen, heard or quoted, from which sets, in which files ·
    writer: who wrote the answers, with its version.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    id: str
    scene: str
    split: Split
    condition: str
    kind: str
    label: str | None
    observations: Observations
    appraisal: Appraisal | None
    features: Mapping[Modality, str]
    answers: Mapping[str, str]
    speakers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    media_sha256: tuple[str, ...] = ()
    writer: str = ""

    def to_line(self) -> str:
        """As one line of JSON, without its end; `from_line` gives it back equal."""
        return json.dumps(asdict(self), ensure_ascii=True, allow_nan=False, default=lambda number: number.item())

    @classmethod
    def from_line(cls, line: str | bytes) -> SignalExample:
        """What `to_line` gave, strictly: no unknown field, no text for a number.

        Raises:
            ValueError: every fault, with its place.
        """
        example: SignalExample = _adapter().validate_json(line, strict=True)
        return example


def _adapter() -> Any:
    from pydantic import TypeAdapter

    if not _MADE:
        _MADE.append(TypeAdapter(SignalExample))
    return _MADE[0]


_MADE: list[Any] = []
