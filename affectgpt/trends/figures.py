"""Every metric of one group's series, each with its interval or the reason why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from affectgpt.errors import OptionError
from affectgpt.trends import changes, excursions, levels, rhythms, states
from affectgpt.trends.catalogue import Estimate, catalogue
from affectgpt.trends.estimating import by_cosines, given, missing, resampled
from affectgpt.trends.recovery import fit_recovery
from affectgpt.trends.regression import Scale
from affectgpt.trends.resampling import LEVEL, Bounds, Figure, Resampling, Units, block_length
from affectgpt.trends.series import Floats, Ints, Series

__all__ = ["MOST_LABELS", "Course", "Settings", "measure"]

MOST_LABELS = 30
"""Labels up to which their transitions are counted: 900 kinds of pair would want 7,000 pairs."""

_MOST_BIAS = 0.055
"""Bias of a transition entropy that is let pass, as a share of log K; see its row in the table."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How series are measured.

    neutral: valence within this distance of 0 is neutral, above 0 and below 1. The default is a rule of this project.
    step_s: seconds that count as one step; None takes each series' median distance.
    acute: what counts as an acute change, a channel: the 0.9 quantile of all series' changes.
    n_labels: how many labels the whole run has.
    """

    neutral: float = 0.1
    step_s: float | None = None
    resampling: Resampling = field(default_factory=Resampling)
    acute: Mapping[str, float] = field(default_factory=dict)
    n_labels: int = 0

    def __post_init__(self) -> None:
        """Raise OptionError for a value out of range."""
        if not 0 <= self.neutral < 1:
            raise OptionError(f"a neutral zone of {self.neutral:g}", "give 0 or more, and less than 1")


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One group's affect over time.

    channels: series by channel (valence, arousal, dominance), those that were read.
    plane: valence and arousal at the points that have both, or None.
    labels: a series whose values are the numbers of labels, or None.
    """

    channels: Mapping[str, Series]
    plane: tuple[Series, Series] | None = None
    labels: Series | None = None


def measure(course: Course, settings: Settings) -> list[Estimate]:
    """Every metric that one course can have, in the catalogue's order within each channel."""
    told = []
    for channel, series in course.channels.items():
        told += _of_points(channel, series, settings)
        told += _of_pairs(channel, series, settings)
        told += _of_recovery(channel, series)
        told += _of_rhythms(channel, series)
        told += _of_excursions(channel, series, settings)
        if channel == "valence":
            codes = states.valence_states(series.values, settings.neutral)
            told += _of_transitions(channel, series, codes, 3, settings)
            told += _of_dwells(series, codes)
    if course.plane:
        told += _of_plane(*course.plane, settings)
    if course.labels is not None:
        told += _of_labels(course.labels, settings)
    order = list(catalogue())
    return sorted(told, key=lambda e: (list(course.channels).index(e.channel) if e.channel in course.channels else 9,
                                       order.index(e.metric)))  # fmt: skip


def _of_points(channel: str, series: Series, settings: Settings) -> list[Estimate]:
    x = series.values
    units = Units((x,), block_length(x))
    means: dict[str, tuple[Floats, Scale]] = {"mean": (x, "plain"), "sd": ((x - _mean(x)) ** 2, "root")}
    if channel != "valence":
        return by_cosines(resampled(channel, units, levels.POINTS, settings.resampling), means)
    codes = states.valence_states(x, settings.neutral)
    figures: dict[str, Figure] = {name: _of_column(0, figure) for name, figure in levels.POINTS.items()}
    figures |= {name: _of_column(1, _counted(figure, 3)) for name, figure in states.SHARES.items()}
    means["share_positive"] = ((codes == states.POSITIVE).astype(np.float64), "share")
    means["share_negative"] = ((codes == states.NEGATIVE).astype(np.float64), "share")
    return by_cosines(resampled(channel, Units((x, codes), units.block), figures, settings.resampling), means)


def _mean(x: Floats) -> float:
    return float(x.mean()) if len(x) else 0.0


def _of_pairs(channel: str, series: Series, settings: Settings) -> list[Estimate]:
    here = series.pairs
    before, after = series.values[here], series.values[here + 1]
    # Pairs share points, so that changes follow one another even where the values do not.
    block = max(block_length(series.values), block_length(after - before))
    pairs = Units((before, after), block)
    threshold = settings.acute.get(channel, np.nan)  # none where nobody's affect changes
    figures: dict[str, Figure] = {**changes.PAIRS, "acute_change": changes.acute_change(threshold)}
    patterns = Units((changes.order_patterns(series),), block)
    entropy = {"permutation_entropy": _counted(changes.pattern_entropy, changes.N_PATTERNS)}
    change, why = np.abs(after - before), _uneven(series)
    means: dict[str, tuple[Floats, Scale]] = {
        "mssd": (change**2, "log"),
        "rmssd": (change**2, "root"),
        "masd": (change, "log"),
        "acute_change": ((change >= threshold).astype(np.float64), "share"),
    }
    return [
        *by_cosines(resampled(channel, pairs, figures, settings.resampling, why), means),
        *resampled(channel, patterns, entropy, settings.resampling, why),
    ]


def _of_recovery(channel: str, series: Series) -> list[Estimate]:
    names = ("half_life", "continuous_inertia")
    least = catalogue()["half_life"].least
    if series.n < least:
        return [missing(name, channel, series.n, f"needs {least} points, here are {series.n}") for name in names]
    found = fit_recovery(series)
    if found.half_life_s is None:
        return [missing(name, channel, series.n, found.reason) for name in names]

    def kept(half_life_s: float | None) -> float:
        return 1.0 if half_life_s is None else float(np.exp2(-series.step_s / half_life_s)) if half_life_s > 0 else 0.0

    ends = Bounds(found.low_s, found.high_s, found.reason)
    turned = Bounds(kept(found.low_s), kept(found.high_s))
    return [
        given("half_life", channel, found.half_life_s, series.n, ends),
        given("continuous_inertia", channel, kept(found.half_life_s), series.n, turned),
    ]


def _of_rhythms(channel: str, series: Series) -> list[Estimate]:
    told: dict[str, rhythms.Rhythm | None] = dict.fromkeys(
        ("slope_per_day", "daily_amplitude", "daily_peak", "weekend_difference")
    )
    if series.n >= catalogue()["slope_per_day"].least:
        told["slope_per_day"] = rhythms.slope_per_day(series)
    if series.n >= catalogue()["daily_amplitude"].least:
        told["daily_amplitude"], told["daily_peak"] = rhythms.daily_wave(series)
    if series.n >= catalogue()["weekend_difference"].least:
        told["weekend_difference"] = rhythms.weekend_difference(series)
    rows = []
    for name, rhythm in told.items():
        if rhythm is None:
            least = catalogue()[name].least
            rows.append(missing(name, channel, series.n, f"needs {least} points, here are {series.n}"))
        elif rhythm.value is None:
            rows.append(missing(name, channel, rhythm.n, rhythm.reason))
        else:
            rows.append(given(name, channel, rhythm.value, rhythm.n, rhythm.bounds))
    return rows


def _of_excursions(channel: str, series: Series, settings: Settings) -> list[Estimate]:
    least_home = catalogue()["inertia"].least
    why = _uneven(series) if series.n >= least_home else f"its home needs {least_home} points, here are {series.n}"
    why = why or ("the values do not vary" if np.ptp(series.values) <= 1e-12 else "")
    if why:
        return [missing(name, channel, 0, why) for name in ("excursion_rate", *excursions.FIGURES)]
    found = excursions.find_excursions(series)
    rate, low, high = excursions.hourly_rate(len(found), series.observed_s, LEVEL)
    names = list(excursions.FIGURES)
    own = Units(tuple(np.array([excursions.FIGURES[name](e) for e in found]) for name in names))
    figures: dict[str, Figure] = {name: _of_column(i, levels.POINTS["mean"]) for i, name in enumerate(names)}
    return [
        given("excursion_rate", channel, rate, len(found), Bounds(low, high)),
        *resampled(channel, own, figures, settings.resampling),
    ]


def _of_transitions(channel: str, series: Series, codes: Ints, n_states: int, settings: Settings) -> list[Estimate]:
    here = series.pairs
    switched = (codes[here] != codes[here + 1]).astype(np.float64)
    block = max(_label_block(codes), block_length(switched))
    kinds = Units((codes[here] * n_states + codes[here + 1],), block)
    names = [n for n in states.TRANSITIONS if channel == "valence" or n != "negative_persistence"]
    figures = {name: _counted(_square(states.TRANSITIONS[name]), n_states**2) for name in names}
    wanted = int(np.ceil(n_states * (n_states - 1) / (2 * np.log(n_states) * _MOST_BIAS))) if n_states > 1 else 0
    least: dict[str, int] = dict.fromkeys(("transition_entropy", "predictability"), wanted)
    why = _uneven(series) or ("there is one state alone" if n_states < 2 else "")
    return by_cosines(
        resampled(channel, kinds, figures, settings.resampling, why, least), {"switching": (switched, "share")}
    )


def _of_dwells(series: Series, codes: Ints) -> list[Estimate]:
    names = ("dwell_negative", "dwell_neutral", "dwell_positive")
    why = _uneven(series)
    if why:
        return [missing(name, "valence", 0, why) for name in names]
    rows = []
    for name, dwell in zip(names, states.dwells(series, codes, 3), strict=True):
        least = catalogue()[name].least
        if dwell.n_ended < least:
            reason = f"needs {least} visits seen to end, here are {dwell.n_ended}"
            rows.append(missing(name, "valence", dwell.n_ended, reason))
        else:
            rows.append(given(name, "valence", dwell.mean_s, dwell.n_ended, Bounds(*dwell.bounds(LEVEL))))
    return rows


def _of_plane(valence: Series, arousal: Series, settings: Settings) -> list[Estimate]:
    block = max(block_length(valence.values), block_length(arousal.values))
    return resampled(
        "valence and arousal", Units((valence.values, arousal.values), block), levels.JOINT, settings.resampling
    )


def _of_labels(series: Series, settings: Settings) -> list[Estimate]:
    codes, n_labels = series.values.astype(np.intp), settings.n_labels
    diversity = {"emodiversity": _counted(states.emodiversity, n_labels)}
    rows = resampled("label", Units((codes,), _label_block(codes)), diversity, settings.resampling)
    if n_labels <= MOST_LABELS:
        rows += _of_transitions("label", series, codes, n_labels, settings)
    return rows


def _of_column(number: int, figure: Figure) -> Figure:
    return lambda *columns: figure(columns[number])


def _counted(figure: Callable[[Floats], Floats], n_codes: int) -> Figure:
    return lambda codes: figure(states.count(codes, n_codes))


def _label_block(codes: Ints) -> float:
    """A block for states: that of being in the most frequent one or not."""
    return block_length((codes == np.bincount(codes).argmax()).astype(np.float64)) if len(codes) else 1.0


def _square(figure: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    def of_square(counts: Floats) -> Floats:
        side = round(counts.shape[-1] ** 0.5)
        return figure(counts.reshape(*counts.shape[:-1], side, side))

    return of_square


def _uneven(series: Series) -> str:
    """Why nothing that is defined by one step can be told, or empty; too few points are told apart from it."""
    if series.n < 3 or series.has_step:
        return ""
    return (
        f"{series.regular_share:.0%} of successive points lie one step of {series.step_s:g} s apart, and half must; "
        "half_life takes any spacing"
    )
