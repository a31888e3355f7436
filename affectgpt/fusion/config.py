"""What an adapter is made of, as a frozen record and as JSON; neither torch nor numpy is needed to read one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from affectgpt.errors import OptionError
from affectgpt.records import Modality

__all__ = ["AFFECTGPT_7B", "FUSED", "AdapterKind", "FusionConfig", "ModalityConfig", "PrefusionKind"]

AdapterKind = Literal["attention", "qformer", "gated", "perceiver"]
PrefusionKind = Literal["none", "attention", "qformer", "gated", "perceiver"]

FUSED = "fused"
"""Name of the pre-fusion tokens; a modality's own tokens bear the modality's name."""

_REMEDY = "see affectgpt.fusion.config.FusionConfig for what its fields may hold"
_MOST = {"width": 65536, "n_tokens": 1024, "n_steps": 1_000_000, "n_layers": 48}
"""Far above any use; a manifest comes from outside, and must not ask for all the memory there is."""


@dataclass(frozen=True, slots=True)
class ModalityConfig:
    """One modality's way in.

    encoder: `id@version`, as in its Features · width D of those · n_tokens: K soft tokens of its own · n_steps: clips
    of more steps are averaged down to so many, and learned positions have so many entries · is_on: whether it has
    tokens of its own; where not, it still enters the pre-fusion.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    encoder: str
    width: int
    n_tokens: int = 1
    n_steps: int = 256
    is_on: bool = True

    def __post_init__(self) -> None:
        _demand(bool(self.encoder), "an encoder without a name")
        for name in ("width", "n_tokens", "n_steps"):
            _demand_count(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """How features become soft tokens: each modality by its own adapter, and all together by the pre-fusion.

    Pre-fusion tokens stand beside the modalities' own, never instead of them (AffectGPT, arXiv 2501.16566).

    modalities: what may enter; each may be missing from a clip · llm_width: of the language model's embeddings ·
    adapter, prefusion: their kinds · n_fused_tokens: K of the pre-fusion · softmax: whether the attention kinds
    normalise their weights (AffectGPT does not) · width, n_layers, n_heads, dropout: of the Q-Former, gated and
    perceiver kinds · prefusion_width: where modalities meet in the attention and Q-Former pre-fusion, None for the
    widest encoder's · token_rms: soft tokens are normalised to this root mean square at the start, the gain learned;
    None leaves them as projected · modality_dropout, step_dropout: in training only, the probability that a modality,
    or a step of time, is taken from a clip; one modality always stays.

    Raises:
        OptionError: a value out of range, or nothing that would give a token.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    modalities: Mapping[Modality, ModalityConfig]
    llm_width: int
    adapter: AdapterKind = "attention"
    prefusion: PrefusionKind = "attention"
    n_fused_tokens: int = 1
    softmax: bool = True
    width: int = 128
    n_layers: int = 2
    n_heads: int = 4
    dropout: float = 0.0
    prefusion_width: int | None = None
    token_rms: float | None = None
    modality_dropout: float = 0.0
    step_dropout: float = 0.0

    def __post_init__(self) -> None:
        _demand(bool(self.modalities), "no modality")
        for name in ("llm_width", "width"):
            _demand_count(name, getattr(self, name), "width")
        _demand_count("n_fused_tokens", self.n_fused_tokens, "n_tokens")
        _demand_count("n_layers", self.n_layers)
        if self.prefusion_width is not None:
            _demand_count("prefusion_width", self.prefusion_width, "width")
        _demand(self.n_heads >= 1 and self.width % self.n_heads == 0, f"{self.n_heads} heads of a width {self.width}")
        for name in ("dropout", "modality_dropout", "step_dropout"):
            _demand(0.0 <= getattr(self, name) < 1.0, f"{name} {getattr(self, name)}, not in [0, 1)")
        _demand(self.token_rms is None or 0.0 < self.token_rms < 1e3, f"token_rms {self.token_rms}")
        _demand(bool(self.names), "neither a modality's own tokens nor a pre-fusion")

    @property
    def order(self) -> tuple[Modality, ...]:
        """The modalities in their fixed order: face, voice, speech."""
        return tuple(m for m in Modality if m in self.modalities)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the soft tokens this gives: the modalities that are on, then FUSED where there is a pre-fusion."""
        own = tuple(m.value for m in self.order if self.modalities[m].is_on)
        return own if self.prefusion == "none" else (*own, FUSED)

    def n_tokens(self, name: str) -> int:
        """K of the soft tokens of this name. Raises OptionError for a name that is not among `names`."""
        _demand(name in self.names, f"no soft tokens {name!r}; there are {', '.join(self.names)}")
        return self.n_fused_tokens if name == FUSED else self.modalities[Modality(name)].n_tokens

    @property
    def meeting_width(self) -> int:
        """Where modalities meet in the attention and Q-Former pre-fusion."""
        return self.prefusion_width or max(m.width for m in self.modalities.values())

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, strings and numbers; `from_json` gives it back equal."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> FusionConfig:
        """What `to_json` gave, strictly: no unknown field, no text for a number.

        Raises:
            OptionError: every fault, with its place.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(json.dumps(data), strict=True)
        except ValidationError as e:
            faults = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'it'}: {f['msg']}" for f in e.errors()[:8])
            raise OptionError(f"a fusion configuration is malformed: {faults}", _REMEDY) from e
        except (TypeError, ValueError, RecursionError) as e:
            raise OptionError(f"a fusion configuration is no JSON: {e}", _REMEDY) from e


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise OptionError(f"a fusion configuration has {what}", _REMEDY)


def _demand_count(name: str, value: int, limit: str = "") -> None:
    most = _MOST[limit or name]
    _demand(1 <= value <= most, f"{name} {value}, not in 1..{most}")


AFFECTGPT_7B = FusionConfig(
    modalities={
        # Eight frames through CLIP ViT-L/14's projected image feature; eight windows of 2 s through HuBERT-large, the
        # mean of its last four layers. Read from zeroQiaoba/AffectGPT, models/affectgpt.py and encoder.py (2026-02).
        Modality.FACE: ModalityConfig("clip-vit-large-patch14@1", 768, n_tokens=1, n_steps=8),
        Modality.VOICE: ModalityConfig("chinese-hubert-large@1", 1024, n_tokens=1, n_steps=8),
    },
    llm_width=3584,  # Qwen2.5-7B-Instruct
    softmax=False,
)
"""AffectGPT's own sizes and attention without softmax; modality dropout, which it has not, is left at 0."""
