"""An adapter examined on a dev set: greedy answers of it and of those beside it, and every bar with its interval.

Beside the adapter: the untuned model, the composer alone (the rows' own answers) and a copier of observation lines. The
answers are kept a line a row, so that an examination that was stopped goes on, and is scored again without being asked
again.

run.json        what is examined, on which rows, how     report.json   every figure
answers/*.jsonl what was written, a line a row           report.md     the same to read
pairs.jsonl     what a judge said of each pair
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from affectgpt.engines import adapter
from affectgpt.engines.echo import EchoEngine
from affectgpt.engines.engine import Engine, EngineOptions, open_engine
from affectgpt.errors import InputError, OptionError
from affectgpt.evaluation import pairs
from affectgpt.parsing import parse_text
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Completion, Explanation, Sampling
from finetune.examining_answers import Asker, Engines, Tell, Who
from finetune.examining_bars import Case, measure
from finetune.examining_flips import Flip, draw_flips, follow
from finetune.examining_page import page
from finetune.exporting import base_of
from finetune.judging import judge
from finetune.rows import Row, file_sha256, read_rows
from finetune.runs import versions

__all__ = ["Examination", "examine", "read_examination"]

YES_NO_TOKENS = 48
"""Longest answer to a question of yes or no: three times the rows' longest."""
N_PRINTED = 20
"""Interpretations printed unpicked: those of the first rows of the file."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What is asked of whom. Every field is a key of the command line.

    data: folder with dev.jsonl. out: folder of the results; default: `examination` beside the adapter. limit: rows
    from the beginning of the file. untuned: rows that the untuned model is asked, drawn by the seed. flips: rows of
    which one cue is changed. pairs: interpretations that a judge compares, where `judge_url` names one (its key comes
    from AFFECTGPT_API_KEY). model: the base, where it is not the one that the manifest names.
    """

    data: str = ""
    out: str = ""
    limit: int | None = None
    untuned: int = 60
    flips: int = 200
    pairs: int = 100
    answer_tokens: int = 640
    batch_size: int = 8
    dtype: str = "float32"
    threads: int | None = None
    model: str | None = None
    judge_url: str | None = None
    judge_model: str | None = None
    resamples: int = 1000
    seed: int = 0


def read_examination(overrides: Sequence[str]) -> Examination:
    """`key=value` texts as an examination.

    Raises:
        OptionError: an unknown key, or a value that does not fit.
    """
    known, given = {f.name: f for f in fields(Examination)}, {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in known:
            raise OptionError(f"unknown key {key!r}", f"write key=value; the keys are {', '.join(known)}")
        given[key] = _fit(key, value, str(known[key].type))
    return Examination(**given)


def _fit(key: str, value: str, wanted: str) -> Any:
    if wanted.startswith("str"):
        return value
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        read = value
    if (read is None and "None" in wanted) or (type(read) is int and read >= 0):
        return read
    raise OptionError(f"{key}: {value!r} does not fit", "give a whole number of 0 or more")


def examine(folder: Path, how: Examination, engines: Engines | None = None, tell: Tell | None = None) -> dict[str, Any]:
    """Examine the adapter of a folder; writes the report and returns it.

    Raises:
        OptionError: no rows, or an `out` folder of another examination. ModelError: the adapter is not whole.
    """
    manifest = adapter.read_manifest(folder)
    data = Path(how.data).expanduser() / "dev.jsonl"
    rows = list(read_rows(data))[: how.limit]
    if not how.data or not rows:
        raise OptionError(f"no rows in {data}", "name data=FOLDER, as `affectgpt data build` fills it")
    out = Path(how.out).expanduser() if how.out else folder.parent / "examination"
    session = _Session(rows, how, out, engines or _engines(folder, manifest, how), tell or (lambda _: None))
    session.begin({
        "adapter": manifest.id, "weights_sha256": manifest.weights_sha256, "base_model": manifest.base_model,
        "data_sha256": file_sha256(data), "dtype": how.dtype, "answer_tokens": how.answer_tokens, "seed": how.seed,
    })  # fmt: skip
    return session.run()


def _engines(folder: Path, manifest: adapter.Manifest, how: Examination) -> Engines:
    def opened(who: Who) -> Engine:
        if who == "judge":
            return open_engine(EngineOptions("http", how.judge_model, how.judge_url))
        if who == "copier":
            return EchoEngine()
        options = EngineOptions(
            "local",
            how.model or base_of(manifest),
            adapter=str(folder.resolve()) if who == "adapter" else "none",
            dtype=how.dtype,  # type: ignore[arg-type]
            threads=how.threads,
            batch_size=how.batch_size,
        )
        return open_engine(options)

    return opened


class _Session:
    """One examination under way."""

    def __init__(self, rows: Sequence[Row], how: Examination, out: Path, engines: Engines, tell: Tell) -> None:
        self.rows, self.how, self.out, self.engines, self.tell = rows, how, out, engines, tell
        self.prompts = PromptLibrary()
        self.is_three_part = {r.id: isinstance(parse_text(r.answer), Explanation) for r in rows}
        if len(self.is_three_part) < len(rows) or "" in self.is_three_part:
            raise InputError("rows without an id, or with one that stands twice", "build the rows again")

    def begin(self, what: Mapping[str, Any]) -> None:
        """The folder, which holds one examination."""
        path = self.out / "run.json"
        if path.is_file():
            held = json.loads(path.read_text("utf-8"))
            if changed := [k for k in what if held.get(k) != what[k]]:
                raise OptionError(f"{self.out} holds another examination ({changed[0]})", "name another out=")
        (self.out / "answers").mkdir(parents=True, exist_ok=True)
        self.what = {**what, "versions": versions()}
        path.write_text(json.dumps(self.what, indent=2) + "\n", "utf-8")

    def run(self) -> dict[str, Any]:
        """Ask, judge, compare, and write the report."""
        three_part = [r for r in self.rows if self.is_three_part[r.id]]
        flips, counts = draw_flips(three_part, self.how.flips, self.how.seed, self.prompts)
        flip_of = {f.row.id: f for f in flips}
        cases = {"adapter": self._cases("adapter", self.rows, flip_of)}
        if self.how.untuned:
            drawn = random.Random(self.how.seed).sample(self.rows, min(self.how.untuned, len(self.rows)))
            cases["untuned"] = self._cases("untuned", drawn, flip_of)
        composed = {r.id: Completion(r.answer, "composer", "composer", "", "") for r in self.rows}
        cases["composer"] = [self._case(r, composed[r.id], None, None) for r in self.rows]
        cases["copier"] = self._cases("copier", self.rows, flip_of)
        report = self.what | {
            "rows": len(self.rows),
            "asked": {who: len(listed) for who, listed in cases.items()},
            "flips": counts | {"asked": len(flips)},
            "figures": measure(cases, self.how.resamples),
            "faults": _faults(cases["adapter"]),
            "interpretations": self._printed(cases["adapter"]),
            "pairs": self._compare(cases),
        }
        (self.out / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (self.out / "report.md").write_text(page(report), "utf-8")
        return report

    def _cases(self, who: Who, rows: Sequence[Row], flips: Mapping[str, Flip]) -> list[Case]:
        asker = Asker(who, self.out / "answers", self.engines, (self.how.batch_size, self.how.seed), self.tell)
        long = {r.id: (r.prompt, len(r.answer) - len(r.opening)) for r in rows if self.is_three_part[r.id]}
        short = {r.id: (r.prompt, len(r.answer)) for r in rows if not self.is_three_part[r.id]}
        said = asker.ask(who, long, Sampling(max_tokens=self.how.answer_tokens))
        said |= asker.ask(f"{who}-questions", short, Sampling(max_tokens=YES_NO_TOKENS))
        # Where the first answer cannot be read there is nothing that could follow.
        read = {r.id for r in rows if r.id in flips and isinstance(parse_text(said[r.id].text), Explanation)}
        changed = {i: (flips[i].prompt, long[i][1]) for i in sorted(read)}
        then = asker.ask(f"{who}-flips", changed, Sampling(max_tokens=self.how.answer_tokens))
        return [self._case(r, said[r.id], flips.get(r.id), then.get(r.id)) for r in rows]

    def _case(self, row: Row, said: Completion, flip: Flip | None, then: Completion | None) -> Case:
        followed = follow(flip, said, then) if flip and then else None
        return Case(judge(row, said), str(row.provenance.get("wording", "")), flip, followed)

    def _printed(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """The first interpretations of the file, as they came."""
        told = []
        for row, case in zip(self.rows, cases, strict=True):
            if case.judged.is_three_part and len(told) < N_PRINTED:
                j = case.judged
                text = j.interpretation or f"(not read: {'; '.join(j.faults)})"
                told.append({"id": row.id, "wording": case.wording, "label": j.label, "gold": j.gold, "text": text})
        return told

    def _compare(self, cases: Mapping[str, Sequence[Case]]) -> dict[str, Any] | None:
        """What a judge makes of the interpretations beside the composer's; None where no judge is at hand."""
        if self.how.judge_url is None or not self.how.pairs:
            return None
        listed = [
            pairs.Pair(row.id, row.messages[-2].content, ours.judged.interpretation, theirs.judged.interpretation)
            for row, ours, theirs in zip(self.rows, cases["adapter"], cases["composer"], strict=True)
            if ours.judged.interpretation and theirs.judged.interpretation
        ]
        drawn = random.Random(self.how.seed).sample(listed, min(self.how.pairs, len(listed)))
        compared = pairs.compare(self.engines("judge"), drawn, self.prompts, pairs.Asking(seed=self.how.seed))
        lines = (json.dumps(asdict(c), ensure_ascii=False) + "\n" for c in compared)
        (self.out / "pairs.jsonl").write_text("".join(lines), "utf-8")
        return pairs.summarise(compared)


def _faults(cases: Sequence[Case]) -> dict[str, list[str]]:
    """What went wrong, a kind at a time, each with the rows' numbers: to be read, not averaged."""

    def told(kind: str, holds: Callable[[Case], bool], text: Callable[[Case], str]) -> tuple[str, list[str]]:
        return kind, [f"row {c.judged.row_number}: {text(c)}" for c in cases if holds(c)]

    return dict(
        (
            told("not read or not supported", lambda c: bool(c.judged.faults), lambda c: "; ".join(c.judged.faults)),
            told("slips", lambda c: bool(c.judged.slips), lambda c: "; ".join(c.judged.slips)),
            told(
                "another label",
                lambda c: c.judged.is_three_part and c.judged.is_parsed and c.judged.label != c.judged.gold,
                lambda c: f"{c.judged.label} instead of {c.judged.gold}",
            ),
            told(
                "yes for no, or no for yes",
                lambda c: c.judged.gold_yes is not None and c.judged.said_yes is not c.judged.gold_yes,
                lambda c: c.judged.text,
            ),
            told(
                "conflict named or not, against the appraisal",
                lambda c: c.judged.is_parsed and c.judged.has_conflict != c.judged.names_conflict,
                lambda c: c.judged.interpretation,
            ),
            told(
                "did not follow the flip",
                lambda c: c.followed is not None and not c.followed.interpretation,
                lambda c: f"{c.flip.kind} {c.flip.cue}: {c.followed.why_not}" if c.flip and c.followed else "",
            ),
        )
    )
