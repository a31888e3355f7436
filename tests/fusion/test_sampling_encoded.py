"""Which pictures are taken: StimuVAR's recipe on made clips whose events are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import OptionError
from affectgpt.fusion.features import Signals
from affectgpt.fusion.sampling import EventSampler, RateSampler, Sampler, UniformSampler, choose_frames, find_events
from affectgpt.media import open_clip
from affectgpt.records import Frame

RATE_HZ, SIDE_PX = 30.0, 64


def moving(n: int, events: dict[int, float]) -> list[Frame]:
    """A textured square that lies still, and shakes around each event (a frame's index) by so many pixels a frame."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 60, (SIDE_PX, SIDE_PX), np.uint8)
    square = rng.integers(80, 255, (24, 24), np.uint8)
    frames, phase = [], 0.0
    for k in range(n):
        speed = sum(size * np.exp(-(((k - at) / 5) ** 2)) for at, size in events.items())
        phase += speed / 9
        x = round(20 + 9 * np.sin(phase))
        picture = ground.copy()
        picture[20:44, x : x + 24] = square
        frames.append(Frame(np.repeat(picture[..., None], 3, axis=2), k / RATE_HZ))
    return frames


def sample(sampler: Sampler, frames: list[Frame]) -> list[int]:
    chosen = list(sampler.sample(lambda rate_hz: iter(frames)))
    return [round(f.time_s * RATE_HZ) for f in chosen]


@pytest.mark.parametrize("at", [(90,), (60, 150), (40, 100, 160)])
def test_events_are_found_where_something_moved(at: tuple[int, ...]) -> None:
    events = find_events(moving(200, dict.fromkeys(at, 3.0)))
    assert len(events.movement) == 200
    assert events.movement.min() >= 0
    assert events.movement.max() <= 1
    assert len(events.peaks) == len(at)
    assert np.abs(events.peaks - np.array(at)).max() <= 5


def test_most_pictures_are_taken_around_an_event() -> None:
    chosen = sample(EventSampler(6), moving(200, {120: 3.0}))
    assert len(chosen) == 6
    assert sum(abs(k - 120) <= 20 for k in chosen) == 3
    assert chosen == sorted(chosen)
    assert min(chosen) < 60, "what happened elsewhere is seen too"


def test_a_clip_without_events_is_sampled_evenly() -> None:
    still = moving(60, {})
    assert len(find_events(still).peaks) == 0
    assert sample(EventSampler(6), still) == sample(UniformSampler(6), still) == [5, 15, 25, 35, 45, 55]


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("sampler", [EventSampler(6), UniformSampler(6)])
def test_a_clip_of_few_pictures_gives_all(n: int, sampler: Sampler) -> None:
    assert sample(sampler, moving(n, {1: 3.0})) == list(range(n))


def test_the_recipe_to_the_letter() -> None:
    assert choose_frames(300, [100], 6).tolist() == [45, 85, 95, 105, 165, 255]
    two = choose_frames(300, [60, 200], 6)
    assert {45, 60, 185, 200} <= set(two.tolist())
    assert len(two) == 6
    too_many = choose_frames(300, [30, 80, 130, 180, 230], 6)
    assert too_many.tolist() == [25, 75, 125, 175, 225, 275], "P + 1 = 6: evenly"


@given(
    st.integers(0, 400).flatmap(
        lambda n: st.tuples(
            st.just(n), st.lists(st.integers(0, max(n - 1, 0)), max_size=9, unique=True) if n else st.just([])
        )
    ),
    st.integers(1, 20),
)
def test_any_peaks_give_as_many_pictures_as_asked_for(clip: tuple[int, list[int]], n_frames: int) -> None:
    n, peaks = clip
    chosen = choose_frames(n, sorted(peaks), n_frames)
    assert len(chosen) <= min(n, n_frames)
    assert len(chosen) == min(n, n_frames) or peaks
    assert (np.diff(chosen) > 0).all()
    assert n == 0 or (chosen.min() >= 0 and chosen.max() < n)


def test_a_rate_is_asked_of_the_clip_and_nonsense_refused() -> None:
    asked: list[float | None] = []

    def frames(rate_hz: float | None) -> Iterator[Frame]:
        asked.append(rate_hz)
        return iter(moving(3, {}))

    assert len(list(RateSampler(2.5).sample(frames))) == 3
    assert asked == [2.5]
    for make in (lambda: RateSampler(0), lambda: RateSampler(float("nan")), lambda: UniformSampler(0)):
        with pytest.raises(OptionError):
            make()
    with pytest.raises(OptionError):
        EventSampler(10_000)


def test_a_smile_is_an_event_of_a_real_clip(repo: Path) -> None:
    clip = open_clip(repo / "examples" / "astronaut_smile.mp4")
    chosen = list(EventSampler(6).sample(Signals.of(clip).open_frames))
    assert 4 <= len(chosen) <= 6
    assert [f.time_s for f in chosen] == sorted({f.time_s for f in chosen})
