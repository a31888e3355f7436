"""Training rows: the prompt that is trained is the prompt that is asked, and no loss falls outside the answer."""

from __future__ import annotations

import random

import pytest

from affectgpt.answers import open_answer
from affectgpt.appraise.prototypes import appraise
from affectgpt.engines import embedded, models
from affectgpt.errors import OptionError
from affectgpt.prompting import PromptLibrary
from affectgpt.textualize import restate
from finetune.explain import Recipe, _by_length, _pad_right, tokenize
from instruction_data.evidence import draw
from instruction_data.rows import compose_rows

QUOTES = {
    "neutral": ["The meeting starts at nine in the morning.", "He said it is over there.", "A blue car.", "The bus."],
    "happy": ["That was the best day of my life!"],
    "angry": ["How dare they do this to us"],
    **{label: [] for label in ("sad", "fearful", "disgusted", "surprised", "contemptuous")},
}


@pytest.mark.slow
def test_a_rows_prompt_is_byte_for_byte_what_the_engine_is_asked() -> None:
    tokenizer = models.load_tokenizer(embedded.folder())
    scene = draw(random.Random("7/0"), QUOTES)
    asked = PromptLibrary().render("explain", scene.observations, appraise(scene.observations, scene.words))
    (row,) = compose_rows(1, 7, QUOTES)
    ids = tokenize(row, tokenizer, 2048)
    opening = open_answer([restate(o) for o in scene.observations.items])
    assert row["opening"] == opening, "what the agent gives"
    given = models.chat_ids(tokenizer, asked.messages) + tokenizer(opening, add_special_tokens=False)["input_ids"]
    assert ids["input_ids"][: len(given)] == given
    assert ids["labels"][: len(given)] == [-100] * len(given)
    answer = ids["labels"][len(given) :]
    assert answer == ids["input_ids"][len(given) :]
    assert answer[-1] == tokenizer.eos_token_id
    assert opening + tokenizer.decode(answer[:-1]) == row["completion"][0]["content"]  # type: ignore[index]
    with pytest.raises(OptionError, match="tokens"):
        tokenize(row, tokenizer, 20)


def rows(*lengths: int) -> list[dict[str, list[int]]]:
    return [{"input_ids": list(range(1, n + 1)), "labels": [-100, *range(2, n + 1)]} for n in lengths]


def test_padding_carries_no_loss() -> None:
    batch = _pad_right(rows(3, 5))
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0, 0], [1, 2, 3, 4, 5]]
    assert batch["labels"].tolist() == [[-100, 2, 3, -100, -100], [-100, 2, 3, 4, 5]]


def test_batches_are_of_like_length_and_lose_no_row() -> None:
    given = rows(*[n % 37 + 2 for n in range(0, 700, 7)])
    ordered = _by_length(given, Recipe(batch=4))
    key = sorted(len(r["input_ids"]) for r in given)
    assert sorted(len(r["input_ids"]) for r in ordered) == key
    spread = [ordered[i : i + 4] for i in range(0, 96, 4)]
    within = sum(max(len(r["input_ids"]) for r in b) - min(len(r["input_ids"]) for r in b) for b in spread)
    plain = sum(
        max(len(r["input_ids"]) for r in b) - min(len(r["input_ids"]) for r in b)
        for b in (given[i : i + 4] for i in range(0, 96, 4))
    )
    assert within < plain / 2
