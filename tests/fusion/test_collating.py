"""Clips side by side: each as it is alone, on its own scale of time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fusion_batches import FACE, FACE_WIDTH, VOICE, config, features
from hypothesis import given, settings
from hypothesis import strategies as st

from affectgpt.errors import InputError, ModelError
from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.collating import collate, reliability_over
from affectgpt.fusion.features import Features
from affectgpt.records import Modality


def holes(made: Features, where: list[int]) -> Features:
    valid, tokens = made.valid.copy(), made.tokens.copy()
    valid[where], tokens[where] = False, 0.0
    return replace(made, valid=valid, tokens=tokens)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    clips = [{FACE: features(FACE, 5)}, {FACE: features(FACE, 14, 1), VOICE: features(VOICE, 60)}, {}]
    together = collate(clips, config())
    for b, clip in enumerate(clips):
        for modality, alone in collate([clip], config()).items():
            n = alone.tokens.shape[1]
            beside = together[modality]
            for field in ("tokens", "valid", "reliability", "position"):
                assert torch.equal(getattr(beside, field)[b, :n], getattr(alone, field)[0])
            assert not beside.valid[b, n:].any()
            assert (beside.position[b, n:] == -1).all()
            assert beside.present[b] == alone.present[0]


def test_what_is_missing_is_not_present_and_never_zero_data() -> None:
    made = collate([{FACE: features(FACE, 4)}, {VOICE: features(VOICE, 4)}], config())
    assert made[FACE].present.tolist() == [True, False]
    assert made[VOICE].present.tolist() == [False, True]
    assert not made[FACE].valid[1].any()


def test_modalities_share_the_clips_time() -> None:
    clip = {FACE: features(FACE, 10, duration_s=1.0), VOICE: features(VOICE, 20, duration_s=2.0)}
    made = collate([clip], config())
    assert made[FACE].position[0].max() == pytest.approx(0.475)  # the face ends half-way
    assert made[VOICE].position[0].max() == pytest.approx(0.975)


def test_a_photograph_stands_in_the_middle() -> None:
    still = Features(np.ones((1, FACE_WIDTH), np.float32), np.zeros((1, 2)), np.ones(1, bool), "aus@1", FACE)
    assert collate([{FACE: still}], config())[FACE].position.tolist() == [[0.5]]


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 400), lost=st.sets(st.integers(0, 399), max_size=300), seed=st.integers(0, 5))
def test_long_clips_are_averaged_over_valid_steps_alone(n: int, lost: set[int], seed: int) -> None:
    clip = holes(features(FACE, n, seed), [i for i in lost if i < n])
    made = collate([{FACE: clip}], config())[FACE]
    assert made.tokens.shape[1] == min(n, 16)
    assert bool(made.present[0]) == bool(clip.valid.any())
    if n <= 16:
        np.testing.assert_array_equal(made.tokens[0].numpy(), clip.tokens)
        return
    runs = [range(k * n // 16, (k + 1) * n // 16) for k in range(16)]
    for k, run in enumerate(runs):
        kept = [i for i in run if clip.valid[i]]
        assert bool(made.valid[0, k]) == bool(kept)
        assert made.reliability[0, k] == pytest.approx(len(kept) / len(run))
        if kept:
            np.testing.assert_allclose(made.tokens[0, k], clip.tokens[kept].mean(0), rtol=1e-4, atol=1e-5)
    assert (np.diff(made.position[0].numpy()) > 0).all()


def test_reliability_is_one_number_or_one_a_step_and_zero_where_nothing_was_read() -> None:
    clip = {FACE: holes(features(FACE, 4), [2]), VOICE: features(VOICE, 3)}
    made = collate([clip], config(), [{FACE: 0.5, VOICE: [0.1, 0.2, 0.3]}])
    assert made[FACE].reliability[0].tolist() == [0.5, 0.5, 0.0, 0.5]
    assert made[VOICE].reliability[0].tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("sure", [1.5, -0.1, float("nan"), [0.5, 0.5], [[0.5] * 4]])
def test_a_reliability_that_is_none_is_refused(sure: object) -> None:
    with pytest.raises(InputError, match="reliability"):
        collate([{FACE: features(FACE, 4)}], config(), [{FACE: sure}])  # type: ignore[dict-item]


def test_features_of_another_encoder_width_or_modality_are_refused_by_name() -> None:
    good = features(FACE, 4)
    wide = replace(good, tokens=np.zeros((4, FACE_WIDTH + 1), np.float32))
    for bad in (replace(good, encoder="aus@2"), wide, replace(good, modality=VOICE)):
        with pytest.raises(ModelError, match=r"aus@1.*width 6"):
            collate([{FACE: bad}], config())
    with pytest.raises(ModelError, match="speech"):
        collate([{Modality.SPEECH: good}], config())


def test_no_clips_and_unequal_lists_are_refused() -> None:
    with pytest.raises(InputError, match="no clips"):
        collate([], config())
    with pytest.raises(InputError, match="2 reliabilities"):
        collate([{}], config(), [{}, {}])


def test_clips_of_nothing_at_all_make_a_batch_of_nothing_present() -> None:
    made = collate([{}, {}], config())
    assert all(not b.present.any() and b.tokens.shape[:2] == (2, 1) for b in made.values())


@pytest.mark.parametrize(
    "shapes",
    [((2, 3), (2, 3), (2,)), ((2, 3, 4), (2, 4), (2,)), ((2, 3, 4), (2, 3), (3,))],
)
def test_a_batch_whose_shapes_do_not_go_together_is_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    tokens, steps, rows = shapes
    with pytest.raises(InputError, match="feature batch"):
        FeatureBatch(torch.zeros(tokens), torch.ones(steps).bool(), torch.ones(steps), torch.ones(rows).bool(),
                     torch.zeros(steps))  # fmt: skip


def test_a_mask_that_is_not_bool_is_refused() -> None:
    with pytest.raises(InputError, match="bool"):
        FeatureBatch.of(torch.zeros(2, 3, 4), valid=torch.ones(2, 3))


def test_reliability_of_stretches_reaches_the_steps_within() -> None:
    clip = features(FACE, 8, duration_s=4.0)
    told = reliability_over(clip, [(0.0, 1.0, 0.2), (1.0, 2.0, 0.6), (1.5, 2.0, 0.8)], otherwise=0.5)
    assert told.tolist() == pytest.approx([0.2, 0.2, 0.6, 0.8, 0.5, 0.5, 0.5, 0.5])
    made = collate([{FACE: clip}], config(), [{FACE: told}])
    assert made[FACE].reliability[0].tolist() == pytest.approx(told.tolist())


def test_hours_of_sound_take_the_room_of_a_short_clip() -> None:
    hours = features(VOICE, 540_000, duration_s=3 * 3600.0)
    made = collate([{VOICE: hours}, {VOICE: features(VOICE, 10)}], config())[VOICE]
    assert made.tokens.shape == (2, 32, 10)
    np.testing.assert_allclose(made.tokens[0].mean(0), hours.tokens.mean(0), atol=1e-4)
    assert float(made.position[0, -1]) == pytest.approx(1 - 0.5 / 32, abs=1e-3)
