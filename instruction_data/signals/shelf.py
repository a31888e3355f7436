"""Features of scenes, kept by the hash of what they came from: encoded once, found again by every later build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from affectgpt import media
from affectgpt.corpora import Example
from affectgpt.errors import AffectError
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.facial import FacialEncoder
from affectgpt.fusion.features import Encoder, Signals
from affectgpt.perceive.voice import VoiceReader
from affectgpt.records import FaceTrack, Modality, VoiceTrack
from instruction_data.signals.noise import add_noise
from instruction_data.tracks import Senses, hash_file, keep

__all__ = ["Shelf", "seed_of"]


class Shelf:
    """Encodes what scenes are made of. `paths` are the recordings' files by their SHA-256."""

    def __init__(
        self, folder: Path, encoders: Mapping[Modality, Encoder], reader: VoiceReader, paths: Mapping[str, Path]
    ) -> None:
        self.features = FeatureCache(folder)
        self._encoders, self._reader, self._paths = encoders, reader, paths

    @property
    def modalities(self) -> frozenset[Modality]:
        """Those that have an encoder."""
        return frozenset(self._encoders)

    def has(self, sha256: str) -> bool:
        """Whether a recording's file is at hand."""
        return sha256 in self._paths

    def face(self, track: FaceTrack, sha256: str, shaped_by: str) -> str | None:
        """The key of a face's features; None where the encoder finds nothing to read.

        Encoders of tracks read the scene's own track, which `shaped_by` names; encoders of pictures the file.
        """
        encoder = self._encoders[Modality.FACE]
        if isinstance(encoder, FacialEncoder):
            return self._keep(encoder, sha256, Signals(face=track), shaped_by)
        if not self.has(sha256):
            return None
        return self._keep(encoder, sha256, Signals.of(media.open_clip(self._paths[sha256]), track))

    def voice(self, sha256: str, snr_db: float | None = None) -> str | None:
        """The key of a voice's features, heard as it is or through noise; None where nobody is heard or no file is."""
        if not self.has(sha256):
            return None
        key = self._voice_key(sha256, snr_db)
        found = self.features.get(key)
        if found is None:
            self._hear(self._paths[sha256], sha256, snr_db)
            found = self.features.get(key)
        return key if found is not None and found.is_present else None

    def noisy_tracks(
        self, sha256: Iterable[str], snr_db: float, cache: Path, told: Callable[[int], None] = lambda n: None
    ) -> dict[str, VoiceTrack]:
        """The tracks of recordings heard through noise, by hash; read once and kept in `cache`, their features too."""
        wanted = [Example(sha, media=self._paths[sha]) for sha in dict.fromkeys(sha256) if self.has(sha)]
        heard = keep(wanted, cache, _Noisy(self, snr_db), told)
        return {sha: replace(r.voice) for sha, r in heard.items() if r.voice is not None and r.voice.speech}

    def _hear(self, path: Path, sha256: str, snr_db: float | None) -> VoiceTrack:
        clip = media.open_clip(path)
        signals = Signals.of(clip)
        if snr_db is not None:
            noisy = add_noise(media.waveform(clip), snr_db, seed_of(f"{sha256}/{snr_db:g}"))
            signals = Signals(open_sound=lambda: noisy)
        track = self._reader.read(signals.open_sound())
        encoder = self._encoders.get(Modality.VOICE)
        if encoder is not None:
            features = encoder.encode(replace(signals, voice=track))
            self.features.put(self._voice_key(sha256, snr_db), features)
        return track

    def _voice_key(self, sha256: str, snr_db: float | None) -> str:
        noise = [] if snr_db is None else [f"SNR {snr_db:g} dB"]
        return FeatureCache.key(sha256, self._encoders[Modality.VOICE], self._reader.name, *noise)

    def _keep(self, encoder: Encoder, sha256: str, signals: Signals, *shaped_by: str) -> str | None:
        features = self.features.encode(encoder, sha256, signals, *shaped_by)
        return FeatureCache.key(sha256, encoder, *shaped_by) if features.is_present else None


class _Noisy:
    """Reads a voice through noise, for `tracks.keep`."""

    def __init__(self, shelf: Shelf, snr_db: float) -> None:
        self.version = f"{shelf._reader.name}, SNR {snr_db:g} dB"
        self._shelf, self._snr_db = shelf, snr_db

    def sense(self, path: Path) -> Senses:
        """The voice alone."""
        try:
            return None, self._shelf._hear(path, hash_file(path), self._snr_db), None
        except AffectError:
            raise
        except ValueError as e:
            raise AffectError(f"{path.name} cannot be heard through noise: {e}", "leave it out") from e


def seed_of(text: str) -> int:
    """A seed that depends on the text alone."""
    import hashlib

    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
