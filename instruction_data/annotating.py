"""Who else says what a scene shows: the package's panel of appraisers, or a language model asked for one label."""

from __future__ import annotations

from collections.abc import Sequence

from affectgpt.answers import CANNOT_TELL
from affectgpt.emotions import load_lexicon
from affectgpt.engines.engine import Engine, EngineOptions, open_engine
from affectgpt.errors import EngineError, EngineUnreachable, OptionError
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Appraisal, Sampling
from instruction_data.drafts import Evidence
from instruction_data.filters import Annotator
from instruction_data.recipe import EngineEntry
from instruction_data.scenes import StagedScene

__all__ = ["EngineAnnotator", "PanelAnnotator", "open_annotator", "open_entry"]


class PanelAnnotator:
    """The fitted appraisers and their fusion, over the tracks and the words of a scene. Loads them when first asked.

    The recordings are kept without contours, so that a voice is read by its measures.
    """

    name = "panel"

    def __init__(self) -> None:
        from affectgpt.appraise.panel import Panel

        self._panel = Panel()

    def annotate(self, evidence: Sequence[Evidence]) -> list[str | None]:
        """The fused label of each."""
        return [self._read(e) for e in evidence]

    def appraise(self, scene: StagedScene) -> Appraisal:
        """The panel's whole reading of a scene."""
        sensed = scene.sensed
        return self._panel.appraise(scene.observations, sensed.face, sensed.voice, sensed.transcript)

    def _read(self, e: Evidence) -> str | None:
        read = self.appraise(e.scene)
        return read.fused.top if read.by_modality else None


class EngineAnnotator:
    """A language model that is shown the observations and asked for one label."""

    def __init__(self, engine: Engine, prompts: PromptLibrary | None = None) -> None:
        self.name = f"{engine.name}:{engine.model}"
        self._engine, self._prompts = engine, prompts or PromptLibrary()

    def annotate(self, evidence: Sequence[Evidence]) -> list[str | None]:
        """The label each answer names; None where it names none, or the engine failed on it.

        Raises:
            EngineUnreachable: nothing answers.
        """
        prompts = [self._prompts.render("label", e.observations) for e in evidence]
        try:
            said = [c.text for c in self._engine.generate(prompts, Sampling(max_tokens=16))]
        except EngineUnreachable:
            raise
        except EngineError:
            said = [""] * len(prompts)
        return [_label(text) for text in said]


def open_entry(entry: EngineEntry) -> Engine:
    """The engine that a recipe names."""
    options = EngineOptions(entry.engine, entry.model or None, entry.base_url or None, adapter="none")
    return open_engine(options)


def open_annotator(entry: EngineEntry) -> Annotator:
    """An annotator that a recipe names: `panel`, or an engine."""
    if entry.name == "panel":
        return PanelAnnotator()
    if entry.name != "engine":
        raise OptionError(f"no annotator {entry.name!r}", "use panel, or engine with its model and base_url")
    return EngineAnnotator(open_entry(entry))


def _label(text: str) -> str | None:
    word = text.strip().split("\n")[0].strip(" .*\"'").lower()
    return None if not word or word == CANNOT_TELL else load_lexicon().to_set(word, "basic8")
