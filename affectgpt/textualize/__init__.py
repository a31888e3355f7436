"""Tracks in, observations out: pure functions from what was measured to what is said of it. No models, no torch."""

from affectgpt.textualize.bottleneck import Sensed, tell

__all__ = ["Sensed", "tell"]
