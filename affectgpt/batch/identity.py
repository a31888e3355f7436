"""What a row's work is known by: the keys of its readings, and the fingerprints that say whether to do it again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final

from affectgpt import media
from affectgpt.batch.fetching import suffix_of
from affectgpt.batch.fingerprints import Asking, answer_fingerprint, perception_fingerprint
from affectgpt.batch.records import Fingerprints, Item
from affectgpt.readers import AgentOptions, SpeechOptions
from affectgpt.records import Modality, Sampling
from affectgpt.workers import MediaCache, reading_key

__all__ = ["SHA256_OF_NOTHING", "Identity", "brings_words", "identify", "sha256_of_words", "to_read"]

SHA256_OF_NOTHING: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """`reading` and `weighing` are keys of a `MediaCache`: of the tracks, and of what was made of them."""

    reading: str
    weighing: str
    fingerprints: Fingerprints


def identify(item: Item, options: AgentOptions, media_sha256: str, beside: tuple[str, ...], asking: Asking) -> Identity:
    """What this item's work is known by.

    `options` are the row's own, `media_sha256` is that of the medium, or of the words where there is none; `beside` are
    the hashes of what is read along with it. Words that the row brings shape its answer and not what is seen and heard.

    Raises:
        MediaNotFound: a transcript that the options name is not there.
    """
    reading = reading_key(to_read(options), media_sha256, suffix_of(item), *beside)
    perception = perception_fingerprint(reading)
    words = sha256_of_words(options)
    heard = perception if words is None else f"{perception}-{words}"
    # What the appraisers never see.
    weighed = replace(options, sampling=Sampling(), revisions=0, key_observations="restated", decide="appraisal")
    weighing = MediaCache.key(media_sha256, "weighed", answer_fingerprint(heard, weighed, _appraising(asking)))
    return Identity(
        reading, weighing, Fingerprints(media_sha256, perception, answer_fingerprint(heard, options, asking))
    )


def to_read(options: AgentOptions) -> AgentOptions:
    """The options as the readers of a medium get them: where the row brings its words, no others are looked for."""
    left = options.modalities - {Modality.SPEECH}
    if not brings_words(options) or not left:
        return options
    return replace(options, modalities=left, speech=SpeechOptions())


def brings_words(options: AgentOptions) -> bool:
    """Whether the words are given, and need not be found in the medium or beside it."""
    return options.speech.text is not None or options.speech.path is not None


def sha256_of_words(options: AgentOptions) -> str | None:
    """SHA-256 of the words that a row brings, or of their file; None where it brings none.

    Raises:
        MediaNotFound, UnreadableMedia: the file is not there, or empty.
    """
    if options.speech.path is not None:
        return media.media_hash(options.speech.path)
    text = options.speech.text
    return None if text is None else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _appraising(asking: Asking) -> Asking:
    return Asking(appraiser=asking.appraiser)
