"""Tracks in, observations out: pure functions from what was measured to what is said of it. No models, no torch."""

from affectgpt.textualize.bottleneck import Sensed, tell
from affectgpt.textualize.restating import restate

__all__ = ["Sensed", "restate", "tell"]
