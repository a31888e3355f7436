"""Real recordings as tracks, read once and kept: a JSON line a recording, found again by the hash of its bytes.

Reading 1,200 spoken clips takes minutes; what is kept of them takes a few megabytes. Contours that no observation is
told from are left out. A run that is killed loses the recording it was at.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.corpora import Example
from affectgpt.errors import AffectError, InputError
from affectgpt.records import FaceTrack, Interval, Transcript, TranscriptSource, Utterance, VoiceTrack, VoiceWindow

__all__ = ["AgentSenses", "Recording", "Senser", "Senses", "hash_file", "keep", "load"]

log = logging.getLogger(__name__)

Senses = tuple[FaceTrack | None, VoiceTrack | None, Transcript | None]

FORMAT = 1
DIGITS = 4
"""Decimals kept of a measure: an observation prints two at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recording: the hash of its file, its name, a face, a voice, or both, and the words of its subtitles."""

    sha256: str
    name: str
    face: FaceTrack | None = None
    voice: VoiceTrack | None = None
    words: Transcript | None = None


class Senser(Protocol):
    """Whatever reads a recording."""

    version: str

    def sense(self, path: Path) -> Senses:
        """What one file gives. Raises AffectError where it cannot be read."""
        ...


class AgentSenses:
    """The agent's own readers, with their defaults."""

    version = "agent"

    def __init__(self) -> None:
        from affectgpt.agent import AffectAgent
        from affectgpt.readers import AgentOptions
        from affectgpt.records import Modality

        self._agent = AffectAgent(None, AgentOptions(modalities=frozenset(Modality)))

    def sense(self, path: Path) -> Senses:
        """Face and voice of one clip, sound or picture, and the words of subtitles in it or beside it."""
        senses = self._agent.sense(path)
        return senses.face, senses.voice, senses.transcript


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(
    examples: Iterable[Example], cache: Path, senser: Senser, told: Callable[[int], None] = lambda n: None
) -> dict[str, Recording]:
    """Example id -> recording, for every example whose media can be read; `cache` is read first and added to.

    What cannot be read is logged and kept as such, so that it is not tried again.
    """
    known = load(cache, senser.version)
    cache.parent.mkdir(parents=True, exist_ok=True)
    found = {}
    with cache.open("a", encoding="utf-8") as file:
        for n, example in enumerate(examples, 1):
            if example.media is None:
                continue
            sha256 = hash_file(example.media)
            if sha256 not in known:
                known[sha256] = _read(example.media, sha256, senser)
                file.write(json.dumps(_to_row(known[sha256], senser.version)) + "\n")
                file.flush()
            recording = known[sha256]
            if recording.face is not None or recording.voice is not None:
                found[example.id] = recording
            told(n)
    return found


def load(cache: Path, version: str) -> dict[str, Recording]:
    """Hash -> recording, of those that this version read; a line that was cut short is passed over."""
    if not cache.is_file():
        return {}
    data = cache.read_bytes()
    if data and not data.endswith(b"\n"):
        # The last write was cut: end its line, or the next one would be lost with it.
        data = data[: data.rfind(b"\n") + 1]
        cache.write_bytes(data)
    return {r.sha256: r for line in data.splitlines() for r in _from_line(cache, line, version)}


def _read(path: Path, sha256: str, senser: Senser) -> Recording:
    try:
        face, voice, words = senser.sense(path)
    except AffectError as error:
        log.warning("%s is left out: %s", path.name, error.what)
        return Recording(sha256, path.name)
    return Recording(sha256, path.name, face, voice, words if words and words.utterances else None)


def _to_row(recording: Recording, version: str) -> dict[str, Any]:
    face = recording.face and _plain(recording.face, _FACE)
    voice = recording.voice and _plain(recording.voice, _VOICE)
    head = {"format": FORMAT, "by": version, "sha256": recording.sha256, "name": recording.name}
    said = (
        [[u.text, u.start_s, u.end_s, u.confidence, u.speaker] for u in recording.words.utterances]
        if recording.words
        else None
    )
    source = recording.words.source.value if recording.words else ""
    return {**head, "face": face, "voice": voice, "words": said and {"source": source, "said": said}}


def _from_line(cache: Path, line: bytes, version: str) -> Iterator[Recording]:
    try:
        row = json.loads(line)
        if row["format"] != FORMAT or row["by"] != version:
            return
        face, voice, words = row["face"], row["voice"], row.get("words")
        read = Recording(
            row["sha256"], row["name"], face and _face(face), voice and _voice(voice), words and _words(words)
        )
        yield read
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{cache} holds what is no recording ({error!r})", "delete the file: it is made anew"
        ) from None


_FACE = ("times_s", "action_units", "units", "found", "pose_deg", "width_px", "baseline", "baseline_kind",
         "reliability", "reader", "n_turned_away", "n_people")  # fmt: skip
_VOICE = ("measures", "z", "speech", "windows", "baseline", "baseline_kind", "reader", "duration_s", "snr_db",
          "clipped_ratio", "voiced_ratio")  # fmt: skip


def _plain(record: FaceTrack | VoiceTrack, names: Iterable[str]) -> dict[str, Any]:
    return {name: _json(getattr(record, name)) for name in names}


def _json(value: Any) -> Any:
    """In JSON's types; what is not finite is null."""
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, float):
        return round(value, DIGITS) if np.isfinite(value) else None
    if isinstance(value, Interval):
        return [round(value.start_s, DIGITS), round(value.end_s, DIGITS)]
    if isinstance(value, VoiceWindow):
        return [value.start_s, value.end_s, _json(value.measures), _json(value.z)]
    if isinstance(value, Mapping):
        return {k: _json(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_json(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def _face(row: dict[str, Any]) -> FaceTrack:
    floats: dict[str, Any] = {
        k: _array(row[k], np.float32) for k in ("action_units", "width_px", "baseline", "reliability")
    }
    rest = {k: row[k] for k in ("baseline_kind", "reader", "n_turned_away", "n_people")}
    return FaceTrack(
        times_s=_array(row["times_s"], np.float64),
        units=tuple(row["units"]),
        found=np.asarray(row["found"], np.bool_),
        pose_deg=_array(row["pose_deg"], np.float32).reshape(len(row["times_s"]), 3),
        **floats,
        **rest,
    )


def _voice(row: dict[str, Any]) -> VoiceTrack:
    none = np.zeros(0, np.float32)
    return VoiceTrack(
        times_s=np.zeros(0),
        f0_hz=none,
        level_db=none,
        speech=tuple(Interval(a, b) for a, b in row["speech"]),
        measures=row["measures"],
        z=row["z"],
        windows=tuple(VoiceWindow(*w) for w in row["windows"]),
        baseline={k: (m, sd) for k, (m, sd) in row["baseline"].items()},
        snr_db=float("nan") if row["snr_db"] is None else row["snr_db"],
        **{k: row[k] for k in ("baseline_kind", "reader", "duration_s", "clipped_ratio", "voiced_ratio")},
    )


def _words(row: dict[str, Any]) -> Transcript:
    return Transcript(tuple(Utterance(*u) for u in row["said"]), TranscriptSource(row["source"]))


def _array(values: Any, dtype: Any) -> NDArray[Any]:
    return np.array(values, dtype=object).astype(dtype) if _has_none(values) else np.array(values, dtype)


def _has_none(values: Any) -> bool:
    return any(_has_none(v) if isinstance(v, list) else v is None for v in values)
