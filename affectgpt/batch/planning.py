"""What a large job would take, from what a finished one measured: hours, machines, disk, network, and what they cost.

With the means of the finished job's report, over the media that it read anew and the rows that it answered:

    worker hours   clips * seconds a medium / 3600; longer or shorter clips in proportion to their length
    server hours   clips / (rows answered a second and server) / 3600
    hours          the larger of worker hours / workers and server hours / servers, since the two overlap
    disk           clips * (bytes a row of the output + bytes a medium in the cache of readings)
    network        clips * bytes a medium, where media lie elsewhere; (prompt + answer tokens) * characters a token

No rate and no price stands in this program: rates are the report's, prices the caller's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from affectgpt.batch.estimate import CHARS_A_TOKEN
from affectgpt.errors import OptionError

__all__ = ["Prices", "Wanted", "plan", "plan_lines", "read_report"]

_GB: Final = 1e9
_REMEDY: Final = "make one with `affectgpt batch IN -o OUT --json > report.json` over some hundred of the clips"


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost, in one currency; None where nothing is to be said of it.

    worker_hour: of one processor core that reads media. server_hour: of one model server. gb_month: of a gigabyte of
    disk for a month. gb_moved: of a gigabyte of media brought here. prompt_mtok, answer_mtok: of a million tokens asked
    and answered, where a service is paid by them.
    """

    worker_hour: float | None = None
    server_hour: float | None = None
    gb_month: float | None = None
    gb_moved: float | None = None
    prompt_mtok: float | None = None
    answer_mtok: float | None = None

    def __post_init__(self) -> None:
        """Raise OptionError for a price below 0."""
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise OptionError(f"a price of {value:g} for {name}", "give 0 or more")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The job to plan. None leaves a number to the measured job.

    clip_s: mean length of the clips in seconds. workers: processes that read, one a core. servers: of the model.
    hours: that it may take; then it is told how many workers and servers that needs.
    """

    clips: int
    clip_s: float | None = None
    workers: int | None = None
    servers: int | None = None
    hours: float | None = None
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        """Raise OptionError for a value out of range."""
        if self.clips < 1:
            raise OptionError(f"{self.clips} clips", "give 1 or more")
        for name in ("clip_s", "workers", "servers", "hours"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise OptionError(f"{name} is {value:g}", "give more than 0")


def read_report(path: Path) -> Mapping[str, Any]:
    """The report of a finished job, as `affectgpt batch --json` prints it.

    Raises:
        OptionError: the file is not there, or no such report.
    """
    try:
        told = json.loads(path.read_text("utf-8"))
        if not isinstance(told["measured"], dict) or not isinstance(told["run"], dict):
            raise TypeError
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror})", _REMEDY) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OptionError(f"{path}: no report of a batch", _REMEDY) from error
    return told  # type: ignore[no-any-return]


def plan(told: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """The plan, in JSON's types.

    measured: the rates that it stands on, and where they are from. reading: worker_hours with the half width of their
    95 % interval (null where one medium alone was read), workers, hours. answering: server_hours, servers, hours, and
    tokens; null where no model was asked. hours: of the whole. needed: workers and servers for `wanted.hours`. failed:
    rows that fail at the measured share. disk_bytes, network_bytes: by what takes them. costs: by what has a price.

    Raises:
        OptionError: the report tells of no medium that was read anew, or lacks what is asked for.
    """
    try:
        rates = _rates(told, wanted)
        reading, answering = _reading(rates, wanted), _answering(rates, wanted)
        made = {
            "clips": wanted.clips,
            "clip_s": wanted.clip_s if wanted.clip_s is not None else rates["media_s"],
            "measured": rates,
            "reading": reading,
            "answering": answering,
            "hours": max(reading["hours"], answering["hours"] if answering else 0.0),
            "needed": _needed(reading, answering, wanted.hours),
            "failed": round(wanted.clips * rates["failed_share"]),
            "disk_bytes": _disk(rates, wanted.clips),
            "network_bytes": _network(rates, answering, wanted.clips),
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise OptionError(f"the report lacks what a plan needs ({error!r})", _REMEDY) from error
    return {**made, "costs": _costs(made, wanted.prices)}


def _rates(told: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """What the report measured, for one clip of the length that is wanted."""
    run, measured = told["run"], told["measured"]
    read, media_s = measured["read_s"], measured["media_s"]["mean"]
    if not read["n"]:
        raise OptionError("the report tells of no medium that was read anew", _REMEDY)
    if wanted.clip_s is not None and not media_s:
        raise OptionError("the media of the report have no length to scale by", "leave --clip-seconds away")
    scale = 1.0 if wanted.clip_s is None else wanted.clip_s / media_s
    answered, over = measured["answered"], run["ok"] + run["failed"]
    busy_s = measured["answering_s"] or run["elapsed_s"]
    return {
        "source": told["source"],
        "version": told["version"],
        "n_read": read["n"],
        "n_answered": answered,
        "media_s": media_s,
        "length_scale": scale,
        "read_s": read["mean"] * scale,
        "read_half_width_s": None if read["half_width"] is None else read["half_width"] * scale,
        "workers": measured["workers"],
        "servers": measured["servers"],
        "rows_per_s_and_server": answered / busy_s / measured["servers"] if answered else None,
        "prompt_tokens": run["prompt_tokens"] / answered if answered else 0.0,
        "answer_tokens": run["completion_tokens"] / answered if answered else 0.0,
        "media_bytes": measured["media_bytes"]["mean"] * scale,
        "cache_bytes": measured["cache_bytes"]["mean"] * scale,
        "row_bytes": measured["output_bytes"] / measured["output_rows"],
        "failed_share": run["failed"] / over,
    }


def _reading(rates: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    worker_hours, workers = wanted.clips * rates["read_s"] / 3600, wanted.workers or rates["workers"] or 1
    half = rates["read_half_width_s"]
    return {
        "worker_hours": worker_hours,
        "half_width": None if half is None else wanted.clips * half / 3600,
        "workers": workers,
        "hours": worker_hours / workers,
    }


def _answering(rates: Mapping[str, Any], wanted: Wanted) -> dict[str, Any] | None:
    if rates["rows_per_s_and_server"] is None:
        return None
    server_hours, servers = wanted.clips / rates["rows_per_s_and_server"] / 3600, wanted.servers or rates["servers"]
    return {
        "server_hours": server_hours,
        "servers": servers,
        "hours": server_hours / servers,
        "prompt_tokens": round(wanted.clips * rates["prompt_tokens"]),
        "answer_tokens": round(wanted.clips * rates["answer_tokens"]),
    }


def _needed(reading: Mapping[str, Any], answering: Mapping[str, Any] | None, hours: float | None) -> Any:
    if hours is None:
        return None
    servers = math.ceil(answering["server_hours"] / hours) if answering else 0
    return {"hours": hours, "workers": math.ceil(reading["worker_hours"] / hours), "servers": servers}


def _disk(rates: Mapping[str, Any], clips: int) -> dict[str, int]:
    return {"rows": round(clips * rates["row_bytes"]), "cache": round(clips * rates["cache_bytes"])}


def _network(rates: Mapping[str, Any], answering: Mapping[str, Any] | None, clips: int) -> dict[str, int]:
    tokens = answering["prompt_tokens"] + answering["answer_tokens"] if answering else 0
    return {"media": round(clips * rates["media_bytes"]), "text": round(tokens * CHARS_A_TOKEN)}


def _costs(made: Mapping[str, Any], prices: Prices) -> dict[str, float]:
    answering = made["answering"] or {"server_hours": 0.0, "prompt_tokens": 0, "answer_tokens": 0}
    amounts = {
        "worker_hour": made["reading"]["worker_hours"],
        "server_hour": answering["server_hours"],
        "gb_month": sum(made["disk_bytes"].values()) / _GB,
        "gb_moved": made["network_bytes"]["media"] / _GB,
        "prompt_mtok": answering["prompt_tokens"] / 1e6,
        "answer_mtok": answering["answer_tokens"] / 1e6,
    }
    return {name: n * price for name, n in amounts.items() if (price := getattr(prices, name)) is not None}


def plan_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """The plan as lines of text."""
    rates, reading, answering = made["measured"], made["reading"], made["answering"]
    yield (
        f"{made['clips']:,} clips of {made['clip_s']:.1f} s, by what {rates['source']} measured "
        f"({rates['n_read']} media read, {rates['n_answered']} rows answered)"
    )
    spread = "" if reading["half_width"] is None else f" ± {reading['half_width']:,.1f}"
    yield (
        f"  reading: {reading['worker_hours']:,.1f}{spread} worker hours ({rates['read_s']:.2f} s a clip): "
        f"{reading['hours']:,.1f} h on {reading['workers']} workers"
    )
    if answering:
        yield (
            f"  answers: {answering['server_hours']:,.1f} server hours ({rates['rows_per_s_and_server']:.2f} rows a "
            f"second and server): {answering['hours']:,.1f} h on {answering['servers']} servers"
        )
        yield f"  tokens: {answering['prompt_tokens']:,} asked, {answering['answer_tokens']:,} answered"
    yield f"  together: {made['hours']:,.1f} h at best, since reading and answering overlap"
    if needed := made["needed"]:
        yield f"  within {needed['hours']:g} h: {needed['workers']} workers and {needed['servers']} servers"
    disk, network = made["disk_bytes"], made["network_bytes"]
    yield f"  disk: {_gigabytes(disk['rows'])} of rows, {_gigabytes(disk['cache'])} of cached readings at most"
    yield f"  network: {_gigabytes(network['media'])} of media from elsewhere, {_gigabytes(network['text'])} of text"
    yield f"  {made['failed']:,} rows fail at the share that failed then"
    for name, cost in made["costs"].items():
        yield f"  {_PRICED[name]}: {cost:,.2f}"
    if made["costs"]:
        yield f"  all of it: {sum(made['costs'].values()):,.2f}, disk for one month"
    yield "Reading is taken to grow with a clip's length, answers not; a server that waited then can do more."


_PRICED: Final = {
    "worker_hour": "workers",
    "server_hour": "servers",
    "gb_month": "disk",
    "gb_moved": "media moved",
    "prompt_mtok": "tokens asked",
    "answer_mtok": "tokens answered",
}


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / _GB:,.1f} GB"
