"""Vision encoders of transformers, frozen: CLIP, SigLIP, SigLIP 2, DINOv2 and DINOv3, a vector or patches a picture.

Importing this module loads torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from affectgpt.errors import ModelError, OptionError, UnreadableMedia
from affectgpt.fusion.features import Features, Signals, join
from affectgpt.fusion.frozen import load_config, load_frozen, version_of
from affectgpt.fusion.sampling import Sampler, UniformSampler
from affectgpt.records import Frame, Modality

__all__ = ["Cropper", "PictureEncoder", "Told"]

Told = Literal["pooled", "patches"]
"""One vector a picture, or one a patch."""

_KINDS: Final = {
    "clip": "CLIPVisionModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "siglip2": "Siglip2VisionModel",
    "siglip2_vision_model": "Siglip2VisionModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
}
_BATCH: Final = 16


class Cropper(Protocol):
    """Cuts what is to be seen out of a picture, for example the face. `name` is part of the encoder's version."""

    name: str

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """The part (h, w, 3) of a picture (H, W, 3), or None where there is no such thing in it."""
        ...


class PictureEncoder:
    """Tokens of whole pictures or of what a cropper cuts out, in RGB, made ready by the model's own processor.

    `pooled` gives the model's own summary of each picture: CLIP's projected embedding, the attention pooling of SigLIP,
    the class token of DINO. `patches` gives its last layer over the patches, without class and register tokens, and
    `Features.grid`. A picture is a moment: its token starts and ends at the frame's time. Where the cropper finds
    nothing, the picture's tokens are invalid; without one every picture counts as seen.

    place: a folder with safetensors and preprocessor_config.json, or a hub's id.

    Raises:
        ModelError: no such model, one of another architecture, or weights that are not all there.
    """

    modality = Modality.FACE

    def __init__(
        self,
        place: str | Path,
        sampler: Sampler | None = None,
        told: Told = "pooled",
        *,
        cropper: Cropper | None = None,
        device: str = "cpu",
    ) -> None:
        if told not in ("pooled", "patches"):
            raise OptionError(f"tokens {told!r} of a picture", "choose pooled or patches")
        self._sampler = sampler or UniformSampler()
        self._told, self._cropper, self._device = told, cropper, device
        self.network = load_frozen(_kind(load_config(place), place), place).to(device)
        self._config: Any = self.network.network.config
        self._processor = _load_processor(place)
        self.id = Path(place).name if Path(place).is_dir() else str(place)
        options = {"": told, "sampled-": self._sampler.name, **({"cut-": cropper.name} if cropper else {})}
        self.version = version_of(place, self._config, options)
        self.width = self._width()

    def encode(self, signals: Signals) -> Features:
        """See `features.Encoder.encode`; reads the pictures that the sampler chooses, sixteen at a time."""
        pieces = [self._encode(batch) for batch in _batches(self._sampler.sample(signals.open_frames))]
        return join(pieces) if pieces else Features.none(f"{self.id}@{self.version}", self.modality, self.width)

    def _width(self) -> int:
        projects = self._told == "pooled" and self._config.model_type == "clip_vision_model"
        return int(self._config.projection_dim if projects else self._config.hidden_size)

    def _encode(self, frames: Sequence[Frame]) -> Features:
        from PIL import Image

        cut = [self._cropper.cut(f.pixels) if self._cropper else f.pixels for f in frames]
        # A picture without the thing goes through whole, so that each gives as many tokens; they are dropped below.
        shown = [f.pixels if part is None else part for part, f in zip(cut, frames, strict=True)]
        ready = self._processor(images=[Image.fromarray(pixels) for pixels in shown], return_tensors="pt")
        output = self.network(**{name: tensor.to(self._device) for name, tensor in ready.items()})
        if self._told == "pooled":
            tokens, grid = _pooled(output)[:, None], None
        else:
            rows, columns = self._shape(ready)
            tokens = output.last_hidden_state[:, self._n_prefix() :][:, : rows * columns]
            grid = (len(frames), rows, columns)
        times_s = np.repeat([[f.time_s, f.time_s] for f in frames], tokens.shape[1], axis=0).astype(np.float64)
        flat = tokens.reshape(-1, tokens.shape[-1]).float().cpu().numpy()
        valid = np.repeat([part is not None for part in cut], tokens.shape[1])
        flat = np.where(valid[:, None], flat, np.float32(0))
        return Features(flat, times_s, valid, f"{self.id}@{self.version}", self.modality, grid)

    def _n_prefix(self) -> int:
        """Tokens before the patches: the class token, where the model has one, and registers."""
        if self._config.model_type.startswith("siglip"):
            return 0
        return 1 + int(getattr(self._config, "num_register_tokens", 0) or 0)

    def _shape(self, ready: Any) -> tuple[int, int]:
        """Rows and columns of patches. Raises UnreadableMedia for a clip whose pictures change their shape midway."""
        if "spatial_shapes" in ready:
            shapes = {(int(rows), int(columns)) for rows, columns in ready["spatial_shapes"].tolist()}
            if len(shapes) > 1:
                raise UnreadableMedia(f"pictures of {len(shapes)} shapes in one clip", "re-encode it to one shape")
            return shapes.pop()
        height, width = ready["pixel_values"].shape[-2:]
        return height // self._config.patch_size, width // self._config.patch_size


def _pooled(output: Any) -> torch.Tensor:
    projected = getattr(output, "image_embeds", None)
    tokens: torch.Tensor = output.pooler_output if projected is None else projected
    return tokens


def _kind(config: Any, place: str | Path) -> Any:
    import transformers

    name = _KINDS.get(config.model_type)
    if name is None:
        known = ", ".join(sorted({k.split("_vision")[0] for k in _KINDS}))
        raise ModelError(f"{str(place)!r} is a {config.model_type} model, no vision encoder", f"known: {known}")
    return getattr(transformers, name)


def _load_processor(place: str | Path) -> Any:
    """The model's own steps by Pillow, on every machine the same: torchvision's resizing gives other pixels."""
    from transformers import AutoImageProcessor, ViTImageProcessorPil
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        settings, _ = BaseImageProcessor.get_image_processor_dict(str(place))
        if "DINOv3" in str(settings.get("image_processor_type")):
            # Its own class exists for torchvision alone. Resize, scale and normalise are those of any ViT.
            return ViTImageProcessorPil.from_pretrained(str(place))
        return AutoImageProcessor.from_pretrained(str(place), backend="pil")  # type: ignore[no-untyped-call]
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"no image processor in {str(place)!r}", "the folder needs the preprocessor_config.json of its model"
        ) from error


def _batches(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    remaining = iter(frames)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
