"""A run's result as plain data, as a tidy Parquet file, and in a folder with its page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from affectgpt.errors import OptionError, OutputError
from affectgpt.record_json import NOTICE
from affectgpt.report.parts import write_page
from affectgpt.trends.analysis import Group, Trends
from affectgpt.trends.catalogue import catalogue
from affectgpt.trends.reading import open_duckdb
from affectgpt.trends.resampling import LEVEL
from affectgpt.trends.series import Series
from affectgpt.versions import own_version

__all__ = ["SCHEMA_VERSION", "check_keys", "to_json", "write"]

SCHEMA_VERSION = "1"

_NUMBERS: Final = ("value", "low", "high", "p", "step_s", "span_s", "observed_s", "regular_share")
_WORDS: Final = ("metric", "channel", "unit", "interval", "reason")
_REMEDY: Final = "see to its space and rights"
_COUNTS: Final = ("n", "n_points", "n_gaps", "n_missing", "n_merged")


def to_json(trends: Trends) -> dict[str, Any]:
    """Plain dicts, lists, strings, numbers and None, of these keys; one may be added within a version, none is renamed.

    schema_version, notice, versions
    input      what became of the rows, and `evidence`: what they were read from ("" where that is not known)
    by, person, labels
    settings   neutral, step_s (null: each series' own), n_resamples, seed, level, acute {channel: change}
    metrics    {name: title, kind, unit, formula, source, least, why_least, interval}
    groups     keys, name, top_label, channels {channel: first_s, last_s, n_points, n_missing, n_merged, n_gaps,
               step_s, regular_share, span_s, observed_s}, estimates [metric, channel, value, low, high, n,
               interval, reason, p]
    influences keys, channel, source, target, coefficient, low, high, p, n, reason; empty unless asked for
    """
    own = trends.settings
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": NOTICE,
        "versions": {"affectgpt": own_version()},
        "input": {**_fields(trends.intake), "evidence": list(trends.evidence)},
        "by": list(trends.by),
        "person": trends.person,
        "labels": list(trends.labels),
        "settings": {
            "neutral": own.neutral,
            "step_s": own.step_s,
            "n_resamples": own.resampling.n_resamples,
            "seed": own.resampling.seed,
            "level": LEVEL,
            "acute": dict(own.acute),
        },
        "metrics": {name: {k: v for k, v in _fields(m).items() if k != "name"} for name, m in catalogue().items()},
        "groups": [_group(group) for group in trends.groups],
        "influences": [
            {"keys": dict(i.keys), "channel": i.channel, "source": i.source, "target": i.target,
             "coefficient": i.found.coefficient, "low": i.found.bounds.low, "high": i.found.bounds.high,
             "p": i.found.p, "n": i.found.n, "reason": i.found.reason}
            for i in trends.influences
        ],
    }  # fmt: skip


def check_keys(by: Sequence[str]) -> None:
    """Raise OptionError for a key that has the name of a column of the result."""
    own = {*_NUMBERS, *_COUNTS, *_WORDS, "coefficient", "source", "target"}
    taken = {key for key in by if key.lower() in own}
    if taken:
        raise OptionError(
            f"--by {min(taken)}", "the result has a column of that name: give another, with --column KEY=NAME"
        )


def write(folder: Path, document: Mapping[str, Any], page: str) -> None:
    """Put trends.parquet, trends.json, trends.html and, where there are any, influences.parquet into a folder.

    Each appears whole, by a rename, or not at all. trends.parquet is tidy: a row for every metric of every channel of
    every group, with a column for each key, the interval, and how the series was sampled.

    Raises:
        OptionError: the folder is a file.
        OutputError: it cannot be written.
    """
    import json

    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_parquet(folder / "trends.parquet", list(_tidy(document)), document["by"])
        influences = [{**i["keys"], **{k: v for k, v in i.items() if k != "keys"}} for i in document["influences"]]
        if influences:
            _write_parquet(folder / "influences.parquet", influences, [k for k in document["by"] if k in influences[0]])
        else:
            (folder / "influences.parquet").unlink(missing_ok=True)
        write_page(folder / "trends.json", json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n")
        write_page(folder / "trends.html", page)
    except FileExistsError as error:
        raise OptionError(f"{folder} is a file", "name a folder with -o") from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})", _REMEDY) from error


def _tidy(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for group in document["groups"]:
        for estimate in group["estimates"]:
            # What belongs to two channels or to labels has no sampling of its own.
            sampled = group["channels"].get(estimate["channel"], {})
            about = {name: sampled.get(name) for name in (*_NUMBERS[4:], *_COUNTS[1:])}
            unit = document["metrics"][estimate["metric"]]["unit"]
            yield {**group["keys"], **estimate, "unit": unit, **about}


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    import duckdb

    kinds = {**dict.fromkeys(_NUMBERS, "DOUBLE"), **dict.fromkeys(_COUNTS, "BIGINT"), "coefficient": "DOUBLE"}
    names = list(dict.fromkeys([*keys, *(name for name in rows[0])])) if rows else list(keys)
    columns = {}
    for number, name in enumerate(names):
        held = [row[name] for row in rows]
        is_number = name in kinds and name not in keys
        columns[f"c{number}"] = np.array([np.nan if v is None else v for v in held], np.float64) if is_number else (
            np.array(held, dtype=object))  # fmt: skip
    picked = ", ".join(
        (f"CAST(CASE WHEN isnan(c{n}) THEN NULL ELSE c{n} END AS {kinds[name]})" if columns[f"c{n}"].dtype != object
         else f"CAST(c{n} AS VARCHAR)") + ' AS "' + name.replace('"', '""') + '"'
        for n, name in enumerate(names)
    )  # fmt: skip
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    connection = open_duckdb()
    try:
        connection.register("given", columns)
        where = str(part.absolute()).replace("'", "''")
        connection.execute(f"COPY (SELECT {picked} FROM given) TO '{where}' (FORMAT parquet, COMPRESSION zstd)")  # noqa: S608
        part.replace(path)
    except duckdb.Error as error:
        raise OutputError(f"{path}: cannot be written ({str(error).splitlines()[0]})", _REMEDY) from error
    finally:
        connection.close()
        part.unlink(missing_ok=True)


def _group(group: Group) -> dict[str, Any]:
    return {
        "keys": dict(group.keys),
        "name": group.name,
        "top_label": group.top_label,
        "channels": {name: _sampling(series) for name, series in group.course.channels.items()},
        "estimates": [_fields(e) for e in group.estimates],
    }


def _sampling(series: Series) -> dict[str, Any]:
    return {
        "first_s": float(series.times_s[0]),
        "last_s": float(series.times_s[-1]),
        "n_points": series.n,
        "n_missing": series.n_missing,
        "n_merged": series.n_merged,
        "n_gaps": int(series.gaps.sum()),
        "step_s": series.step_s if series.n > 1 else None,
        "regular_share": series.regular_share,
        "span_s": series.span_s,
        "observed_s": series.observed_s,
    }


def _fields(record: Any) -> dict[str, Any]:
    return {name: list(v) if isinstance(v := getattr(record, name), tuple) else v for name in record.__slots__}
