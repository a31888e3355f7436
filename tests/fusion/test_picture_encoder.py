"""Vision encoders: the model's own numbers, RGB, frozen, and refused when they are not whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_encoders import PATCH_PX, SIDE_PX, picture_model

from affectgpt.errors import ModelError, OptionError, UnreadableMedia
from affectgpt.fusion.features import Features, Signals
from affectgpt.fusion.pictures import PictureEncoder, Told
from affectgpt.fusion.sampling import RateSampler, UniformSampler
from affectgpt.media import open_clip
from affectgpt.records import Frame

FAMILIES = ["clip", "clip-whole", "siglip", "siglip2", "dinov2", "dinov3"]
N_SIDE = SIDE_PX // PATCH_PX


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: picture_model(name, tmp_path_factory.mktemp("pictures") / name) for name in FAMILIES}


def pictures(n: int = 3, side_px: int = SIDE_PX) -> list[Frame]:
    rng = np.random.default_rng(0)
    return [Frame(rng.integers(0, 256, (side_px, side_px, 3), np.uint8), k / 4) for k in range(n)]


def encode(encoder: PictureEncoder, frames: Iterable[Frame]) -> Features:
    kept = list(frames)
    return encoder.encode(Signals(open_frames=lambda rate_hz: kept))


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_gives_a_vector_a_picture_and_patches(models: dict[str, Path], name: str) -> None:
    pooled = encode(PictureEncoder(models[name], UniformSampler(8)), pictures())
    assert pooled.tokens.shape == (3, 12 if name.startswith("clip") else 24)
    assert pooled.times_s[:, 0].tolist() == pooled.times_s[:, 1].tolist() == [0.0, 0.25, 0.5]
    assert pooled.tokens.std(axis=0).max() > 0, "pictures differ"
    encoder = PictureEncoder(models[name], UniformSampler(8), "patches")
    patches = encode(encoder, pictures())
    assert patches.tokens.shape == (3 * N_SIDE * N_SIDE, encoder.width) == (48, 24)
    assert patches.grid == (3, N_SIDE, N_SIDE)
    assert patches.encoder != pooled.encoder


def test_clip_gives_what_transformers_gives(models: dict[str, Path]) -> None:
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    network = CLIPVisionModelWithProjection.from_pretrained(models["clip"]).eval()
    processor = CLIPImageProcessorPil.from_pretrained(models["clip"])
    with torch.no_grad():
        output = network(**processor(images=[f.pixels for f in pictures()], return_tensors="pt"))
    told = encode(PictureEncoder(models["clip"]), pictures()).tokens
    assert np.allclose(told, output.image_embeds.numpy(), atol=1e-6)


def test_colours_are_not_swapped(models: dict[str, Path]) -> None:
    from transformers import CLIPImageProcessorPil

    red = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    red[..., 0] = 255
    ready = CLIPImageProcessorPil.from_pretrained(models["clip"])(images=red, return_tensors="pt")["pixel_values"][0]
    assert ready[0].mean() > ready[2].mean()
    encoder = PictureEncoder(models["clip"])
    swapped = encode(encoder, [Frame(red[..., ::-1].copy(), 0.0)]).tokens
    assert not np.allclose(encode(encoder, [Frame(red, 0.0)]).tokens, swapped, atol=1e-4)


def test_a_picture_three_pixels_wide_is_still_a_picture(models: dict[str, Path]) -> None:
    assert len(encode(PictureEncoder(models["siglip"]), [Frame(np.zeros((3, 3, 3), np.uint8), 0.0)])) == 1


def test_a_patch_token_is_where_its_patch_is(models: dict[str, Path]) -> None:
    encoder = PictureEncoder(models["dinov2"], told="patches")
    blank = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
    marked = blank.copy()
    marked[PATCH_PX : 2 * PATCH_PX, 2 * PATCH_PX : 3 * PATCH_PX] = np.random.default_rng(0).integers(0, 256, 3)
    plain, told = (encode(encoder, [Frame(p, 0.0)]).tokens for p in (blank, marked))
    changed = np.linalg.norm(told - plain, axis=1).reshape(N_SIDE, N_SIDE)
    assert np.unravel_index(changed.argmax(), changed.shape) == (1, 2)


def test_a_parent_that_trains_changes_nothing(models: dict[str, Path]) -> None:
    encoder = PictureEncoder(models["clip"])
    before = encode(encoder, pictures()).tokens
    parent = torch.nn.ModuleList([encoder.network])
    parent.train()
    assert not any(module.training for module in encoder.network.modules())
    assert not any(p.requires_grad for p in encoder.network.parameters())
    parent.requires_grad_(True)
    assert not encoder.network(pixel_values=torch.zeros(1, 3, SIDE_PX, SIDE_PX)).image_embeds.requires_grad
    assert np.array_equal(encode(encoder, pictures()).tokens, before)


def test_batches_change_nothing_and_no_pictures_are_missing(models: dict[str, Path]) -> None:
    encoder = PictureEncoder(models["siglip"], RateSampler(4))
    many = pictures(19)
    assert np.allclose(encode(encoder, many).tokens[17:], encode(encoder, many[17:]).tokens, atol=1e-5)
    assert len(encode(encoder, [])) == 0


def test_a_real_clip(models: dict[str, Path], repo: Path) -> None:
    clip = open_clip(repo / "examples" / "astronaut_smile.mp4")
    features = PictureEncoder(models["dinov3"], UniformSampler(4)).encode(Signals.of(clip))
    assert len(features) == 4
    assert 0 < features.times_s[0, 0] < features.times_s[-1, 0] < clip.duration_s


class Corner:
    """Cuts the upper left quarter of pictures that are bright there."""

    name = "corner 1"

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        part = pixels[: len(pixels) // 2, : len(pixels) // 2]
        return np.ascontiguousarray(part) if part.mean() > 100 else None


@pytest.mark.parametrize("told", ["pooled", "patches"])
def test_what_is_not_in_a_picture_is_not_told(models: dict[str, Path], told: Told) -> None:
    whole = pictures(3, 2 * SIDE_PX)
    whole[1].pixels[:SIDE_PX, :SIDE_PX] = 0
    features = encode(PictureEncoder(models["clip"], told=told, cropper=Corner()), whole)
    seen = features.valid.reshape(3, -1)
    assert seen.all(axis=1).tolist() == seen.any(axis=1).tolist() == [True, False, True]
    corners = [Frame(np.ascontiguousarray(f.pixels[:SIDE_PX, :SIDE_PX]), f.time_s) for f in whole]
    plain = encode(PictureEncoder(models["clip"], told=told), corners)
    assert np.array_equal(features.tokens[features.valid], plain.tokens[features.valid])
    assert features.encoder != plain.encoder


def test_patches_of_pictures_that_change_their_shape_are_refused(models: dict[str, Path]) -> None:
    wide = Frame(np.zeros((SIDE_PX, 4 * SIDE_PX, 3), np.uint8), 1.0)
    with pytest.raises(UnreadableMedia, match="2 shapes"):
        encode(PictureEncoder(models["siglip2"], told="patches"), [*pictures(1), wide])


def test_the_version_tells_weights_and_reading_apart(models: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(1)
    versions = {
        PictureEncoder(models["clip"]).version,
        PictureEncoder(models["clip"], UniformSampler(4)).version,
        PictureEncoder(models["clip"], told="patches").version,
        PictureEncoder(models["siglip"]).version,
    }
    assert len(versions) == 4
    assert PictureEncoder(models["clip"]).version in versions


def test_what_is_no_whole_model_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model in"):
        PictureEncoder(tmp_path)
    with pytest.raises(ModelError, match="no model in 'nobody/nothing'"):
        PictureEncoder("nobody/nothing")
    with pytest.raises(OptionError, match="tokens"):
        PictureEncoder(models["clip"], told="both")  # type: ignore[arg-type]
    folder = picture_model("clip", tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "post_layernorm" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match=r"lacks 2 weights.*post_layernorm"):
        PictureEncoder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        PictureEncoder(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}), "utf-8")
    with pytest.raises(ModelError, match="bert model, no vision encoder"):
        PictureEncoder(folder)


def test_without_its_processor_a_model_is_refused(tmp_path: Path) -> None:
    folder = picture_model("siglip", tmp_path / "siglip")
    for path in folder.glob("*processor*"):
        path.unlink()
    with pytest.raises(ModelError, match="no image processor"):
        PictureEncoder(folder)
