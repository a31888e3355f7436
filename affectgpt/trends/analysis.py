"""A whole run: points cut into groups, every group measured, and what people in one group take over from each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import OptionError
from affectgpt.readers import Setting
from affectgpt.records import Modality
from affectgpt.trends.catalogue import Estimate, catalogue
from affectgpt.trends.changes import ACUTE_SHARE
from affectgpt.trends.contagion import Contagion, Grid, grid_of, pairwise, received
from affectgpt.trends.figures import Course, Settings, measure
from affectgpt.trends.reading import Intake, Points
from affectgpt.trends.series import Floats, Ints, Series, make_series

__all__ = ["Group", "Influence", "Progress", "Trends", "analyse", "refuse_forbidden"]

Progress = Callable[[int, int], None]
"""Groups done, groups in all."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One group: its keys, its course, the estimates, and the most frequent label of its points ("" without labels)."""

    keys: Mapping[str, str]
    course: Course
    estimates: tuple[Estimate, ...]
    top_label: str = ""

    @property
    def name(self) -> str:
        """The keys' values in one line."""
        return " · ".join(value or "–" for value in self.keys.values()) or "all points"


@dataclass(frozen=True, slots=True)
class Influence:
    """What one person takes over from another in one channel; `keys` are those of the group without the person."""

    keys: Mapping[str, str]
    channel: str
    source: str
    target: str
    found: Contagion


@dataclass(frozen=True, slots=True, eq=False)
class Trends:
    """A run's result. `by` are the keys, `person` the one that names people, or "" where none does."""

    by: tuple[str, ...]
    person: str
    settings: Settings
    labels: tuple[str, ...]
    groups: tuple[Group, ...]
    influences: tuple[Influence, ...] = ()
    intake: Intake = field(default_factory=Intake)
    evidence: tuple[str, ...] = ()


def refuse_forbidden(points: Points, setting: Setting | None) -> None:
    """Let points pass that may be measured in this setting.

    Raises:
        OptionError: there is a setting and some point was read from face or voice, or does not say from what.
    """
    if setting is None:
        return
    where = {"workplace": "at a workplace", "education": "in education"}[setting]
    parts = {text: set(str(text).split("+")) for text in np.unique(points.evidence.astype(str))}
    bodily = [text for text, read in parts.items() if read & {Modality.FACE.value, Modality.VOICE.value}]
    for texts, what, remedy in (
        (bodily, "read from the face or the voice",
         f"the EU AI Act, Art. 5(1)(f), prohibits inferring emotion {where} from them; words alone: --reading speech"),
        ([text for text in parts if not text], "that do not say what they were read from",
         "say it with --evidence, for example speech or self-report, if it was neither face nor voice"),
    ):  # fmt: skip
        at = np.flatnonzero(np.isin(points.evidence.astype(str), texts))
        if texts and len(at):
            first = f", the first {points.ids[at[0]]!r}" if points.ids[at[0]] else ""
            raise OptionError(f"--context {setting} with {len(at)} points {what}{first}", remedy)


def analyse(
    points: Points,
    settings: Settings,
    *,
    person: str = "person",
    pairs: bool = False,
    progress: Progress = lambda done, wanted: None,
) -> Trends:
    """Measure every group of the points.

    person: the key that names people; where it is one of the keys, contagion is measured among the people who share
        the other keys. pairs: between each two of them as well.
    """
    labels = tuple(sorted({str(label) for label in points.labels} - {""}))
    courses = [(keys, *_course(points, at, labels, settings)) for keys, at in _cut(points)]
    settings = replace(settings, acute=_acute([course for _, course, _ in courses]), n_labels=len(labels))
    groups = []
    for done, (keys, course, top) in enumerate(courses, 1):
        groups.append(Group(keys, course, tuple(measure(course, settings)), top))
        progress(done, len(courses))
    by = tuple(points.keys)
    named = person if person in by else ""
    among = _among_people(groups, named, settings, pairs) if named else ([], groups)
    evidence = tuple(sorted({str(text) for text in points.evidence}))
    return Trends(by, named, settings, labels, tuple(among[1]), tuple(among[0]), points.intake, evidence)


def _cut(points: Points) -> Iterator[tuple[dict[str, str], Ints]]:
    """Each group's keys and the points in it, in the order of the keys."""
    columns = list(points.keys.values())
    if not columns:
        yield {}, np.arange(points.n)
        return
    rows = sorted(zip(*(column.tolist() for column in columns), range(points.n), strict=True))
    for values, members in groupby(rows, key=lambda row: row[:-1]):
        yield dict(zip(points.keys, map(str, values), strict=True)), np.array([row[-1] for row in members], np.intp)


def _course(points: Points, at: Ints, labels: Sequence[str], settings: Settings) -> tuple[Course, str]:
    times_s, step_s = points.times_s[at], settings.step_s
    offsets_s = None if points.offsets_s is None else points.offsets_s[at]

    def series(values: Floats, where: NDArray[np.bool_]) -> Series:
        return make_series(times_s, np.where(where, values, np.nan), step_s, offsets_s)

    values = {name: column[at] for name, column in points.channels.items()}
    channels = {name: series(v, np.isfinite(v)) for name, v in values.items()}
    plane = None
    if {"valence", "arousal"} <= set(values):
        both = np.isfinite(values["valence"]) & np.isfinite(values["arousal"])
        plane = (series(values["valence"], both), series(values["arousal"], both))
    told = points.labels[at].astype(str)
    if not labels or not np.any(told != ""):
        return Course({name: s for name, s in channels.items() if s.n}, plane), ""
    codes = np.searchsorted(labels, told).astype(np.float64)
    firsts = np.zeros(len(at), bool)  # of several labels of one instant the first counts: they have no mean
    firsts[np.unique(np.where(told != "", times_s, np.inf), return_index=True)[1]] = True
    named = series(codes, firsts & (told != ""))
    top = labels[int(np.bincount(named.values.astype(np.intp)).argmax())] if named.n else ""
    return Course({name: s for name, s in channels.items() if s.n}, plane, named), top


def _acute(courses: Sequence[Course]) -> dict[str, float]:
    """What counts as an acute change in each channel: the 0.9 quantile of everybody's."""
    told: dict[str, list[Floats]] = {}
    for course in courses:
        for channel, series in course.channels.items():
            changes = np.abs(series.values[series.pairs + 1] - series.values[series.pairs])
            told.setdefault(channel, []).append(changes)
    pooled = {channel: np.concatenate(changes) for channel, changes in told.items()}
    return {name: float(np.quantile(c, ACUTE_SHARE)) for name, c in pooled.items() if len(c) and c.max() > 0}


def _among_people(
    groups: Sequence[Group], person: str, settings: Settings, pairs: bool
) -> tuple[list[Influence], list[Group]]:
    """Influences between two, and the groups with their contagion and synchrony added."""
    rest = [tuple((k, v) for k, v in group.keys.items() if k != person) for group in groups]
    found: dict[int, list[Estimate]] = {n: [] for n in range(len(groups))}
    influences = []
    for shared in dict.fromkeys(rest):
        members = {groups[n].keys[person]: n for n, keys in enumerate(rest) if keys == shared}
        for channel in dict.fromkeys(c for n in members.values() for c in groups[n].course.channels):
            series = {p: groups[n].course.channels[channel] for p, n in members.items()
                      if channel in groups[n].course.channels}  # fmt: skip
            grid = grid_of(series, settings.step_s)
            told = received(grid, settings.resampling) if isinstance(grid, Grid) else {}
            why = Contagion(reason=grid if isinstance(grid, str) else "needs two points or more")
            for name in series:
                found[members[name]] += _told(channel, told.get(name, why))
            if pairs and isinstance(grid, Grid):
                between = pairwise(grid, settings.resampling)
                influences += [Influence(dict(shared), channel, *ends, c) for ends, c in between.items()]
    return influences, [replace(g, estimates=(*g.estimates, *found[n])) for n, g in enumerate(groups)]


def _told(channel: str, found: Contagion) -> list[Estimate]:
    """Contagion and synchrony as estimates."""
    rows = []
    for name, value, bounds, p in (
        ("contagion", found.coefficient, found.bounds, found.p),
        ("synchrony", found.synchrony, found.synchrony_bounds, None),
    ):
        reason = found.reason if value is None else bounds.reason
        if value is None and not reason:
            reason = "too few moments of all at once"
        how = catalogue()[name].interval if bounds.low is not None else ""
        rows.append(Estimate(name, channel, value, bounds.low, bounds.high, found.n, how, reason, p))
    return rows
