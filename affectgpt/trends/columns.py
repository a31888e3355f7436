"""Which columns of a table mean what: the defaults that fit batch rows and plain series, and one's own names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from affectgpt.errors import OptionError
from affectgpt.records import Modality

__all__ = ["CALENDAR", "CHANNELS", "Columns", "Reading", "parse_columns"]

CHANNELS: Final = ("valence", "arousal", "dominance")

CALENDAR: Final = {
    "hour": "%Y-%m-%d %H:00",
    "day": "%Y-%m-%d",
    "week": "%G-W%V",
    "month": "%Y-%m",
    "year": "%Y",
    "weekday": "%u %a",
}
"""Keys that follow from the local time, and how they are written; week and weekday after ISO 8601."""

Reading = Literal["fused", "face", "voice", "speech"]
"""Whose valence and arousal of a batch row count: the fused appraisal's, or that of one modality."""

_TIMES: Final = ("time", "timestamp", "datetime", "date")
_LABELS: Final = ("label", "emotion")
_EVIDENCE: Final = ("evidence", "modalities")
_ROLES: Final = ("time", "label", "evidence", *CHANNELS)
_NAME = re.compile(r'[^"\\\x00-\x1f]+')


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each thing stands: a column's name, or the keys to it with dots, as `extra.person`.

    own: role or key -> name, over the defaults. A role is time, valence, arousal, dominance, label or evidence; any
        other name is a key that `by` may use.
    reading: whose valence and arousal of a batch row count.
    """

    own: Mapping[str, str] = field(default_factory=dict)
    reading: Reading = "fused"

    def __post_init__(self) -> None:
        """Raise OptionError for what cannot be the name of a column."""
        if self.reading not in get_args(Reading):
            raise OptionError(f"no reading {self.reading!r}", f"choose of {', '.join(get_args(Reading))}")
        for role, name in self.own.items():
            if not (_NAME.fullmatch(role) and _NAME.fullmatch(name)) or "" in name.split("."):
                raise OptionError(
                    f"column {role}={name}", "names hold no quotation mark, backslash or control character"
                )

    def places(self, role: str) -> tuple[str, ...]:
        """Where to look for a role or a key, best first."""
        if role in self.own:
            return (self.own[role],)
        if role in CHANNELS:
            return (f"{self._appraised}.{role}", *_outside((role,))) if self.reading == "fused" else (
                f"{self._appraised}.{role}",)  # fmt: skip
        named = {"time": _TIMES, "label": ("decision.label", *_LABELS), "evidence": _EVIDENCE}
        return _outside(named.get(role, (role,)))

    @property
    def _appraised(self) -> str:
        return "appraisal.fused" if self.reading == "fused" else f"appraisal.by_modality.{Modality(self.reading)}"

    def is_calendar(self, key: str) -> bool:
        """Whether a key of `by` follows from the time; a column of one's own by that name goes before."""
        return key in CALENDAR and key not in self.own


def _outside(names: Sequence[str]) -> tuple[str, ...]:
    """Names on a row's own level, then those that a batch carried through in `extra`."""
    return (*names, *(f"extra.{name}" for name in names if "." not in name))


def parse_columns(parts: Sequence[str]) -> dict[str, str]:
    """Each `role=name` as a mapping. Raises OptionError for another form, or a role that is given twice."""
    own: dict[str, str] = {}
    for part in parts:
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if not (role and equals and name) or role in own:
            raise OptionError(
                f"--column {part!r}", f"give ROLE=NAME, once each; roles are {', '.join(_ROLES)}, or keys"
            )
        own[role] = name
    return own
