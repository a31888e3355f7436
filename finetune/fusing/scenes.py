"""Scenes as a stage takes them: chosen, with their features, and encoded in the stage's prompt.

A row's prompt is rendered when its batch is made: what modality dropout took from the row then stands in the prompt as
missing, as it would at inference, instead of soft tokens of nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.answers import open_answer
from affectgpt.engines.models import chat_ids
from affectgpt.engines.splicing import soft_tokenizer, spliced_ids
from affectgpt.errors import InputError, OptionError
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.features import Features
from affectgpt.prompting import PromptLibrary, PromptTemplate
from affectgpt.records import EmbeddedPrompt, Modality, Prompt, SoftPart
from affectgpt.records.signal_example import SignalExample
from affectgpt.textualize import restate
from finetune.fusing.recipe import FusingRecipe
from finetune.rows import IGNORED

__all__ = ["FEATURES", "Form", "Spliced", "Wanted", "choose", "features_of", "read_scenes", "reliability_of"]

FEATURES = "features"
"""Folder of the features beside the rows."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which scenes a stage takes; see `FusingRecipe`.

    hides_words: the prompt shows no words, so that an answer that quotes them could only be invented.
    """

    answer: str
    kinds: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    needs_features: bool = False
    hides_words: bool = False

    @classmethod
    def of(cls, recipe: FusingRecipe) -> Wanted:
        """What a recipe asks for."""
        if recipe.stage == "pretrain":
            return cls("", recipe.kinds, recipe.modalities, needs_features=True)
        is_shown = "observations" in PromptLibrary().get(recipe.prompt).variables
        needs, hides = recipe.stage == "align" or not is_shown, not is_shown and recipe.answer == "explain"
        return cls(recipe.answer, recipe.kinds, recipe.modalities, needs, hides)

    def takes(self, scene: SignalExample) -> bool:
        """Whether the scene is one of them."""
        evident = {o.modality.value for o in scene.observations.items if not o.is_missing}
        has_words = bool(scene.observations.of(Modality.SPEECH))
        return (
            (not self.answer or self.answer in scene.answers)
            and (not self.kinds or scene.kind in self.kinds)
            and (not self.modalities or evident == set(self.modalities))
            and (not self.needs_features or bool(scene.features))
            and not (self.hides_words and has_words)
        )


def read_scenes(path: Path) -> list[SignalExample]:
    """Every scene of a file.

    Raises:
        OptionError: no such file. InputError: a malformed row, by its number.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise OptionError(f"no scenes at {path}: {e}", "build them with `affectgpt data signals`") from None
    scenes = []
    for number, line in enumerate(lines, 1):
        try:
            scenes.append(SignalExample.from_line(line))
        except ValueError as e:
            what = " ".join(str(e).split())[:200]
            raise InputError(f"{path.name} row {number}: {what}", "build the scenes anew") from None
    return scenes


def choose(scenes: Sequence[SignalExample], n: int | None, seed: int) -> list[SignalExample]:
    """All of them, or `n` drawn by the seed, in their order."""
    if n is None or n >= len(scenes):
        return list(scenes)
    return [scenes[i] for i in sorted(random.Random(seed).sample(range(len(scenes)), n))]


def features_of(scene: SignalExample, cache: FeatureCache) -> dict[Modality, Features]:
    """A scene's features by modality.

    Raises:
        InputError: they are not in the cache any more.
    """
    found = {}
    for modality, key in scene.features.items():
        features = cache.get(key)
        if features is None:
            raise InputError(f"the {modality.value} features of {scene.id} are gone", "build the scenes anew")
        found[modality] = features
    return found


def reliability_of(scene: SignalExample) -> dict[Modality, float]:
    """How well each modality could be read, in [0, 1], as `FusedReader` takes it."""
    given = scene.appraisal.reliability if scene.appraisal else {}
    return {m: float(given[m.value]) for m in scene.features if m.value in given}


@dataclass(frozen=True, slots=True)
class Spliced:
    """A row's token ids (S,) and labels (S,); `columns` are positions of soft tokens, part after part of `parts`."""

    ids: list[int]
    labels: list[int]
    columns: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


class Form:
    """A stage's prompt and answer for a tokenizer: what scenes become token ids by.

    n_tokens: K of each soft part by name, in any order; empty where there are none.
    """

    def __init__(self, prompt_id: str, answer: str, tokenizer: Any, n_tokens: Mapping[str, int]) -> None:
        self._library = PromptLibrary()
        self.template: PromptTemplate = self._library.get(prompt_id)
        self._answer, self._n_tokens = answer, {k: n_tokens[k] for k in self.template.soft if k in n_tokens}
        self._tokenizer, self._soft = tokenizer, soft_tokenizer(tokenizer)

    @property
    def names(self) -> tuple[str, ...]:
        """Soft parts that the prompt has places for and the adapters give, in the prompt's order."""
        return tuple(self._n_tokens)

    def prompt(self, scene: SignalExample, parts: Sequence[SoftPart]) -> Prompt:
        """What an engine is asked, opened as the agent opens answers of the three-part form."""
        kept = [part for part in parts if part.name in self._n_tokens]
        asked = self._library.render(self.template.id, scene.observations, scene.appraisal, kept)
        return replace(asked, opening=self._opening(scene))

    def encode(self, scene: SignalExample, present: Sequence[str]) -> Spliced:
        """A row whose prompt has room for the soft parts that are present; the answer takes the loss."""
        held = [SoftPart(name, np.zeros((k, 1), np.float32)) for name, k in self._n_tokens.items() if name in present]
        asked = self.prompt(scene, held)
        if isinstance(asked, EmbeddedPrompt):
            placed = spliced_ids(self._soft, asked, self._tokenizer.pad_token_id)
            ids, columns = placed.ids, placed.columns
        else:
            ids, columns = chat_ids(self._tokenizer, asked.messages), ()
        opening = self._ids(asked.opening)
        answer = [*self._ids(scene.answers[self._answer][len(asked.opening) :]), self._tokenizer.eos_token_id]
        labels = [IGNORED] * (len(ids) + len(opening)) + answer
        return Spliced([*ids, *opening, *answer], labels, columns, tuple(part.name for part in held))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _opening(self, scene: SignalExample) -> str:
        if self._answer != "explain" or "observations" not in self.template.variables:
            return ""
        opening = open_answer([restate(o) for o in scene.observations.items])
        return opening if scene.answers.get("explain", opening).startswith(opening) else ""
