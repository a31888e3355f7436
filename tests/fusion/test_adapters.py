"""What each kind of adapter claims of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fusion_batches import FACE, VOICE, batch, batches, config
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.fusion.attention import AttentionAdapter, AttentionPrefusion, masked_mean, masked_softmax
from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.config import ModalityConfig
from affectgpt.fusion.gating import Carry, GatedAdapter, GatedPrefusion, Windows
from affectgpt.fusion.querying import Perceiver, QueryAdapter, TimeEmbedding


@pytest.fixture(autouse=True)
def calm() -> Iterator[None]:
    """The same draws every time, and nothing is learnt here."""
    torch.manual_seed(0)
    with torch.no_grad():
        yield


# ------------------------------------------------------------------ masked sums


@given(st.lists(st.booleans(), min_size=5, max_size=5))
def test_masked_softmax_sums_to_one_over_what_is_there(mask: list[bool]) -> None:
    scores, kept = torch.randn(1, 5) * 30, torch.tensor([mask])
    made = masked_softmax(scores, kept, 1)
    assert not made[~kept].any()
    assert float(made.sum()) == pytest.approx(float(any(mask)))
    if any(mask):
        torch.testing.assert_close(made[kept], scores[kept].softmax(0))


def test_masked_mean_is_the_mean_of_what_is_there() -> None:
    tokens, mask = torch.randn(2, 4, 3), torch.tensor([[True, False, True, False], [False] * 4])
    made = masked_mean(tokens, mask)
    torch.testing.assert_close(made[0], tokens[0, [0, 2]].mean(0))
    assert not made[1].any()


# ------------------------------------------------------------------ attention


def test_a_lost_frame_does_not_make_the_token_smaller() -> None:
    """Without softmax, on frames that are all alike, any number of them gives the same token."""
    adapter = AttentionAdapter(ModalityConfig("f@1", 5, n_steps=8), config(softmax=False))
    frame = torch.randn(1, 1, 5).expand(1, 8, 5)
    whole = adapter.levels(FeatureBatch.of(frame))[-1]
    some = adapter.levels(FeatureBatch.of(frame, valid=torch.tensor([[True, False] * 4])).readable())[-1]
    torch.testing.assert_close(some, whole)


def test_tokens_of_one_attention_adapter_differ() -> None:
    (tokens,) = AttentionAdapter(ModalityConfig("f@1", 6, n_tokens=3), config()).levels(batch(6))
    assert (tokens[:, 0] - tokens[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("softmax", [True, False])
def test_a_missing_modality_weighs_nothing_in_the_fused_token(softmax: bool) -> None:
    fusion = AttentionPrefusion(config(softmax=softmax))
    given_ = batches()
    given_[VOICE] = given_[VOICE].masked(torch.zeros(4, 24, dtype=torch.bool)).readable()
    (fused,) = fusion.levels(given_)
    face = fusion.enter["face"](masked_mean(given_[FACE].tokens, given_[FACE].valid))
    # Every fused token points along the face's own vector: nothing of the voice is in it.
    along = torch.nn.functional.cosine_similarity(fused, face[:, None], dim=-1).abs()
    torch.testing.assert_close(along, torch.ones_like(along))
    if softmax:
        torch.testing.assert_close(fused, face[:, None].expand_as(fused))


# ------------------------------------------------------------------ queries


def test_even_steps_get_the_tables_own_entries() -> None:
    table = TimeEmbedding(8, 3)
    position = FeatureBatch.of(torch.zeros(1, 8, 3)).position
    torch.testing.assert_close(table(position)[0], table.entries)


@given(n=st.integers(1, 40), m=st.integers(1, 40))
def test_moments_lie_between_neighbouring_entries(n: int, m: int) -> None:
    table = TimeEmbedding(n, 2)
    torch.nn.init.constant_(table.entries, 0.0)
    table.entries.data[:, 0] = torch.arange(n).float()  # an entry says where it stands
    made = table(FeatureBatch.of(torch.zeros(1, m, 2)).position)[0, :, 0]
    expected = ((torch.arange(m) + 0.5) / m * n - 0.5).clamp(0, n - 1)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["qformer", "perceiver"])
def test_there_is_a_level_for_each_layer(kind: Any) -> None:
    made = config(adapter=kind, n_layers=3)
    levels = QueryAdapter(made.modalities[FACE], made).eval().levels(batch(6))
    assert [tuple(x.shape) for x in levels] == [(4, 2, 16)] * 3
    assert len({float(x.sum()) for x in levels}) == 3


def test_the_perceiver_is_plain_attention_in_another_order() -> None:
    made = config(adapter="perceiver", n_layers=1, n_heads=4)
    tokens, valid = torch.randn(3, 9, 6), torch.rand(3, 9) < 0.6
    perceiver = Perceiver(6, 5, made)
    layer: Any = perceiver.layers[0]
    latents, media = perceiver.latents.expand(3, -1, -1), perceiver.enter(tokens)
    calm = layer.norm(latents)
    every = torch.cat([media, calm], 1)

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (4, -1)).transpose(1, 2)

    mask = torch.cat([valid, torch.ones(3, 5, dtype=torch.bool)], 1)[:, None, None]
    seen = torch.nn.functional.scaled_dot_product_attention(
        heads(layer.ask(calm)), heads(layer.keys(every)), heads(layer.values(every)), attn_mask=mask
    )
    heard = latents + layer.leave(seen.transpose(1, 2).flatten(2))
    expected = perceiver.leave(heard + layer.feed(heard))
    torch.testing.assert_close(perceiver.levels(tokens, valid)[-1], expected)


def test_the_qformers_last_level_is_what_its_library_calls_the_result() -> None:
    made = config(adapter="qformer")
    adapter = QueryAdapter(made.modalities[FACE], made).eval()
    given_ = batch(6)
    former: Any = adapter.querying
    plain = former.former(
        query_embeds=former.queries.expand(4, -1, -1),
        encoder_hidden_states=given_.tokens + adapter.moment(given_.position),
    )
    torch.testing.assert_close(adapter.levels(given_)[-1], plain.last_hidden_state)


# ------------------------------------------------------------------ gates


def test_a_window_reads_its_own_stretch_of_time() -> None:
    windows = Windows(6, 4, 16)
    given_ = batch(6, n_rows=1, n_steps=12)
    states, reliability = windows(given_)
    assert reliability.tolist() == [[1.0] * 4]
    tokens = given_.tokens.clone()
    tokens[:, 3:6] += 5.0  # the second of four windows
    changed, _ = windows(FeatureBatch.of(tokens))
    assert ((changed - states).abs().amax(-1) > 1e-4).tolist() == [[False, True, False, False]]


def test_a_windows_reliability_counts_what_was_lost() -> None:
    sure = torch.tensor([[1.0, 1.0, 0.5, 0.5, 0.8, 0.8, 0.8, 0.8]])
    valid = torch.tensor([[True, False, True, True, False, False, True, True]])
    _, reliability = Windows(6, 4, 16)(FeatureBatch.of(torch.randn(1, 8, 6), valid, sure).readable())
    torch.testing.assert_close(reliability, torch.tensor([[0.5, 0.5, 0.0, 0.8]]))


@given(low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0), trust=st.floats(-5.0, 5.0))
def test_more_reliability_never_closes_a_gate(low: float, high: float, trust: float) -> None:
    carry = Carry(4)
    carry.trust.data.fill_(trust)
    low, high = sorted((low, high))
    window, state = torch.randn(1, 4), torch.randn(1, 4)
    gates = [carry.gates(window, state, torch.tensor([r])) for r in (low, high)]
    assert bool((gates[0] <= gates[1] + 1e-7).all())
    assert bool(((gates[1] >= 0) & (gates[1] <= 1)).all())


def test_a_window_without_reliability_leaves_the_state_as_it_was() -> None:
    carry = Carry(4)
    windows = torch.randn(2, 3, 4)
    made = carry(windows, torch.tensor([[0.9, 0.0, 0.9], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(made[0, 1], made[0, 0])
    assert (made[0, 2] - made[0, 1]).abs().max() > 1e-4
    torch.testing.assert_close(made[1], carry.leave(carry.start).expand(3, 4))


def test_a_later_window_never_changes_an_earlier_token() -> None:
    made = config(adapter="gated", modalities={FACE: ModalityConfig("f@1", 6, n_tokens=4)})
    adapter = GatedAdapter(made.modalities[FACE], made)
    given_ = batch(6, n_rows=1, n_steps=8)
    tokens = given_.tokens.clone()
    tokens[:, 6:] += 3.0
    apart = (adapter.levels(FeatureBatch.of(tokens))[-1] - adapter.levels(given_)[-1]).abs().amax(-1)
    assert (apart > 1e-5).tolist() == [[False, False, False, True]]


def test_a_modalitys_share_grows_with_its_reliability_and_is_nothing_where_it_is_absent() -> None:
    fusion = GatedPrefusion(config(prefusion="gated", n_fused_tokens=1))
    windows = torch.randn(1, 2, 1, 16)
    shares = [float(fusion.shares(windows, torch.tensor([[[r], [0.5]]]))[0, 0, 0]) for r in (0.0, 0.1, 0.5, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    ratio = (shares[3] / (1 - shares[3])) / (shares[1] / (1 - shares[1]))
    assert ratio == pytest.approx(10.0, rel=1e-3)  # in proportion to the reliability, the scores being equal


def test_the_gated_tokens_lean_on_the_reliable_modality() -> None:
    fusion = GatedPrefusion(config(prefusion="gated"))
    given_ = batches()

    def moved(sure: float) -> float:
        """How far the fused tokens move with the voice, read with this reliability."""
        voices = [FeatureBatch.of(t, reliability=torch.full(t.shape[:2], sure)) for t in
                  (given_[VOICE].tokens, batches(seed=5)[VOICE].tokens)]  # fmt: skip
        one, other = (fusion.levels({FACE: given_[FACE], VOICE: v})[-1] for v in voices)
        return float((one - other).abs().mean())

    assert moved(0.02) < moved(0.5) < moved(1.0)
