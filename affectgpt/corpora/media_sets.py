"""Readers of labelled sound and pictures: RAVDESS, image folders, MER-UniBench."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from affectgpt.corpora.archive import read_archive
from affectgpt.corpora.example import Corpus, Example
from affectgpt.corpora.tables import csv_rows, number, within
from affectgpt.errors import InputError, MediaNotFound

__all__ = ["RAVDESS", "read_image_folder", "read_mer_unibench", "read_ravdess"]

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Emotion codes 01 to 08 (Livingstone & Russo 2018)."""
_SOUNDS = frozenset({".wav", ".flac", ".mp4", ".ogg"})
_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
_MEDIA_COLUMNS = ("image", "file", "path", "name")
_LABEL_COLUMNS = ("emotion", "label")


def read_ravdess(folder: Path | str) -> Corpus:
    """RAVDESS folders: the file name holds modality, channel, emotion, intensity, statement, repetition and actor.

    Raises:
        MediaNotFound: no such folder.
    """
    folder = _existing(folder)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SOUNDS)
    return Corpus("ravdess", map(_ravdess, files))


def _ravdess(path: Path) -> Example:
    codes = path.stem.split("-")
    if len(codes) != 7 or not all(c.isascii() and c.isdigit() for c in codes):
        return Example(path.stem, media=path, fault="not a RAVDESS file name")
    _, channel, emotion, intensity, statement, repetition, actor = (int(c) for c in codes)
    label = RAVDESS[emotion - 1] if 1 <= emotion <= len(RAVDESS) else None
    fault = "" if label else f"unknown emotion code {codes[2]}"
    group = {
        "actor": f"{actor:02d}",
        "sex": "female" if actor % 2 == 0 else "male",
        "channel": "song" if channel == 2 else "speech",
        "intensity": "strong" if intensity == 2 else "normal",
        "statement": str(statement),
        "repetition": str(repetition),
    }
    if not fault and path.stat().st_size == 0:
        fault = "empty media file"
    return Example(path.stem, None, path, label, (label,) if label else (), {}, group, fault=fault)


def read_image_folder(folder: Path | str, labels: Path | str | None = None) -> Corpus:
    """Pictures or clips with a table of labels, or without one a folder a label, as FER-2013 is laid out.

    labels: a CSV with a column image, file, path or name (from the folder, or from `images/` in it) and a column
        emotion or label; other columns become groups. Where the label is empty the row has none.

    Raises:
        InputError: no such folder or table.
    """
    folder = _existing(folder)
    if labels is None:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGES)
        return Corpus(folder.name, (_by_folder(folder, p) for p in files))
    return Corpus(folder.name, _by_table(folder, Path(labels)))


def _by_folder(folder: Path, path: Path) -> Example:
    label = path.parent.name if path.parent != folder else None
    fault = "" if label else "lies in no label's folder"
    name = path.relative_to(folder).as_posix()
    return Example(name, None, path, label, (label,) if label else (), fault=fault)


def _by_table(folder: Path, table: Path) -> Iterator[Example]:
    for _, row in csv_rows(table, ()):
        file_column = next((c for c in _MEDIA_COLUMNS if c in row), None)
        label_column = next((c for c in _LABEL_COLUMNS if c in row), None)
        if file_column is None or label_column is None:
            raise InputError(f"{table} names no files or no labels", "give it the columns image and emotion")
        name, label = row[file_column], row[label_column] or None
        path, fault = within(folder, name)
        if fault.startswith("missing") and (folder / "images").is_dir():
            path, fault = within(folder / "images", name)
        group = {k: v for k, v in row.items() if k not in (file_column, label_column)}
        yield Example(name, None, path, label, (label,) if label else (), {}, group, fault=fault)


def read_mer_unibench(folder: Path | str, part: str = "test", language: str = "english") -> Corpus:
    """One set of MER-UniBench: `label*.npz` or a CSV with `openset`, transcripts by CSV, media by name.

    part: which of the archive's `train_corpus`, `val_corpus`, `test_corpus` is read.
    language: the transcript's column; `sentence` or `chinese` where it is missing.

    The archive's pickles are read by a whitelist: nothing in them can run (see `archive`). `values["valence"]` keeps
    the set's own scale (CMU-MOSI and MOSEI -3..3, SIMS -1..1).

    Raises:
        InputError: no labels there, or an archive that holds anything else.
    """
    folder = _existing(folder)
    texts = _transcripts(folder, language)
    archives = sorted(folder.glob("label*.npz"))
    if archives:
        stored = read_archive(archives[0]).get(f"{part}_corpus")
        if not isinstance(stored, Mapping):
            raise InputError(f"{archives[0]} has no {part}_corpus", "choose train, val or test")
        return Corpus(folder.name, (_mer(folder, str(name), gold, texts) for name, gold in stored.items()))
    for table in sorted(folder.glob("*.csv")):
        rows = [row for _, row in csv_rows(table, ())]
        if rows and {"name", "openset"} <= rows[0].keys():
            return Corpus(folder.name, (_open_set(folder, row, texts) for row in rows))
    raise InputError(f"{folder} holds neither label*.npz nor a table with name and openset", "give one set's folder")


def _transcripts(folder: Path, language: str) -> dict[str, str]:
    for table in sorted(folder.glob("*.csv")):
        rows = [row for _, row in csv_rows(table, ())]
        column = next((c for c in (language, "sentence", "chinese") if rows and c in rows[0]), None)
        if column and "name" in rows[0]:
            return {row["name"]: row[column] for row in rows}
    return {}


def _mer(folder: Path, name: str, gold: object, texts: Mapping[str, str]) -> Example:
    media, fault = _find_media(folder, name)
    if not isinstance(gold, Mapping):
        return Example(name, texts.get(name), media, fault="its label is no mapping")
    label = str(gold.get("emo") or "").strip() or None
    value = gold.get("val")
    values = {} if value in (None, "") else {"valence": number(value)}
    if not fault and label is None and not values:
        fault = "no label"
    return Example(name, texts.get(name), media, label, (label,) if label else (), values, fault=fault)


def _open_set(folder: Path, row: Mapping[str, str], texts: Mapping[str, str]) -> Example:
    words = tuple(w for w in (p.strip(" '\"") for p in row["openset"].strip("[]").split(",")) if w)
    media, fault = _find_media(folder, row["name"])
    return Example(
        row["name"], texts.get(row["name"]), media, None, words, fault=fault or ("" if words else "no label")
    )


def _find_media(folder: Path, name: str) -> tuple[Path | None, str]:
    """A set without any media folder is text alone; one that has such a folder must hold the file."""
    places = [folder / kind for kind in ("video", "audio", "subvideo", "subaudio") if (folder / kind).is_dir()]
    fault = ""
    for place in places:
        for suffix in (".mp4", ".avi", ".wav", ".mkv"):
            path, fault = within(place, name + suffix)
            if not fault:
                return path, ""
    return None, f"missing media file {name!r}" if places else fault


def _existing(folder: Path | str) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise MediaNotFound(f"no folder at {folder}", "check the path")
    return folder
