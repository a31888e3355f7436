"""From a clip to an outcome: the only file that knows the order of the steps.

open -> face and voice, side by side -> speech -> encode -> tell -> appraise -> fuse -> answer -> check -> revise, where
`encode` and `fuse` make soft tokens, for those who ask for them. A modality that cannot
be read is stated as missing and never stops the others; what the caller got wrong (an option, a transcript, an exported
track) does stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from affectgpt import grounding, media, textualize
from affectgpt.answers import open_answer
from affectgpt.engines.engine import check_soft
from affectgpt.errors import MediaNotFound, OptionError, TranscriptError, UnreadableMedia
from affectgpt.fusion.features import Features, Signals
from affectgpt.jobs import STAGES, Job, Progress, WatchedTranscriber, quiet, read_ahead
from affectgpt.parsing import parse
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions, open_encoder, open_face_reader, open_transcriber, open_voice_reader
from affectgpt.records import (
    Appraisal,
    Clip,
    Completion,
    Explanation,
    FaceTrack,
    Modality,
    Observations,
    Outcome,
    SoftPart,
    Transcript,
    TranscriptSource,
    UnparsedAnswer,
    VoiceTrack,
)
from affectgpt.revising import Asked, Judge, revise
from affectgpt.versions import loaded_versions

if TYPE_CHECKING:
    from affectgpt.appraise.panel import Appraiser
    from affectgpt.engines.engine import Engine
    from affectgpt.fusion.soft_reader import SoftReader
    from affectgpt.perceive.face import FaceReader
    from affectgpt.perceive.speech import Transcriber
    from affectgpt.perceive.voice import VoiceReader

__all__ = ["STAGES", "TRANSCRIPT_SUFFIXES", "AffectAgent", "Parts", "Progress", "Senses", "quiet"]

TRANSCRIPT_SUFFIXES: Final = frozenset({".srt", ".vtt", ".txt"})
"""A path that ends so is a transcript-only job: there is no clip."""

PROMPT_ID: Final = "explain"

_REFUSALS: Final = {
    setting: f"not read {where}: the EU AI Act, Art. 5(1)(f), prohibits inferring emotion there from face or voice"
    for setting, where in (("workplace", "at a workplace"), ("education", "in education"))
}

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True, eq=False)
class Senses:
    """What the readers gave for one clip: a track or None a modality, and why there is none, in words (`failures`).

    `features` are what the encoders gave, one a modality that could be read, where any were asked for.
    `timings_s` holds the wall seconds of each stage and of all (`total`); face and voice overlap. `versions` are those
    of the libraries that were loaded where it was read, which may be another process than the one that tells of it.
    """

    clip: Clip | None = None
    face: FaceTrack | None = None
    voice: VoiceTrack | None = None
    transcript: Transcript | None = None
    failures: Mapping[Modality, str] = field(default_factory=dict)
    timings_s: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    features: tuple[Features, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """Readers and appraiser of one's own; None leaves the choice to the options.

    With `soft`, prompts carry soft tokens, which it reads out of the features that `options.encoders` gave.
    """

    face: FaceReader | None = None
    voice: VoiceReader | None = None
    transcriber: Transcriber | None = None
    appraiser: Appraiser | None = None
    soft: SoftReader | None = None


class AffectAgent:
    """Senses a clip, tells what it sensed, asks one engine, and checks every claim of the answer.

    `engine` None stops after the appraisal. `parts` given here replace those that the options name.
    """

    def __init__(
        self,
        engine: Engine | None,
        options: AgentOptions | None = None,
        *,
        prompts: PromptLibrary | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.engine = engine
        self.options = options or AgentOptions()
        self._prompts = prompts
        self._parts = parts or Parts()
        self._appraiser = self._parts.appraiser

    def check(self, path: Path | str | None) -> None:
        """Raise what `sense` would raise on opening this path; nothing is decoded."""
        self._open(path, Job(quiet))

    def sense(self, path: Path | str | None, progress: Progress = quiet) -> Senses:
        """Read a clip, or a transcript alone (a .srt, .vtt or .txt path, or None with the words in the options).

        Raises:
            InputError: no such file, unreadable, too long, or options that contradict it.
            ModelError, MissingDependency: a reader that was asked for cannot be had.
            UnreadableMedia: also where every modality asked for failed to decode.
        """
        job = Job(progress)
        clip, transcript_path = self._open(path, job)
        failures, asked = _absences(clip, self.options)
        broken: dict[Modality, UnreadableMedia] = {}
        face, voice = self._read_tracks(clip, asked, job, broken)
        transcript = None
        if Modality.SPEECH in asked:
            with job.stage("speech"):
                transcript = self._read_speech(clip, transcript_path, job, failures)
        if broken and face is None and voice is None and not (transcript and transcript.utterances):
            raise next(iter(broken.values()))
        failures |= {modality: f"{modality} could not be read: {error.what}" for modality, error in broken.items()}
        senses = Senses(clip, face, voice, transcript, failures)
        features = self._encode(senses, asked - broken.keys(), job) if clip and self.options.encoders else ()
        timings_s = {**job.timings_s, "total": job.elapsed_s}
        return replace(senses, features=features, timings_s=timings_s, versions=loaded_versions())

    def observe(self, senses: Senses) -> Observations:
        """What was sensed as numbered observations, what is missing among them."""
        told = textualize.Sensed(senses.face, senses.voice, senses.transcript, senses.failures)
        top_k = self.options.top_k
        return textualize.tell(told, None if top_k is None else dict.fromkeys(Modality, top_k))

    def conclude(self, senses: Senses, progress: Progress = quiet) -> Outcome:
        """Observations, and the engine's answer to them, checked claim by claim and asked again where that contradicts.

        `answer(weigh(senses))`, with soft tokens where a reader of them was given.

        Raises:
            EngineError: the engine failed. OptionError: it takes no soft tokens. ModelError: they cannot be read.
        """
        weighed, job = self.weigh(senses, progress), Job(progress)
        parts = self._fuse(senses, weighed, job)
        return self.answer(replace(weighed, timings_s=_added(weighed.timings_s, job)), progress, parts)

    def weigh(self, senses: Senses, progress: Progress = quiet) -> Outcome:
        """What was observed and what the appraisers make of it; nobody is asked yet."""
        job = Job(progress)
        with job.stage("tell"):
            observations = self.observe(senses)
        # Over no evidence the appraisers could only repeat their priors.
        appraisal = self._appraise(senses, observations, job) if _is_evidence(observations) else None
        readers = {
            f"{name} reader": track.reader
            for name, track in (("face", senses.face), ("voice", senses.voice))
            if track is not None
        }
        appraisers = {f"{m} appraiser": who for m, who in appraisal.read_by.items()} if appraisal else {}
        return Outcome(
            senses.clip,
            observations,
            None,
            senses.transcript,
            appraisal,
            timings_s=_added(senses.timings_s, job),
            versions={**loaded_versions(), **senses.versions, **readers, **appraisers},
            decide=self.options.decide,
        )

    def fuse(self, senses: Senses, weighed: Outcome, progress: Progress = quiet) -> tuple[SoftPart, ...]:
        """What was sensed as soft tokens; none without a reader of them, or where nothing will be asked.

        Raises:
            ModelError: features of other encoders than the reader's, or weights that give no finite numbers.
        """
        return self._fuse(senses, weighed, Job(progress))

    def _fuse(self, senses: Senses, weighed: Outcome, job: Job) -> tuple[SoftPart, ...]:
        if self._parts.soft is None or self.engine is None or not _is_evidence(weighed.observations):
            return ()
        with job.stage("fuse"):
            reliability = weighed.appraisal.reliability if weighed.appraisal else {}
            return self._parts.soft.read(senses.features, reliability)

    def answer(self, weighed: Outcome, progress: Progress = quiet, parts: Sequence[SoftPart] = ()) -> Outcome:
        """What `weigh` gave, with the engine's answer to it and to what `fuse` gave.

        The answer is None without an engine, and where nothing but absences was observed: a model asked about no
        evidence can only invent some.

        Raises:
            EngineError: the engine failed.
        """
        if self.engine is None or not _is_evidence(weighed.observations):
            return weighed
        job = Job(progress)
        outcome = self._answer(weighed, self.engine, parts, job)
        versions = {**loaded_versions(), **weighed.versions, **outcome.versions}
        return replace(outcome, timings_s=_added(weighed.timings_s, job), versions=versions)

    def explain(self, path: Path | str | None, progress: Progress = quiet) -> Outcome:
        """`conclude(sense(path))`."""
        return self.conclude(self.sense(path, progress), progress)

    def _open(self, path: Path | str | None, job: Job) -> tuple[Clip | None, Path | None]:
        """The clip, or None and the transcript's path."""
        speech = self.options.speech
        if path is None:
            if speech.text is None and speech.path is None:
                raise OptionError("neither a clip nor a transcript", "give a path, or the words with --transcript")
            return None, speech.path
        path = Path(path)
        if path.suffix.lower() in TRANSCRIPT_SUFFIXES:
            if speech.text is not None or speech.path is not None:
                raise OptionError(f"{path} is itself a transcript", "leave --transcript and --transcript-file out")
            if not path.is_file():
                raise MediaNotFound(f"no transcript at {path}", "check the path")
            return None, path
        with job.stage("open"):
            return media.open_clip(path, max_duration_s=self.options.max_duration_s), speech.path

    def _read_tracks(
        self, clip: Clip | None, asked: frozenset[Modality], job: Job, broken: dict[Modality, UnreadableMedia]
    ) -> tuple[FaceTrack | None, VoiceTrack | None]:
        """Face and voice, each in a thread of its own: decoding and mediapipe leave Python's lock free."""
        if clip is None:
            return None, None

        def read(modality: Modality, reading: Callable[[Clip, Job], _R]) -> _R | None:
            if modality not in asked:
                return None
            try:
                with job.stage(modality.value):
                    return reading(clip, job)
            except UnreadableMedia as error:
                broken[modality] = error
                return None

        with ThreadPoolExecutor(1, thread_name_prefix="face") as pool, job.stopping():
            face = pool.submit(read, Modality.FACE, self._read_face)
            voice = read(Modality.VOICE, self._read_voice)
            return face.result(), voice

    def _read_face(self, clip: Clip, job: Job) -> FaceTrack:
        options = self.options.face
        reader = self._parts.face or open_face_reader(options, clip.fps)
        frames = read_ahead(media.frames(clip, options.rate_hz, backend=options.backend))
        return reader.read(job.watch("face", frames, clip.duration_s, lambda f: f.time_s), subject=options.subject)

    def _read_voice(self, clip: Clip, job: Job) -> VoiceTrack:
        reader = self._parts.voice or open_voice_reader(self.options.voice_reader)
        return reader.read(job.watch("voice", media.waveform(clip), clip.duration_s, lambda w: w.start_s))

    def _encode(self, senses: Senses, readable: frozenset[Modality], job: Job) -> tuple[Features, ...]:
        """Features of what may be read and could be: a modality that is refused or broken is not even decoded."""
        assert senses.clip is not None
        with job.stage("encode"):
            signals = Signals.of(senses.clip, senses.face, senses.voice)
            encoders = map(open_encoder, self.options.encoders)
            return tuple(encoder.encode(signals) for encoder in encoders if encoder.modality in readable)

    def _read_speech(self, clip: Clip | None, path: Path | None, job: Job, failures: dict[Modality, str]) -> Transcript:
        """The words. A transcript that was named must be readable; one merely found beside the clip may fail."""
        from affectgpt.perceive.speech import find_transcript

        options = self.options.speech
        transcriber = self._parts.transcriber or open_transcriber(options)
        if clip is not None and transcriber is not None:
            transcriber = WatchedTranscriber(transcriber, job, clip.duration_s)
        try:
            return find_transcript(clip, transcript=options.text, transcript_path=path, transcriber=transcriber)
        except (TranscriptError, UnreadableMedia) as error:
            if clip is None or path is not None:
                raise
            failures[Modality.SPEECH] = f"speech could not be read: {error.what}"
            return Transcript((), TranscriptSource.NONE)

    def _appraise(self, senses: Senses, observations: Observations, job: Job) -> Appraisal:
        with job.stage("appraise"):
            if self._appraiser is None:
                from affectgpt.appraise.panel import Panel

                self._appraiser = Panel(self.options.permissive, self.options.coverage)
            return self._appraiser.appraise(observations, senses.face, senses.voice, senses.transcript)

    def _answer(self, outcome: Outcome, engine: Engine, parts: Sequence[SoftPart], job: Job) -> Outcome:
        prompts = self._prompts = self._prompts or PromptLibrary()
        soft = self._parts.soft
        prompt_id = soft.prompt_id if soft else PROMPT_ID
        prompt = prompts.render(prompt_id, outcome.observations, outcome.appraisal, parts)
        check_soft(engine, [prompt])
        # A model that was shown no observations has none to restate.
        is_shown = "observations" in prompts.get(prompt_id).variables
        if self.options.key_observations == "restated" and is_shown:
            opening = open_answer([textualize.restate(o) for o in outcome.observations.items])
            prompt = replace(prompt, opening=opening)
        asked = Asked(engine, prompt, self.options.sampling)
        with job.stage("answer"):
            (completion,) = engine.generate([prompt], asked.sampling)

        def judge(completion: Completion) -> Explanation | UnparsedAnswer:
            answer = parse(completion)
            if isinstance(answer, UnparsedAnswer):
                return answer
            return replace(answer, grounding=grounding.check(answer, outcome.observations, outcome.appraisal))

        with job.stage("check"):
            answer = judge(completion)
        if isinstance(answer, Explanation) and self.options.revisions and answer.grounding and answer.grounding.faults:
            answer, completion = self._revise(answer, completion, asked, judge, job)
        restated = bool(prompt.opening) and completion.text.startswith(prompt.opening)
        made_by = {"key observations": "restated by affectgpt" if restated else "written by the model"}
        if soft:
            made_by["soft tokens"] = soft.id
        return replace(outcome, answer=answer, completion=completion, versions=made_by)

    def _revise(
        self, answer: Explanation, completion: Completion, asked: Asked, judge: Judge, job: Job
    ) -> tuple[Explanation, Completion]:
        n_most = self.options.revisions

        def tell(number: int) -> None:
            job.progress("revise", (number - 1) / n_most, f"{number} of {n_most}")

        with job.stage("revise"):
            return revise(answer, completion, asked, judge, n_most, tell)


def _absences(clip: Clip | None, options: AgentOptions) -> tuple[dict[Modality, str], frozenset[Modality]]:
    """Why a modality that was asked for cannot be read at all, and those that can."""
    failures: dict[Modality, str] = {}
    if options.setting is not None:
        failures = dict.fromkeys((Modality.FACE, Modality.VOICE), _REFUSALS[options.setting])
    elif clip is not None and not clip.has_video and options.face.file is None:
        failures[Modality.FACE] = "the clip has no pictures"
    if clip is not None and not clip.has_audio and options.setting is None:
        failures[Modality.VOICE] = "a still image has no sound" if clip.is_image else "the clip has no sound"
    if clip is None and options.setting is None:
        failures = dict.fromkeys((Modality.FACE, Modality.VOICE), "there is a transcript and no clip")
    failures = {modality: why for modality, why in failures.items() if modality in options.modalities}
    return failures, options.modalities - failures.keys()


def _is_evidence(observations: Observations) -> bool:
    return any(not o.is_missing for o in observations.items)


def _added(timings_s: Mapping[str, float], job: Job) -> dict[str, float]:
    """The timings so far and this job's, their totals added."""
    return {**timings_s, **job.timings_s, "total": timings_s.get("total", 0.0) + job.elapsed_s}
