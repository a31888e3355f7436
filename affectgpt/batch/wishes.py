"""What a row may wish beside the job's own options, and the options that come of it.

    subject          the person to describe, from 0
    modalities       of face, voice, speech: a list, or a text with commas
    setting          workplace or education: face and voice are not read
    transcript_file  a local .srt, .vtt or .txt file
    max_tokens, temperature, top_p, seed, stop   how the answer is sampled

A wish may narrow what the job allows and never widen it: a row reads no modality that the job leaves out, and lifts no
setting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

from affectgpt.errors import InputError, OptionError
from affectgpt.readers import AgentOptions, Setting
from affectgpt.records import Modality

__all__ = ["WISHES", "read_wishes", "wish"]

_MOST_TOKENS: Final = 1_000_000
_MOST_STOPS: Final = 8


def read_wishes(fields: Mapping[str, object]) -> dict[str, object]:
    """The wishes among a row's fields, checked; an empty one is none.

    Raises:
        InputError: a value that cannot be granted, naming the field.
    """
    return {
        name: read(name, value)
        for name, read in WISHES.items()
        if (value := fields.get(name)) is not None and value not in ("", []) and not _is_nan(value)
    }


def wish(options: AgentOptions, wishes: Mapping[str, object]) -> AgentOptions:
    """The job's options with what one item wishes (its `options`).

    Raises:
        OptionError: the wishes contradict each other or the job.
    """
    wished: dict[str, Any] = dict(wishes)
    changes: dict[str, Any] = {}
    if (modalities := wished.pop("modalities", None)) is not None:
        changes["modalities"] = options.modalities & frozenset(map(Modality, modalities))
        if not changes["modalities"]:
            raise OptionError("the row reads no modality that the job reads", "widen --modalities or the row's own")
    if (setting := wished.pop("setting", None)) is not None:
        changes["setting"] = options.setting or setting
    if (subject := wished.pop("subject", None)) is not None:
        changes["face"] = replace(options.face, subject=subject)
    if (path := wished.pop("transcript_file", None)) is not None:
        changes["speech"] = replace(options.speech, text=None, path=Path(path))
    if wished:
        changes["sampling"] = replace(options.sampling, **wished)
    return replace(options, **changes)


def _number(name: str, value: object, low: float, high: float) -> float:
    """A number, also one that stands in a table as text."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not low <= number <= high:
        raise InputError(f"{name} is {str(value)[:40]!r}", f"give a number from {low:g} to {high:g}")
    return number


def _whole(name: str, value: object, low: int, high: int) -> int:
    number = _number(name, value, low, high)
    if number != int(number):
        raise InputError(f"{name} is {str(value)[:40]!r}", "give a whole number")
    return int(value) if isinstance(value, int) else int(number)


def _modalities(name: str, value: object) -> list[str]:
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise InputError(f"{name} is no list of names", f"choose of {', '.join(Modality)}")
    chosen = {one.strip().lower() for one in listed} - {""}
    if not chosen or chosen - set(Modality):
        raise InputError(f"{name} is {str(value)[:40]!r}", f"choose of {', '.join(Modality)}")
    return [m.value for m in Modality if m.value in chosen]


def _setting(name: str, value: object) -> str:
    if value not in get_args(Setting):
        raise InputError(f"{name} is {str(value)[:40]!r}", f"choose of {', '.join(get_args(Setting))}")
    return str(value)


def _path(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} is {str(value)[:40]!r}", "name a file")
    return value


def _stops(name: str, value: object) -> tuple[str, ...]:
    marks = [value] if isinstance(value, str) else value
    if not isinstance(marks, list | tuple) or not all(isinstance(m, str) and m for m in marks):
        raise InputError(f"{name} is no list of texts", "give a text, or a list of some")
    if len(marks) > _MOST_STOPS:
        raise InputError(f"{name} lists {len(marks)} texts", f"give {_MOST_STOPS} at most")
    return tuple(marks)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


WISHES: Final[Mapping[str, Callable[[str, object], object]]] = {
    "subject": lambda name, value: _whole(name, value, 0, 1_000),
    "modalities": _modalities,
    "setting": _setting,
    "transcript_file": _path,
    "max_tokens": lambda name, value: _whole(name, value, 1, _MOST_TOKENS),
    "temperature": lambda name, value: _number(name, value, 0.0, 2.0),
    "top_p": lambda name, value: _number(name, value, 0.0, 1.0),
    "seed": lambda name, value: _whole(name, value, 0, 2**32 - 1),
    "stop": _stops,
}
"""What may be wished for, and how each is read."""
