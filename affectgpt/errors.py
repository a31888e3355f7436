"""Every error this package raises on purpose. Each names the thing at fault and the remedy.

AffectError
├── InputError              the caller's input or option is at fault; the CLI exits 2 with one line
│   ├── MediaNotFound       no such file, or a directory
│   ├── UnreadableMedia     empty, damaged, or not media at all
│   ├── MediaTooLong        longer than `--max-duration`
│   ├── ImageTooLarge       more pixels than the limit (decompression bombs)
│   ├── TranscriptError     a subtitle or transcript that cannot be read
│   ├── TrackFileError      an OpenFace / py-feat file that cannot be read
│   ├── PromptError         a prompt file or its variables
│   ├── OptionError         an option or a configuration value
│   └── UploadRefused       what a client sent is not taken: of no kind that is read, or damaged
│       ├── UploadTooLarge  more bytes, seconds, pixels or frames a second than allowed
│       └── UrlRefused      an address that is not fetched: its form, its host, or where the host leads
├── OutputError             what was made cannot be written: the disk is full, the place read-only, a file another's
├── MediaUnreachable        the place that a medium lies in did not give it: a later try may succeed
├── PoolFull                every place in a bounded queue or store is taken: try again later
├── WorkerDied              a worker's process ended before its task did
│   ├── WorkerTimeout       it was ended: the task ran longer than allowed
│   └── WorkerOverMemory    it was ended: the task wanted more memory than allowed
├── MissingDependency       an optional package is not installed
├── ModelError              weights that are missing, damaged, or of another model
└── EngineError             the language model's server or runtime failed
    ├── EngineUnreachable   nothing answers at the base URL
    └── EngineBusy          too much was asked of it, or it failed for now: a later try may succeed
"""

from __future__ import annotations

__all__ = [
    "AffectError",
    "EngineBusy",
    "EngineError",
    "EngineUnreachable",
    "ImageTooLarge",
    "InputError",
    "MediaNotFound",
    "MediaTooLong",
    "MediaUnreachable",
    "MissingDependency",
    "ModelError",
    "OptionError",
    "OutputError",
    "PoolFull",
    "PromptError",
    "TrackFileError",
    "TranscriptError",
    "UnreadableMedia",
    "UploadRefused",
    "UploadTooLarge",
    "UrlRefused",
    "WorkerDied",
    "WorkerOverMemory",
    "WorkerTimeout",
]


class AffectError(Exception):
    """Base of the tree: `what` names the thing at fault, `remedy` says what to do about it."""

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}; {remedy}" if remedy else what)

    def __reduce__(self) -> tuple[type[AffectError], tuple[str, str]]:
        # Two arguments, one message: without this the error cannot cross a process boundary.
        return type(self), (self.what, self.remedy)


class InputError(AffectError):
    """What the caller handed in is at fault."""

    exit_code = 2


class MediaNotFound(InputError):
    """No file at this path, or a directory where a file was expected."""


class UnreadableMedia(InputError):
    """The file is empty, damaged, or holds neither pictures nor sound."""


class MediaTooLong(InputError):
    """The clip is longer than the limit in force."""


class ImageTooLarge(InputError):
    """A picture holds more pixels than the limit in force."""


class TranscriptError(InputError):
    """A subtitle or transcript file cannot be read."""


class TrackFileError(InputError):
    """An exported track (OpenFace, py-feat) cannot be read."""


class PromptError(InputError):
    """A prompt file is malformed, or its variables do not fit."""


class OptionError(InputError):
    """An option's or a configuration's value is not allowed."""


class UploadRefused(InputError):
    """What a client sent is not taken: of no kind that is read, or damaged."""


class UploadTooLarge(UploadRefused):
    """What a client sent has more bytes, seconds, pixels or frames a second than allowed."""


class UrlRefused(UploadRefused):
    """An address that is not fetched: its form, its host, or where the host leads."""


class OutputError(AffectError):
    """What was made cannot be written: the disk is full, the place is read-only, or the file there is another's."""


class MediaUnreachable(AffectError):
    """The place that a medium lies in did not give it; a later try may succeed."""


class PoolFull(AffectError):
    """Every place in a bounded queue or store is taken; a later try may succeed."""


class WorkerDied(AffectError):
    """A worker's process ended before its task did: it crashed, exited, or was killed."""


class WorkerTimeout(WorkerDied):
    """A worker was ended because its task ran longer than allowed."""


class WorkerOverMemory(WorkerDied):
    """A worker was ended because its task wanted more memory than allowed."""


class MissingDependency(AffectError):
    """An optional package is needed for what was asked."""

    exit_code = 2


class ModelError(AffectError):
    """Model weights are missing, damaged, or belong to another model."""


class EngineError(AffectError):
    """The language model's server or runtime failed."""


class EngineUnreachable(EngineError):
    """Nothing answers at the engine's base URL."""


class EngineBusy(EngineError):
    """The server turned a request away or failed for now (408, 429, 5xx, no answer in time); a later try may succeed.

    `retry_after_s` is how long the server wants to be left alone, where it says so.
    """

    retry_after_s: float | None = None
