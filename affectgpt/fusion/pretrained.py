"""Pretrained encoders by the name that stands in features and manifests: `id@version`, which says how they read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from affectgpt.errors import ModelError

if TYPE_CHECKING:
    from affectgpt.fusion.features import Encoder
    from affectgpt.fusion.sampling import Sampler

__all__ = ["PLACES", "open_pretrained"]

PLACES: Final = "AFFECTGPT_ENCODERS"
"""Names a folder of encoder folders, for those that are on no hub: an encoder's id is its folder's name there."""

_SOUND: Final = re.compile(r"\w+-layers(?P<layers>\d{1,3})-pooled(?P<pooled>\d{1,4})")
_PICTURE: Final = re.compile(r"\w+-(?P<told>pooled|patches)-sampled-(?P<sampler>[\w.]+)")
_SAMPLER: Final = re.compile(r"(?P<kind>uniform|events)(?P<n>\d{1,5})|(?P<rate>\d{1,4}(?:\.\d+)?)hz")


def open_pretrained(name: str) -> Encoder | None:
    """The vision or speech encoder of this name, loaded; None where it has not the form of one's name.

    Raises:
        ModelError: there is no such model, or its weights are others than the name's version tells.
    """
    id_, _, version = name.rpartition("@")
    sound, picture = _SOUND.fullmatch(version), _PICTURE.fullmatch(version)
    made: Encoder | None = None
    if id_ and sound:
        from affectgpt.fusion.sounds import SoundEncoder

        made = SoundEncoder(_place(id_), n_layers=int(sound["layers"]), n_pooled=int(sound["pooled"]))
    elif id_ and picture and (sampler := _sampler(picture["sampler"])) is not None:
        from affectgpt.fusion.pictures import PictureEncoder

        made = PictureEncoder(_place(id_), sampler, "pooled" if picture["told"] == "pooled" else "patches")
    if made is not None and (made.id, made.version) != (id_, version):
        raise ModelError(
            f"the encoder {id_!r} at hand is of version {made.version}, and {version} was asked for",
            f"put the weights that were used in training where {PLACES} says, or train anew",
        )
    return made


def _place(id_: str) -> str | Path:
    """A folder under PLACES, else the hub's name. An id never leads out of that folder."""
    places = os.environ.get(PLACES)
    if places and Path(id_).name == id_ and (found := Path(places).expanduser() / id_).is_dir():
        return found
    return id_


def _sampler(name: str) -> Sampler | None:
    from affectgpt.fusion.sampling import EventSampler, RateSampler, UniformSampler

    found = _SAMPLER.fullmatch(name)
    if found is None:
        return None
    if found["rate"]:
        return RateSampler(float(found["rate"]))
    return (UniformSampler if found["kind"] == "uniform" else EventSampler)(int(found["n"]))
