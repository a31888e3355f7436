"""Answers of folds that held the person out: `python -m finetune.held_out --shared DATA --out runs/held_out`.

The shipped heads of voice and face were fitted on every speaker and every person of their sets, so that their answers
over those sets would flatter them. Here each clip and each photograph is answered by weights that were fitted on other
people; `affectgpt evaluate` scores the files (`predictor: {kind: answers, path: …}`), and the conformal sets are
calibrated on them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt import media
from affectgpt.appraise.functionals import functionals
from affectgpt.appraise.heads import read_card
from affectgpt.corpora import Example, read_image_folder, read_ravdess
from affectgpt.emotions import load_lexicon
from affectgpt.perceive.facemesh import FaceMeshReader
from affectgpt.perceive.voice import LibrosaVoice
from affectgpt.records import FaceTrack
from finetune import appraise_face, appraise_voice
from finetune.fitting import temperature

__all__ = ["face_answers", "main", "rows", "voice_answers"]

Floats = NDArray[np.float64]


def voice_answers(given: appraise_voice.Rows, seed: int = 0) -> Floats:
    """Probabilities (B, 8) in ravdess8 order of rows by networks that were fitted on other speakers.

    Each fold's temperature is set on the other folds' clean clips.
    """
    p = np.full((len(given.x), len(load_lexicon().labels("ravdess8"))), np.nan)
    logits = np.full_like(p, np.nan)
    folds = appraise_voice.held_out_speakers(given, seed)
    for held in folds:
        fitted = appraise_voice.fit_nets(given, ~held, seed)
        logits[held] = fitted(appraise_voice.filled(given.x, given.x[~held])[held])
    for held in folds:
        others = ~held & (given.channel == appraise_voice.CLEAN)
        heat = temperature(logits[others], given.label[others], "softmax")
        p[held] = appraise_voice.softmax(logits[held] / heat)
    return p


def face_answers(given: appraise_face.FaceRows, penalty: float, seed: int = 0) -> Floats:
    """Probabilities (B, 8) in basic8 order of photographs by a correction that was fitted on other people."""
    logits = appraise_face.held_out(given, given.prior, penalty, seed)
    return appraise_voice.softmax(appraise_face._cross_heated(given, logits, seed))


def rows(ids: Sequence[str], labels: Sequence[str], p: Floats, origin: str) -> Iterator[dict[str, Any]]:
    """One answer a line; the first says who answered."""
    for n, (name, row) in enumerate(zip(ids, p, strict=True)):
        answer = {"id": name, "probabilities": {k: round(float(x), 5) for k, x in zip(labels, row, strict=True)}}
        yield answer | ({"origin": origin} if n == 0 else {})


def _voice(folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    heard = appraise_voice.gather(folder, seed)
    # Clean clips stand first, in the corpus's order, without those that have too little speech to be read.
    ids = [e.id for e in read_ravdess(folder).usable if _is_readable(e)]
    p = voice_answers(heard.at_other_levels(seed), seed)
    origin = f"voice_raw, fitted on RAVDESS in {appraise_voice.N_FOLDS} folds without the speaker who is answered for"
    return rows(ids, load_lexicon().labels("ravdess8"), p[: len(ids)], origin)


def _is_readable(example: Example) -> bool:
    assert example.media is not None
    return functionals(LibrosaVoice().read(media.waveform(media.open_clip(example.media)))) is not None


def _face(folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    reader, lexicon = FaceMeshReader(), load_lexicon()
    ids: list[str] = []
    tracks: list[tuple[FaceTrack, str, str]] = []
    for example in read_image_folder(folder, folder / "labels.csv").usable:
        label = lexicon.to_set(example.label or "", "basic8")
        if label is None or example.media is None:
            continue
        track = reader.read(media.frames(media.open_clip(example.media), None))
        if track.found.any():
            ids.append(example.id)
            tracks.append((track, label, appraise_face.person(example.media)))
    given = appraise_face.rows_of(tracks)
    p = face_answers(given, float(read_card("face_basic8")["penalty"]), seed)
    origin = f"face_basic8, fitted in {appraise_face.N_FOLDS} folds without the person who is answered for"
    return rows(ids, lexicon.labels("basic8"), p, origin)


SETS = {"voice": (("speech", "ravdess"), _voice), "face": (("faces", "muxspace"), _face)}
"""Name -> where its material lies in the shared data, and what answers over it."""


def write(path: Path, answers: Iterable[Mapping[str, Any]]) -> int:
    """Write JSON lines; the number of them."""
    lines = [json.dumps(answer) for answer in answers]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def main(argv: list[str] | None = None) -> None:
    """Write one file a set and say how many answers each holds."""
    parser = argparse.ArgumentParser(description="Answers of folds that held the person out, as JSON lines.")
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds speech/ and faces/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(SETS), action="append")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    for name, (place, answer) in SETS.items():
        if asked.only is None or name in asked.only:
            n = write(asked.out / f"{name}.jsonl", answer(asked.shared.joinpath(*place), asked.seed))
            print(f"{name}: {n} answers")


if __name__ == "__main__":
    main()
