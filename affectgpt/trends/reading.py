"""Points out of files: batch rows or any series, JSONL, CSV or Parquet, read by DuckDB.

DuckDB reads all three, bounded in memory, parses times and knows time zones; it is one wheel of 24 MB under the MIT
licence without dependencies, where Polars is 55 MB. Nothing is fetched: it may load no extension, and paths are local.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import InputError, MediaNotFound, MissingDependency, OptionError
from affectgpt.trends.columns import CALENDAR, CHANNELS, Columns
from affectgpt.trends.extraction import point_query, row_query
from affectgpt.trends.series import Floats

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Intake", "Points", "ReadingOptions", "open_duckdb", "read_points"]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")

_FIRST_DATE_S = 1e8
"""Numbers below this (March 1973) are seconds since a start, not since 1970."""
_LAST_DATE_S = 1e11
"""Numbers beyond this (the year 5138) are milliseconds that were taken for seconds."""


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """What is read of the files.

    by: keys that cut the points into groups: columns, or hour, day, week, month, year and weekday of the local time.
    each: a point for every row, or for every stretch of a clip's course.
    timezone: of times that say none, and of the calendar.
    time_unit: of times that are numbers.
    evidence: what series were read from that do not say it themselves.
    """

    by: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns)
    each: Literal["row", "moment"] = "row"
    timezone: str = "UTC"
    time_unit: Literal["s", "ms"] = "s"
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Intake:
    """What became of the rows.

    Of `n_rows` that were read some are no rows (`unreadable_at` names the first), failed, repeat an id, or have no time
    or nothing to measure; the others give `n_points` points.
    """

    files: tuple[str, ...] = ()
    n_rows: int = 0
    n_unreadable: int = 0
    n_failed: int = 0
    n_repeated: int = 0
    n_without_time: int = 0
    n_without_value: int = 0
    n_points: int = 0
    unreadable_at: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points in no order, T of them.

    times_s: (T,) float64. offsets_s: (T,) to the local wall clock, or None where the times are no dates.
    channels: channel -> (T,) float64, NaN where it is missing; those of which there is any.
    labels: (T,) of str, "" where there is none. keys: key of `by` -> (T,) of str, "" where a row has none.
    evidence: (T,) of str, what each was read from, modalities joined by "+"; "" where that is not known.
    ids: (T,) of str, for messages.
    """

    times_s: Floats
    offsets_s: Floats | None
    channels: dict[str, Floats]
    labels: NDArray[np.object_]
    keys: dict[str, NDArray[np.object_]]
    evidence: NDArray[np.object_]
    ids: NDArray[np.object_]
    intake: Intake = field(default_factory=Intake)

    @property
    def n(self) -> int:
        """Number of points, T."""
        return len(self.times_s)


def read_points(paths: Sequence[Path], options: ReadingOptions) -> Points:
    """The points of these files, or of all tables in these folders.

    Raises:
        MediaNotFound: a path that is not there, or a folder without tables.
        InputError: a file that cannot be read as what its name says, or in which nothing has a time and a value.
        OptionError: an unknown time zone, a calendar key for times that are no dates, milliseconds taken for seconds.
        MissingDependency: no DuckDB.
    """
    if options.each == "moment" and options.columns.reading != "fused":
        raise OptionError(f"--reading {options.columns.reading} of moments", "a clip's course is fused: read rows")
    files = [file for path in paths for file in _tables(path)]
    connection = open_duckdb()
    try:
        _set_zone(connection, options.timezone)
        return _read(connection, files, options)
    finally:
        connection.close()


def open_duckdb() -> DuckDBPyConnection:
    """A database in memory that loads and fetches nothing. Raises MissingDependency."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependency("trends need duckdb", "pip install 'affectgpt[trends]'") from error
    closed = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
              "allow_community_extensions": "false"}  # fmt: skip
    return duckdb.connect(config={**closed, "temp_directory": tempfile.gettempdir()})


def _tables(path: Path) -> list[Path]:
    if path.is_dir():
        # Names that begin with a dot or an underscore are a running job's own.
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] not in "._")
        kept = [p for p in found if p.is_file() and not p.name.endswith(".failures.jsonl")]
        if not kept:
            raise MediaNotFound(f"no table in {path}", f"it should hold files ending in {', '.join(SUFFIXES)}")
        return kept
    if not path.is_file():
        raise MediaNotFound(f"no file at {path}", "give a file of rows, or the folder that `affectgpt batch` wrote")
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"{path}: of no kind that is read", f"give a file ending in {', '.join(SUFFIXES)}")
    return [path]


def _set_zone(connection: DuckDBPyConnection, zone: str) -> None:
    import duckdb

    known = "SELECT count(*) FROM pg_timezone_names() WHERE name = ?"
    try:
        if not (connection.execute(known, [zone]).fetchone() or (0,))[0]:
            raise OptionError(f"no time zone {zone!r}", "give a name such as UTC or Europe/Berlin")
        connection.execute("SET TimeZone = '" + zone.replace("'", "''") + "'")
    except duckdb.Error as error:
        raise OptionError(f"no time zone {zone!r}", "give a name such as UTC or Europe/Berlin") from error


def _read(connection: DuckDBPyConnection, files: Sequence[Path], options: ReadingOptions) -> Points:
    import duckdb

    for number, file in enumerate(files):
        try:
            into = "CREATE TEMP TABLE rows AS" if number == 0 else "INSERT INTO rows"
            connection.execute(f"{into} {row_query(connection, file, number, options)}")
        except duckdb.Error as error:
            said = str(error).strip().splitlines()[0]
            raise InputError(f"{file}: cannot be read as {file.suffix[1:]} ({said})", "see to the file") from error
    connection.execute(point_query(options))
    intake = _intake(connection, files)
    if not intake.n_points:
        raise InputError(f"nothing to measure in {files[0]}" + (" and the others" if files[1:] else ""), _why(
            connection, intake, options))  # fmt: skip
    return _points(connection, intake, options)


def _intake(connection: DuckDBPyConnection, files: Sequence[Path]) -> Intake:
    counted = connection.execute(
        """SELECT count(*), count(*) FILTER (bad), count(*) FILTER (NOT bad AND failed),
                  count(*) FILTER (NOT bad AND NOT failed AND repeated),
                  min({'f': file, 'n': number}) FILTER (bad) FROM sorted"""
    ).fetchone()
    held = connection.execute(
        """SELECT count(*) FILTER (at_s IS NULL), count(*) FILTER (at_s IS NOT NULL AND NOT measured),
                  count(*) FILTER (at_s IS NOT NULL AND measured) FROM points"""
    ).fetchone()
    assert counted is not None
    assert held is not None
    first = f"{files[counted[4]['f']].name}, row {counted[4]['n']}" if counted[4] else ""
    n_rows, n_unreadable, n_failed, n_repeated, _ = counted
    n_without_time, n_without_value, n_points = held
    return Intake(
        tuple(map(str, files)),
        n_rows,
        n_unreadable,
        n_failed,
        n_repeated,
        n_without_time,
        n_without_value,
        n_points,
        first,
    )


def _why(connection: DuckDBPyConnection, intake: Intake, options: ReadingOptions) -> str:
    names = connection.execute("SELECT DISTINCT unnest(names) FROM sorted WHERE NOT bad LIMIT 40").fetchall()
    told = ", ".join(sorted(name for (name,) in names)) or "nothing"
    what = "a time" if intake.n_without_time >= intake.n_without_value else "valence, arousal or a label"
    if intake.n_rows and intake.n_failed == intake.n_rows - intake.n_unreadable:
        return "every row of it failed"
    return f"no row has {what}: name its column, as --column time=NAME; rows have {told}"


def _points(connection: DuckDBPyConnection, intake: Intake, options: ReadingOptions) -> Points:
    cut = [key for key in options.by if not options.columns.is_calendar(key)]
    keys = "".join(f", coalesce(key_{n}, '') AS key_{n}" for n in range(len(cut)))
    got: dict[str, Any] = connection.execute(
        f"""SELECT at_s, is_date, {", ".join(CHANNELS)}, coalesce(label, '') AS label, evidence,
                   coalesce(id, '') AS id{keys} FROM points WHERE at_s IS NOT NULL AND measured ORDER BY place"""  # noqa: S608
    ).fetchnumpy()
    times_s = _floats(got["at_s"])
    dated = bool(np.all(got["is_date"])) or bool(np.min(np.abs(times_s)) >= _FIRST_DATE_S)
    if np.max(np.abs(times_s)) > _LAST_DATE_S:
        raise OptionError("times after the year 5138", "give --time-unit ms for milliseconds")
    if not dated and np.any(got["is_date"]):
        raise OptionError("some times are dates and others seconds since a start", "give them all in one form")
    by_clock = [key for key in options.by if options.columns.is_calendar(key)]
    if by_clock and not dated:
        raise OptionError(f"--by {by_clock[0]}, but the times are no dates", "give times as ISO 8601 or since 1970")
    clock = _clock(connection, options.timezone, by_clock) if dated else {}
    offsets_s = clock.pop("", None)
    own = {key: got[f"key_{n}"].astype(object) for n, key in enumerate(cut)}
    channels = {name: _floats(got[name]) for name in CHANNELS}
    return Points(
        times_s=times_s,
        offsets_s=None if offsets_s is None else _floats(offsets_s),
        channels={name: values for name, values in channels.items() if np.isfinite(values).any()},
        labels=got["label"].astype(object),
        keys={key: own[key] if key in own else clock[key].astype(object) for key in options.by},
        evidence=np.where(got["evidence"] == "", options.evidence, got["evidence"]).astype(object),
        ids=got["id"].astype(object),
        intake=intake,
    )


def _clock(connection: DuckDBPyConnection, zone: str, keys: Sequence[str]) -> dict[str, Any]:
    """Under "" the seconds to the local wall clock, and every calendar key, in the points' order."""
    local = "to_timestamp(at_s) AT TIME ZONE '" + zone.replace("'", "''") + "'"
    told = "".join(f", strftime({local}, '{CALENDAR[key]}') AS \"{key}\"" for key in keys)
    got = connection.execute(
        f"""SELECT epoch({local}) - at_s AS offset_s{told}
            FROM points WHERE at_s IS NOT NULL AND measured ORDER BY place"""  # noqa: S608
    ).fetchnumpy()
    return {"": np.round(_floats(got["offset_s"])), **{key: got[key] for key in keys}}


def _floats(column: Any) -> Floats:
    """A column with NaN where it holds nothing; DuckDB gives those as masked arrays."""
    plain = np.array(getattr(column, "data", column) if isinstance(column, np.ma.MaskedArray) else column, np.float64)
    if isinstance(column, np.ma.MaskedArray):
        plain[np.asarray(column.mask, bool) & np.ones(plain.shape, bool)] = np.nan
    return plain
