"""Affect over time: figures of a course of valence and arousal, each with its interval, its source and its limits.

`measure` has every figure of one course. What is missing is None with a reason, never 0.
"""

from affectgpt.trends.catalogue import Estimate, Metric, catalogue
from affectgpt.trends.figures import Course, Settings, measure
from affectgpt.trends.resampling import Resampling
from affectgpt.trends.series import Series, make_series

__all__ = [
    "Course",
    "Estimate",
    "Metric",
    "Resampling",
    "Series",
    "Settings",
    "catalogue",
    "make_series",
    "measure",
]
