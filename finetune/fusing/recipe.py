"""The recipe of one stage of the fused path; keys, overrides and errors as in `finetune.config`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from affectgpt.errors import OptionError
from affectgpt.fusion.config import FUSED, FusionConfig, ModalityConfig
from affectgpt.records import Modality
from finetune import config
from finetune.config import ALL_PROJECTIONS, key

__all__ = ["PRESETS", "STAGES", "FusingRecipe", "load_fusing_recipe"]

PRESETS = config.PRESETS / "fusion"
STAGES = ("pretrain", "align", "instruct")
MODALITIES = ("face", "voice")


@dataclass(frozen=True, slots=True)
class FusingRecipe:
    """Everything that decides what a stage gives; the resolved one lies beside every result."""

    stage: str = key(
        "instruct",
        "pretrain: the adapters learn without labels or language model. align: they learn to be read by the frozen "
        "language model. instruct: both learn, the language model by LoRA.",
        section="The stage",
        choices=STAGES,
    )
    start_from: str | None = key(None, "Fusion folder of the stage before, of the same adapters; null begins anew.")

    model: str = key(
        "smollm2-135m-instruct",
        "Base model: the embedded one by this name, a folder, or a Hugging Face id.",
        section="The base",
    )
    revision: str | None = key(None, "Branch, tag or commit of a Hugging Face id; null is its newest.")
    dtype: str = key("bfloat16", "Of the frozen weights; what learns is float32.", choices=("bfloat16", "float32"))
    quantize: str = key(
        "none", "nf4 holds the frozen weights in four bits (QLoRA). CUDA only.", choices=("none", "nf4")
    )

    data: str = key("data", "Folder that `affectgpt data signals` made.", section="The rows")
    prompt: str = key(
        "explain-fused", "Prompt by its id; one without places for soft tokens trains LoRA alone, one without "
        "observations shows soft tokens alone.",
    )  # fmt: skip
    answer: str = key("explain", "What is to be answered.", choices=("label", "describe", "explain"))
    kinds: tuple[str, ...] = key((), "alone (one recording as it is) or joined (several put together); empty is both.")
    modalities: tuple[str, ...] = key(
        (), "Keep the scenes that have just these (face, voice, speech); empty keeps all."
    )
    n_rows: int | None = key(None, "Train on so many rows, drawn by the seed; null takes all.", least=1)
    n_dev_rows: int | None = key(None, "Watch so many dev rows, drawn by the seed; null takes all.", least=1)
    max_length: int = key(1024, "Rows of more tokens are left out, and counted.", least=16)

    adapter: str = key(
        "gated",
        "From a modality's features to its own soft tokens.",
        section="The soft tokens",
        choices=("attention", "qformer", "gated", "perceiver"),
    )
    prefusion: str = key(
        "attention",
        "From all modalities to shared soft tokens, beside their own.",
        choices=("none", "attention", "qformer", "gated", "perceiver"),
    )
    own: tuple[str, ...] = key(MODALITIES, "Modalities with soft tokens of their own.")
    n_tokens: int = key(4, "Soft tokens of a modality.", least=1)
    n_fused_tokens: int = key(2, "Soft tokens of the pre-fusion.", least=1)
    n_steps: int = key(128, "Steps of time that a longer clip is averaged down to.", least=1)
    width: int = key(128, "Inside the adapters (qformer, gated, perceiver).", least=1)
    n_layers: int = key(2, "Inside the adapters (qformer, perceiver, gated).", least=1)
    n_heads: int = key(4, "Attention heads inside the adapters.", least=1)
    softmax: bool = key(True, "Whether the attention kinds normalise their weights; AffectGPT does not.")
    match_scale: bool = key(True, "Start soft tokens at the root mean square of the base's own embeddings.")
    adapter_dropout: float = key(0.0, "Inside the adapters, in training only.", least=0.0)
    modality_dropout: float = key(0.15, "Share of modalities taken from training rows; one always stays.", least=0.0)
    step_dropout: float = key(0.1, "Share of steps of time taken from training rows.", least=0.0)

    rank: int = key(16, "Rank r of LoRA's update BA; instruct alone.", section="LoRA", least=1)
    alpha: int = key(32, "The update is scaled by alpha / r.", least=1)
    dropout: float = key(0.0, "On LoRA's input, in training only.", least=0.0)
    targets: tuple[str, ...] = key(ALL_PROJECTIONS, "The linear layers that get an update.")

    vad_weight: float = key(
        0.0, "Weight of the loss of valence, arousal and dominance from hidden states at the answer; 0 is off.",
        section="Losses beside the answer's", least=0.0,
    )  # fmt: skip
    pairwise: float = key(1.0, "Of pretrain: contrast of face, voice and words of a clip; 0 is off.", least=0.0)
    reconstruct: float = key(1.0, "Of pretrain: masked steps told from the rest; 0 is off.", least=0.0)
    hierarchical: float = key(0.0025, "Of pretrain: contrast of the adapters' lower levels; 0 is off.", least=0.0)

    learning_rate: float = key(1e-3, "Peak learning rate of the adapters.", section="The steps", least=0.0)
    lora_learning_rate: float | None = key(None, "Peak learning rate of LoRA; null is the adapters'.", least=0.0)
    schedule: str = key(
        "cosine", "How it falls after warm-up.", choices=("cosine", "linear", "constant_with_warmup", "constant")
    )
    warmup_steps: int = key(20, "Steps over which it rises from zero.", least=0)
    batch: int = key(4, "Rows of like length side by side.", least=1)
    accumulate: int = key(1, "Batches that make up one step.", least=1)
    epochs: float = key(1.0, "Times over all rows.", least=0.0)
    max_steps: int | None = key(None, "Stop after so many steps whatever the epochs say.", least=1)
    weight_decay: float = key(0.01, "AdamW's, on matrices.", least=0.0)
    max_grad_norm: float = key(1.0, "Longer gradients are shortened to this.", least=0.0)
    seed: int = key(7, "Decides first weights, order of rows and dropout.", least=0)

    gradient_checkpointing: bool = key(False, "Compute activations twice instead of keeping them.", section="Means")
    threads: int | None = key(None, "CPU threads; null leaves torch's own number.", least=1)

    log_steps: int = key(5, "Write down the loss every so many steps.", section="Watching", least=1)
    eval_steps: int = key(50, "Look at the dev rows every so many steps; the best look becomes the result.", least=1)
    save_steps: int = key(50, "Checkpoint every so many steps; a multiple of eval_steps.", least=1)
    keep: int = key(2, "Newest checkpoints kept, beside the best.", least=1)
    early_stop: int = key(0, "Stop after so many looks without a better one; 0 never does.", least=0)

    name: str = key("fused", "The fusion folder's id, in its manifest and in every answer.", section="Where")
    out: str = key("runs/fusing", "Folder for checkpoints, curves and the fusion folder.")

    @property
    def attention(self) -> str:
        """Of the language model, by transformers' name."""
        return "sdpa"

    def fusion(self, encoders: Mapping[Modality, tuple[str, int]], llm_width: int, rms: float | None) -> FusionConfig:
        """The adapters over these encoders: name and width D by modality."""
        found = {
            m: ModalityConfig(name, d, self.n_tokens, self.n_steps, m.value in self.own)
            for m, (name, d) in encoders.items()
        }
        return FusionConfig(
            found,
            llm_width,
            adapter=self.adapter,  # type: ignore[arg-type]
            prefusion=self.prefusion,  # type: ignore[arg-type]
            n_fused_tokens=self.n_fused_tokens,
            softmax=self.softmax,
            width=self.width,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            dropout=self.adapter_dropout,
            token_rms=rms if self.match_scale else None,
        )


def load_fusing_recipe(source: str | Path, overrides: Sequence[str] = ()) -> FusingRecipe:
    """A stage's recipe from a YAML file or a preset's name, with `key=value` overrides on top.

    Raises:
        OptionError: as `finetune.config.load_recipe`.
    """
    return check(config.read_recipe(FusingRecipe(), source, overrides, PRESETS))


def check(recipe: FusingRecipe) -> FusingRecipe:
    """The recipe itself where its keys agree with each other.

    Raises:
        OptionError: they do not.
    """
    if recipe.save_steps % recipe.eval_steps:
        raise OptionError(
            f"save_steps {recipe.save_steps} is no multiple of eval_steps {recipe.eval_steps}",
            "a checkpoint can only be the best one if it was looked at",
        )
    for name in ("dropout", "adapter_dropout", "modality_dropout", "step_dropout"):
        if not 0 <= getattr(recipe, name) < 1:
            raise OptionError(f"{name} {getattr(recipe, name):g} leaves nothing", "keep it below 1")
    for name, known in (("own", MODALITIES), ("modalities", (*MODALITIES, "speech")), ("kinds", ("alone", "joined"))):
        if unknown := [x for x in getattr(recipe, name) if x not in known]:
            raise OptionError(f"{name}: no {unknown[0]!r}", f"there are {', '.join(known)}")
    if not recipe.own and recipe.prefusion == "none":
        raise OptionError(f"neither soft tokens of a modality's own nor {FUSED} ones", "set own or prefusion")
    if recipe.stage == "instruct" and not recipe.targets:
        raise OptionError("targets is empty, so that LoRA would learn nothing", "name layers, or stage=align")
    return recipe
