"""What stands between the encoders and the adapters: one modality's feature tokens over time, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import InputError
from affectgpt.records import Clip, FaceTrack, Frame, Modality, VoiceTrack, Waveform

__all__ = ["Encoder", "Features", "Signals", "join"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """One modality of one clip, as an encoder gives it: T tokens of width D.

    tokens (T, D) float32, finite · times_s (T, 2) float64: start and end of what a token was made from, on the clip's
    clock, starts never going back · valid (T,) bool: where it is False nothing was seen or heard; the token is zero
    there and must not be read · encoder: `id@version` · modality: FACE for every encoder of pictures, VOICE for every
    encoder of sound · grid: (F, rows, columns) of patch tokens, T = F·rows·columns in that order; None for one token a
    moment. T may be 0: the modality is missing.

    Raises:
        InputError: shapes, types or values that break any of this.
    """

    tokens: Floats
    times_s: NDArray[np.float64]
    valid: NDArray[np.bool_]
    encoder: str
    modality: Modality
    grid: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise InputError(f"features of {self.encoder!r} {fault}", "encode the clip again")

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def width(self) -> int:
        """D, also where there are no tokens."""
        return int(self.tokens.shape[1])

    @property
    def is_present(self) -> bool:
        """Whether any token may be read."""
        return bool(self.valid.any())

    @classmethod
    def none(cls, encoder: str, modality: Modality, width: int) -> Features:
        """A missing modality: no tokens of this width."""
        return cls(np.zeros((0, width), np.float32), np.zeros((0, 2)), np.zeros(0, bool), encoder, modality)


def _fault(features: Features) -> str:
    """What is wrong, or nothing."""
    tokens, times_s, valid, grid = features.tokens, features.times_s, features.valid, features.grid
    if tokens.ndim != 2 or tokens.dtype != np.float32 or not tokens.shape[1]:
        return f"have tokens of shape {tokens.shape} and type {tokens.dtype}, not (T, D) float32"
    n = len(tokens)
    if times_s.shape != (n, 2) or times_s.dtype != np.float64 or valid.shape != (n,) or valid.dtype != np.bool_:
        return f"have times {times_s.shape} {times_s.dtype} and validity {valid.shape} {valid.dtype} for {n} tokens"
    if grid is not None and (min(grid) < 0 or np.prod(grid, dtype=object) != n):
        return f"have {n} tokens on a grid of {grid}"
    if not np.isfinite(times_s).all() or (times_s[:, 0] > times_s[:, 1]).any() or (np.diff(times_s[:, 0]) < 0).any():
        return "have times that are not finite, end before they start, or go back"
    # The extremes carry a NaN or an infinity along, and are found ten times faster than each number is asked.
    if n and not (np.isfinite(tokens.min()) and np.isfinite(tokens.max())):
        return "are not finite"
    return "hold values where nothing was seen or heard" if not valid.all() and tokens[~valid].any() else ""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What one clip offers to encoders; each takes what it needs, and what is None or empty is missing.

    open_frames(rate_hz) gives the pictures at that rate (None: every one), open_sound() the sound as mono blocks; both
    may be called several times and read from the start each time.
    """

    face: FaceTrack | None = None
    voice: VoiceTrack | None = None
    open_frames: Callable[[float | None], Iterable[Frame]] = lambda rate_hz: ()
    open_sound: Callable[[], Iterable[Waveform]] = tuple

    @classmethod
    def of(cls, clip: Clip, face: FaceTrack | None = None, voice: VoiceTrack | None = None) -> Signals:
        """The signals of a clip on disk: its frames and sound are decoded when an encoder asks for them."""
        from affectgpt import media

        return cls(face, voice, lambda rate_hz: media.frames(clip, rate_hz), lambda: media.waveform(clip))


class Encoder(Protocol):
    """A frozen encoder of one modality. `width` is D; `id` and `version` name it, as `id@version` in its Features."""

    id: str
    version: str
    width: int
    modality: Modality

    def encode(self, signals: Signals) -> Features:
        """The clip's features, of no tokens where the modality is missing. Sound and pictures are read as a stream."""
        ...


def join(pieces: Sequence[Features]) -> Features:
    """Pieces of one clip by one encoder, in time order, as one; patch grids are joined over their frames.

    Raises:
        InputError: no pieces, or pieces of different encoders, widths or grids.
    """
    if not pieces:
        raise InputError("no features to join", "use Features.none for a missing modality")
    first = pieces[0]
    kinds = {(p.encoder, p.modality, p.width, p.grid and p.grid[1:]) for p in pieces}
    if len(kinds) > 1:
        raise InputError(f"features of different kinds: {sorted(map(str, kinds))}", "join those of one encoder")
    grid = first.grid and (sum(p.grid[0] for p in pieces if p.grid), *first.grid[1:])
    return Features(
        np.concatenate([p.tokens for p in pieces]),
        np.concatenate([p.times_s for p in pieces]),
        np.concatenate([p.valid for p in pieces]),
        first.encoder,
        first.modality,
        grid,
    )
