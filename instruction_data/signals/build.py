"""From a recipe to a folder of scenes with signals: `train.jsonl`, `dev.jsonl`, `features/`, the recipe and a card.

A scene depends on the recipe's seed and its own number alone. What takes time, reading and encoding, is kept as it is
done, so that a build that was killed is gone on with by running it again.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from affectgpt.appraise.prototypes import appraise
from affectgpt.errors import OptionError
from affectgpt.fusion.features import Encoder
from affectgpt.readers import open_encoder, open_voice_reader
from affectgpt.records import Appraisal, Modality, Observations, VoiceTrack
from affectgpt.records.instruction import Split
from affectgpt.records.signal_example import WHOLE, SignalExample
from affectgpt.textualize import restate, tell
from instruction_data.build import Progress
from instruction_data.composer import VERSION, compose
from instruction_data.material import KINDS, Material, Origin, gather, source_of
from instruction_data.recipe import SourceEntry
from instruction_data.signals.conditions import take
from instruction_data.signals.recipe import SignalRecipe
from instruction_data.signals.shelf import Shelf, seed_of
from instruction_data.signals.staging import Take, takes
from instruction_data.splits import Splitter
from instruction_data.store import replacing, write_json
from instruction_data.tracks import Senser, hash_file

__all__ = ["COUNTS", "FEATURES", "build_signals"]

COUNTS = "card.json"
FEATURES = "features"
"""Folder of the features beside the rows."""
_F, _V, _S = Modality.FACE, Modality.VOICE, Modality.SPEECH
Noisy = Mapping[tuple[str, float], VoiceTrack]


def build_signals(
    recipe: SignalRecipe, told: Progress = lambda stage, done, wanted: None, senser: Senser | None = None
) -> Path:
    """Build every split into `recipe.out`; returns the folder.

    Raises:
        OptionError: a folder with another recipe's rows. InputError: a source that cannot be read.
        ModelError: no such encoder.
    """
    counts = _counts(recipe.out)
    if counts.get("fingerprint") not in (None, recipe.fingerprint()):
        raise OptionError(f"{recipe.out} holds the scenes of another recipe", "name another `out`")
    if counts:
        return recipe.out
    recipe.out.mkdir(parents=True, exist_ok=True)
    origins = [_origin(recipe, entry) for entry in recipe.sources]
    told("reading the sources", 0, len(origins))
    materials = gather(origins, Splitter(recipe.splits, recipe.seed), recipe.tracks, senser, told)
    encoders = {e.modality: e for e in map(_open_encoder, recipe.encoders)}
    shelf = Shelf(recipe.out / FEATURES, encoders, open_voice_reader("librosa"), _paths(origins))
    made: dict[str, Counter[str]] = {}
    licences: dict[str, str] = {}
    for split in recipe.splits:
        planned = list(takes(recipe, split, materials.get(split, Material(split)), shelf))
        noisy = _listen(recipe, planned, shelf, told)
        with replacing(recipe.out / f"{split}.jsonl") as file:
            tally: Counter[str] = Counter()
            for example in _told(_examples(planned, shelf, noisy), split, len(planned), told):
                file.write(example.to_line() + "\n")
                tally.update([f"{example.kind}, {example.condition}", f"labelled {example.label}"])
                licences |= {name: source_of(name).licence for name in example.sources}
        made[split] = tally
    _finish(recipe, made, licences, next((dict(m.left_out) for m in materials.values()), {}))
    return recipe.out


def _origin(recipe: SignalRecipe, entry: SourceEntry) -> Origin:
    labels = recipe.data / entry.labels if entry.labels else None
    return Origin(entry.set, recipe.data / entry.path, labels, entry.licence)


def _open_encoder(name: str) -> Encoder:
    kind, _, place = name.partition(":")
    if kind == "pictures" and place:
        from affectgpt.fusion.pictures import PictureEncoder

        return PictureEncoder(place)
    if kind == "sounds" and place:
        from affectgpt.fusion.sounds import SoundEncoder

        return SoundEncoder(place)
    return open_encoder(name)


def _paths(origins: Iterable[Origin]) -> dict[str, Path]:
    """Every recording's file by its hash; two copies of one file are the same."""
    found: dict[str, Path] = {}
    for origin in origins:
        if source_of(origin.set) and origin.set in KINDS:
            found |= {hash_file(e.media): e.media for e in KINDS[origin.set](origin).usable if e.media is not None}
    return found


def _listen(recipe: SignalRecipe, planned: Sequence[Take], shelf: Shelf, told: Progress) -> Noisy:
    """Every voice that is to be heard through noise, by its hash and level."""
    wanted: dict[float, list[str]] = {}
    for one in planned:
        if one.snr_db is not None and one.voice_sha256:
            wanted.setdefault(one.snr_db, []).append(one.voice_sha256)
    noisy: dict[tuple[str, float], VoiceTrack] = {}
    for snr_db, shas in sorted(wanted.items()):
        n_all = len(set(shas))
        stage, cache = f"listening at {snr_db:g} dB", recipe.tracks / f"voices-{snr_db:g}dB.jsonl"
        heard = shelf.noisy_tracks(shas, snr_db, cache, lambda n, s=stage, a=n_all: told(s, n, a))  # type: ignore[misc]
        noisy |= {(sha, snr_db): track for sha, track in heard.items()}
    return noisy


def _told(examples: Iterable[SignalExample], split: Split, n: int, told: Progress) -> Iterator[SignalExample]:
    for i, example in enumerate(examples, 1):
        told(f"encoding {split} scenes", i, n)
        yield example


def _examples(planned: Iterable[Take], shelf: Shelf, noisy: Noisy) -> Iterator[SignalExample]:
    for one in planned:
        example = _example(one, shelf, noisy)
        if example is not None:
            yield example


def _example(one: Take, shelf: Shelf, noisy: Noisy) -> SignalExample | None:
    """A scene as it is told and encoded; None where nothing is left of it, or where noise has drowned its voice."""
    name = f"{one.scene_id}/{one.condition.name}"
    sensed = take(one.scene.sensed, one.condition, seed_of(name))
    sha = one.voice_sha256
    if one.snr_db is not None and sensed.voice is not None:
        sensed = replace(sensed, voice=noisy.get((sha, one.snr_db)))
        if sensed.voice is None:
            return None
    observations = tell(sensed)
    if all(o.is_missing for o in observations.items):
        return None
    appraisal = appraise(observations, one.scene.words if observations.of(_S) else None)
    features: dict[Modality, str | None] = {}
    if sensed.face is not None and _F in shelf.modalities:
        features[_F] = shelf.face(sensed.face, one.part_sha256(_F) or _made_up(name), name)
    if sensed.voice is not None and _V in shelf.modalities:
        features[_V] = shelf.voice(sha, one.snr_db)
    parts = one.scene.parts
    return SignalExample(
        id=name,
        scene=one.scene_id,
        split=one.split,
        condition=one.condition.name,
        kind=one.kind,
        label=one.scene.label,
        observations=observations,
        appraisal=appraisal if appraisal.by_modality else None,
        features={m: key for m, key in features.items() if key},
        answers=_answers(one, observations, appraisal, name),
        speakers=tuple(dict.fromkeys(p.speaker for p in parts if p.speaker)),
        sources=tuple(dict.fromkeys(p.source for p in parts)),
        media_sha256=tuple(dict.fromkeys(p.sha256 for p in parts if p.sha256)),
        writer=f"composer {VERSION}",
    )


def _answers(one: Take, observations: Observations, appraisal: Appraisal, name: str) -> dict[str, str]:
    answers = {"explain": compose(observations, appraisal, random.Random(name))}
    if one.scene.label is not None:
        answers["label"] = one.scene.label
    if signals := [restate(o) for o in observations.items if o.modality is not _S]:
        answers["describe"] = "\n".join(signals)
    return answers


def _made_up(name: str) -> str:
    """In a hash's place for what nobody recorded."""
    import hashlib

    return hashlib.sha256(f"drawn/{name}".encode()).hexdigest()


def _counts(out: Path) -> dict[str, object]:
    try:
        return dict(json.loads((out / COUNTS).read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _finish(
    recipe: SignalRecipe, made: Mapping[str, Counter[str]], licences: Mapping[str, str], left_out: Mapping[str, int]
) -> None:
    """The resolved recipe and the card; the card comes last, and says that the folder is whole."""
    with replacing(recipe.out / "recipe.yaml") as file:
        yaml.safe_dump(recipe.plain(), file, sort_keys=False, allow_unicode=True)
    rows = {split: sum(n for name, n in tally.items() if ", " in name) for split, tally in made.items()}
    lines = [f"# {recipe.name}", "", "Scenes with signals; whoever is seen, heard or quoted stands in one split alone."]
    for split, tally in made.items():
        lines += ["", f"## {split}: {rows[split]}", "", *(f"- {name}: {n}" for name, n in sorted(tally.items()))]
    lines += ["", "## Licences", "", *(f"- {name}: {terms}" for name, terms in sorted(licences.items()))]
    with replacing(recipe.out / "card.md") as file:
        file.write("\n".join(lines) + "\n")
    counts = {
        "fingerprint": recipe.fingerprint(),
        "rows": rows,
        "whole": {s: sum(n for k, n in t.items() if k.endswith(f", {WHOLE}")) for s, t in made.items()},
        "encoders": list(recipe.encoders),
        "licences": dict(sorted(licences.items())),
        "left_out": dict(left_out),
    }
    write_json(recipe.out / COUNTS, counts)
