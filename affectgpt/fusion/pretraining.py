"""What adapters learn before they ever meet a language model: objectives that need no labels.

The adapters are trained; the layers into the language model's width are not touched, and learn in the next stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from affectgpt.errors import InputError, OptionError
from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.contrasting import TEMPERATURE, WIDTH, PairwiseContrast
from affectgpt.fusion.fuser import Batches, Fuser
from affectgpt.fusion.masking import Reconstruction, draw_mask
from affectgpt.records import Modality

__all__ = ["TEXT", "Pretraining", "PretrainingLoss", "PretrainingOptions"]

TEXT = "text"
"""Name of the words' own vectors in the contrast: audio, face and text, as in Franceschini et al."""


@dataclass(frozen=True, slots=True)
class PretrainingOptions:
    """Weights and sizes of the objectives; a weight of 0 switches one off.

    pairwise: contrast of the modalities' tokens, and of `text_width`-wide vectors of the words where given
    (Franceschini et al. 2022) · reconstruct, hierarchical, temperature, hidden_share: masked reconstruction, contrast
    of the lower levels, and the share of steps that are hidden, as HiCMAE has them (arXiv 2401.05698: 0.9 of the
    video, 0.8 of the sound, 0.0025 for the contrast) · span: neighbouring steps that are hidden together · width: of
    the decoder · contrast_width: where modalities are compared.

    Raises:
        OptionError: a value out of range, or nothing switched on.
    """

    pairwise: float = 1.0
    reconstruct: float = 1.0
    hierarchical: float = 0.0025
    temperature: float = TEMPERATURE
    hidden_share: Mapping[Modality, float] = field(
        default_factory=lambda: {Modality.FACE: 0.9, Modality.VOICE: 0.8, Modality.SPEECH: 0.8}
    )
    span: int = 4
    width: int = 128
    contrast_width: int = WIDTH
    text_width: int | None = None

    def __post_init__(self) -> None:
        weights = (self.pairwise, self.reconstruct, self.hierarchical)
        if min(weights) < 0 or not any(weights):
            raise OptionError(f"pre-training weights {weights}", "give 0 or more, and one above 0")
        if not all(0.0 < share < 1.0 for share in self.hidden_share.values()) or self.span < 1:
            raise OptionError(
                f"hidden shares {dict(self.hidden_share)} in spans of {self.span}", "give shares in (0, 1)"
            )


@dataclass(frozen=True, slots=True, eq=False)
class PretrainingLoss:
    """`total` to go down; `parts`, each before its weight and detached, for the log."""

    total: Tensor
    parts: Mapping[str, Tensor]


class Pretraining(nn.Module):
    """A fuser under pre-training objectives; its decoders and projection heads are thrown away afterwards.

    `parameters()` gives the fuser's too. One pass serves all objectives: with reconstruction the contrasts see what is
    not hidden, as in HiCMAE.
    """

    def __init__(self, fuser: Fuser, options: PretrainingOptions | None = None) -> None:
        super().__init__()
        self.fuser, self.options = fuser, options or PretrainingOptions()
        own = {name: fuser.part(name) for name in fuser.adapters}
        text = {TEXT: self.options.text_width} if self.options.text_width else {}
        widths = {name: part.out_width for name, part in own.items()}
        self.decoder = Reconstruction(fuser, self.options.width) if self.options.reconstruct else None
        sizes = self.options.contrast_width, self.options.temperature
        self.pairwise = PairwiseContrast({**widths, **text}, *sizes) if self.options.pairwise else None
        n_below = min((part.n_levels for part in own.values()), default=1) - 1
        if not self.options.hierarchical or len(own) < 2:
            n_below = 0
        self.below = nn.ModuleList(PairwiseContrast(widths, *sizes) for _ in range(n_below))
        if not (self.decoder or self.pairwise or self.below):
            raise OptionError("hierarchical contrast alone, of adapters of one level", "switch another objective on")

    def forward(self, batches: Batches, text: Tensor | None = None) -> PretrainingLoss:
        """The loss of one batch. text: (B, text_width), a row of NaN where a clip has no words.

        Raises:
            InputError: a text of another shape, or one that no `text_width` announced. Else as `Fuser.forward`.
        """
        prepared = self.fuser.prepared(batches)
        hidden = self._hidden(prepared)
        visible = {m: b.masked(~hidden[m]).readable() if m in hidden else b for m, b in prepared.items()}
        levels, present = self.fuser.levels(visible)
        parts: dict[str, Tensor] = {}
        if self.decoder is not None:
            guesses = self.decoder(levels, present, {m: prepared[m] for m in hidden})
            for modality, mask in hidden.items():
                parts[f"reconstruct_{modality.value}"] = _error(guesses[modality], prepared[modality].tokens, mask)
        if self.pairwise is not None:
            parts["pairwise"] = self._contrast(levels, present, text)
        if self.below:
            own = self.fuser.adapters
            lower = [
                contrast({name: levels[name][i].mean(1) for name in own}, present)
                for i, contrast in enumerate(self.below)
            ]
            parts["hierarchical"] = torch.stack(lower).sum()
        total = torch.stack([self._weight(name) * part for name, part in parts.items()]).sum()
        return PretrainingLoss(total, {name: part.detach() for name, part in parts.items()})

    def _weight(self, part: str) -> float:
        return float(getattr(self.options, part.split("_")[0]))

    def _hidden(self, prepared: Mapping[Modality, FeatureBatch]) -> dict[Modality, Tensor]:
        if self.decoder is None:
            return {}
        shares = self.options.hidden_share
        return {m: draw_mask(b, shares[m], self.options.span) for m, b in prepared.items() if m in shares}

    def _contrast(
        self, levels: Mapping[str, list[Tensor]], present: Mapping[str, Tensor], text: Tensor | None
    ) -> Tensor:
        assert self.pairwise is not None
        states = {name: levels[name][-1].mean(1) for name in self.fuser.adapters}
        there = dict(present)
        if text is not None:
            n_rows = len(next(iter(present.values())))
            if self.options.text_width is None or text.shape != (n_rows, self.options.text_width):
                raise InputError(
                    f"text vectors {tuple(text.shape)} for {n_rows} clips and a width of {self.options.text_width}",
                    "give (B, text_width)",
                )
            there[TEXT] = text.isfinite().all(1)
            states[TEXT] = text.masked_fill(~there[TEXT][:, None], 0.0)
        contrasted: Tensor = self.pairwise(states, there)
        return contrasted


def _error(guess: Tensor, steps: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error over hidden steps; 0, with a gradient of zeros, where none is.

    Features are standardised one by one over the training data. HiCMAE normalises each patch by itself; here that would
    take away how strong an action unit, or how loud a voice, was.
    """
    apart = (guess - steps).square().mean(-1).masked_fill(~hidden, 0.0)
    return apart.sum() / hidden.sum().clamp(min=1)
