"""The laws of every adapter and pre-fusion: shapes, masks, switches, dropout, and AffectGPT's sizes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast, get_args

import pytest
import torch
from fusion_batches import FACE, LLM_WIDTH, VOICE, batch, batches, config, features
from torch import Tensor

from affectgpt.errors import InputError, ModelError
from affectgpt.fusion.batches import FeatureBatch, SoftTokens
from affectgpt.fusion.collating import collate
from affectgpt.fusion.config import AFFECTGPT_7B, FUSED, AdapterKind, FusionConfig, ModalityConfig, PrefusionKind
from affectgpt.fusion.fuser import Fuser, drop
from affectgpt.records import Modality

KINDS = [*get_args(AdapterKind)]
EVERY = [
    pytest.param({"adapter": kind, "prefusion": kind, "softmax": softmax}, id=f"{kind}{'' if softmax else ' as it is'}")
    for kind in KINDS
    for softmax in ((True, False) if kind == "attention" else (True,))
]
every_kind = pytest.mark.parametrize("kind", EVERY)


def fuser(seed: int = 0, **changed: Any) -> Fuser:
    torch.manual_seed(seed)
    return Fuser(config(**changed)).eval()


def equal(one: SoftTokens, other: SoftTokens, rows: slice = slice(None)) -> None:
    for name, tokens in one.tokens.items():
        torch.testing.assert_close(tokens, other.tokens[name][rows], rtol=1e-4, atol=1e-5)
        assert torch.equal(one.present[name], other.present[name][rows])


@every_kind
def test_shapes_and_names(kind: dict[str, Any]) -> None:
    made = fuser(**kind)(batches())
    assert {name: tuple(t.shape) for name, t in made.tokens.items()} == {
        "face": (4, 2, LLM_WIDTH), "voice": (4, 2, LLM_WIDTH), FUSED: (4, 3, LLM_WIDTH),
    }  # fmt: skip
    assert list(made.tokens) == list(config().names)
    assert all(bool(p.all()) for p in made.present.values())
    assert all(bool(t.isfinite().all()) for t in made.tokens.values())


@every_kind
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 1e30])
def test_nothing_under_a_mask_changes_a_result_or_a_gradient(kind: dict[str, Any], junk: float) -> None:
    def run(fill: float) -> tuple[SoftTokens, list[Tensor]]:
        given = batches()
        lost = torch.rand(4, 12, generator=torch.Generator().manual_seed(3)) < 0.4
        lost[1] = True  # a face that was never seen
        face, voice = given[FACE], given[VOICE]
        tokens = face.tokens.masked_fill(lost[..., None], fill)
        sure = face.reliability.masked_fill(lost, fill)
        dark = replace(voice, tokens=voice.tokens.clone(), present=torch.tensor([True, True, False, True]))
        dark.tokens[2] = fill  # steps that call themselves valid, of a voice that is not there
        model = fuser(**kind)
        made = model({FACE: replace(face, tokens=tokens, valid=~lost, reliability=sure), VOICE: dark})
        torch.stack([t.square().mean() for t in made.tokens.values()]).sum().backward()
        return made, [p.grad for p in model.parameters() if p.grad is not None]

    (clean, calm), (dirty, other) = run(0.0), run(junk)
    equal(clean, dirty)
    assert dirty.present["face"].tolist() == [True, False, True, True]
    assert dirty.present["voice"].tolist() == [True, True, False, True]
    for a, b in zip(calm, other, strict=True):
        torch.testing.assert_close(a, b)
        assert bool(b.isfinite().all())


@every_kind
def test_a_row_is_the_same_alone_and_beside_longer_ones(kind: dict[str, Any]) -> None:
    clips = [
        {FACE: features(FACE, 5), VOICE: features(VOICE, 9)},
        {FACE: features(FACE, 16, 1)},
        {VOICE: features(VOICE, 31, 2)},
        {FACE: features(FACE, 3, 3), VOICE: features(VOICE, 30, 3)},
    ]
    model = fuser(**kind)
    together = model(collate(clips, model.config))
    for b, clip in enumerate(clips):
        equal(model(collate([clip], model.config)), together, slice(b, b + 1))


@every_kind
def test_a_missing_modality_leaves_the_fused_tokens_and_nothing_of_its_own(kind: dict[str, Any]) -> None:
    made = fuser(**kind)({FACE: batches()[FACE]})
    assert not made.present["voice"].any()
    assert made.present[FUSED].all()
    assert not made.tokens["voice"].any()  # zeros, and marked: a prompt leaves them out
    parts = made.parts(0)
    assert [part.name for part in parts] == ["face", FUSED]
    assert all(torch.equal(torch.from_numpy(part.tokens), made.tokens[part.name][0]) for part in parts)


def test_weights_that_diverged_are_refused_when_a_prompt_is_to_be_spliced() -> None:
    model = fuser()
    model.project["face"][0].bias.data[0] = float("nan")  # type: ignore[index, union-attr]
    with pytest.raises(ModelError, match="'face' are not finite"):
        model(batches()).parts(0)


@every_kind
def test_missing_is_told_from_silent_zeros(kind: dict[str, Any]) -> None:
    model, given = fuser(**kind), batches()
    nothing = FeatureBatch.of(torch.zeros(4, 24, given[VOICE].width))
    without, zeros = model({FACE: given[FACE]}), model({FACE: given[FACE], VOICE: nothing})
    assert (without.tokens[FUSED] - zeros.tokens[FUSED]).abs().max() > 1e-5


@every_kind
def test_everything_missing_is_nothing_present_and_still_finite(kind: dict[str, Any]) -> None:
    for n_steps in (0, 3):
        empty = FeatureBatch.of(torch.zeros(2, n_steps, 6), valid=torch.zeros(2, n_steps, dtype=torch.bool))
        model = fuser(**kind)
        made = model({FACE: empty})
        assert not any(bool(p.any()) for p in made.present.values())
        assert not any(bool(t.any()) for t in made.tokens.values())
        torch.stack([t.sum() for t in made.tokens.values()]).sum().backward()
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@every_kind
def test_a_photograph_and_a_clip_shorter_than_the_windows_give_their_tokens(kind: dict[str, Any]) -> None:
    for n_steps in (1, 2):
        made = fuser(**kind)({FACE: batch(6, n_steps=n_steps)})
        assert made.present["face"].all()
        assert all(bool(t.isfinite().all()) for t in made.tokens.values())
        assert made.tokens[FUSED].shape == (4, 3, LLM_WIDTH)  # more tokens than there are steps
        other = fuser(**kind)({FACE: batch(6, n_steps=n_steps, seed=4)})
        assert not torch.allclose(made.tokens["face"], other.tokens["face"])


@every_kind
def test_every_parameter_learns(kind: dict[str, Any]) -> None:
    model = fuser(**kind)
    given = batches()
    given[VOICE] = given[VOICE].masked(torch.tensor([[True], [True], [False], [True]]).expand(4, 24))
    made = model(given)
    torch.stack([(t * torch.randn_like(t)).sum() for t in made.tokens.values()]).sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A key's bias moves all scores of a softmax alike, as does that of a single score: BERT has them all the same.
    # Of two modalities under a softmax the one that is there has all the weight, whatever stands for the other.
    moot = ("key.bias", "score.bias", "weigh.bias", *(["prefusion.absent"] if model.config.softmax else []))
    assert [n for n in idle if not n.endswith(moot)] == []


@every_kind
def test_the_order_of_steps_matters_where_it_is_claimed(kind: dict[str, Any]) -> None:
    """All but plain attention keep time: the same steps in another order give other tokens."""
    model = fuser(**kind).double()
    given = {m: b.to(torch.float64) for m, b in batches().items()}
    turned = {m: replace(b, tokens=b.tokens.flip(1)) for m, b in given.items()}
    apart = (model(given).tokens["face"] - model(turned).tokens["face"]).abs().max()
    assert (apart < 1e-12) if kind["adapter"] == "attention" else (apart > 1e-9)


@pytest.mark.parametrize("prefusion", get_args(PrefusionKind))
def test_prefusion_stands_beside_the_modalities_own_tokens(prefusion: str) -> None:
    """Added to, not instead of: the modalities' own tokens are the same with and without it."""
    alone, beside = fuser(prefusion="none"), fuser(prefusion=prefusion)
    missing = beside.load_state_dict(alone.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    without, with_it = alone(batches()), beside(batches())
    for name in ("face", "voice"):
        assert torch.equal(without.tokens[name], with_it.tokens[name])
    assert (FUSED in with_it.tokens) == (prefusion != "none")


def test_each_modalitys_own_tokens_can_be_switched_off() -> None:
    off = {**config().modalities, VOICE: replace(config().modalities[VOICE], is_on=False)}
    model = fuser(modalities=off)
    made = model(batches())
    assert list(made.tokens) == ["face", FUSED]
    assert not [name for name, _ in model.named_parameters() if name.startswith(("adapters.voice", "project.voice"))]
    changed = model({FACE: batches()[FACE], VOICE: batches(seed=9)[VOICE]})
    assert not torch.allclose(made.tokens[FUSED], changed.tokens[FUSED])  # it still enters the pre-fusion


def test_soft_tokens_start_at_the_root_mean_square_that_was_asked_for() -> None:
    made = fuser(token_rms=0.05)(batches())
    for tokens in made.tokens.values():
        torch.testing.assert_close(
            tokens.square().mean(-1).sqrt(), torch.full(tokens.shape[:2], 0.05), rtol=1e-2, atol=0
        )


def test_standardised_features_do_not_depend_on_their_units() -> None:
    given = batches()
    scaled = {m: replace(b, tokens=b.tokens * 40.0 - 7.0) for m, b in given.items()}
    one, other = fuser(), fuser()
    one.standardize([given])
    other.standardize([scaled])
    equal(one(given), other(scaled))


def test_a_constant_feature_is_not_blown_up() -> None:
    tokens = torch.randn(4, 12, 6)
    tokens[..., 2] = 1234.5678
    model = fuser()
    model.standardize([{FACE: FeatureBatch.of(tokens)}])
    assert bool(model.standard["face"].scale[2] == 1.0)
    assert bool((model.standard["voice"].scale == 1.0).all())


def test_dropout_takes_each_modality_at_its_rate_and_never_the_last() -> None:
    torch.manual_seed(0)
    given = {m: batch(4, n_rows=20000, n_steps=1) for m in (FACE, VOICE, Modality.SPEECH)}
    alone = replace(given[FACE], valid=torch.zeros(20000, 1, dtype=torch.bool))
    for share in (0.2, 0.5, 0.9):
        kept = torch.stack([b.present for b in drop(given, share).values()]).float()
        assert bool((kept.sum(0) >= 1).all())
        # One of three stays for certain in those rows where all would have gone.
        assert kept.mean(1).tolist() == pytest.approx([1 - share + share**3 / 3] * 3, abs=0.02)
        only = drop({FACE: alone, VOICE: given[VOICE]}, share)
        assert bool(only[VOICE].present.all())
        assert not only[FACE].present.any()


def test_step_dropout_takes_steps_at_its_rate() -> None:
    torch.manual_seed(0)
    given = {FACE: batch(4, n_rows=100, n_steps=200)}
    assert float(drop(given, 0.0, 0.3)[FACE].valid.float().mean()) == pytest.approx(0.7, abs=0.02)


def test_dropout_is_for_training_alone() -> None:
    model = fuser(modality_dropout=0.9, step_dropout=0.5)
    equal(model(batches()), model(batches()))
    made = model.train()(batches(n_rows=64))
    present = torch.stack([made.present["face"], made.present["voice"]])
    assert not present.all()
    assert bool(present.any(0).all())
    assert torch.equal(made.present[FUSED], present.any(0))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (lambda: {FACE: batch(7)}, ModelError),
        (lambda: {Modality.SPEECH: batch(6)}, ModelError),
        (lambda: {}, InputError),
        (lambda: {FACE: batch(6, n_rows=2), VOICE: batch(10, n_rows=3)}, InputError),
    ],
    ids=["width", "modality", "nothing", "sizes"],
)
def test_what_does_not_fit_is_refused(
    given: Callable[[], dict[Modality, FeatureBatch]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        fuser()(given())


@every_kind
def test_bfloat16_autocast_trains_and_comes_near_float32(kind: dict[str, Any]) -> None:
    model = fuser(**kind, token_rms=0.1)
    exact = model(batches())
    with torch.autocast("cpu", torch.bfloat16):
        near = model(batches())
    for name, tokens in exact.tokens.items():
        torch.testing.assert_close(near.tokens[name].float(), tokens, rtol=0.1, atol=0.02)
    torch.stack([t.float().square().mean() for t in near.tokens.values()]).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@every_kind
def test_threads_do_not_disturb_each_other(kind: dict[str, Any]) -> None:
    model = fuser(**kind)
    given = [batches(seed=seed) for seed in range(6)]
    with torch.inference_mode():
        alone = [model(one) for one in given]

    def ask(one: dict[Modality, FeatureBatch]) -> SoftTokens:
        with torch.inference_mode():
            return cast(SoftTokens, model(one))

    with ThreadPoolExecutor(6) as pool:
        for expected, made in zip(alone * 4, pool.map(ask, given * 4), strict=True):
            equal(expected, made)


# ------------------------------------------------------------------ AffectGPT's own sizes and sums


def linear(n_in: int, n_out: int) -> int:
    return n_in * n_out + n_out


def n_numbers(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_7b_preset_has_affectgpts_projectors() -> None:
    """CLIP-L 768 and HuBERT-L 1024 into Qwen2.5-7B's 3584, as the original's code lays them out."""
    with torch.device("meta"):
        model = Fuser(AFFECTGPT_7B)
    face, voice = linear(768, 1) + linear(768, 3584), linear(1024, 1) + linear(1024, 3584)
    fused = linear(768, 1024) + linear(1024, 1024) + linear(2048, 1024) + linear(1024, 2) + linear(1024, 3584)
    absent = 2 * 1024  # this project's: what stands in a missing modality's place
    assert n_numbers(model) - absent == face + voice + fused == 14_042_372
    unused_image_projector = linear(768, 3584)
    assert round((face + voice + fused + unused_image_projector) / 1e6, 1) == 16.8  # the original's, as measured


def test_the_7b_preset_with_a_qformer_has_affectgpts_layers() -> None:
    preset = replace(AFFECTGPT_7B, adapter="qformer", prefusion="none", width=768, n_heads=12)
    with torch.device("meta"):
        former = Fuser(preset).part("face")
    attention = 3 * linear(768, 768) + linear(768, 768) + 2 * 768
    feed = linear(768, 3072) + linear(3072, 768) + 2 * 768
    cross = attention  # the frames are 768 wide too
    queries_and_moments = 768 + 8 * 768
    assert n_numbers(former) == 2 * (attention + cross + feed) + 2 * 768 + queries_and_moments  # type: ignore[arg-type]


def test_attention_without_softmax_is_affectgpts_sum() -> None:
    torch.manual_seed(1)
    config_ = FusionConfig(
        {FACE: ModalityConfig("f@1", 5, n_steps=8), VOICE: ModalityConfig("v@1", 7, n_steps=8)}, 11, softmax=False
    )
    model = Fuser(config_).eval()
    face, voice = torch.randn(3, 8, 5), torch.randn(3, 8, 7)
    made = model({FACE: FeatureBatch.of(face), VOICE: FeatureBatch.of(voice)})
    for name, z in (("face", face), ("voice", voice)):
        summed = (model.adapters[name].score(z) * z).sum(1)  # type: ignore[operator]
        torch.testing.assert_close(made.tokens[name][:, 0], model.project[name](summed))
    fusion: Any = model.prefusion
    a, b = fusion.enter["face"](face.mean(1)), fusion.enter["voice"](voice.mean(1))
    weights = fusion.weigh(fusion.mix(torch.cat([a, b], 1)))
    fused = weights[:, :1] * a + weights[:, 1:] * b
    torch.testing.assert_close(made.tokens[FUSED][:, 0], model.project[FUSED](fused))


@pytest.mark.slow
# peft 0.21 asks transformers 5.23 for a property by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_7b_presets_lora_has_as_many_parameters_as_the_paper_says() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen2Config

    qwen = Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, tie_word_embeddings=False,
    )  # fmt: skip
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(qwen)
        wrapped = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=targets))
    assert AFFECTGPT_7B.llm_width == qwen.hidden_size
    assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == 40_370_176
