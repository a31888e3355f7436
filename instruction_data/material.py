"""What rows are made from: utterances and recordings with their labels, by split, each with its source."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from affectgpt import corpora
from affectgpt.corpora import Corpus, Example
from affectgpt.emotions import load_lexicon
from affectgpt.errors import OptionError
from affectgpt.records import FaceTrack, Source, VoiceTrack
from affectgpt.records.instruction import Split
from instruction_data.corrections import read_corrections
from instruction_data.splits import Splitter, fold
from instruction_data.tracks import AgentSenses, Recording, Senser, keep

__all__ = ["KINDS", "Material", "Origin", "Said", "Seen", "gather", "source_of"]

BASIC = "basic8"
LONGEST_SAID = 60
"""Words of an utterance that may be quoted as evidence; the textualizer shows the first thirty or so."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One entry of a recipe's `sources`: which set, where, with which table of labels; `licence` of own recordings."""

    set: str
    path: Path
    labels: Path | None = None
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """An utterance of a corpus. `label` is basic; `example` is the row as the corpus has it."""

    source: str
    label: str | None
    speaker: str
    dialogue: str
    example: Example

    @property
    def text(self) -> str:
        """Its words."""
        return self.example.text or ""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A recording of one person, with the label of its set as a basic one."""

    source: str
    label: str | None
    speaker: str
    recording: Recording

    @property
    def face(self) -> FaceTrack | None:
        """Its face, where one was found in it."""
        face = self.recording.face
        return face if face is not None and face.found.any() else None

    @property
    def voice(self) -> VoiceTrack | None:
        """Its voice, where there is speech in it."""
        voice = self.recording.voice
        return voice if voice is not None and voice.speech else None


@dataclass(frozen=True, slots=True)
class Material:
    """One split's share of everything. `left_out` counts what is in no split, and why."""

    split: Split
    said: Mapping[str, Sequence[Said]] = field(default_factory=dict)
    seen: Sequence[Seen] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def quotes(self) -> dict[str, list[Said]]:
        """Utterances that may be quoted as evidence of a basic feeling, by label."""
        found: dict[str, list[Said]] = {label: [] for label in load_lexicon().labels(BASIC)}
        for said in (s for name in _QUOTED for s in self.said.get(name, ())):
            if said.label is not None and 3 <= len(said.text.split()) <= LONGEST_SAID:
                found[said.label].append(said)
        return found

    def faces(self) -> dict[str, list[Seen]]:
        """Recordings with a face, by basic label."""
        return _by_label(s for s in self.seen if s.face is not None)

    def voices(self) -> dict[str, list[Seen]]:
        """Recordings with a voice, by basic label."""
        return _by_label(s for s in self.seen if s.voice is not None)

    def whole(self) -> list[Seen]:
        """Recordings that may stand as they are: clips, even silent ones, and whatever both shows and lets hear."""
        is_clip = ("clips", "own")
        evident = [s for s in self.seen if s.face is not None or s.voice is not None]
        return [s for s in evident if s.source in is_clip or (s.face is not None and s.voice is not None)]


def gather(
    origins: Iterable[Origin],
    splitter: Splitter,
    cache_folder: Path,
    senser: Senser | None = None,
    told: Callable[[str, int, int], None] = lambda stage, done, asked: None,
) -> dict[Split, Material]:
    """Read every source and share it out, so that no speaker, no dialogue and no recording stands in two splits.

    What joins two splits (an utterance of a dialogue in one by a speaker in the other) is left out and counted.

    Raises:
        OptionError: a set that is not known. InputError: a source that cannot be read.
    """
    said: dict[Split, dict[str, list[Said]]] = {}
    seen: dict[Split, list[Seen]] = {}
    left_out: Counter[str] = Counter()
    for origin in origins:
        if origin.set not in KINDS:
            raise OptionError(f"no reader for the set {origin.set!r}", f"there are {', '.join(sorted(KINDS))}")
        corpus = KINDS[origin.set](origin)
        left_out[f"{origin.set}: faulty rows"] += len(corpus.faults)
        if origin.set in _RECORDED:
            usable = corpus.usable
            heard = keep(
                usable,
                cache_folder / f"{origin.set}.jsonl",
                senser or AgentSenses(),
                lambda n, o=origin, u=usable: told(f"reading {o.set}", n, len(u)),  # type: ignore[misc]
            )
            left_out[f"{origin.set}: nobody seen or heard"] += len(usable) - len(heard)
            _share(splitter, seen, left_out, ((_seen(origin.set, e, heard[e.id])) for e in usable if e.id in heard))
            continue
        for row in (_said(origin.set, e) for e in corpus.usable):
            split = splitter.of(_keys(row))
            if split is None:
                left_out[f"{origin.set}: between two splits"] += 1
            else:
                said.setdefault(split, {}).setdefault(origin.set, []).append(row)
    splits = {*said, *seen}
    return {s: Material(s, said.get(s, {}), seen.get(s, []), {k: n for k, n in left_out.items() if n}) for s in splits}


def source_of(name: str) -> Source:
    """A set's name and licence. Raises OptionError for one that sources.toml does not list."""
    table = _sources()
    if name not in table:
        raise OptionError(f"no licence is known for {name!r}", "add it to instruction_data/sources.toml")
    return Source(name, table[name]["licence"])


@cache
def _sources() -> dict[str, Any]:
    return tomllib.loads(files("instruction_data").joinpath("sources.toml").read_text("utf-8"))


def _share(
    splitter: Splitter, seen: dict[Split, list[Seen]], left_out: Counter[str], rows: Iterator[Seen] | Iterable[Seen]
) -> None:
    """Recordings by their speaker; the hash comes along, so that one file under two names stays together."""
    placed: dict[str, Split] = {}
    for row in rows:
        split = splitter.of_key(f"{row.source}:speaker:{row.speaker}")
        if placed.setdefault(row.recording.sha256, split) != split:
            left_out[f"{row.source}: the same file under two speakers"] += 1
            continue
        seen.setdefault(split, []).append(row)


def _keys(said: Said) -> list[str]:
    """What must not stand in two splits: the speaker, the dialogue; without either, the words themselves."""
    keys = [f"{said.source}:{kind}:{value}" for kind in ("speaker", "dialogue") if (value := getattr(said, kind))]
    return keys or [f"text:{fold(said.text)}"]


def _said(source: str, example: Example) -> Said:
    # RECCON's speakers are A and B of one dialogue: nobody stands behind the letter in another.
    speaker = example.group.get("speaker", "") if source == "meld" else ""
    return Said(source, _basic(source, example), speaker, example.group.get("dialogue", ""), example)


def _seen(source: str, example: Example, recording: Recording) -> Seen:
    return Seen(source, _basic(source, example), _speaker(source, example), recording)


def _speaker(source: str, example: Example) -> str:
    """Who is seen or heard: the table's actor or speaker, MEAD's, whom a photograph is named after, else the file."""
    if named := example.group.get("actor") or example.group.get("speaker"):
        return named
    name = Path(example.id).stem
    if mead := re.match(r"[MW]\d{3}(?=_)", name):
        return mead[0]
    return re.sub(r"_?\d+$", "", name) if source == "muxspace" else name


_SETS = {"goemotions": "goemotions28", "meld": "meld7", "ravdess": "ravdess8", "empathetic_dialogues": "empathetic32"}
_QUOTED = ("goemotions", "meld", "reccon")


def _basic(source: str, example: Example) -> str | None:
    """The label as a basic one; None without a label, with several, or without a place for it."""
    if example.label is None or source == "esconv":
        return None
    lexicon = load_lexicon()
    if source in _SETS:
        known = example.label in lexicon.labels(_SETS[source])
        return lexicon.convert(example.label, _SETS[source], BASIC) if known else None
    return lexicon.to_set(example.label, BASIC)


def _by_label(rows: Iterable[Seen]) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for row in rows:
        if row.label is not None:
            found.setdefault(row.label, []).append(row)
    return found


def _replies(origin: Origin) -> Corpus:
    """Every turn of a speaker with the listener's reply to it as its reference; speaker and listener take turns."""
    whole = corpora.read_empathetic_dialogues(origin.path, "situation")
    replies = {row.group["dialogue"]: row.references for row in whole.usable}
    turns = corpora.read_empathetic_dialogues(origin.path, "utterance")
    return Corpus(
        turns.name,
        (
            replace(
                row, references=replies.get(row.group.get("dialogue", ""), ())[(n := len(row.context) // 2) : n + 1]
            )
            for row in turns
        ),
    )


def _images(origin: Origin) -> Corpus:
    """A table of labels; a recording without a label is still somebody seen or heard."""
    return corpora.read_image_folder(origin.path, origin.labels)


_RECORDED = frozenset({"ravdess", "muxspace", "clips", "own"})
KINDS: Mapping[str, Callable[[Origin], Corpus]] = {
    "goemotions": lambda o: corpora.read_goemotions(o.path),
    "meld": lambda o: corpora.read_meld(o.path),
    "reccon": lambda o: corpora.read_reccon(o.path),
    "emobank": lambda o: corpora.read_emobank(o.path),
    "empathetic_dialogues": _replies,
    "esconv": lambda o: corpora.read_esconv(o.path),
    "feedback": lambda o: read_corrections(o.path),
    "ravdess": lambda o: corpora.read_ravdess(o.path),
    "muxspace": _images,
    "clips": _images,
    "own": _images,
}
"""Set -> its reader."""
