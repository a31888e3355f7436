"""Rows of a batch for tests: as many as wanted, each with all that a real one holds, and strategies for any others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from affectgpt.agent import AffectAgent, Parts
from affectgpt.batch.ledger import FileLedger
from affectgpt.batch.records import Failure, Fingerprints, Row
from affectgpt.engines.echo import EchoEngine
from affectgpt.readers import AgentOptions, SpeechOptions
from affectgpt.record_json import to_json
from affectgpt.records import Appraisal, EmotionDistribution, Observations

Opened = Callable[..., FileLedger]
"""Opens the ledger of a test's output, with these options of `open_ledger`."""

__all__ = ["Opened", "QuickAppraiser", "contents", "failed_row", "kept", "outcome_document", "row", "rows"]


class QuickAppraiser:
    """Always the same, and at once: no weights are loaded."""

    def appraise(self, observations: Observations, *_tracks: object) -> Appraisal:
        read = EmotionDistribution({"angry": 0.7, "sad": 0.3}, -0.5, 0.4, 0.1)
        carried_by = {"speech": tuple(observation.id for observation in observations.items[-1:])}
        return Appraisal({"speech": read}, {"speech": 0.9}, read, carried_by=carried_by)


@cache
def outcome_document() -> dict[str, Any]:
    """A whole outcome in JSON's types: words alone, answered by the echo engine."""
    options = AgentOptions(speech=SpeechOptions(text="I lost my keys again. I am so angry with myself."))
    return to_json(AffectAgent(EchoEngine(), options, parts=Parts(appraiser=QuickAppraiser())).explain(None))


def row(id: str, number: int = 1, version: int = 0) -> Row:
    """An answered row; `version` tells those of one id apart."""
    prints = Fingerprints("ab" * 32, f"{version:032x}", f"{number:032x}")
    return Row(id, number, "ok", prints, f"{id}.mp4", "cd" * 16, outcome_document(), extra={"day": "Mon", "v": version})


def failed_row(id: str, number: int = 1, attempts: int = 1) -> Row:
    """A row that failed while it was read."""
    error = Failure("perception", "UnreadableMedia", f"{id}: nothing in it can be decoded", attempts)
    return Row(id, number, "failed", media=f"{id}.mp4", error=error, extra={"day": "Tue"})


def kept(ledger: FileLedger) -> dict[str, Row]:
    """What the ledger holds, by id; fails where an id stands twice."""
    listed = list(ledger.rows())
    assert len(listed) == len({r.id for r in listed})
    return {r.id: r for r in listed}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder that is not empty, by its name."""
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size}


any_text = st.text(st.characters(codec="utf-8"), max_size=40)
any_hex = st.none() | st.binary(min_size=16, max_size=16).map(bytes.hex)
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Any row."""
    made = row(draw(any_text), draw(st.integers(0, 10**9)))
    prints = Fingerprints(draw(st.none() | st.just("0f" * 32)), draw(any_hex), draw(any_hex))
    extra = draw(st.dictionaries(any_text, any_json, max_size=3))
    made = replace(made, fingerprints=prints, media=draw(st.none() | any_text), media_stamp=draw(any_hex), extra=extra)
    if draw(st.booleans()):
        return made
    error = Failure(draw(any_text), draw(any_text), draw(any_text), draw(st.integers(1, 9)))
    return replace(made, status="failed", error=error, outcome=None)
