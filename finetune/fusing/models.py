"""What is trained: a language model that reads soft tokens, or the adapters alone.

Imports torch: import it where training is about to begin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from affectgpt.engines.splicing import overwrite
from affectgpt.errors import ModelError
from affectgpt.fusion.batches import FeatureBatch, SoftTokens
from affectgpt.fusion.fuser import Fuser
from affectgpt.fusion.heads import DimensionHead
from affectgpt.fusion.pretraining import Pretraining
from affectgpt.records import Modality
from finetune.rows import IGNORED

__all__ = ["FusedModel", "Learned", "PretrainModel"]


class Learned(nn.Module):
    """A module whose state is what it learns, and the buffers of its adapters: frozen weights are in no checkpoint."""

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        whole = super().state_dict(*args, **kwargs)
        kept = self._kept()
        return {name: tensor for name, tensor in whole.items() if name in kept}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Every tensor that is learned, and no other, whatever `strict` says.

        Raises:
            ModelError: tensors are missing or left over.
        """
        kept = self._kept()
        if kept != set(state_dict):
            odd = sorted(kept ^ set(state_dict))
            raise ModelError(
                f"a checkpoint does not hold what is trained ({len(odd)} tensors, such as {odd[0]})", "give --fresh"
            )
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        return type(found)([], list(found.unexpected_keys))

    def _kept(self) -> set[str]:
        learned = {name for name, p in self.named_parameters() if p.requires_grad}
        return learned | {name for name, _ in self.named_buffers() if name.startswith("fuser.")}


class FusedModel(Learned):
    """A causal language model, its weights frozen or with LoRA, and the adapters whose soft tokens it reads.

    fuser: None where prompts have words alone · vad_weight: of the loss of valence, arousal and dominance, read from
    the mean hidden state over the answer.
    """

    def __init__(self, llm: Any, fuser: Fuser | None, vad_weight: float = 0.0) -> None:
        super().__init__()
        self.llm, self.fuser, self.vad_weight = llm, fuser, vad_weight
        self.dimensions = DimensionHead(llm.config.hidden_size) if vad_weight else None

    def activation_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """As the language model's."""
        self.llm.activation_checkpointing_enable(*args, **kwargs)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        soft: Mapping[str, Any],
        dimensions: Tensor,
    ) -> dict[str, Tensor]:
        """`answer`: mean negative log-likelihood of the labelled tokens; `loss`: that, and what else is asked for.

        input_ids, attention_mask, labels: (B, S) · soft: `features` by modality, `places`: row and name of every soft
        part, `where`: (2, N) batch and position of every soft token of them, in order · dimensions: (B, 3), NaN where
        unknown.
        """
        targets = labels[:, 1:]
        columns = (targets != IGNORED).any(0).nonzero().flatten()
        out = self.llm(
            inputs_embeds=self._embedded(input_ids, soft["features"], soft["places"], soft["where"]),
            attention_mask=attention_mask,
            use_cache=False,
            logits_to_keep=columns,
            output_hidden_states=self.dimensions is not None,
        )
        kept = targets[:, columns]
        learnt = kept != IGNORED
        answer = nn.functional.cross_entropy(out.logits[learnt].float(), kept[learnt])
        if self.dimensions is None:
            return {"loss": answer, "answer": answer.detach()}
        told = (targets != IGNORED)[..., None].float()
        hidden = (out.hidden_states[-1][:, :-1].float() * told).sum(1) / told.sum(1)
        aside = self.dimensions.loss(hidden, dimensions, dimensions.isfinite().all(1))
        return {"loss": answer + self.vad_weight * aside, "answer": answer.detach()}

    def _embedded(
        self, ids: Tensor, features: Mapping[str, FeatureBatch], places: Sequence[tuple[int, str]], where: Tensor
    ) -> Tensor:
        embedded: Tensor = self.llm.get_input_embeddings()(ids)
        if self.fuser is None or not places:
            return embedded
        soft = self._soft(features, ids.device.type)
        rows = torch.cat([soft.tokens[name][b] for b, name in places])
        return overwrite(embedded, (where[0], where[1]), rows)

    def _soft(self, features: Mapping[str, FeatureBatch], device: str) -> SoftTokens:
        assert self.fuser is not None
        # In float32 as at inference: adapters are small, and rounding would tell them apart from their sealed selves.
        with torch.autocast(device, enabled=False):
            soft: SoftTokens = self.fuser({Modality(name): batch for name, batch in features.items()})
        return soft


class PretrainModel(Learned):
    """The adapters under objectives that need no labels."""

    def __init__(self, pretraining: Pretraining) -> None:
        super().__init__()
        self.pretraining = pretraining

    @property
    def fuser(self) -> Fuser:
        """The adapters."""
        return self.pretraining.fuser

    def forward(self, features: Mapping[str, FeatureBatch], text: Tensor | None = None) -> dict[str, Tensor]:
        """`loss`. text: (B, D) vectors of the words, NaN where a clip has none."""
        found = self.pretraining({Modality(name): batch for name, batch in features.items()}, text)
        return {"loss": found.total}

    def _kept(self) -> set[str]:
        return {name for name, _ in self.named_parameters()} | {name for name, _ in self.named_buffers()}
