"""Soft tokens into a model: a prompt's token ids with room for its soft tokens, and those tokens in their room.

Both ways in give the model the same rows at the same positions. In this process the input embedding's own output is
overwritten where soft tokens stand; a server gets each part as base64 and does the same. Tokenization is the server's
too: one special token stands for a part while the chat template is applied, and is then widened to its K positions.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.engines.models import broken, template_ids
from affectgpt.records import EmbeddedPrompt, SoftPart

if TYPE_CHECKING:
    import torch

__all__ = ["SOFT_TOKEN", "SplicedIds", "overwrite", "soft_rows", "soft_tokenizer", "spliced_ids", "tensor_base64"]

SOFT_TOKEN = "<prompt_embeds>"  # noqa: S105 - a word, no secret
"""vLLM's own (renderers/chat_utils.py, PROMPT_EMBEDS_PLACEHOLDER_TOKEN, 0.32)."""


@dataclass(frozen=True, slots=True, eq=False)
class SplicedIds:
    """Token ids (S,) of a prompt, the answer's opening included.

    `columns` are the soft tokens' positions, where ids mean nothing; `rows` (len(columns), D) float32 what is there.
    """

    ids: list[int]
    columns: tuple[int, ...] = ()
    rows: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def soft_tokenizer(tokenizer: Any) -> Any:
    """A copy of a tokenizer that knows `SOFT_TOKEN` as one special token."""
    known = deepcopy(tokenizer)
    known.add_special_tokens({"additional_special_tokens": [SOFT_TOKEN]})
    return known


def spliced_ids(tokenizer: Any, prompt: EmbeddedPrompt, filler: int) -> SplicedIds:
    """A prompt's token ids by the chat template, `filler` wherever a soft token will stand.

    `tokenizer` is of `soft_tokenizer`. Control tokens that stand in the text, `SOFT_TOKEN` among them, are broken.
    """
    turns = []
    for message in prompt.messages:
        pieces = [
            SOFT_TOKEN if isinstance(piece, SoftPart) else broken(tokenizer, piece) for piece in prompt.pieces(message)
        ]
        turns.append({"role": message.role, "content": "\n".join(pieces)})
    place = tokenizer.convert_tokens_to_ids(SOFT_TOKEN)
    parts = iter(prompt.parts)
    ids: list[int] = []
    columns: list[int] = []
    for token in template_ids(tokenizer, turns):
        if token != place:
            ids.append(token)
            continue
        n_tokens = len(next(parts).tokens)
        columns += range(len(ids), len(ids) + n_tokens)
        ids += [filler] * n_tokens
    rows = np.concatenate([part.tokens for part in prompt.parts]) if prompt.parts else None
    return SplicedIds(ids, tuple(columns), rows)


def overwrite(embedded: torch.Tensor, where: tuple[Any, Any], rows: torch.Tensor) -> torch.Tensor:
    """A copy of input embeddings (B, S, D) with `rows` (N, D) at `where`, N batch and N position indices.

    Gradients flow into the rows and into the embeddings that are left.
    """
    return embedded.index_put(where, rows.to(embedded))


@contextmanager
def soft_rows(model: Any, batch: Sequence[SplicedIds], width: int) -> Iterator[None]:
    """While open, the model's next pass reads each prompt's soft tokens where they stand.

    That pass must begin with the whole prompts, padded on the left to `width`; later ones are left alone, since the
    cache holds what was read.
    """
    import torch

    if not any(one.columns for one in batch):
        yield
        return
    held = [(i, one) for i, one in enumerate(batch) if one.rows is not None]
    lines = [i for i, one in held for _ in one.columns]
    columns = [width - len(one) + column for _, one in held for column in one.columns]
    rows = torch.from_numpy(np.concatenate([one.rows for _, one in held if one.rows is not None]))
    is_read = False

    def put(module: Any, arguments: Any, output: Any) -> Any:
        nonlocal is_read
        if is_read:
            return None
        if output.shape[0] != len(batch) or output.shape[1] < width:
            raise RuntimeError(f"a first pass of shape {tuple(output.shape[:2])}, not the prompts' {len(batch), width}")
        is_read = True
        return overwrite(output, (torch.tensor(lines), torch.tensor(columns)), rows)

    hook = model.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        hook.remove()


def tensor_base64(tokens: NDArray[np.float32]) -> str:
    """A part's tokens (K, D) as vLLM takes them: base64 of a saved tensor, which `weights_only` loading reads."""
    import torch

    saved = io.BytesIO()
    # A copy, since a view would bring all that it is a view of.
    torch.save(torch.from_numpy(tokens.copy()), saved)
    return base64.b64encode(saved.getvalue()).decode("ascii")
