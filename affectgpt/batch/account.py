"""What there is to tell of a job when it is over: as a document, and as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from affectgpt.batch.findings import Findings
from affectgpt.batch.tally import Tally
from affectgpt.record_json import NOTICE
from affectgpt.versions import own_version

__all__ = ["Asked", "account", "lines", "spell"]

_MOST_LABELS: Final = 12
_LABEL_WIDTH: Final = 24


class Asked(Protocol):
    """What there is to tell of the servers: an `affectgpt.batch.asking.Answerer`, or what several of them told."""

    @property
    def n_servers(self) -> int:
        """How many there are."""
        ...

    @property
    def n_retried(self) -> int:
        """Attempts that were not a row's first."""
        ...

    @property
    def n_busy(self) -> int:
        """Requests that were turned away."""
        ...

    @property
    def n_at_once(self) -> int:
        """Requests that they get at once, at present."""
        ...


def account(source: str, tally: Tally, every: Findings, answerer: Asked | None) -> dict[str, Any]:
    """The document, in JSON's types.

    run: rows total (null where the source does not know), kept from earlier runs, ok and failed in this one;
        elapsed_s, rows_per_s; readings by how they came about (read, recalled, shared, words), and recalled_share of
        those that had a medium; prompt and completion tokens, tokens_per_s of the latter; retried attempts, refusals
        (busy) and the limit of requests at the end; in_vain: rows among the failed whose earlier answer stays, and
        their failures as `Findings.to_json` has them.
    measured: what a larger job can be planned from (`affectgpt.batch.planning`): seconds and bytes of each medium that
        was read anew, as `Moments.to_json`; seconds with at least one row being answered (null where that was
        elsewhere), rows answered, servers, workers; and, once the output is whole, its bytes and rows.
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
            "busy": answerer.n_busy if answerer else 0,
            "limit": answerer.n_at_once if answerer else 0,
            "in_vain": {"rows": tally.in_vain.n_rows, "failures": tally.in_vain.to_json()["failures"]},
        },
        "measured": _measured(tally, answerer),
        "rows": every.to_json(),
        "this_run_only": every is own and (tally.n_kept > 0 or tally.in_vain.n_rows > 0),
    }


def _measured(tally: Tally, answerer: Asked | None) -> dict[str, Any]:
    return {
        "read_s": tally.read_s.to_json(),
        "media_s": tally.media_s.to_json(),
        "media_bytes": tally.media_bytes.to_json(),
        "cache_bytes": tally.cache_bytes.to_json(),
        "answering_s": tally.busy_s("answer") or None,
        "answered": tally.n_ok if answerer else 0,
        "servers": answerer.n_servers if answerer else 0,
        "workers": tally.n_workers,
        "output_bytes": None,
        "output_rows": None,
    }


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The document as lines of text. Ids and messages are as they came: a terminal needs them made plain."""
    run, rows = told["run"], told["rows"]
    n_over = run["ok"] + run["failed"]
    yield f"{told['source']}: {run['ok']} rows explained, {run['failed']} failed, {run['kept']} were there already"
    yield f"  {n_over} rows in {spell(run['elapsed_s'])}, {run['rows_per_s']:.2f} a second"
    if n_in_vain := run["in_vain"]["rows"]:
        yield f"  {n_in_vain} of the failed were answered before; those answers stay, and the next run tries again"
        yield from _failure_lines(run["in_vain"]["failures"])
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
        yield from _failure_lines(rows["failures"])


def _failure_lines(failures: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for failure in failures:
        what, first = f"{failure['n']} x {failure['type']} at {failure['stage']}", failure["examples"][0]
        yield f"  {what}, such as {first['id']}: {first['message']}"


def spell(seconds: float) -> str:
    """A duration for people."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
