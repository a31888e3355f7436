"""Which patches are kept: StimuVAR's counts, an honest gradient, and a score that learns where it matters."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import picture_model
from torch.nn import functional

from affectgpt.errors import InputError, OptionError
from affectgpt.fusion.features import Features, Signals
from affectgpt.fusion.pictures import PictureEncoder
from affectgpt.fusion.tubes import TubeSelector, Tubing, choose_softly
from affectgpt.records import Frame, Modality

WIDTH = 8


def patches(n_clips: int = 2, grid: tuple[int, int, int] = (6, 16, 16), width: int = WIDTH) -> torch.Tensor:
    return torch.randn(n_clips, *grid, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_six_pictures_of_clip_l_give_the_papers_counts() -> None:
    chosen = TubeSelector(WIDTH).eval()(patches())
    assert chosen.places.shape == (125, 32)
    assert chosen.tokens.shape == (2, 4, 32, WIDTH)
    assert 4 * 32 + 6 == 134


def test_evaluation_keeps_the_best_tubes_bit_for_bit() -> None:
    selector = TubeSelector(WIDTH).eval()
    clips = patches()
    chosen = selector(clips)
    flat = clips.flatten(1, 3)
    for row in range(2):
        best = sorted(chosen.scores[row].topk(4).indices.tolist())
        assert chosen.weights[row].argmax(-1).tolist() == best
        assert torch.equal(chosen.tokens[row], flat[row][chosen.places[best]])
    assert torch.equal(selector(clips).tokens, chosen.tokens)


def test_tubes_are_blocks_of_neighbours() -> None:
    frame, row, column = np.unravel_index(TubeSelector(WIDTH).eval()(patches()).places.numpy(), (6, 16, 16))
    for axis, size in ((frame, 2), (row, 4), (column, 4)):
        assert (np.ptp(axis, axis=1) == size - 1).all()
    assert {(int(f[0]), int(r[0]), int(c[0])) for f, r, c in zip(frame, row, column, strict=True)} == {
        (f, r, c) for f in range(5) for r in range(0, 13, 3) for c in range(0, 13, 3)
    }


@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 16, 16), (2, 3, 5), (6, 4, 4)])
def test_a_clip_of_any_size_has_a_tube(grid: tuple[int, int, int]) -> None:
    for selector in (TubeSelector(WIDTH).eval(), TubeSelector(WIDTH).train()):
        chosen = selector(patches(3, grid))
        assert 1 <= chosen.tokens.shape[1] <= 4
        assert torch.allclose(chosen.weights.sum(-1), torch.ones(chosen.weights.shape[:2]), atol=1e-5)
        assert torch.isfinite(chosen.tokens).all()


def test_little_noise_is_the_hard_choice() -> None:
    scores = torch.rand(3, 20)
    soft = choose_softly(scores, 4, 50, 1e-6)
    hard = scores.topk(4).indices.sort(-1).values
    assert torch.equal(soft.argmax(-1), hard)
    assert torch.allclose(soft.amax(-1), torch.ones(3, 4))


@pytest.mark.parametrize("ahead", [0.0, 0.05, -0.12])
def test_the_gradient_is_that_of_the_expectation(ahead: float) -> None:
    # Of two, the first is chosen with probability Phi(d / (sigma sqrt 2)): the derivative is known.
    sigma = 0.1
    scores = torch.tensor([[0.5 + ahead, 0.5]], requires_grad=True)
    first = choose_softly(scores, 1, 200_000, sigma)[0, 0, 0]
    first.backward()
    z = ahead / (sigma * math.sqrt(2))
    assert first.item() == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))), abs=0.01)
    slope = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / (sigma * math.sqrt(2))
    assert scores.grad is not None
    assert scores.grad[0].tolist() == pytest.approx([slope, -slope], rel=0.05, abs=0.02)


def test_training_reaches_every_weight_of_the_score() -> None:
    selector = TubeSelector(WIDTH).train()
    chosen = selector(patches().requires_grad_())
    chosen.tokens.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in selector.score[1].parameters())


def test_selected_features_are_patches_of_the_clip_in_time_order() -> None:
    tokens = patches(1)[0].reshape(-1, WIDTH).numpy()
    times_s = np.repeat(np.arange(6.0), 256)
    features = Features(
        tokens, np.stack([times_s, times_s], axis=1), np.ones(len(tokens), bool), "e@1", Modality.FACE, (6, 16, 16)
    )
    selector = TubeSelector(WIDTH)
    told = selector.select(features)
    assert 32 <= len(told) <= 128
    assert selector.training, "as it was"
    tokens.flags.writeable = False  # as features come out of a cache
    assert np.array_equal(selector.select(features).tokens, told.tokens)
    known = {row.tobytes() for row in tokens}
    assert all(row.tobytes() in known for row in told.tokens)
    none = Features(tokens[:0], np.zeros((0, 2)), np.zeros(0, bool), "e@1", Modality.FACE, (0, 16, 16))
    assert len(selector.select(none)) == 0


def test_what_is_no_grid_of_patches_is_refused() -> None:
    with pytest.raises(InputError, match="no whole patches"):
        TubeSelector(WIDTH).select(Features.none("e@1", Modality.FACE, WIDTH))
    for wrong in (patches(width=3), patches(0), patches()[0]):
        with pytest.raises(InputError, match="patches"):
            TubeSelector(WIDTH)(wrong)
    for broken in ({"n_kept": 0}, {"sigma": 0.0}, {"shape": (0, 4, 4)}):
        with pytest.raises(OptionError, match="tubes"):
            Tubing(**broken)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_score_learns_where_a_telling_patch_moves(tmp_path: Path) -> None:
    """A vivid patch wanders over a dull ground; the score is taught only that what is told should be vivid."""
    encoder = PictureEncoder(picture_model("clip-fine", tmp_path / "clip"), told="patches")
    clips, index = wandering(encoder, 32)
    seen, unseen = slice(0, 16), slice(16, 32)
    flat = clips.flatten(1, 3)
    patch = torch.stack([flat[k, index[k]] for k in range(16)])
    vivid = functional.normalize(patch.mean((0, 1)) - flat[seen].mean((0, 1)), dim=0)
    selector = TubeSelector(encoder.width, Tubing(n_kept=1, n_samples=100))
    optimiser = torch.optim.Adam(selector.parameters(), lr=0.01)
    before = hits(selector, clips[unseen], index[unseen])
    for _ in range(80):
        optimiser.zero_grad()
        (-(selector.train()(clips[seen]).tokens @ vivid).mean()).backward()
        optimiser.step()
    after = hits(selector, clips[unseen], index[unseen])
    assert after > 0.9 > 0.5 > before


def wandering(encoder: PictureEncoder, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches (n, 6, 16, 16, D), and the one in each picture (n, 6) in which the vivid square is."""
    rng = np.random.default_rng(0)
    clips, index = [], []
    for _ in range(n):
        at = np.clip(rng.integers(2, 14, 2) + np.cumsum(rng.integers(-1, 2, (6, 2)), axis=0), 0, 15)
        frames = []
        for t, (row, column) in enumerate(at):
            picture = rng.integers(100, 130, (128, 128, 3)).astype(np.uint8)
            picture[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = (250, 20, 20)
            frames.append(Frame(picture, float(t)))
        told = encoder.encode(Signals(open_frames=lambda rate_hz, frames=frames: frames))  # type: ignore[misc]
        clips.append(torch.from_numpy(told.tokens.reshape(6, 16, 16, -1)))
        index.append(256 * np.arange(6) + 16 * at[:, 0] + at[:, 1])
    return torch.stack(clips), torch.tensor(np.array(index))


def hits(selector: TubeSelector, clips: torch.Tensor, index: torch.Tensor) -> float:
    """In what share of clips the best tube holds the square."""
    with torch.no_grad():
        chosen = selector.eval()(clips)
    best = chosen.places[chosen.weights[:, 0].argmax(-1)]
    return float((best[:, :, None] == index[:, None, :]).any(-1).any(-1).float().mean())
