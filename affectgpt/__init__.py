"""affectgpt: from a clip, a voice, a photograph or a conversation to a grounded account of what a person seems to feel.

    >>> import affectgpt
    >>> outcome = affectgpt.explain("clip.mp4")             # doctest: +SKIP
    >>> outcome.answer.conclusion.emotions                  # doctest: +SKIP
    >>> affectgpt.observe("clip.mp4").observations.items    # doctest: +SKIP

Names are loaded when they are first used: importing the package pulls in neither torch nor mediapipe.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affectgpt.agent import AffectAgent, Progress, Senses
    from affectgpt.engines.engine import Engine, EngineOptions, open_engine
    from affectgpt.errors import AffectError, InputError
    from affectgpt.prompting import PromptLibrary
    from affectgpt.readers import AgentOptions, FaceOptions, SpeechOptions
    from affectgpt.records import Explanation, Modality, Observation, Observations, Outcome, Sampling, UnparsedAnswer

__all__ = [
    "AffectAgent",
    "AffectError",
    "AgentOptions",
    "Engine",
    "EngineOptions",
    "Explanation",
    "FaceOptions",
    "InputError",
    "Modality",
    "Observation",
    "Observations",
    "Outcome",
    "Progress",
    "PromptLibrary",
    "Sampling",
    "Senses",
    "SpeechOptions",
    "UnparsedAnswer",
    "explain",
    "observe",
    "open_engine",
]

_HOMES = {
    "affectgpt.agent": ("AffectAgent", "Progress", "Senses"),
    "affectgpt.engines.engine": ("Engine", "EngineOptions", "open_engine"),
    "affectgpt.errors": ("AffectError", "InputError"),
    "affectgpt.prompting": ("PromptLibrary",),
    "affectgpt.readers": ("AgentOptions", "FaceOptions", "SpeechOptions"),
    "affectgpt.records": (
        "Explanation",
        "Modality",
        "Observation",
        "Observations",
        "Outcome",
        "Sampling",
        "UnparsedAnswer",
    ),
}


def explain(
    path: str | Path | None, *, engine: Engine | EngineOptions | None = None, options: AgentOptions | None = None
) -> Outcome:
    """Explain one clip, or one transcript (.srt, .vtt, .txt; None with the words in `options.speech.text`).

    `engine` None opens the one that the environment names, else the embedded model. For many clips make one
    `AffectAgent`, which keeps its engine.

    Raises:
        AffectError: InputError where the path or an option is at fault; ModelError, EngineError for the model.
    """
    from affectgpt.agent import AffectAgent
    from affectgpt.engines.engine import EngineOptions, open_engine

    agent = AffectAgent(None, options)
    agent.check(path)  # a wrong path should not wait for a model to load
    agent.engine = open_engine(engine) if engine is None or isinstance(engine, EngineOptions) else engine
    return agent.explain(path)


def observe(path: str | Path | None, *, options: AgentOptions | None = None) -> Outcome:
    """What is seen, heard and said, as `Outcome.observations`; no model is asked and `answer` is None.

    Raises:
        InputError: the path or an option is at fault.
    """
    from affectgpt.agent import AffectAgent

    return AffectAgent(None, options).explain(path)


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    if name == "__version__":
        from affectgpt.versions import own_version

        return own_version()
    raise AttributeError(f"module 'affectgpt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
