"""Attention over packed rows, each row by itself: exact, without a mask, and nothing is computed across rows.

transformers' `sdpa` answers a packed sequence with a block-diagonal mask: every row is multiplied with every other,
and most of it is thrown away. Here the fused causal kernel is called once a row. Registered as `segments`; without
row boundaries it is `sdpa`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SEGMENTS", "register"]

SEGMENTS = "segments"


def register() -> str:
    """Make `segments` known to transformers; its name. Doing it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(SEGMENTS, _attend)
    AttentionMaskInterface.register(SEGMENTS, sdpa_mask)
    return SEGMENTS


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, cu_seq_lens_q: Any = None, **kwargs: Any
) -> tuple[Any, None]:
    """Query (1, heads, S, D), key and value (1, kv heads, S, D) -> (1, S, heads, D); `cu_seq_lens_q` (rows + 1,)."""
    from itertools import pairwise

    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if cu_seq_lens_q is None or query.shape[0] != 1:
        out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out, None
    kwargs = {k: kwargs[k] for k in ("dropout", "scaling") if k in kwargs}
    bounds = cu_seq_lens_q.tolist()
    parts = []
    for start, end in pairwise(bounds):
        row = (x[:, :, start:end] for x in (query, key, value))
        parts.append(sdpa_attention_forward(module, *row, None, **kwargs)[0])
    return torch.cat(parts, dim=1), None
