"""Recipes: what is written is read back, what is misspelt is named, and the shipped ones are what their docs say."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import OptionError
from finetune.config import PRESETS, Recipe, describe_keys, heading_of, load_recipe, write_yaml

SHIPPED = sorted(PRESETS.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_recipe_is_its_own_docs(path: Path) -> None:
    recipe = load_recipe(path)
    assert load_recipe(path.stem) == recipe
    assert write_yaml(recipe, heading_of(path)) == path.read_text("utf-8")
    assert heading_of(path)


def test_the_presets_are_those_that_are_promised() -> None:
    assert {p.stem for p in SHIPPED} == {
        "smollm2-135m", "qwen2.5-7b", "qwen3-8b", "qwen2.5-7b-qlora", "qwen2.5-7b-fsdp2", "affectgpt",
    }  # fmt: skip
    theirs = load_recipe("affectgpt")
    assert (theirs.rank, theirs.alpha, theirs.dropout, len(theirs.targets)) == (16, 32, 0.05, 7)
    assert load_recipe("qwen2.5-7b-qlora").quantize == "nf4"


def test_every_key_is_told_and_has_a_doc() -> None:
    told = {name: doc for name, _, doc in describe_keys()}
    assert list(told) == [f.name for f in fields(Recipe)]
    assert all(len(doc) > 15 and doc.endswith(".") for doc in told.values())


@given(
    st.builds(
        Recipe,
        learning_rate=st.floats(0, 1, allow_nan=False),
        epochs=st.floats(0, 100, allow_nan=False),
        model=st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1),
        tasks=st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=3).map(tuple),
        n_rows=st.none() | st.integers(1, 10**9),
        packing=st.booleans(),
    )
)
def test_what_is_written_is_read_back(recipe: Recipe) -> None:
    # Through the file's text: the loader casts as it does for people.
    row = yaml.safe_load(write_yaml(recipe, "a heading"))
    assert set(row) == {f.name for f in fields(Recipe)}
    for f in fields(Recipe):
        value = getattr(recipe, f.name)
        assert row[f.name] == (list(value) if isinstance(value, tuple) else value)


def test_the_resolved_file_is_a_recipe_again(tmp_path: Path) -> None:
    recipe = load_recipe("qwen3-8b", ["learning_rate=3e-5", "tasks=label, explain", "n_rows=7"])
    assert (recipe.learning_rate, recipe.tasks, recipe.n_rows) == (3e-5, ("label", "explain"), 7)
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe), "utf-8")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("lerning_rate=1", "did you mean learning_rate"),
        ("gradient_checkpoint=true", "did you mean gradient_checkpointing"),
        ("zzz=1", "the keys are model"),
        ("rank=x", "rank: 'x' does not fit; give a whole number"),
        ("rank=1.5", "a whole number"),
        ("rank=0", "too small; the least is 1"),
        ("learning_rate=nan", "give a number"),
        ("learning_rate=inf", "give a number"),
        ("packing=3", "true or false"),
        ("batch=true", "a whole number"),
        ("dtype=float16", "one of bfloat16, float32"),
        ("seed", "is not key=value"),
        ("save_steps=7", "no multiple of eval_steps"),
        ("report_to=wandbb", "no tracker 'wandbb'"),
        ("targets=", "nothing would be trained"),
        ("dropout=1", "leaves nothing"),
    ],
)
def test_what_does_not_fit_is_named(override: str, told: str) -> None:
    with pytest.raises(OptionError, match=told.replace("(", r"\(")):
        load_recipe("smollm2-135m", [override])


def test_a_metric_of_answers_needs_answers() -> None:
    with pytest.raises(OptionError, match="n_answers"):
        load_recipe("smollm2-135m", ["best_by=supported", "n_answers=0"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rank: 4\nrank: 8\n", "rank stands twice"),
        ("rank: [", "cannot be read"),
        ("- rank\n", "no mapping"),
        ("rank: 8\nrnak: 8\n", "did you mean rank"),
        ("model: !!python/object/apply:os.system [id]\n", "cannot be read"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(OptionError, match=told) as caught:
        load_recipe(path)
    assert "mine.yaml" in str(caught.value)


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(OptionError, match="the presets are affectgpt, qwen2"):
        load_recipe("llama-70b")
