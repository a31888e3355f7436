"""What there is to tell of a job when it is over: as a document, and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from affectgpt.batch.findings import Findings
from affectgpt.batch.tally import Tally
from affectgpt.record_json import NOTICE
from affectgpt.versions import own_version

if TYPE_CHECKING:
    from affectgpt.batch.asking import Answerer

__all__ = ["account", "lines", "spell"]

_MOST_LABELS: Final = 12
_LABEL_WIDTH: Final = 24


def account(source: str, tally: Tally, every: Findings, answerer: Answerer | None) -> dict[str, Any]:
    """The document, in JSON's types.

    run: rows total (null where the source does not know), kept from earlier runs, ok and failed in this one;
        elapsed_s, rows_per_s; readings by how they came about (read, recalled, shared, words), and recalled_share of
        those that had a medium; prompt and completion tokens, tokens_per_s of the latter; retried attempts, refusals
        (busy) and the limit of requests at the end.
    rows: `Findings.to_json` of every row that the output holds; `this_run_only` where earlier ones could not be read.
    """
    elapsed_s = max(tally.elapsed_s, 1e-9)
    n_over = tally.n_ok + tally.n_failed
    media = {how: n for how, n in tally.how.items() if how != "words"}
    n_recalled = tally.how["recalled"] + tally.how["shared"]
    own = tally.findings
    return {
        "source": source,
        "notice": NOTICE,
        "version": own_version(),
        "run": {
            "total": tally.n_total,
            "kept": tally.n_kept,
            "ok": tally.n_ok,
            "failed": tally.n_failed,
            "elapsed_s": round(elapsed_s, 3),
            "rows_per_s": round(n_over / elapsed_s, 3),
            "readings": dict(tally.how),
            "recalled_share": round(n_recalled / sum(media.values()), 4) if media else None,
            "prompt_tokens": own.n_prompt_tokens,
            "completion_tokens": own.n_completion_tokens,
            "tokens_per_s": round(own.n_completion_tokens / elapsed_s, 2),
            "retried": answerer.n_retried if answerer else 0,
            "busy": answerer.limit.n_busy if answerer else 0,
            "limit": answerer.limit.now if answerer else 0,
        },
        "rows": every.to_json(),
        "this_run_only": every is own and tally.n_kept > 0,
    }


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The document as lines of text. Ids and messages are as they came: a terminal needs them made plain."""
    run, rows = told["run"], told["rows"]
    n_over = run["ok"] + run["failed"]
    yield f"{told['source']}: {run['ok']} rows explained, {run['failed']} failed, {run['kept']} were there already"
    yield f"  {n_over} rows in {spell(run['elapsed_s'])}, {run['rows_per_s']:.2f} a second"
    if run["readings"]:
        share = run["recalled_share"]
        recalled = "" if not share else f"; {share:.0%} of the media did not have to be read"
        yield "  readings: " + ", ".join(f"{n} {how}" for how, n in sorted(run["readings"].items())) + recalled
    if run["completion_tokens"]:
        yield (
            f"  tokens: {run['prompt_tokens']} asked, {run['completion_tokens']} answered, "
            f"{run['tokens_per_s']:.0f} a second"
        )
    if run["retried"] or run["busy"]:
        yield f"  {run['retried']} attempts were repeated, {run['busy']} requests turned away"
    yield from _row_lines(rows)
    if told["this_run_only"]:
        yield "The figures on rows are those of this run alone."
    yield told["notice"]


def _row_lines(rows: Mapping[str, Any]) -> Iterator[str]:
    n_answered = rows["rows"] - rows["failed"]
    if n_answered:
        yield f"Labels of {n_answered} rows"
        for label, n in list(rows["labels"].items())[:_MOST_LABELS]:
            yield f"  {label:{_LABEL_WIDTH}} {n:>8}  {n / n_answered:6.1%}"
        yield (
            f"  {rows['conflicts']} with channels that disagree, {rows['disputed']} where the model names another "
            f"label, {rows['answers'].get('unparsed', 0)} answers that could not be read"
        )
    if rows["timings_s"]:
        yield "Seconds a row, by step: median, 95th percentile, most"
        for stage, spread in rows["timings_s"].items():
            yield f"  {stage:{_LABEL_WIDTH}} {spread['median']:>8.2f} {spread['p95']:>8.2f} {spread['most']:>8.2f}"
        yield "Slowest: " + ", ".join(f"{row['id']} ({row['total_s']:.1f} s)" for row in rows["slowest"])
    if rows["failures"]:
        yield f"Failures: {rows['failed']}"
        for failure in rows["failures"]:
            what, first = f"{failure['n']} x {failure['type']} at {failure['stage']}", failure["examples"][0]
            yield f"  {what}, such as {first['id']}: {first['message']}"


def spell(seconds: float) -> str:
    """A duration for people."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
