"""A built data set in the files that other trainers expect: LLaMA-Factory, ms-swift, TRL, axolotl.

None of them can leave a part of an answer out of the loss, so an answer's opening is learned with the rest there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from affectgpt.errors import OptionError
from affectgpt.records import InstructionExample
from affectgpt.records.instruction import Split
from instruction_data.row_json import PLACES
from instruction_data.store import read_rows, replacing, write_json, write_parquet

__all__ = ["TOOLS", "export", "split_files"]

TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}
"""LLaMA-Factory's names for OpenAI messages (its data/README.md, "OpenAI format")."""

_PART = {place: name.removesuffix("s") for name, place in PLACES.items()}
_PLACE = re.compile("(" + "|".join(map(re.escape, _PART)) + ")")

Write = Callable[[Path, str, dict[str, Path]], None]


def export(tool: str, data: Path, out: Path, name: str = "affectgpt") -> list[Path]:
    """Write a built data set for one tool into `out`; returns the files, the one to point the tool at first.

    Raises:
        OptionError: no such tool, or no rows in `data`. InputError: a malformed row.
    """
    if tool not in TOOLS:
        raise OptionError(f"no export for {tool!r}", f"there are {', '.join(TOOLS)}")
    files = split_files(data)
    out.mkdir(parents=True, exist_ok=True)
    TOOLS[tool](out, name, files)
    return sorted(p for p in out.iterdir() if p.is_file() and not p.name.endswith(".part"))


def split_files(data: Path) -> dict[str, Path]:
    """Split -> its rows, for a build's folder or for one file. Raises OptionError where there are none."""
    if data.is_file():
        return {data.stem: data}
    found = {split: data / f"{split}.jsonl" for split in get_args(Split) if (data / f"{split}.jsonl").is_file()}
    if not found:
        raise OptionError(f"no train.jsonl, dev.jsonl or test.jsonl in {data}", "build it: affectgpt data build")
    return found


def _llamafactory(out: Path, name: str, files: dict[str, Path]) -> None:
    info = {}
    for split, path in files.items():
        used = _write(out / f"{name}_{split}.jsonl", path, _openai)
        columns = {"messages": "messages"} | {kind: kind for kind in PLACES if kind in used}
        info[f"{name}_{split}"] = {
            "file_name": f"{name}_{split}.jsonl",
            "formatting": "sharegpt",
            "columns": columns,
            "tags": TAGS,
        }
    write_json(out / "dataset_info.json", info)


def _swift(out: Path, name: str, files: dict[str, Path]) -> None:
    for split, path in files.items():
        _write(out / f"{name}_{split}.jsonl", path, _openai)


def _trl(out: Path, name: str, files: dict[str, Path]) -> None:
    for split, path in files.items():
        _write(out / f"{name}_{split}.jsonl", path, _prompt_completion)


def _axolotl(out: Path, name: str, files: dict[str, Path]) -> None:
    described = []
    for split, path in files.items():
        # Arrow's readers want one type a column: parts in every message, or in none.
        _write(out / f"{name}_{split}.jsonl", path, _typed if _kinds(path) else _openai, media=False)
        described.append((f"{name}_{split}.jsonl", "test_datasets" if split != "train" else "datasets"))
    with replacing(out / "datasets.yaml") as file:
        for file_name, section in described:
            file.write(
                f"{section}:\n  - path: {file_name}\n    ds_type: json\n    type: chat_template\n"
                "    field_messages: messages\n    roles_to_train: [assistant]\n    train_on_eos: turn\n"
                + ("    split: train\n" if section == "test_datasets" else "")
            )


def _parquet(out: Path, name: str, files: dict[str, Path]) -> None:
    for split, path in files.items():
        write_parquet(out / f"{name}_{split}.parquet", read_rows(path))


TOOLS: Mapping[str, Write] = {
    "llamafactory": _llamafactory,
    "ms-swift": _swift,
    "trl": _trl,
    "axolotl": _axolotl,
    "parquet": _parquet,
}
"""Tool -> what writes its files."""


def _write(
    target: Path, source: Path, shape: Callable[[InstructionExample], dict[str, Any]], media: bool = True
) -> set[str]:
    """Every row in another shape, with the media lists that any row uses: in all rows, so that columns are the same."""
    used = _kinds(source) if media else set()
    with replacing(target) as file:
        for example in read_rows(source):
            row = shape(example) | {kind: list(getattr(example, kind)) for kind in sorted(used)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return used


def _kinds(source: Path) -> set[str]:
    """The media lists that any row of a file uses."""
    return {kind for example in read_rows(source) for kind in PLACES if getattr(example, kind)}


def _openai(example: InstructionExample) -> dict[str, Any]:
    """LLaMA-Factory's and ms-swift's row: messages as they are."""
    return {"messages": [{"role": m.role, "content": m.content} for m in example.messages]}


def _prompt_completion(example: InstructionExample) -> dict[str, Any]:
    """TRL's conversational prompt-completion row: its trainer then takes the loss on the completion alone."""
    *asked, answer = _openai(example)["messages"]
    return {"prompt": asked, "completion": [answer]}


def _typed(example: InstructionExample) -> dict[str, Any]:
    """Axolotl's row with media: typed parts, the files in their places."""
    files = {place: iter(getattr(example, kind)) for kind, place in PLACES.items()}
    return {"messages": [{"role": m.role, "content": list(_parts(m.content, files))} for m in example.messages]}


def _parts(text: str, files: Mapping[str, Iterator[str]]) -> Iterator[dict[str, str]]:
    for piece in _PLACE.split(text):
        if piece in _PART:
            yield {"type": _PART[piece], "path": next(files[piece])}
        elif piece.strip():
            yield {"type": "text", "text": piece.strip("\n")}
