"""The page of `affectgpt trends` where people see it: drawn, narrow enough for a phone, and deaf to what rows say."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affect_courses import START_S, autoregressive

from affectgpt.trends.analysis import analyse
from affectgpt.trends.figures import Settings
from affectgpt.trends.page import number, render, seconds
from affectgpt.trends.reading import Points
from affectgpt.trends.resampling import Resampling
from affectgpt.trends.writing import to_json

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\ud800"


@cache
def page_of(n: int = 80) -> str:
    """A page of two people, one of whom has a hostile name."""
    people = [HOSTILE, "Bob"]
    points = Points(
        times_s=np.tile(START_S + 1800.0 * np.arange(n), 2),
        offsets_s=np.zeros(2 * n),
        channels={"valence": np.concatenate([autoregressive(n, 0.5, 1), autoregressive(n, 0.2, 2)])},
        labels=np.array([HOSTILE, "joy"] * n, object),
        keys={"person": np.repeat(np.array(people, object), n)},
        evidence=np.array([HOSTILE] * (2 * n), object),
        ids=np.array([""] * (2 * n), object),
    )
    trends = analyse(points, Settings(resampling=Resampling(100)), pairs=True)
    return render(trends, to_json(trends))


def test_what_rows_say_is_text_on_the_page() -> None:
    own = page_of().split("<script>")
    assert len(own) == 3  # Plotly's and the one that draws
    assert "<img" not in own[0]
    page_of().encode("utf-8")


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [(None, "", "–"), (0.0, "", "0.000"), (-0.25, "", "-0.250"), (12345.6, "", "1.23e+04"), (90.0, "s", "90 s"),
     (7200.0, "s", "2.0 h"), (1.5, "s", "1.50 s"), (4e5, "s", "4.6 d"), (1e-5, "", "1e-05")],
)  # fmt: skip
def test_numbers_are_told_with_three_digits_and_lengths_in_their_own_unit(value: Any, unit: str, said: str) -> None:
    assert number(value, unit) == said
    assert seconds(None) == "–"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390], ids=["desktop", "phone"])
def test_the_page_draws_in_a_browser(browser: Any, tmp_path: Path, width: int) -> None:
    (tmp_path / "page.html").write_text(page_of(), encoding="utf-8")
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser")
    browser.get((tmp_path / "page.html").as_uri())
    deadline = time.monotonic() + 60
    drawn = "return ['figure', 'figure .plot-container'].map((name) => document.querySelectorAll(name).length)"
    while len(set(browser.execute_script(drawn))) > 1:
        assert time.monotonic() < deadline, browser.execute_script(drawn)
        time.sleep(0.1)
    assert browser.execute_script(drawn)[0] >= 5
    assert "owned" not in browser.title
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
