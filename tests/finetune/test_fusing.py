"""Stages of the fused path on tiny random-weight models: what learns, what is sealed, and that runs go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny_model import write_tiny
from trainings import tiny_model

from affectgpt.engines.engine import EngineOptions
from affectgpt.engines.local import LocalEngine
from affectgpt.errors import ModelError, OptionError
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.collating import collate
from affectgpt.fusion.folder import load_fusion, read_fusion_manifest
from affectgpt.fusion.soft_reader import FusedReader, lora_folder, open_fused
from affectgpt.records import Modality, Sampling, SoftPart
from finetune.config import write_yaml
from finetune.fusing.batching import Batcher, Dropping
from finetune.fusing.models import FusedModel
from finetune.fusing.parts import build, gather_scenes
from finetune.fusing.recipe import PRESETS, FusingRecipe, check, load_fusing_recipe
from finetune.fusing.scenes import Form, features_of, reliability_of
from finetune.fusing.training import fuse
from finetune.loading import load_tokenizer
from finetune.rows import IGNORED

pytestmark = pytest.mark.slow

SMALL = FusingRecipe(
    dtype="float32", max_steps=4, eval_steps=2, save_steps=2, log_steps=1, warmup_steps=1, n_rows=8, n_dev_rows=4,
    batch=2, width=16, n_tokens=2, n_fused_tokens=1, n_steps=16, max_length=6000, prompt="label-fused", answer="label",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of bytes, and scenes of drawn faces."""
    from instruction_data.signals.build import build_signals
    from instruction_data.signals.recipe import load_signal_recipe

    folder = tmp_path_factory.mktemp("fusing")
    write_tiny(folder / "model", context_tokens=8192)
    given = ["scenes.modalities={face: 1}", "sources=[]", "alone=[]", "noisy=0.0", "joined={train: 30, dev: 10}"]
    build_signals(load_signal_recipe("joined", [*given, f"out={folder}/data", f"tracks={folder}/tracks"]))
    return folder


@pytest.fixture(autouse=True, scope="module")
def _denormal() -> Iterator[None]:
    """A training flushes denormals for its process; tests of numbers that follow in this one need them."""
    yield
    torch.set_flush_denormal(False)


def small(place: Path, out: Path, **changed: object) -> FusingRecipe:
    given = {"model": str(place / "model"), "data": str(place / "data"), "out": str(out), **changed}
    return check(replace(SMALL, **given))  # type: ignore[arg-type]


def form_of(recipe: FusingRecipe, n_tokens: dict[str, int]) -> Form:
    tokenizer = load_tokenizer(recipe, Path(recipe.model))  # type: ignore[arg-type]
    return Form(recipe.prompt, recipe.answer, tokenizer, n_tokens)


# ---------------------------------------------------------------- rows


def test_a_row_is_what_an_engine_is_asked_token_for_token(place: Path, tmp_path: Path) -> None:
    recipe = small(place, tmp_path, prompt="explain-fused", answer="explain")
    scene = gather_scenes(recipe).train[0]
    form = form_of(recipe, {"face": 2, "fused": 1})
    engine = LocalEngine(EngineOptions(dtype="float32"), recipe.model, "none")
    width = engine._model.config.hidden_size
    parts = [SoftPart(n, torch.ones(k, width).numpy()) for n, k in (("fused", 1), ("face", 2))]
    row, asked = form.encode(scene, ["face", "fused"]), engine._encode(form.prompt(scene, parts))
    assert row.parts == ("fused", "face")
    assert row.columns == asked.columns
    # What stands where soft tokens will be is overwritten by them.
    words = [i for i in range(len(asked)) if i not in row.columns]
    assert [row.ids[i] for i in words] == [asked.ids[i] for i in words]
    learnt = [token for token in row.labels if token != IGNORED]
    assert row.labels[: len(asked)] == [IGNORED] * len(asked)
    assert row.ids[len(asked) :] == learnt
    opening = form.prompt(scene, parts).opening
    assert opening
    assert opening + engine._tokenizer.decode(learnt[:-1]) == scene.answers["explain"]


def test_what_dropout_takes_stands_in_the_prompt_as_missing(place: Path, tmp_path: Path) -> None:
    recipe = small(place, tmp_path)
    scenes = gather_scenes(recipe)
    built = build(recipe, scenes)
    assert built.config is not None
    form = form_of(recipe, {name: built.config.n_tokens(name) for name in built.config.names})
    whole = Batcher(form, built.config, scenes.cache)(scenes.train[:4])
    lost = Batcher(form, built.config, scenes.cache, lambda: Dropping(steps=1 - 1e-9))(scenes.train[:4])
    assert len(whole["soft"]["places"]) == 8
    assert whole["soft"]["where"].shape[1] == 4 * 3
    assert lost["soft"]["places"] == []
    assert lost["soft"]["where"].shape == (2, 0)
    torch.manual_seed(0)
    assert built.model(**lost)["loss"].isfinite()


# ---------------------------------------------------------------- stages


def test_each_stage_starts_where_the_last_one_ended_and_teaches_what_it_says(place: Path, tmp_path: Path) -> None:
    first = fuse(small(place, tmp_path / "pretrain", stage="pretrain"))
    second = fuse(small(place, tmp_path / "align", stage="align", start_from=str(first), prompt="describe-signals",
                        answer="describe"))  # fmt: skip
    third = fuse(small(place, tmp_path / "instruct", start_from=str(second), vad_weight=0.1))
    assert lora_folder(first) is lora_folder(second) is None
    assert lora_folder(third) is not None
    told = read_fusion_manifest(third)
    assert told.notes["prompt"].startswith("label-fused ")
    assert told.notes["started_from"]["id"] == "fused"
    assert "prompt" not in read_fusion_manifest(first).notes
    weights = [load_fusion(f, "model", place / "model" / "config.json")[0].state_dict() for f in (first, second, third)]
    mean = "standard.face.mean"
    assert weights[0][mean].abs().sum() > 0
    for older, newer in pairwise(weights):
        assert torch.equal(older[mean], newer[mean])
        assert any(not torch.equal(older[name], newer[name]) for name in older)
    # Before it meets a language model nothing in front of it learns.
    recipe = small(place, tmp_path / "pretrain", stage="pretrain")
    fresh = build(recipe, gather_scenes(recipe)).model.fuser
    assert all(torch.equal(v, weights[0][k]) for k, v in fresh.state_dict().items() if k.startswith("project."))


def test_a_frozen_base_stays_as_it_was_and_no_checkpoint_holds_it(place: Path, tmp_path: Path) -> None:
    recipe = small(place, tmp_path, stage="align")
    model = build(recipe, gather_scenes(recipe)).model
    assert isinstance(model, FusedModel)
    assert not any(p.requires_grad for p in model.llm.parameters())
    assert all(name.startswith("fuser.") for name in model.state_dict())
    state = model.state_dict()
    with pytest.raises(ModelError, match="does not hold"):
        model.load_state_dict(dict(list(state.items())[1:]), strict=False)
    model.load_state_dict(state)


def test_the_result_answers_through_the_local_engine_as_the_trained_model_would(place: Path, tmp_path: Path) -> None:
    recipe = small(place, tmp_path / "run", learning_rate=0.02)
    folder = fuse(recipe)
    reader = open_fused(folder, ("model",), place / "model" / "config.json")
    assert isinstance(reader, FusedReader)
    assert reader.prompt_id == "label-fused"
    scenes = gather_scenes(recipe)
    scene = scenes.dev[0]
    features = list(features_of(scene, scenes.cache).values())
    parts = reader.read(features, {m.value: r for m, r in reliability_of(scene).items()})
    assert {p.name for p in parts} == {"face", "fused"}
    form = form_of(recipe, {p.name: len(p.tokens) for p in parts})
    engine = LocalEngine(EngineOptions(dtype="float32"), recipe.model, str(lora_folder(folder)))
    (completion,) = engine.generate([form.prompt(scene, parts)], Sampling(max_tokens=4))
    assert completion.n_prompt_tokens == sum(label == IGNORED for label in form.encode(scene, ["face", "fused"]).labels)


def test_words_alone_train_an_adapter_without_soft_tokens(place: Path, tmp_path: Path) -> None:
    folder = fuse(small(place, tmp_path, prompt="label"))
    assert folder.name == "adapter"
    LocalEngine(EngineOptions(dtype="float32"), str(place / "model"), str(folder))


# ---------------------------------------------------------------- going on


class Stop(Exception):
    """A run that ends by itself in the middle."""


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(place: Path, tmp_path: Path) -> None:
    whole = fuse(small(place, tmp_path / "whole"))

    def cut(line: str) -> None:
        if line.startswith("step 3 "):
            raise Stop

    with pytest.raises(Stop):
        fuse(small(place, tmp_path / "cut"), tell=cut)
    lines: list[str] = []
    resumed = fuse(small(place, tmp_path / "cut"), tell=lines.append)
    assert any("going on from checkpoint-2" in line for line in lines)
    base = place / "model" / "config.json"
    a, b = (load_fusion(folder, "model", base)[0].state_dict() for folder in (whole, resumed))
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)
    again: list[str] = []
    assert fuse(small(place, tmp_path / "cut"), tell=again.append) == resumed
    assert again == ["this run was over already; --fresh trains anew"]
    with pytest.raises(OptionError, match="holds a run with rank"):
        fuse(small(place, tmp_path / "cut", rank=4))


# ---------------------------------------------------------------- recipes


def test_stages_refuse_what_does_not_fit(place: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="multiple"):
        check(replace(SMALL, eval_steps=3, save_steps=4))
    with pytest.raises(OptionError, match="own"):
        check(replace(SMALL, own=("nose",)))
    first = fuse(small(place, tmp_path / "a", stage="align"))
    with pytest.raises(OptionError, match="other adapters"):
        fuse(small(place, tmp_path / "b", start_from=str(first), adapter="qformer"))
    with pytest.raises(OptionError, match="no train scene"):
        fuse(small(place, tmp_path / "c", modalities=("voice",)))


def test_the_papers_preset_takes_a_step_on_its_own_architecture(place: Path, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "qwen2", "qwen2")
    changed = [f"model={model}", f"data={place / 'data'}", f"out={tmp_path / 'run'}", "max_steps=2", "eval_steps=2"]
    recipe = load_fusing_recipe("affectgpt-7b", [*changed, "save_steps=2", "log_steps=1", "n_rows=6", "n_dev_rows=2"])
    lines: list[str] = []
    told = read_fusion_manifest(fuse(recipe, tell=lines.append))
    assert (told.config.adapter, told.config.softmax, told.config.token_rms) == ("attention", False, None)
    # Warm-up is there from the first step: the rate is far below its peak.
    rates = [float(line.split("learning_rate ")[1].split(";")[0]) for line in lines if "learning_rate" in line]
    assert rates == sorted(rates)
    assert max(rates) <= 2 * recipe.learning_rate / recipe.warmup_steps


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_a_shipped_stage_is_its_own_docs(path: Path) -> None:
    from finetune.config import heading_of

    recipe = load_fusing_recipe(path.stem)
    assert write_yaml(recipe, heading_of(path)) == path.read_text("utf-8")


def test_features_of_a_scene_fit_the_adapters_that_are_made_for_them(place: Path, tmp_path: Path) -> None:
    recipe = small(place, tmp_path)
    scenes = gather_scenes(recipe)
    config = build(recipe, scenes).config
    assert config is not None
    clip = features_of(scenes.train[0], FeatureCache(place / "data" / "features"))
    batch = collate([clip], config)[Modality.FACE]
    assert batch.tokens.shape[1] <= recipe.n_steps
