"""Auxiliary heads: what they ask for, what they leave out, and that they can be learnt."""

from __future__ import annotations

import math

import pytest
import torch

from affectgpt.errors import InputError
from affectgpt.fusion.batches import SoftTokens
from affectgpt.fusion.heads import AlignmentHead, DimensionHead, media_vector


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_dimensions_are_asked_where_they_are_known_alone() -> None:
    head, hidden, target = DimensionHead(8), torch.randn(2, 5, 8), torch.randn(2, 5, 3).tanh()
    known = torch.tensor([[True, False, True, False, False], [False] * 5])
    expected = (head(hidden)[known] - target[known]).square().mean()
    torch.testing.assert_close(head.loss(hidden, target, known), expected)
    target[~known] = float("nan")
    torch.testing.assert_close(head.loss(hidden, target, known), expected)


def test_neutral_is_a_target_and_not_a_gap() -> None:
    head, hidden = DimensionHead(8), torch.randn(1, 2, 8)
    assert head.loss(hidden, torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool)) > 0


def test_no_known_dimension_gives_no_loss_and_a_gradient_of_zeros() -> None:
    head, hidden = DimensionHead(8), torch.randn(2, 8, requires_grad=True)
    head.loss(hidden, torch.full((2, 3), float("nan")), torch.zeros(2, dtype=torch.bool)).backward()
    assert not head.regress.weight.grad.any()  # type: ignore[union-attr]
    assert not hidden.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize(("target", "known"), [((2, 2), (2,)), ((2, 3), (3,)), ((3,), (2,))])
def test_shapes_that_do_not_go_together_are_refused(target: tuple[int, ...], known: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="hidden states"):
        DimensionHead(8).loss(torch.zeros(2, 8), torch.zeros(target), torch.ones(known, dtype=torch.bool))


def test_alignment_scores_every_explanation_for_every_row() -> None:
    head = AlignmentHead(6, 8, 16)
    media, emotion, explanation = torch.randn(4, 6), torch.randn(4, 8), torch.randn(4, 8)
    scores = head.scores(media, emotion, explanation)
    assert scores.shape == (4, 4)
    alone = head.scores(media[2:3], emotion[2:3], explanation[1:2])
    torch.testing.assert_close(scores[2, 1], alone[0, 0])
    assert sum(isinstance(layer, torch.nn.Linear) for layer in head.score) == 5


def test_explanations_that_fit_as_well_are_no_negatives() -> None:
    head = AlignmentHead(6, 8, 16)
    media, emotion, explanation = torch.randn(3, 6), torch.randn(3, 8), torch.randn(3, 8)
    everything = torch.ones(3, 3, dtype=torch.bool)
    torch.testing.assert_close(head.loss(media, emotion, explanation, everything), torch.tensor(0.0))
    some = torch.eye(3, dtype=torch.bool)
    torch.testing.assert_close(
        head.loss(media, emotion, explanation, some), head.loss(media, emotion, explanation)
    )  # a row's own stays


def test_alignment_is_learnt_from_media_and_from_emotion_both() -> None:
    """Clips in pairs of one medium and two emotions: telling the two apart needs the emotion, the rest the media."""
    head = AlignmentHead(6, 8, 32)
    media = torch.randn(4, 6).repeat_interleave(2, 0)
    emotion = torch.randn(2, 8).repeat(4, 1)
    explanation = torch.cat([media, emotion], 1)[:, torch.randperm(14)[:8]] + 0.0
    taught = torch.optim.Adam(head.parameters(), 3e-3)
    first = float(head.loss(media, emotion, explanation).detach())
    for _ in range(150):
        taught.zero_grad()
        loss = head.loss(media, emotion, explanation)
        loss.backward()
        taught.step()
    assert first == pytest.approx(math.log(8), abs=0.3)
    assert float(loss.detach()) < 0.1


def test_the_media_vector_is_the_mean_of_what_is_present() -> None:
    face, fused = torch.randn(2, 2, 5), torch.randn(2, 3, 5)
    there = torch.tensor([True, False])
    vector, present = media_vector(SoftTokens({"face": face, "fused": fused}, {"face": there, "fused": there}))
    torch.testing.assert_close(vector[0], torch.cat([face[0], fused[0]]).mean(0))
    assert present.tolist() == [True, False]
    assert not vector[1].any()
    with pytest.raises(InputError, match="no soft tokens"):
        media_vector(SoftTokens({}, {}))
