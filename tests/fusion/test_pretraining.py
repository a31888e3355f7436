"""Objectives without labels: what they hide, what they compare, and that adapters learn by them."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from fusion_batches import FACE, VOICE, batch, batches, config
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import InputError, OptionError
from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.config import AdapterKind
from affectgpt.fusion.contrasting import PairwiseContrast, info_nce
from affectgpt.fusion.fuser import Fuser
from affectgpt.fusion.masking import draw_mask
from affectgpt.fusion.pretraining import Pretraining, PretrainingOptions


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# ------------------------------------------------------------------ contrast


def test_info_nce_is_nothing_for_what_is_told_apart_and_log_n_for_what_is_not() -> None:
    apart = torch.eye(6)
    assert float(info_nce(apart, apart)) < 1e-4
    assert float(info_nce(torch.ones(6, 3), torch.randn(1, 3).expand(6, 3))) == pytest.approx(math.log(6), abs=1e-5)
    assert float(info_nce(apart, apart.roll(1, 0))) > 10


@given(scale=st.floats(1e-3, 1e3))
def test_info_nce_looks_at_directions_and_at_neither_side_first(scale: float) -> None:
    one, other = torch.randn(5, 4), torch.randn(5, 4)
    torch.testing.assert_close(info_nce(one * scale, other), info_nce(other, one), rtol=1e-3, atol=1e-4)


def test_a_pair_is_compared_where_both_are_present() -> None:
    contrast = PairwiseContrast({"face": 4, "voice": 5, "text": 6}, width=8)
    states = {"face": torch.randn(6, 4), "voice": torch.randn(6, 5), "text": torch.randn(6, 6)}
    face, voice, text = (torch.tensor([c == "x" for c in row]) for row in ("xxxx..", "xx.xxx", "x....."))
    made = contrast(states, {"face": face, "voice": voice, "text": text})
    rows = [0, 1, 3]  # text shares one row with each of the others: no negatives, nothing to say
    expected = info_nce(contrast.heads["face"](states["face"][rows]), contrast.heads["voice"](states["voice"][rows]))
    torch.testing.assert_close(made, expected)
    spoilt = {name: s.clone() for name, s in states.items()}
    spoilt["face"][4:] = 1e6
    torch.testing.assert_close(contrast(spoilt, {"face": face, "voice": voice, "text": text}), expected)


def test_nothing_to_compare_is_no_loss_that_can_still_be_differentiated() -> None:
    contrast = PairwiseContrast({"face": 4, "voice": 5}, width=8)
    nobody = torch.zeros(3, dtype=torch.bool)
    made = contrast({"face": torch.randn(3, 4), "voice": torch.randn(3, 5)}, {"face": nobody, "voice": ~nobody})
    made.backward()
    assert float(made.detach()) == 0.0
    with pytest.raises(InputError, match="two modalities"):
        PairwiseContrast({"face": 4})


# ------------------------------------------------------------------ masks


@given(
    share=st.floats(0.05, 0.95), span=st.integers(1, 9), n_steps=st.integers(1, 60),
    lost=st.sets(st.integers(0, 59), max_size=60),
)  # fmt: skip
def test_masks_hide_their_share_of_what_is_valid_and_leave_a_step(
    share: float, span: int, n_steps: int, lost: set[int]
) -> None:
    valid = torch.tensor([[i not in lost for i in range(n_steps)], [True] * n_steps])
    made = draw_mask(FeatureBatch.of(torch.zeros(2, n_steps, 1), valid), share, span)
    assert not (made & ~valid).any()
    for row, there in zip(made, valid, strict=True):
        n = int(there.sum())
        assert int(row.sum()) == min(int(n * share), max(n - 1, 0))


def test_masks_hide_whole_spans() -> None:
    made = draw_mask(batch(1, n_rows=200, n_steps=100), 0.5, 10)
    edges = (made[:, 1:] != made[:, :-1]).float().mean()
    assert float(edges) < 0.09  # single steps would give 0.5, spans of ten about 0.05
    starts = made[:, 0].float().mean()
    assert 0.3 < float(starts) < 0.7  # and they do not always begin at the same step


# ------------------------------------------------------------------ the whole


@pytest.mark.parametrize("kind", get_args(AdapterKind))
@pytest.mark.parametrize("prefusion", ["none", "gated"])
def test_every_kind_of_adapter_is_reached_and_no_projection(kind: Any, prefusion: Any) -> None:
    fuser = Fuser(config(adapter=kind, prefusion=prefusion))
    made = Pretraining(fuser, PretrainingOptions(text_width=7))
    loss = made(batches(), torch.randn(4, 7))
    loss.total.backward()
    below = {"hierarchical"} if kind != "attention" else set()
    assert loss.parts.keys() == {"reconstruct_face", "reconstruct_voice", "pairwise", *below}
    assert all(bool(p.isfinite()) and p > 0 for p in loss.parts.values())
    moved = {name for name, p in fuser.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("adapters.face") for name in moved)
    assert any(name.startswith("prefusion") for name in moved) == (prefusion != "none")
    assert not any(name.startswith("project") for name in moved)


def test_hidden_steps_cannot_be_seen() -> None:
    """What the adapters read does not change with what the hidden steps hold; what is asked of them does."""
    fuser = Fuser(config(adapter="perceiver")).eval()
    made = Pretraining(fuser, PretrainingOptions(pairwise=0.0, hierarchical=0.0))
    guesses = []
    for fill in (0.0, 5.0):
        torch.manual_seed(3)  # the same mask
        given_ = batches()
        torch.manual_seed(3)
        hidden = {m: draw_mask(b, made.options.hidden_share[m], made.options.span) for m, b in given_.items()}
        changed = {m: FeatureBatch.of(b.tokens + fill * hidden[m][..., None]) for m, b in given_.items()}
        levels, present = fuser.levels({m: b.masked(~hidden[m]).readable() for m, b in changed.items()})
        assert made.decoder is not None
        guesses.append(made.decoder(levels, present, changed))
    for modality in (FACE, VOICE):
        torch.testing.assert_close(guesses[0][modality], guesses[1][modality])


def test_objectives_can_be_switched_off_one_by_one() -> None:
    fuser = Fuser(config(adapter="gated"))
    for off, gone in (
        ({"pairwise": 0.0}, {"pairwise"}),
        ({"reconstruct": 0.0}, {"reconstruct_face", "reconstruct_voice"}),
        ({"hierarchical": 0.0}, {"hierarchical"}),
    ):
        every = {"reconstruct_face", "reconstruct_voice", "pairwise", "hierarchical"}
        assert Pretraining(fuser, PretrainingOptions(**off))(batches()).parts.keys() == every - gone
    with pytest.raises(OptionError, match="weights"):
        PretrainingOptions(pairwise=0.0, reconstruct=0.0, hierarchical=0.0)
    with pytest.raises(OptionError, match="hierarchical"):
        Pretraining(Fuser(config()), PretrainingOptions(pairwise=0.0, reconstruct=0.0))


def test_the_total_is_the_weighted_sum() -> None:
    options = PretrainingOptions(pairwise=2.0, reconstruct=0.5, hierarchical=0.25)
    loss = Pretraining(Fuser(config(adapter="gated")), options)(batches())
    weights = {"pairwise": 2.0, "reconstruct_face": 0.5, "reconstruct_voice": 0.5, "hierarchical": 0.25}
    expected = sum(weights[name] * float(part) for name, part in loss.parts.items())
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", get_args(AdapterKind))
def test_batches_of_mixed_and_missing_modalities_pass(kind: Any) -> None:
    made = Pretraining(Fuser(config(adapter=kind, prefusion=kind)), PretrainingOptions(text_width=7))
    given_ = batches()
    keep = torch.tensor([[True], [False], [True], [False]])
    given_[FACE] = given_[FACE].masked(keep.expand(4, 12))
    words = torch.randn(4, 7)
    words[0] = float("nan")  # nothing was said
    for mixed in (given_, {VOICE: given_[VOICE]}, {FACE: given_[FACE].masked(~keep.expand(4, 12))}):
        made.zero_grad()
        loss = made(mixed, words)
        loss.total.backward()
        assert bool(loss.total.isfinite())
        assert all(bool(p.grad.isfinite().all()) for p in made.parameters() if p.grad is not None)


def test_text_of_another_shape_is_refused() -> None:
    made = Pretraining(Fuser(config()), PretrainingOptions(text_width=7))
    for words in (torch.randn(4, 6), torch.randn(3, 7)):
        with pytest.raises(InputError, match="text vectors"):
            made(batches(), words)
    with pytest.raises(InputError, match="text vectors"):
        Pretraining(Fuser(config()))(batches(), torch.randn(4, 7))


@pytest.mark.parametrize(
    "kind",
    ["attention", *(pytest.param(k, marks=pytest.mark.slow) for k in get_args(AdapterKind) if k != "attention")],
)
def test_what_face_and_voice_share_is_learnt(kind: Any) -> None:
    """A hidden cause moves both; after some steps clips are matched across modalities, and hidden steps are guessed."""
    drawn = torch.Generator().manual_seed(1)
    mixes = {m: torch.randn(3, n, generator=drawn) for m, n in ((FACE, 6), (VOICE, 10))}

    def clips(n: int) -> dict[Any, FeatureBatch]:
        cause = torch.randn(n, 1, 3, generator=drawn)
        return {
            m: FeatureBatch.of(cause @ mix + 0.1 * torch.randn(n, steps, mix.shape[1], generator=drawn))
            for (m, mix), steps in zip(mixes.items(), (12, 24), strict=True)
        }

    fuser = Fuser(config(adapter=kind, prefusion=kind))
    made = Pretraining(fuser, PretrainingOptions(width=32, contrast_width=32, hidden_share={FACE: 0.5, VOICE: 0.5}))
    unseen = clips(32)
    torch.manual_seed(5)
    before = made(unseen).parts
    taught = torch.optim.AdamW(made.parameters(), 3e-3, weight_decay=0.0)
    for _ in range(120):
        taught.zero_grad()
        made(clips(32)).total.backward()
        taught.step()
    torch.manual_seed(5)
    after = made(unseen).parts
    guessing = math.log(32)
    assert float(before["pairwise"]) > 0.8 * guessing
    assert float(after["pairwise"]) < 0.6 * guessing
    for name in ("reconstruct_face", "reconstruct_voice"):
        assert after[name] < 0.5 * before[name]
