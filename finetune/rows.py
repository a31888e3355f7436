"""Instruction rows as the trainer takes them: checked, with row numbers, and turned into token ids and labels.

The messages before the answer go through the engines' own `chat_ids`, and the opening is cut off as the engines cut
it, so that what is trained is what will be asked, token for token.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectgpt.engines import models
from affectgpt.errors import InputError, OptionError
from affectgpt.records import Message, Prompt

__all__ = ["BadRow", "Encoded", "Row", "encode", "file_sha256", "fit", "read_rows"]

IGNORED = -100
"""The label that takes no loss, as PyTorch's cross entropy has it."""
MEDIA = ("image", "video", "audio")
LONGEST_LINE = 4_000_000
"""Characters of a line beyond which it is refused: a thousand times a common row."""


class BadRow(InputError):
    """A row that cannot be trained on; the message names the file and the row's number, counted from 1."""


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation that ends with the assistant's answer.

    `opening` is what the answer begins with because inference gives it too; it takes no loss. `number` counts lines
    of the file from 1.
    """

    number: int
    messages: tuple[Message, ...]
    opening: str = ""
    task: str = ""
    id: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The whole of the last message."""
        return self.messages[-1].content

    @property
    def prompt(self) -> Prompt:
        """What an engine is asked for this row."""
        named = (str(self.provenance.get(k, "")) for k in ("prompt_id", "prompt_version"))
        prompt_id, version = named
        return Prompt(self.messages[:-1], prompt_id, version, opening=self.opening)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids (S,) of a row and its labels (S,), `IGNORED` wherever no loss falls."""

    input_ids: list[int]
    labels: list[int]

    @property
    def n_answer(self) -> int:
        """Tokens that take a loss."""
        return sum(label != IGNORED for label in self.labels)


def read_rows(path: Path, problems: list[BadRow] | None = None) -> Iterator[Row]:
    """The rows of a JSONL file, one at a time.

    Raises:
        BadRow: a malformed row; where `problems` is given it is put there instead and reading goes on.
        OptionError: no such file.
    """
    try:
        handle = path.open(encoding="utf-8")
    except OSError as e:
        raise OptionError(
            f"no rows at {path}: {e.strerror}", "build them with instruction_data, or name data="
        ) from None
    with handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                yield _row(number, line, path)
            except BadRow as e:
                if problems is None:
                    raise
                problems.append(e)


def encode(row: Row, tokenizer: Any) -> Encoded:
    """Token ids of a row; every answer takes the loss, its end of turn too, and nothing else does.

    The opening, with which the last answer begins, takes none; nor does an earlier answer that the chat template
    rewrites once more turns follow (some cut the thinking out).

    Raises:
        BadRow: the model's chat template refuses the order of its turns.
    """
    ids: list[int] = []
    labels: list[int] = []
    answers = [i for i, m in enumerate(row.messages) if m.role == "assistant"]
    for i in answers:
        asked = _asked(row, row.messages[:i], tokenizer)
        if asked[: len(ids)] != ids:
            ids, labels = [], []
        given = row.opening if i == answers[-1] else ""
        opening, answer = (
            tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
            for text in (given, row.messages[i].content[len(given) :])
        )
        learnt = [*answer, tokenizer.eos_token_id]
        labels += [IGNORED] * (len(asked) + len(opening) - len(ids)) + learnt
        ids = asked + opening + learnt
    return Encoded(ids, labels)


def _asked(row: Row, messages: Sequence[Message], tokenizer: Any) -> list[int]:
    from jinja2 import TemplateError

    try:
        return models.chat_ids(tokenizer, messages)
    except TemplateError as e:
        raise BadRow(f"row {row.number}: the model's chat template refuses it: {e}", "mend the order of roles") from e


def fit(encoded: Encoded, row: Row, max_length: int, too_long: str) -> Encoded | None:
    """The row where it is short enough; else what `too_long` says: an error, None for dropped, or its beginning.

    Raises:
        BadRow: it is too long and that is to be refused.
    """
    n = len(encoded.input_ids)
    if n <= max_length:
        return encoded
    if too_long == "refuse":
        raise BadRow(
            f"row {row.number} has {n} tokens, {n - max_length} more than max_length", "raise it, or too_long=drop"
        )
    cut = Encoded(encoded.input_ids[:max_length], encoded.labels[:max_length])
    return cut if too_long == "cut" and cut.n_answer else None


def choose(rows: Iterable[Row], tasks: Sequence[str], n: int | None, seed: int) -> Iterator[Row]:
    """The rows of these tasks, in order: all, or `n` drawn by the seed (a reservoir, so that memory is bounded)."""
    kept = (row for row in rows if not tasks or row.task in tasks)
    if n is None:
        yield from kept
        return
    rng, held = random.Random(seed), []
    for i, row in enumerate(kept):
        if i < n:
            held.append(row)
        elif (at := rng.randrange(i + 1)) < n:
            held[at] = row
    yield from sorted(held, key=lambda row: row.number)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# ---------------------------------------------------------------- one row


def _row(number: int, line: str, path: Path) -> Row:
    def bad(what: str, remedy: str = 'see instruction_data/README.md, "A row"') -> BadRow:
        return BadRow(f"{path.name} row {number}: {what}", remedy)

    if len(line) > LONGEST_LINE:
        raise bad(f"{len(line)} characters in one line")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise bad(f"not JSON: {e}") from None
    if not isinstance(row, dict):
        raise bad("no JSON object")
    try:
        messages, opening = _messages(row), row.get("opening") or ""
        _check_opening(messages[-1].content, opening)
        _check_media(row, messages, path.parent)
    except ValueError as e:
        raise bad(str(e)) from None
    provenance = row.get("provenance")
    return Row(
        number,
        messages,
        opening,
        str(row.get("task", "")),
        str(row.get("id", "")),
        provenance if isinstance(provenance, dict) else {},
    )


def _messages(row: Mapping[str, Any]) -> tuple[Message, ...]:
    listed = row.get("messages")
    if not isinstance(listed, list) or not listed:
        raise ValueError("`messages` is missing or empty")
    made = []
    for i, m in enumerate(listed, 1):
        if not isinstance(m, dict) or not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str):
            raise ValueError(f"message {i} is no object with a role and a content, both text")
        made.append(Message(m["role"], m["content"]))  # type: ignore[arg-type]
    turns = made[1:] if made[0].role == "system" else made
    for i, m in enumerate(turns):
        wanted = "assistant" if i % 2 else "user"
        if m.role != wanted:
            raise ValueError(f"turn {i + 1} is by {m.role!r} and should be by {wanted!r}")
    if not turns or turns[-1].role != "assistant":
        raise ValueError("the last message is not the assistant's")
    if not made[-1].content.strip():
        raise ValueError("the answer is empty")
    return tuple(made)


def _check_opening(answer: str, opening: Any) -> None:
    if not isinstance(opening, str):
        raise ValueError("`opening` is not text")
    if not answer.startswith(opening):
        raise ValueError("the answer does not begin with `opening`")
    if opening and len(answer) == len(opening):
        raise ValueError("`opening` is the whole answer, so that nothing is left to learn")


def _check_media(row: Mapping[str, Any], messages: Sequence[Message], folder: Path) -> None:
    text = "\n".join(m.content for m in messages)
    held = 0
    for kind in MEDIA:
        listed = row.get(f"{kind}s") or []
        if not isinstance(listed, list) or not all(isinstance(x, str) for x in listed):
            raise ValueError(f"`{kind}s` is no list of paths")
        if (n := text.count(f"<{kind}>")) != len(listed):
            raise ValueError(f"{n} <{kind}> in the messages, {len(listed)} in `{kind}s`")
        if gone := next((x for x in listed if not (folder / x).is_file()), None):
            raise ValueError(f"no media file {gone}")
        held += len(listed)
    if held:
        raise ValueError(f"it needs {held} media files, and this trains on text; turn them into observations first")
