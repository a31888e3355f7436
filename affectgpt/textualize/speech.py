"""A transcript told as observations: quotes with their times. The words are quoted data, whoever wrote them. Pure."""

from __future__ import annotations

import re
import unicodedata

from affectgpt.records import Modality, Observation, Transcript, TranscriptSource, Utterance

__all__ = ["clean_quote", "tell", "tell_missing"]

LONGEST_QUOTE = 160
"""Characters of a quote that are shown; about 30 words, two subtitle lines of 42 characters and as much again."""
LOW_CONFIDENCE = 0.5
"""Below this a recogniser's words are marked as uncertain."""

_UNSAFE = str.maketrans(
    {
        '"': "'",
        "“": "'",
        "”": "'",
        "„": "'",
        "«": "'",
        "»": "'",
        "[": "(",
        "]": ")",
        "<": "‹",
        ">": "›",
        "`": "'",
        "*": "·",
        "|": "¦",
    }
)


def clean_quote(text: str, longest: int | None = None) -> str:
    """One line of untrusted text made safe to stand between quotation marks in a prompt.

    Line breaks and control characters become spaces; quotation marks, square brackets (which mark observation ids),
    angle brackets and bars (which mark chat-template tokens) and asterisks are replaced by look-alikes.
    """
    text = unicodedata.normalize("NFC", text)
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" and c not in "\u200d" else c for c in text)
    text = re.sub(r"\s+", " ", text.translate(_UNSAFE)).strip()
    if longest is not None and len(text) > longest:
        text = text[: longest - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"
    return text


def tell(transcript: Transcript) -> list[Observation]:
    """Every utterance that holds words as a quote, in the order spoken."""
    told = [_observe(u, transcript.source) for u in transcript.utterances]
    return [o for o in told if o.quote]


def tell_missing(transcript: Transcript) -> list[Observation]:
    """Says so where no words are known."""
    if any(clean_quote(u.text) for u in transcript.utterances):
        return []
    text = "no transcript, so the words are unknown"
    return [Observation("", Modality.SPEECH, "missing_transcript", text)]


def _observe(u: Utterance, source: TranscriptSource) -> Observation:
    quote = clean_quote(u.text, LONGEST_QUOTE)
    who = f"{clean_quote(u.speaker, 24)} said" if u.speaker else "said"
    when = "" if u.start_s is None or u.end_s is None else f", {u.start_s:.1f}–{u.end_s:.1f} s"
    sure = "" if u.confidence >= LOW_CONFIDENCE else f", confidence {u.confidence:.2f}"
    return Observation(
        id="",
        modality=Modality.SPEECH,
        cue="quote",
        text=f'{who} "{quote}"{when}, {source.value}{sure}',
        start_s=None if u.start_s is None else round(u.start_s, 1),
        end_s=None if u.end_s is None else round(u.end_s, 1),
        confidence=round(u.confidence, 2),
        quote=quote,
    )
