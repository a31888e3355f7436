"""An instruction row as JSON and back. What comes back was written by anybody: every fault is named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, get_args

from affectgpt.errors import InputError
from affectgpt.records import InstructionExample, Message, Provenance, Source
from affectgpt.records.instruction import Split

__all__ = ["dump_row", "find_fault", "load_row", "to_row"]

PLACES = {"images": "<image>", "videos": "<video>", "audios": "<audio>"}
"""Media list -> the place in a message that stands for one of its items, as LLaMA-Factory and ms-swift write it."""
LONGEST_LINE = 2_000_000
"""Characters of one JSON line: a row of text has a few thousand."""

_KEYS = tuple(f.name for f in fields(InstructionExample))
_TEXTS = ("prompt_id", "prompt_version", "writer", "writer_version", "speaker", "dialogue", "wording")
_LISTS = ("observations", "filters", "media_sha256")
_SPLITS = get_args(Split)


def to_row(example: InstructionExample) -> dict[str, Any]:
    """The row in JSON's own types, its keys in the order that the README gives."""
    return {
        name: value
        if isinstance(value := getattr(example, name), str)
        else asdict(value)
        if isinstance(value, Provenance)
        else [asdict(v) if isinstance(v, Message) else v for v in value]
        for name in _KEYS
    }


def dump_row(example: InstructionExample) -> str:
    """The row as one line of JSON, without its end."""
    return json.dumps(to_row(example), ensure_ascii=False)


def load_row(line: str) -> InstructionExample:
    """The row that one line of JSON holds.

    Raises:
        InputError: no JSON, not a row, or a row that breaks its own rules (see `find_fault`).
    """
    if len(line) > LONGEST_LINE:
        raise InputError(f"longer than {LONGEST_LINE} characters", "is this a file of instruction rows?")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", "a line was cut or edited; build the file again") from None
    example = _read(row)
    if fault := find_fault(example):
        raise InputError(fault, "mend the row or drop it")
    return example


def find_fault(example: InstructionExample) -> str:
    """What is wrong with a row, in words; empty for a sound one. Roles, placeholders, opening, empty texts."""
    roles = [m.role for m in example.messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        return f"the roles {', '.join(roles) or 'none'} are not user and assistant by turns, ending with assistant"
    if empty := next((m.role for m in example.messages if not m.content.strip()), None):
        return f"an empty {empty} message"
    if not example.answer.startswith(example.opening):
        return "the answer does not begin with its opening"
    if example.opening and not example.answer[len(example.opening) :].strip():
        return "nothing stands after the opening"
    for name, place in PLACES.items():
        n_files, n_places = len(getattr(example, name)), sum(m.content.count(place) for m in example.messages)
        if n_files != n_places:
            return f"{n_files} {name} for {n_places} places {place}"
    return ""


def _read(row: Any) -> InstructionExample:
    if not isinstance(row, Mapping):
        raise InputError("not a JSON object", "a row is an object with id, task, split and messages")
    if missing := [k for k in ("id", "task", "split", "messages") if k not in row]:
        raise InputError(f"no {missing[0]!r}", "a row has id, task, split and messages")
    if unknown := [k for k in row if k not in _KEYS]:
        raise InputError(f"an unknown key {unknown[0]!r}", f"the keys are {', '.join(_KEYS)}")
    if row["split"] not in _SPLITS:
        raise InputError(f"the split {row['split']!r}", f"a split is one of {', '.join(_SPLITS)}")
    media = {name: _strings(row.get(name, []), name) for name in PLACES}
    return InstructionExample(
        id=_text(row, "id"),
        task=_text(row, "task"),
        split=row["split"],
        messages=_messages(row["messages"]),
        opening=_text(row, "opening"),
        provenance=_provenance(row.get("provenance", {})),
        **media,
    )


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise InputError("messages is not a list", "give [{role, content}, …]")
    for i, m in enumerate(value):
        if not isinstance(m, Mapping) or set(m) != {"role", "content"}:
            raise InputError(f"message {i} is not {{role, content}}", "give exactly these two keys")
        if m["role"] not in ("system", "user", "assistant") or not isinstance(m["content"], str):
            raise InputError(f"message {i} has the role {m['role']!r} or no text", "use system, user and assistant")
    return tuple(Message(m["role"], m["content"]) for m in value)


def _provenance(value: Any) -> Provenance:
    if not isinstance(value, Mapping):
        raise InputError("provenance is not an object", "see instruction_data/README.md")
    if unknown := [k for k in value if k not in (*_TEXTS, *_LISTS, "sources")]:
        raise InputError(f"an unknown key {unknown[0]!r} in provenance", "see instruction_data/README.md")
    sources = value.get("sources", [])
    if not isinstance(sources, list) or not all(
        isinstance(s, Mapping) and set(s) == {"set", "licence"} for s in sources
    ):
        raise InputError("provenance.sources is not a list of {set, licence}", "see instruction_data/README.md")
    return Provenance(
        sources=tuple(Source(str(s["set"]), str(s["licence"])) for s in sources),
        **{k: _text(value, k) for k in _TEXTS},  # type: ignore[arg-type]
        **{k: _strings(value.get(k, []), k) for k in _LISTS},  # type: ignore[arg-type]
    )


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"{key} is not a text", "write it as a JSON string")
    return value


def _strings(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(v, str) for v in value):
        raise InputError(f"{key} is not a list of texts", "write it as a JSON list of strings")
    return tuple(value)
