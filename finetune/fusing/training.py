"""Run a stage: `affectgpt finetune fuse RECIPE key=value …`. The loop is transformers' Trainer.

A folder that holds an unfinished run of the same recipe over the same rows is gone on with from its last whole
checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affectgpt.engines import models
from affectgpt.errors import OptionError
from affectgpt.fusion.config import FUSED, FusionConfig
from affectgpt.records.signal_example import SignalExample
from finetune.fusing.recipe import FusingRecipe
from finetune.fusing.runs import FusingRun, open_fusing_run
from finetune.fusing.scenes import Form
from finetune.loading import device_of, load_tokenizer, need_packages, quiet
from finetune.train import prepare

__all__ = ["fuse"]

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Scenes of both sides, the train rows' lengths in tokens, and the collators of train and dev."""

    train: Sequence[SignalExample]
    dev: Sequence[SignalExample]
    lengths: Sequence[int]
    collators: Sequence[Any]


def fuse(recipe: FusingRecipe, *, fresh: bool = False, tell: Tell | None = None) -> Path:
    """Train a stage, and give its sealed result: a fusion folder, or a LoRA adapter's where there are no soft tokens.

    Raises:
        OptionError: nothing to train on, a recipe that does not fit, or another run in `out`.
        InputError: malformed scenes. ModelError: the base cannot be loaded. AffectError: a disk that is full.
    """
    need_packages("peft", "datasets")
    tell = tell or (lambda _: None)
    if recipe.quantize == "nf4" and device_of() == "cpu":
        from finetune.loading import NF4_NEEDS_CUDA

        raise OptionError(*NF4_NEEDS_CUDA)
    prepare(recipe.threads)
    run = open_fusing_run(recipe, fresh=fresh)
    if (done := run.result()) and run.over():
        tell("this run was over already; --fresh trains anew")
        return done
    with quiet():
        return _fuse(recipe, run, tell)


def _fuse(recipe: FusingRecipe, run: FusingRun, tell: Tell) -> Path:
    from finetune.fusing import parts, sealing

    scenes = parts.gather_scenes(recipe)
    built = parts.build(recipe, scenes)
    epoch = [0]
    if recipe.stage == "pretrain":
        collators, lengths = (_feature_batcher(recipe, scenes, built),) * 2, [1] * len(scenes.train)
    else:
        scenes, lengths, form = _fitting(recipe, scenes, built.config, tell)
        collators = _batcher(recipe, scenes, built, form, epoch)
    n_learned = sum(p.numel() for p in built.model.parameters() if p.requires_grad)
    tell(f"{len(scenes.train)} train and {len(scenes.dev)} dev scenes; {n_learned:,} parameters learn")
    run.begin({"train": len(scenes.train), "dev": len(scenes.dev)}, built.started_from)
    trainer = _trainer(recipe, run, built.model, _Rows(scenes.train, scenes.dev, lengths, collators), tell)
    trainer.add_callback(_epochs(epoch))
    start, began = run.resume_from(tell), time.monotonic()
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    run.finish(trainer.state, time.monotonic() - began)
    return sealing.seal(built.model, recipe, run)


def _fitting(recipe: FusingRecipe, scenes: Any, config: FusionConfig | None, tell: Tell) -> tuple[Any, list[int], Form]:
    """Scenes that are short enough with all their soft tokens, and the lengths of those that are trained on."""
    tokenizer = load_tokenizer(recipe, models.resolve(recipe.model)[1])  # type: ignore[arg-type]
    form = Form(recipe.prompt, recipe.answer, tokenizer, _counts(config))
    kept: dict[str, list[SignalExample]] = {}
    lengths: list[int] = []
    for side in ("train", "dev"):
        given = getattr(scenes, side)
        sizes = [len(form.encode(s, [*(m.value for m in s.features), *([FUSED] if s.features else [])])) for s in given]
        kept[side] = [s for s, n in zip(given, sizes, strict=True) if n <= recipe.max_length]
        if not kept[side]:
            raise OptionError(f"every {side} row is longer than max_length {recipe.max_length}", "raise it")
        if dropped := len(given) - len(kept[side]):
            tell(f"{dropped} {side} rows of more than {recipe.max_length} tokens are left out")
        if side == "train":
            lengths = [n for n in sizes if n <= recipe.max_length]
    return replace(scenes, **kept), lengths, form


def _counts(config: FusionConfig | None) -> dict[str, int]:
    return {name: config.n_tokens(name) for name in config.names} if config else {}


def _batcher(recipe: FusingRecipe, scenes: Any, built: Any, form: Form, epoch: list[int]) -> Any:
    from finetune.fusing.batching import Batcher, Dropping

    def dropping() -> Dropping:
        return Dropping(recipe.modality_dropout, recipe.step_dropout, recipe.seed * 100_003 + epoch[0])

    return tuple(Batcher(form, built.config, scenes.cache, taken) for taken in (dropping, Dropping))


def _epochs(epoch: list[int]) -> Any:
    from finetune.fusing.trainer import CountEpochs

    return CountEpochs(lambda number: epoch.__setitem__(0, number))


def _feature_batcher(recipe: FusingRecipe, scenes: Any, built: Any) -> Any:
    import torch

    from finetune.fusing.batching import FeatureBatcher
    from finetune.fusing.parts import TEXT_WIDTH, scene_words

    if not recipe.pairwise:
        return FeatureBatcher(built.config, scenes.cache, None)
    known = scene_words([*scenes.train, *scenes.dev])
    nothing = torch.full((TEXT_WIDTH,), float("nan"))

    def words(asked: Sequence[SignalExample]) -> Any:
        return torch.stack([known.get(s.id, nothing) for s in asked])

    return FeatureBatcher(built.config, scenes.cache, words)


def _trainer(recipe: FusingRecipe, run: FusingRun, model: Any, rows: _Rows, tell: Tell) -> Any:
    from transformers import EarlyStoppingCallback, PrinterCallback

    from finetune.fusing.trainer import FusingTrainer, optimizer, settings
    from finetune.trainer import Seal, Telling

    stopping = [EarlyStoppingCallback(recipe.early_stop)] if recipe.early_stop else []
    trainer = FusingTrainer(
        model=model,
        args=settings(recipe, str(run.checkpoints)),
        data_collator=rows.collators[0],
        train_dataset=rows.train,
        eval_dataset=rows.dev,
        callbacks=[Seal(run.keep_history), Telling(tell), *stopping],
        optimizers=(optimizer(recipe, model), None),
    )
    trainer.lengths, trainer.dev_collator = rows.lengths, rows.collators[1]
    trainer.remove_callback(PrinterCallback)
    return trainer
