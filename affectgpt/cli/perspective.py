"""`affectgpt perspective`: what a writer likely feels and what a reader likely will, sentence by sentence."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affectgpt.cli.flags import AnswerFlags, remember_debug, takes
from affectgpt.cli.plain import plain
from affectgpt.errors import InputError, MediaNotFound, OptionError

if TYPE_CHECKING:
    from affectgpt.appraise.difference import Bounds
    from affectgpt.perspective import Rewording, SentenceReading

__all__ = ["perspective"]

_SHOWN_WORDS = 3
_NOT_ASKED = ("key_observations", "revisions", "decide", "max_tokens", "temperature", "seed")


@dataclass(frozen=True, slots=True)
class TextFlags:
    """The text, and what is made of it."""

    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The words themselves; - reads them.", show_default=False)
    ] = None
    file: Annotated[Path | None, typer.Option("--file", metavar="PATH", help="A text file, UTF-8.")] = None
    clearer: Annotated[
        bool, typer.Option("--clearer", help="Ask a model for a clearer wording of flagged sentences.")
    ] = False
    permissive: Annotated[bool, typer.Option("--permissive", help="Only what was trained on freely licensed data.")] = (
        False
    )
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug)] = (
        False
    )

    def read(self) -> str:
        """The text. Raises InputError where there is none, or two."""
        if (self.text is None) == (self.file is None):
            raise OptionError("give either a text or --file", "see affectgpt perspective --help")
        if self.file is not None:
            return _read_file(self.file)
        assert self.text is not None
        return _decode(sys.stdin.buffer.read(_most_bytes() + 1), "standard input") if self.text == "-" else self.text


@takes(TextFlags, AnswerFlags, without=_NOT_ASKED)
def perspective(given: TextFlags, answer: AnswerFlags) -> None:
    """Flag sentences that are likely felt otherwise than they were meant, and show the words that do it."""
    from affectgpt.appraise.difference import DifferenceAppraiser
    from affectgpt.perspective import Reworder, find_differences
    from affectgpt.perspective.writing import to_json

    text = given.read()
    if not text.strip():
        raise InputError("a text without a word", "give at least one sentence")
    reader = DifferenceAppraiser(given.permissive)
    sentences = find_differences(text, reader)
    flagged = [k for k, s in enumerate(sentences) if s.flagged]
    rewordings: dict[int, Rewording] = {}
    if given.clearer and flagged:
        from affectgpt.engines.engine import open_engine

        # The shipped adapter explains clips: a sentence is reworded by the model as it is, unless another is named.
        asked = answer.engine_options()
        asked = replace(asked, adapter="none") if asked.adapter == "default" else asked
        reworder = Reworder(open_engine(asked), reader)
        rewordings = {k: reworder.reword(sentences[k]) for k in flagged}
    if given.json:
        typer.echo(json.dumps(to_json(sentences, reader.bounds, rewordings), indent=2, allow_nan=False))
    else:
        typer.echo(_shown(sentences, reader.bounds, rewordings))


def _read_file(path: Path) -> str:
    if not path.is_file():
        raise MediaNotFound(f"no text file at {path}", "check the path")
    with path.open("rb") as file:
        return _decode(file.read(_most_bytes() + 1), str(path))


def _decode(data: bytes, name: str) -> str:
    if len(data) > _most_bytes():
        raise InputError(f"{name} is longer than a text may be", "split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 (byte {error.start})", "save it as UTF-8") from None


def _most_bytes() -> int:
    from affectgpt.perspective import LONGEST_TEXT

    return 4 * LONGEST_TEXT  # bytes of a character in UTF-8, at most


def _shown(sentences: tuple[SentenceReading, ...], bounds: Bounds, rewordings: dict[int, Rewording]) -> str:
    from affectgpt.perspective.writing import NOTICE

    lines: list[str] = []
    for k, sentence in enumerate(sentences):
        lines.append(plain(sentence.text))
        if not sentence.flagged:
            lines.append("  no difference that can be told")
            continue
        lines.append(f"  a reader is likely to feel it as {sentence.told}")
        lines += [
            f"    {d.dimension}: writer {d.writer:+.2f}, reader {d.reader:+.2f}, "
            f"difference {d.value:+.2f} ± {d.half_width:.2f}"
            for d in sentence.flagged
        ]
        told = ", ".join(f"{plain(w.word)} {w.share:.0%}" for w in sentence.words[:_SHOWN_WORDS] if w.share > 0)
        lines += [f"  words that do it: {told}"] if told else []
        lines += _worded(rewordings[k]) if k in rewordings else []
    n = sum(bool(s.flagged) for s in sentences)
    hint = (
        f"A flag is a hint: raters found the difference that one tells in {bounds.hits:.0%} of sentences, and in "
        f"{bounds.hits_unflagged:.0%} where none is."
    )
    lines += ["", f"{n} of {len(sentences)} sentences flagged. {hint} {NOTICE}"]
    return "\n".join(lines)


def _worded(found: Rewording) -> list[str]:
    if found.chosen is None:
        why = "; ".join(dict.fromkeys(t.refused for t in found.tries))
        return [f"  no clearer wording in {len(found.tries)} tries: {plain(why)}"]
    end = "" if found.is_clear else ", still flagged"
    return [
        f"  clearer: {plain(found.chosen.text)}",
        f"    widest difference {found.gap:.1f} -> {found.chosen.gap:.1f} spreads{end}; by {plain(found.chosen.model)}",
    ]
