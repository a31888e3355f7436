"""The SQL that takes points out of rows, however a row holds them.

Each row becomes one JSON object, so that a batch's lines, its Parquet files (where what is nested deep is JSON in a
text) and a flat table are asked the same question. Names from outside enter as quoted literals only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from affectgpt.trends.columns import CHANNELS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from affectgpt.trends.reading import ReadingOptions

__all__ = ["point_query", "row_query"]

_OWN_ROOTS = ("id", "status", "appraisal")


def row_query(connection: DuckDBPyConnection, file: Path, number: int, options: ReadingOptions) -> str:
    """The rows of one file: place in it and the row as JSON (NULL where it is none), with only what will be asked for.

    Raises:
        duckdb.Error: the file is not what its name says.
    """
    source = _source(file)
    if file.suffix.lower() in (".jsonl", ".ndjson"):
        row, names = "CASE WHEN json_type(json) = 'OBJECT' THEN json END", "json_keys(json)"
    else:
        columns = [name for name, *_ in connection.execute(f"DESCRIBE FROM {source}").fetchall()]
        roots = {place.split(".")[0] for role in _asked(options) for place in options.columns.places(role)}
        whole = {place for role in _asked(options) for place in options.columns.places(role)}
        wanted = [name for name in columns if name in roots | whole | {*_OWN_ROOTS}] or columns[:1]
        names = "[" + ", ".join(map(_text, columns)) + "]"
        row = "to_json({" + ", ".join(f"{_text(name)}: {_name(name)}" for name in wanted) + "})"
    return f"SELECT {number} AS file, row_number() OVER () AS number, {row} AS row, {names} AS names FROM {source}"  # noqa: S608


def point_query(options: ReadingOptions) -> str:
    """From the table `rows` the tables `sorted`, which says of each row what it is, and `points`."""
    places = options.columns.places
    by = [key for key in options.by if not options.columns.is_calendar(key)]
    keys = "".join(f", {_string('row', places(key))} AS key_{n}" for n, key in enumerate(by))
    known = "row" if options.each == "row" else "moment"
    channels = ", ".join(f"{_number(_channel(known, name, options))} AS {name}" for name in CHANNELS)
    measured = " OR ".join([*(f"coalesce(isfinite({name}), false)" for name in CHANNELS), "label IS NOT NULL"])
    label = _string("row", places("label")) if options.each == "row" else "NULL"
    if options.columns.reading != "fused":  # a batch row's label rests on all that was read
        label = f"CASE WHEN {_root('row', 'appraisal')} IS NULL THEN {label} END"
    scale = 1.0 if options.time_unit == "s" else 1000.0
    return f"""
CREATE TEMP TABLE sorted AS SELECT *, row IS NULL AS bad,
    coalesce(row ->> '$.status' = 'failed', false) AS failed,
    row ->> '$.id' AS id,
    row ->> '$.status' IS NOT NULL AND row ->> '$.id' IS NOT NULL
        AND row_number() OVER (PARTITION BY row ->> '$.id' ORDER BY file DESC, number DESC) > 1 AS repeated
FROM rows;
CREATE TEMP TABLE points AS
WITH good AS (SELECT * FROM sorted WHERE NOT bad AND NOT failed AND NOT repeated),
moments AS ({_moments(options)}),
read AS (SELECT *, {_string("row", places("time"))} AS said, {channels}, {label} AS label{keys},
    {_evidence(options)} AS evidence FROM moments),
timed AS (SELECT *, TRY_CAST(said AS DOUBLE) AS counted FROM read)
SELECT * EXCLUDE (row, names, moment, began_s), file * 1e12 + number * 1e4 + part AS place, ({measured}) AS measured,
    counted IS NULL AS is_date,
    CASE WHEN isfinite(began_s) THEN began_s END AS at_s
FROM (SELECT *, coalesce(counted / {scale}, epoch(TRY_CAST(said AS TIMESTAMPTZ))) + start_s AS began_s FROM timed)"""  # noqa: S608


def _moments(options: ReadingOptions) -> str:
    if options.each == "row":
        return "SELECT *, NULL::JSON AS moment, 0 AS part, 0.0 AS start_s FROM good"
    course = f"json_extract({_root('row', 'appraisal')}, '$.course')"
    return f"""SELECT * EXCLUDE (course), coalesce(TRY_CAST(moment ->> '$.start_s' AS DOUBLE), 0.0) AS start_s FROM (
        SELECT *, unnest(course) AS moment, generate_subscripts(course, 1) AS part FROM (
            SELECT *, CASE WHEN json_array_length({course}) > 0 THEN CAST({course} AS JSON[])
                ELSE [json_object('fused', json_extract({_root("row", "appraisal")}, '$.fused'))] END AS course
            FROM good))"""  # noqa: S608


def _channel(known: str, name: str, options: ReadingOptions) -> str:
    if known == "moment":
        return f"moment ->> '$.fused.{name}'"
    return _string("row", options.columns.places(name))


def _evidence(options: ReadingOptions) -> str:
    """Modalities joined by "+"; "" where the row does not say."""
    said = _string("row", options.columns.places("evidence"))
    listed = f"regexp_replace({said}, '[\\[\\]\" ]', '', 'g')"
    own = f"coalesce(nullif(replace({listed}, ',', '+'), ''), '')"
    read = f"json_extract({_root('row', 'appraisal')}, '$.by_modality')"
    if options.columns.reading != "fused" and options.each == "row":
        return f"CASE WHEN {read} IS NOT NULL THEN '{options.columns.reading}' ELSE {own} END"
    return f"CASE WHEN {read} IS NOT NULL THEN array_to_string(list_sort(json_keys({read})), '+') ELSE {own} END"


def _asked(options: ReadingOptions) -> list[str]:
    return ["time", "label", "evidence", *CHANNELS, *options.by]


def _source(file: Path) -> str:
    # A path is a pattern to DuckDB: its own brackets, asterisks and question marks must stand for themselves.
    path = _text("".join(f"[{c}]" if c in "[*?" else c for c in str(file.absolute())))
    kind = file.suffix.lower()
    if kind == ".parquet":
        return f"read_parquet({path}, hive_partitioning = false)"
    if kind in (".csv", ".tsv"):
        return f"read_csv({path}, all_varchar = true, header = true, hive_partitioning = false)"
    return f"read_ndjson_objects({path}, ignore_errors = true, hive_partitioning = false)"


def _number(text: str) -> str:
    return f"TRY_CAST({text} AS DOUBLE)"


def _string(row: str, places: tuple[str, ...]) -> str:
    """What stands at the first of these places that holds something, as text."""
    return f"coalesce({', '.join(_at(row, place) for place in places)})"


def _at(row: str, place: str) -> str:
    whole = f"nullif({row} ->> {_path([place])}, '')"
    root, *rest = place.split(".")
    return f"coalesce({whole}, nullif({_root(row, root)} ->> {_path(rest)}, ''))" if rest else whole


def _root(row: str, name: str) -> str:
    """What a row holds under `name` as JSON, also where it is JSON in a text."""
    held = f"{row} -> {_path([name])}"
    return f"CASE json_type({held}) WHEN 'VARCHAR' THEN TRY_CAST({row} ->> {_path([name])} AS JSON) ELSE {held} END"


def _path(keys: list[str]) -> str:
    return _text("$" + "".join(f'."{key}"' for key in keys))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
