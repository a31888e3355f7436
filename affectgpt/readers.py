"""What a user may choose about the senses, and which reader serves each choice."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from affectgpt.errors import ModelError, OptionError
from affectgpt.records import Decider, Modality, Sampling

if TYPE_CHECKING:
    from affectgpt.engines.engine import Named
    from affectgpt.fusion.features import Encoder
    from affectgpt.fusion.soft_reader import SoftReader
    from affectgpt.perceive.face import FaceReader
    from affectgpt.perceive.speech import Transcriber
    from affectgpt.perceive.voice import VoiceReader

__all__ = [
    "AgentOptions",
    "FaceOptions",
    "Setting",
    "SpeechOptions",
    "VideoBackend",
    "VoiceReaderName",
    "open_encoder",
    "open_face_reader",
    "open_soft_reader",
    "open_transcriber",
    "open_voice_reader",
]

Setting = Literal["workplace", "education"]
"""Places where inferring emotion from face or voice is prohibited: Regulation (EU) 2024/1689, Art. 5(1)(f)."""

VideoBackend = Literal["pyav", "decord"]
KeyObservations = Literal["restated", "written"]
VoiceReaderName = Literal["librosa", "opensmile", "praat"]

MOST_REVISIONS = 20
"""Every one may cost as much as the answer itself."""

MAX_FACE_RATE_HZ = 60.0
"""More frames a second than this only repeat themselves: a brow raise takes some 0.3 s from rest to apex."""


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """How faces are read.

    `rate_hz` frames a second are looked at, above 0 and up to 60. `subject` is the number of the person to describe,
    counted from 0 in order of first appearance and then from the left, or None to choose by size and time. `file` is
    an OpenFace or py-feat CSV that replaces the reading, `task` a MediaPipe face_landmarker.task whose blendshapes do;
    at most one of them.
    """

    rate_hz: float = 12.5
    subject: int | None = None
    file: Path | None = None
    task: Path | None = None
    backend: VideoBackend = "pyav"

    def __post_init__(self) -> None:
        """Raise OptionError for a value out of range."""
        if not 0 < self.rate_hz <= MAX_FACE_RATE_HZ:
            raise OptionError(f"{self.rate_hz:g} face frames a second", f"give 1 to {MAX_FACE_RATE_HZ:g}")
        if self.subject is not None and self.subject < 0:
            raise OptionError(f"--face {self.subject}", "people are counted from 0")
        if self.file and self.task:
            raise OptionError("--face-file and --face-task together", "the face is read by one of them: give one")
        if self.backend not in get_args(VideoBackend):
            raise OptionError(f"no video backend {self.backend!r}", f"choose of {', '.join(get_args(VideoBackend))}")


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """Where the words come from when the clip brings no subtitles.

    `text` are the words themselves, `path` a .srt, .vtt or .txt file, `whisper` a faster-whisper folder or name or an
    openai-whisper .pt file, `sphinx` asks for pocketsphinx, a last resort.
    """

    text: str | None = None
    path: Path | None = None
    whisper: str | None = None
    sphinx: bool = False

    def __post_init__(self) -> None:
        """Raise OptionError where two sources contradict each other."""
        if self.text is not None and self.path is not None:
            raise OptionError("--transcript and --transcript-file together", "give one of them")
        if self.whisper and self.sphinx:
            raise OptionError("--whisper and --sphinx together", "give one of them")


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Everything about a job but the clip and the engine.

    `top_k` observations are kept a modality; None leaves the number to textualize. `setting` names a place where face
    and voice are refused and only words are used. `key_observations` says who writes the answer's first part:
    `restated` gives an engine that can go on from a beginning this program's own restatement of the evidence;
    `written` leaves it to the model. `decide` says whose basic label counts, the appraisers' or the model's; both are
    kept. `permissive` takes only appraisers that were trained on data under Apache-2.0, MIT, CC BY or CC BY-SA.
    `coverage` in (0, 1) is how often the set of emotions that are not ruled out should hold the right one.
    `revisions` is how often at most an interpretation that the evidence contradicts is asked again, before the
    contradicted sentences are withdrawn; 0 leaves the first answer as it is. `encoders` (`id@version`) read face and
    voice into features for soft tokens, beside the tracks.
    """

    modalities: frozenset[Modality] = frozenset(Modality)
    face: FaceOptions = field(default_factory=FaceOptions)
    speech: SpeechOptions = field(default_factory=SpeechOptions)
    voice_reader: VoiceReaderName = "librosa"
    max_duration_s: float = 3600.0
    top_k: int | None = None
    setting: Setting | None = None
    key_observations: KeyObservations = "restated"
    decide: Decider = "appraisal"
    permissive: bool = False
    coverage: float = 0.9
    revisions: int = 3
    encoders: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        """Raise OptionError for a value out of range."""
        if not self.modalities:
            raise OptionError("no modality asked for", f"give one or more of {', '.join(Modality)}")
        if self.voice_reader not in get_args(VoiceReaderName):
            raise OptionError(
                f"no voice reader {self.voice_reader!r}", f"choose one of {', '.join(get_args(VoiceReaderName))}"
            )
        if not self.max_duration_s > 0:
            raise OptionError(f"a longest duration of {self.max_duration_s:g} s", "give more than 0")
        if self.top_k is not None and self.top_k < 1:
            raise OptionError(f"{self.top_k} observations a modality", "keep at least 1")
        if self.key_observations not in get_args(KeyObservations):
            raise OptionError(f"no way {self.key_observations!r} of key observations", "choose restated or written")
        if not 0 < self.coverage < 1:
            raise OptionError(f"a coverage of {self.coverage:g}", "give a number between 0 and 1")
        if not 0 <= self.revisions <= MOST_REVISIONS:
            raise OptionError(f"{self.revisions} revisions", f"give 0 to {MOST_REVISIONS}")
        if self.decide not in get_args(Decider):
            raise OptionError(f"no way {self.decide!r} to decide", f"choose one of {', '.join(get_args(Decider))}")
        if self.setting is not None and self.setting not in get_args(Setting):
            raise OptionError(f"no setting {self.setting!r}", f"choose one of {', '.join(get_args(Setting))}")


def open_face_reader(options: FaceOptions, fps: float) -> FaceReader:
    """The reader of faces that these options name; `fps` times a CSV that has frame numbers only.

    Raises:
        TrackFileError, ModelError, MissingDependency: it cannot be had.
    """
    from affectgpt.perceive.face import open_reader

    return open_reader(file=options.file, fps=fps if options.file and fps > 0 else None, task=options.task)


def open_voice_reader(name: VoiceReaderName) -> VoiceReader:
    """The reader of voices of this name. Raises MissingDependency where its package is not installed."""
    if name == "opensmile":
        from affectgpt.perceive.opensmile import OpenSmileVoice

        return OpenSmileVoice()
    if name == "praat":
        from affectgpt.perceive.praat import PraatVoice

        return PraatVoice()
    from affectgpt.perceive.voice import LibrosaVoice

    return LibrosaVoice()


def open_transcriber(options: SpeechOptions) -> Transcriber | None:
    """The recogniser of words that these options ask for, or None. Raises ModelError or MissingDependency."""
    if options.whisper:
        from affectgpt.perceive.whisper import open_whisper

        return open_whisper(options.whisper)
    if options.sphinx:
        from affectgpt.perceive.sphinx import PocketSphinx

        return PocketSphinx()
    return None


@cache
def open_encoder(name: str) -> Encoder:
    """The encoder of features that is called so, `id@version`; one that was opened once is kept.

    Raises:
        ModelError: no such encoder, or none of this version. MissingDependency: its library is not installed.
    """
    from affectgpt.fusion.acoustic import AcousticEncoder
    from affectgpt.fusion.facial import FacialEncoder
    from affectgpt.fusion.pretrained import open_pretrained
    from affectgpt.perceive.periods import find_periods

    made: Encoder
    for made in (FacialEncoder(), AcousticEncoder(find_periods)):
        if name == f"{made.id}@{made.version}":
            return made
    pretrained = open_pretrained(name)
    if pretrained is None:
        raise ModelError(f"no encoder {name!r}", "use a fusion folder that this version of affectgpt made")
    return pretrained


def open_soft_reader(folder: Path, engine: Named) -> SoftReader:
    """The reader of soft tokens for an engine, out of a fusion folder.

    Raises:
        OptionError: the engine takes no soft tokens.
        ModelError: a folder that is not whole, or of another base model or prompt.
        EngineError: the engine had to ask its server, and that failed.
    """
    from affectgpt.engines.engine import NO_SOFT, takes_soft
    from affectgpt.fusion.soft_reader import open_fused

    if not takes_soft(engine):
        raise OptionError(f"the {engine.name} engine with {engine.model} takes no soft tokens", NO_SOFT)
    return open_fused(folder, getattr(engine, "base_names", ()), getattr(engine, "base_config", None))
