"""The records that travel between steps: frozen, typed, and plain to print.

Shape letters used in every docstring of this package: B batch, T frames in time, N samples, A action units,
K soft tokens, S sequence length, D width. Times are seconds on the clip's clock:
0 is the first picture, or the sound's start where sound leads the picture by more than 0.1 s.
"""

from __future__ import annotations

from affectgpt.records.answer import (
    CheckedClaim,
    Claim,
    Completion,
    Conclusion,
    Decider,
    Decision,
    Explanation,
    Grounding,
    Message,
    Outcome,
    Prompt,
    Revision,
    Sampling,
    UnparsedAnswer,
    Verdict,
)
from affectgpt.records.evidence import (
    Appraisal,
    EmotionDistribution,
    EmotionSet,
    Moment,
    Observation,
    Observations,
)
from affectgpt.records.instruction import InstructionExample, Provenance, Source
from affectgpt.records.soft import SOFT_NAME, EmbeddedPrompt, SoftPart, soft_marker
from affectgpt.records.tracks import (
    BaselineKind,
    Clip,
    FaceTrack,
    Frame,
    Interval,
    Modality,
    Transcript,
    TranscriptSource,
    Utterance,
    VoiceTrack,
    VoiceWindow,
    Waveform,
    Word,
)

__all__ = [
    "SOFT_NAME",
    "Appraisal",
    "BaselineKind",
    "CheckedClaim",
    "Claim",
    "Clip",
    "Completion",
    "Conclusion",
    "Decider",
    "Decision",
    "EmbeddedPrompt",
    "EmotionDistribution",
    "EmotionSet",
    "Explanation",
    "FaceTrack",
    "Frame",
    "Grounding",
    "InstructionExample",
    "Interval",
    "Message",
    "Modality",
    "Moment",
    "Observation",
    "Observations",
    "Outcome",
    "Prompt",
    "Provenance",
    "Revision",
    "Sampling",
    "SoftPart",
    "Source",
    "Transcript",
    "TranscriptSource",
    "UnparsedAnswer",
    "Utterance",
    "Verdict",
    "VoiceTrack",
    "VoiceWindow",
    "Waveform",
    "Word",
    "soft_marker",
]
