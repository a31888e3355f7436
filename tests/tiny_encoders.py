"""Vision and speech encoders of the real architectures, tiny, with random weights, in folders as a hub holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SIDE_PX, PATCH_PX = 32, 8
TINY = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def save(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture_model(name: str, folder: Path) -> Path:
    """A folder with a vision encoder: siglip, siglip2, dinov2, dinov3, clip, clip-whole (with its text side) or
    clip-fine (16 x 16 patches).
    """
    import transformers as hf

    torch.manual_seed(0)
    size = {**TINY, "image_size": SIDE_PX, "patch_size": PATCH_PX}
    square = {"height": SIDE_PX, "width": SIDE_PX}
    clip = hf.CLIPImageProcessorPil(size={"shortest_edge": SIDE_PX}, crop_size=square)
    text = {**TINY, "vocab_size": 50, "max_position_embeddings": 8}
    if name == "clip":
        return save(folder, hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**size, projection_dim=12)), clip)
    if name == "clip-fine":
        fine = {**size, "image_size": 16 * PATCH_PX, "num_hidden_layers": 1}
        whole = {"height": 16 * PATCH_PX, "width": 16 * PATCH_PX}
        processor = hf.CLIPImageProcessorPil(size={"shortest_edge": 16 * PATCH_PX}, crop_size=whole)
        return save(folder, hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**fine)), processor)
    if name == "clip-whole":
        config = hf.CLIPConfig(text_config=text, vision_config={**size, "projection_dim": 12}, projection_dim=12)
        return save(folder, hf.CLIPModel(config), clip)
    if name == "siglip":
        return save(
            folder, hf.SiglipVisionModel(hf.SiglipVisionConfig(**size)), hf.SiglipImageProcessorPil(size=square)
        )
    if name == "siglip2":
        config = hf.Siglip2VisionConfig(**TINY, patch_size=PATCH_PX, num_patches=16)
        processor = hf.Siglip2ImageProcessorPil(patch_size=PATCH_PX, max_num_patches=16)
        return save(folder, hf.Siglip2VisionModel(config), processor)
    if name == "dinov2":
        return save(folder, hf.Dinov2Model(hf.Dinov2Config(**size)), hf.ViTImageProcessorPil(size=square))
    config = hf.DINOv3ViTConfig(**size, num_register_tokens=4)
    save(folder, hf.DINOv3ViTModel(config), hf.ViTImageProcessorPil(size=square))
    settings = folder / "preprocessor_config.json"
    settings.write_text(settings.read_text("utf-8").replace("ViTImageProcessorPil", "DINOv3ViTImageProcessorFast"))
    return folder


def sound_model(name: str, folder: Path) -> Path:
    """A folder with a speech encoder: hubert, wavlm or whisper."""
    import transformers as hf

    torch.manual_seed(0)
    if name == "whisper":
        config = hf.WhisperConfig(
            d_model=24,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            vocab_size=60,
            num_mel_bins=80,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
        return save(folder, hf.WhisperModel(config), hf.WhisperFeatureExtractor())
    kind, settings = {
        "hubert": (hf.HubertModel, hf.HubertConfig),
        "wavlm": (hf.WavLMModel, hf.WavLMConfig),
    }[name]
    config = settings(
        **TINY,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        layerdrop=0.5,
        hidden_dropout=0.5,
        mask_time_prob=0.5,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    return save(folder, kind(config), hf.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True))
