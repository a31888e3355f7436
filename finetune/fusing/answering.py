"""Labels that a trained setting gives to dev scenes under every condition, and how right they are.

Answers are kept as they are given, a line each, so that a run that was cut short goes on; figures are those of
`affectgpt.evaluation`: no answer is a wrong answer, and intervals are drawn over the people who are seen and heard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from affectgpt.engines import models
from affectgpt.engines.engine import Engine, EngineOptions
from affectgpt.engines.local import LocalEngine
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.intervals import Figure, Resampling, interval
from affectgpt.evaluation.measures import ScoringPlan
from affectgpt.evaluation.samples import Prediction, Sample
from affectgpt.evaluation.scorers import measure
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.soft_reader import SoftReader, lora_folder, open_fused
from affectgpt.records import Sampling
from affectgpt.records.signal_example import SignalExample
from finetune.fusing.scenes import Form, features_of, reliability_of

__all__ = ["Answerer", "answer_all", "figures", "open_answerer", "read_answers"]

LABELS = "basic8"
FIGURES = ("UAR", "weighted F1")
ANSWER_TOKENS = 8
BATCH = 8


class Answerer:
    """An engine, the reader of soft tokens where there are any, and the prompt that both were taught."""

    def __init__(self, engine: Engine, reader: SoftReader | None, form: Form, cache: FeatureCache) -> None:
        self._engine, self._reader, self._form, self._cache = engine, reader, form, cache

    def __call__(self, scenes: Sequence[SignalExample]) -> list[str]:
        """One text a scene, greedily."""
        prompts = [self._form.prompt(scene, self._soft(scene)) for scene in scenes]
        told = self._engine.generate(prompts, Sampling(max_tokens=ANSWER_TOKENS))
        return [completion.text for completion in told]

    def _soft(self, scene: SignalExample) -> Any:
        if self._reader is None:
            return ()
        wanted = set(self._reader.encoders)
        features = [f for f in features_of(scene, self._cache).values() if f.encoder in wanted]
        return self._reader.read(features, {m.value: r for m, r in reliability_of(scene).items()}) if features else ()


def open_answerer(result: Path, model: str, prompt: str, cache: FeatureCache, dtype: str = "auto") -> Answerer:
    """The answerer of a sealed result: a fusion folder, with or without LoRA inside, or an adapter.

    Raises:
        ModelError: the result, or its base, cannot be loaded.
    """
    name, place = models.resolve(model)
    is_fused = (result / "fusion.json").is_file()
    reader = open_fused(result, (name,), models.config_file(place)) if is_fused else None
    lora = lora_folder(result) if is_fused else result
    engine = LocalEngine(EngineOptions(dtype=dtype, batch_size=BATCH), model, str(lora) if lora else "none")  # type: ignore[arg-type]
    counts = {n: reader.config.n_tokens(n) for n in reader.config.names} if reader else {}
    return Answerer(engine, reader, Form(prompt, "label", models.load_tokenizer(place), counts), cache)


def answer_all(
    answerer: Callable[[], Callable[[Sequence[SignalExample]], list[str]]],
    scenes: Sequence[SignalExample],
    path: Path,
    told: Callable[[int, int], None] = lambda done, asked: None,
) -> dict[str, str]:
    """Texts by scene id: those in `path`, the others given now and added to it. Opened only where one is missing."""
    known = read_answers(path)
    waiting = [s for s in scenes if s.id not in known]
    if not waiting:
        return known
    answer = answerer()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for at in range(0, len(waiting), BATCH):
            batch = waiting[at : at + BATCH]
            for scene, text in zip(batch, answer(batch), strict=True):
                known[scene.id] = text
                file.write(json.dumps({"id": scene.id, "text": text}) + "\n")
            file.flush()
            told(min(at + BATCH, len(waiting)), len(waiting))
    return known


def read_answers(path: Path) -> dict[str, str]:
    """Texts by scene id; a last line that was cut short is taken out of the file."""
    if not path.is_file():
        return {}
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        data = data[: data.rfind(b"\n") + 1]
        path.write_bytes(data)
    rows = map(json.loads, data.decode("utf-8").splitlines())
    return {row["id"]: row["text"] for row in rows}


def figures(
    scenes: Sequence[SignalExample], texts: Mapping[str, str], seed: int = 0, n_resamples: int = 1000
) -> dict[str, Figure]:
    """UAR and weighted F1 of texts that name a basic label, with intervals over speakers."""
    labels = LabelSet(LABELS)
    samples = [_sample(scene, texts.get(scene.id, ""), labels) for scene in scenes]
    # Scenes that share a voice or a face are not independent; several people make a cluster of their own.
    clusters = tuple("; ".join(scene.speakers) or scene.scene for scene in scenes)
    how = Resampling(n_resamples, seed, clusters)
    found = measure(("classification",), samples, ScoringPlan(labels.labels))
    return {m.name: interval(m.name, m.statistic, len(m.members), how) for m in found if m.name in FIGURES}


def always(label: str, scenes: Iterable[SignalExample]) -> dict[str, str]:
    """The same answer to each."""
    return {scene.id: label for scene in scenes}


def _sample(scene: SignalExample, text: str, labels: LabelSet) -> Sample:
    """A text is read as a label where the whole of it names one."""
    said = labels.place(text.strip().strip(".").lower())
    status = "scored" if said else "unparsed"
    reason = "" if said else "no label"
    return Sample(scene.id, status, reason, label=scene.label, answer=Prediction(label=said, text=text))  # type: ignore[arg-type]
