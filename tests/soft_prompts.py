"""Soft tokens for tests: known vectors, and prompts that carry them."""

from __future__ import annotations

import numpy as np

from affectgpt.records import EmbeddedPrompt, Message, SoftPart, soft_marker


def soft_part(name: str = "voice", n_tokens: int = 2, width: int = 4, seed: int = 0) -> SoftPart:
    """Normal random vectors, the same for the same seed."""
    random = np.random.default_rng(seed)
    return SoftPart(name, random.normal(0, 1, (n_tokens, width)).astype(np.float32))


def embedded_prompt(*lines: str | SoftPart, system: str = "", opening: str = "") -> EmbeddedPrompt:
    """A user message of these lines and parts, one to a line."""
    content = "\n".join(line if isinstance(line, str) else soft_marker(line.name) for line in lines)
    messages = (*([Message("system", system)] if system else []), Message("user", content))
    parts = tuple(line for line in lines if isinstance(line, SoftPart))
    return EmbeddedPrompt(messages, "explain-fused", "1", opening=opening, parts=parts)
