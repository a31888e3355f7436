"""Readers of labelled text: MELD, GoEmotions, EmoBank, EmpatheticDialogues, RECCON, and any JSON lines."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from affectgpt.corpora.example import Corpus, Example
from affectgpt.corpora.tables import csv_rows, json_lines, number, read_text
from affectgpt.errors import InputError, OptionError

__all__ = [
    "GOEMOTIONS",
    "MELD",
    "read_emobank",
    "read_emobank_difference",
    "read_empathetic_dialogues",
    "read_goemotions",
    "read_jsonl",
    "read_meld",
    "read_reccon",
]

MELD = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
"""MELD's column Emotion (Poria et al. 2019)."""

GOEMOTIONS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip
"""Ids 0 to 27 (Demszky et al. 2020, emotions.txt)."""

_SENTIMENT = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
_DIMENSIONS = {"V": "valence", "A": "arousal", "D": "dominance"}
_MIDDLE, _REACH = 3.0, 2.0  # EmoBank's scale runs 1 to 5 (Buechel & Hahn 2017)


def read_meld(path: Path | str) -> Corpus:
    """MELD's `*_sent_emo.csv`: an utterance a row, with the earlier ones of its dialogue as context.

    Raises:
        InputError: no such table.
    """
    path = Path(path)
    needs = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
    return Corpus(path.stem, _meld(path, needs))


def _meld(path: Path, needs: tuple[str, ...]) -> Iterator[Example]:
    said: dict[str, list[str]] = defaultdict(list)
    for _, row in csv_rows(path, needs):
        dialogue, sentiment = row["Dialogue_ID"], row["Sentiment"]
        values = {"sentiment": _SENTIMENT[sentiment]} if sentiment in _SENTIMENT else {}
        fault = "" if row["Emotion"] in MELD else f"unknown label {row['Emotion']!r}"
        yield Example(
            id=f"dia{dialogue}_utt{row['Utterance_ID']}",
            text=row["Utterance"],
            label=row["Emotion"],
            labels=(row["Emotion"],),
            values=values,
            group={"dialogue": dialogue, "speaker": row["Speaker"], "sentiment": sentiment},
            context=tuple(said[dialogue]),
            fault=fault or ("" if values else f"unknown sentiment {sentiment!r}"),
        )
        said[dialogue].append(row["Utterance"])


def read_goemotions(path: Path | str) -> Corpus:
    """GoEmotions' `train.tsv`, `dev.tsv`: text, ids with commas, comment id; `label` only where there is one alone.

    Raises:
        InputError: no such file.
    """
    path = Path(path)
    lines = [line for line in read_text(path).split("\n") if line]
    return Corpus(path.stem, (_goemotions(n, line.split("\t")) for n, line in enumerate(lines, 1)))


def _goemotions(n: int, cells: list[str]) -> Example:
    text, ids, name = [*cells, "", "", ""][:3]
    known = [GOEMOTIONS[int(i)] for i in ids.split(",") if i.isascii() and i.isdigit() and int(i) < len(GOEMOTIONS)]
    fault = "" if known and len(known) == len(ids.split(",")) else f"unknown label ids {ids!r}"
    fault = fault if len(cells) == 3 else f"{len(cells)} columns instead of 3"
    only = known[0] if len(known) == 1 else None
    return Example(name.strip() or f"line{n}", text, label=only, labels=tuple(known), fault=fault)


def read_emobank(path: Path | str, perspective: Literal["both", "reader", "writer"] = "both") -> Corpus:
    """EmoBank's `emobank.csv`; `group["split"]` is its own split. V/A/D are (x - 3) / 2, from 1..5 to [-1, 1].

    perspective: "reader" or "writer" takes the numbers of `reader.csv` or `writer.csv` beside it; a sentence that is
        not rated there is a faulty row.

    Raises:
        InputError: no such table.
    """
    path = Path(path)
    sides = None if perspective == "both" else _ratings(path.parent / f"{perspective}.csv")
    return Corpus(f"{path.stem}-{perspective}", _emobank(path, sides, perspective))


def read_emobank_difference(path: Path | str) -> Corpus:
    """EmoBank's sentences with the reader's V/A/D less the writer's, in [-2, 2]; `group["split"]` is its own split.

    A sentence that is not rated from both sides is a faulty row.

    Raises:
        InputError: no such table.
    """
    path = Path(path)
    readers = read_emobank(path, "reader")
    writers = {row.id: row for row in read_emobank(path, "writer")}
    return Corpus(f"{path.stem}-difference", (_apart(row, writers.get(row.id)) for row in readers))


def _apart(reader: Example, writer: Example | None) -> Example:
    fault = reader.fault or (writer.fault if writer else "no writer's rating")
    if fault or writer is None:
        return replace(reader, values={}, fault=fault)
    return replace(reader, values={name: v - writer.values[name] for name, v in reader.values.items()})


def _ratings(path: Path) -> dict[str, dict[str, str]]:
    return {row["id"]: row for _, row in csv_rows(path, ("id", *_DIMENSIONS))}


def _emobank(path: Path, sides: Mapping[str, Mapping[str, str]] | None, side: str) -> Iterator[Example]:
    for _, row in csv_rows(path, ("id", "split", "text", *_DIMENSIONS)):
        rated: Mapping[str, str] | None = row if sides is None else sides.get(row["id"])
        values = {name: (number(rated[c]) - _MIDDLE) / _REACH for c, name in _DIMENSIONS.items()} if rated else {}
        fault = "" if rated else f"no {side}'s rating"
        if not fault and any(abs(v) > 1 for v in values.values()):
            fault = "a rating outside 1 to 5"
        yield Example(row["id"], row["text"], values=values, group={"split": row["split"]}, fault=fault)


def read_empathetic_dialogues(path: Path | str, unit: Literal["situation", "utterance"] = "situation") -> Corpus:
    """EmpatheticDialogues as JSON lines: one row a situation, or one a speaker's turn with what came before.

    Raises:
        InputError: no such file.
    """
    path = Path(path)
    return Corpus(f"{path.stem}-{unit}", _empathetic(path, unit))


def _empathetic(path: Path, unit: str) -> Iterator[Example]:
    for n, row in json_lines(path):
        if row is None or not isinstance(row.get("turns"), list):
            yield Example(f"line{n}", fault="not a dialogue")
            continue
        name, label = str(row.get("conv_id") or f"line{n}"), str(row.get("emotion") or "")
        turns = [(str(t.get("role")), str(t.get("text", ""))) for t in row["turns"] if isinstance(t, dict)]
        fault = "" if label else "no label"
        group = {"dialogue": name}
        if unit == "situation":
            replies = tuple(text for role, text in turns if role == "listener")
            said = str(row.get("situation") or "")
            yield Example(name, said, label=label, labels=(label,), group=group, references=replies, fault=fault)
            continue
        for i, (role, text) in enumerate(turns):
            if role == "speaker":
                before = tuple(t for _, t in turns[:i])
                yield Example(f"{name}:{i}", text, None, label, (label,), {}, group, before, fault=fault)


def read_reccon(path: Path | str, unit: Literal["turn", "cause"] = "turn") -> Corpus:
    """RECCON's DailyDialog or IEMOCAP json: a turn a row, with its cause spans where the emotion has causes.

    unit: `cause` gives a row each utterance in which an annotated cause stands, with its spans and the emotions that
        they caused; a span is sought in the emotional turn, then in the turns before it, the nearest first.

    Raises:
        InputError: not such a file.
    """
    path = Path(path)
    try:
        dialogues = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not JSON", "give RECCON's *_train.json, *_valid.json or *_test.json") from None
    if not isinstance(dialogues, dict):
        raise InputError(f"{path} holds no dialogues", "give RECCON's *_train.json, *_valid.json or *_test.json")
    turns = [row for name, parts in dialogues.items() for row in _reccon(name, parts)]
    return Corpus(path.stem, turns if unit == "turn" else _causes(turns))


def _causes(turns: list[Example]) -> Iterator[Example]:
    """The utterances that hold a cause; faulty turns stay as they are."""
    spoken = {(t.group.get("dialogue"), len(t.context)): t for t in turns if not t.fault}
    found: dict[str, tuple[list[str], list[str]]] = {}
    for turn in turns:
        if turn.fault:
            yield turn
        for span in turn.spans if turn.label != "neutral" else ():
            said = [*turn.context, turn.text or ""]
            at = next((k for k in reversed(range(len(said))) if span and span in said[k]), None)
            if at is not None and (turn.group["dialogue"], at) in spoken:
                spans, labels = found.setdefault(spoken[turn.group["dialogue"], at].id, ([], []))
                spans.append(span)
                labels.append(turn.label or "")
    for turn in spoken.values():
        if turn.id in found:
            marked, felt = (tuple(dict.fromkeys(x)) for x in found[turn.id])
            yield replace(turn, label=felt[0] if len(felt) == 1 else None, labels=felt, spans=marked)


def _reccon(name: str, parts: Any) -> Iterator[Example]:
    turns = parts[0] if isinstance(parts, list) and parts and isinstance(parts[0], list) else None
    if turns is None:
        yield Example(name, fault="not a dialogue")
        return
    said: list[str] = []
    for i, turn in enumerate(turns, 1):
        row = turn if isinstance(turn, dict) else {}
        text, label = str(row.get("utterance") or ""), str(row.get("emotion") or "")
        spans = row.get("expanded emotion cause span")
        group = {
            "dialogue": name,
            "speaker": f"{name}:{row.get('speaker')}",
            "type": " ".join(_listed(row.get("type"))),
        }
        yield Example(
            id=f"{name}_{row.get('turn', i)}",
            text=text,
            label=label or None,
            labels=(label,) if label else (),
            group=group,
            context=tuple(said),
            spans=tuple(s for s in _listed(spans) if s != "b"),  # "b": the cause lies outside the dialogue
            fault="" if label else "no label",
        )
        said.append(text)


def _listed(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else []


_PLAIN = ("id", "text", "media", "label", "labels", "context", "spans", "references")


def read_jsonl(path: Path | str, columns: Mapping[str, str]) -> Corpus:
    """Any JSON lines, by a map from fields of `Example` to keys of the file.

    columns: `text: sentence`, `values.valence: V`, `group.speaker: who`. Media paths start from the file's folder.

    Raises:
        OptionError: a field that `Example` does not have. InputError: no such file.
    """
    unknown = [f for f in columns if f not in _PLAIN and not f.startswith(("values.", "group."))]
    if unknown:
        raise OptionError(f"no field {unknown[0]!r}", f"map {', '.join(_PLAIN)}, values.NAME or group.NAME")
    path = Path(path)
    return Corpus(path.stem, (_mapped(path, n, row, columns) for n, row in json_lines(path)))


def _mapped(path: Path, n: int, row: Mapping[str, Any] | None, columns: Mapping[str, str]) -> Example:
    if row is None:
        return Example(f"line{n}", fault="not a JSON object")
    got = {f: row.get(key) for f, key in columns.items()}
    absent = [key for f, key in columns.items() if key not in row and not f.startswith("group.")]
    many = {f: tuple(_listed(got.get(f))) for f in ("labels", "context", "spans", "references")}
    label = None if got.get("label") in (None, "") else str(got["label"])
    media = path.parent / str(got["media"]) if got.get("media") else None
    fault = f"no {absent[0]!r}" if absent else ""
    if media is not None and not fault:
        fault = "" if media.is_file() else f"missing media file {got['media']!r}"
    return Example(
        id=str(got["id"]) if got.get("id") is not None else f"line{n}",
        text=None if got.get("text") is None else str(got["text"]),
        media=media,
        label=label,
        labels=many["labels"] or ((label,) if label else ()),
        values={f[7:]: number(v) if v is not None else math.nan for f, v in got.items() if f.startswith("values.")},
        group={f[6:]: "" if v is None else str(v) for f, v in got.items() if f.startswith("group.")},
        context=many["context"],
        spans=many["spans"],
        references=many["references"],
        fault=fault,
    )
