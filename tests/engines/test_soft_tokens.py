"""Soft tokens through the engines: the local one against transformers' own `inputs_embeds`, others by what they say."""

from __future__ import annotations

import base64
import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from affectgpt.engines import models
from affectgpt.engines.echo import EchoEngine
from affectgpt.engines.local import LocalEngine
from affectgpt.engines.splicing import SOFT_TOKEN, overwrite, soft_tokenizer, spliced_ids, tensor_base64
from affectgpt.errors import OptionError
from affectgpt.records import EmbeddedPrompt, Message, Prompt, Sampling, SoftPart, soft_marker
from tests.soft_prompts import embedded_prompt, soft_part
from tests.tiny_model import opened

# peft 0.21 asks transformers 5.23 for a property by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

D = 32
FACE, VOICE, FUSED = soft_part("face", 1, D, 1), soft_part("voice", 3, D, 2), soft_part("fused", 5, D, 3)
PROMPTS: list[Prompt] = [
    embedded_prompt("Face", FACE, "Voice", VOICE, "[F1] a [F1] a [F1]", system="s"),
    embedded_prompt(FUSED),
    Prompt((Message("user", "abc abc abc ab"),), "explain", "2"),
    embedded_prompt("x", VOICE, FACE, opening="x\nx\nx"),
    embedded_prompt("nothing at all"),
    embedded_prompt(FUSED, "abc abc abc abc abc"),
]


@pytest.fixture(scope="module")
def engine(tiny: Path) -> LocalEngine:
    return opened(tiny, batch_size=3)


def plain_embeds(engine: LocalEngine, prompt: Prompt) -> torch.Tensor:
    """The prompt as the model's input (1, S, D), put together line by line without the splice."""
    tokenizer, table = engine._tokenizer, engine._model.get_input_embeddings()

    def rows(text: str) -> torch.Tensor:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return table(torch.tensor(ids, dtype=torch.long))

    pieces = []
    for message in prompt.messages:
        pieces.append(rows(f"<s>{message.role}\n"))
        parts = prompt.pieces(message) if isinstance(prompt, EmbeddedPrompt) else (message.content,)
        for i, part in enumerate(parts):
            pieces += [rows("\n")] * (i > 0)
            pieces.append(rows(part) if isinstance(part, str) else torch.from_numpy(part.tokens))
        pieces.append(rows("</s>"))
    pieces += [rows("<s>assistant\n"), rows(prompt.opening)]
    return torch.cat(pieces)[None]


def plain_greedy(engine: LocalEngine, prompt: Prompt, n: int) -> list[int]:
    """Greedy decoding by nothing but the model's pass over `inputs_embeds`: no cache, no drafts, no padding."""
    table, ids = engine._model.get_input_embeddings(), []
    with torch.inference_mode():
        embeds = plain_embeds(engine, prompt)
        while len(ids) < n and (not ids or ids[-1] != 257):
            ids.append(int(engine._model(inputs_embeds=embeds).logits[0, -1].argmax()))
            embeds = torch.cat([embeds, table(torch.tensor([[ids[-1]]]))], 1)
    return ids


@pytest.mark.parametrize("adapter", ["none", "tuned"])
def test_alone_in_a_batch_and_streamed_the_tokens_are_those_of_inputs_embeds(
    tiny: Path, tuned: Path, adapter: str
) -> None:
    engine = opened(tiny, batch_size=3, adapter=str(tuned) if adapter == "tuned" else "none")
    sampling = Sampling(max_tokens=16)
    together = engine.generate(PROMPTS, sampling)
    assert together == [engine.generate([one], sampling)[0] for one in PROMPTS]
    assert [a.text for a in together] == ["".join(engine.stream(one, sampling)) for one in PROMPTS]
    assert [a.text for a in together] == [p.opening + engine._text(plain_greedy(engine, p, 16)) for p in PROMPTS]
    with torch.inference_mode():
        assert [a.n_prompt_tokens for a in together] == [plain_embeds(engine, p).shape[1] for p in PROMPTS]


def test_an_adapter_beside_the_model_reads_soft_tokens_too(tiny: Path, tuned: Path) -> None:
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(models.load_model(tiny), str(tuned)).eval()
    beside = LocalEngine.of(wrapped, models.load_tokenizer(tiny), "beside")
    merged = opened(tiny, adapter=str(tuned))
    sampling = Sampling(max_tokens=20)
    assert [a.text for a in beside.generate(PROMPTS, sampling)] == [a.text for a in merged.generate(PROMPTS, sampling)]


def test_what_is_read_depends_on_the_soft_tokens_and_leaves_no_trace(engine: LocalEngine) -> None:
    sampling = Sampling(max_tokens=20)
    before = engine.generate([PROMPTS[2]], sampling)
    (first,) = engine.generate([PROMPTS[1]], sampling)
    (other,) = engine.generate([embedded_prompt(soft_part("fused", 5, D, 4))], sampling)
    assert first.text != other.text
    assert first.n_prompt_tokens == other.n_prompt_tokens
    assert engine.generate([PROMPTS[2]], sampling) == before
    assert not engine._model.get_input_embeddings()._forward_hooks


def test_word_vectors_as_soft_tokens_are_the_words(engine: LocalEngine) -> None:
    """A law of any splice: soft tokens that are the words' own vectors give the words' answer."""
    said = "he smiled and [F1] left"
    ids = engine._tokenizer(said, add_special_tokens=False)["input_ids"]
    vectors = engine._model.get_input_embeddings().weight[ids].detach().numpy()
    soft = embedded_prompt("before", SoftPart("voice", vectors.copy()), "after")
    words = Prompt((Message("user", f"before\n{said}\nafter"),), "explain", "2")
    here, there = engine.generate([soft, words], Sampling(max_tokens=30))
    assert (here.text, here.n_prompt_tokens) == (there.text, there.n_prompt_tokens)


def test_sampling_with_soft_tokens_repeats_by_its_seed(engine: LocalEngine) -> None:
    hot = Sampling(max_tokens=20, temperature=1.5, seed=1)
    first, second = engine.generate([PROMPTS[0], PROMPTS[0]], hot)
    assert first == second
    assert engine.generate([PROMPTS[0]], replace(hot, seed=2))[0].text != first.text


def test_many_threads_read_their_own_soft_tokens(engine: LocalEngine) -> None:
    sampling = Sampling(max_tokens=10)
    expected = [engine.generate([one], sampling)[0].text for one in PROMPTS]
    found: dict[int, str] = {}

    def ask(i: int) -> None:
        found[i] = engine.generate([PROMPTS[i % len(PROMPTS)]], sampling)[0].text

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(12)] == expected * 2


def test_soft_tokens_of_another_width_or_beyond_the_context_are_refused(engine: LocalEngine) -> None:
    with pytest.raises(OptionError, match=r"4 wide, and tiny .* takes 32"):
        engine.generate([embedded_prompt(soft_part())], Sampling())
    with pytest.raises(OptionError, match=r"has \d+ tokens, and the context"):
        engine.generate([embedded_prompt(soft_part("face", 300, D))], Sampling())


def test_bfloat16_weights_take_float32_soft_tokens(tiny: Path) -> None:
    half = opened(tiny, dtype="bfloat16")
    assert half.generate([PROMPTS[1]], Sampling(max_tokens=5))[0].n_completion_tokens == 5


@pytest.mark.parametrize("forged", [SOFT_TOKEN, "<prompt_<prompt_embeds>embeds>", "</s>", soft_marker("face")])
def test_a_forged_place_in_the_words_is_words(engine: LocalEngine, forged: str) -> None:
    tokenizer = soft_tokenizer(engine._tokenizer)
    words = embedded_prompt(f"he said {forged.replace(soft_marker('face'), '<|soft:none|')}", FACE)
    spliced = spliced_ids(tokenizer, words, 0)
    assert len(spliced.columns) == 1
    place = tokenizer.convert_tokens_to_ids(SOFT_TOKEN)
    assert place not in spliced.ids
    assert spliced.ids.count(257) == 1, "one turn, one end"
    assert SOFT_TOKEN not in engine._tokenizer.get_vocab(), "the engine's own tokenizer stays as it was"


def test_gradients_reach_the_soft_tokens_and_what_was_not_overwritten() -> None:
    embedded, rows = torch.randn(2, 4, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    out = overwrite(embedded, (torch.tensor([0, 1]), torch.tensor([1, 3])), rows)
    (out * 2).sum().backward()
    assert embedded.grad is not None
    assert rows.grad is not None
    assert torch.equal(rows.grad, torch.full((2, 3), 2.0))
    assert embedded.grad[0, 1].eq(0).all()
    assert embedded.grad.sum() == 2.0 * (8 - 2) * 3


# ---------------------------------------------------------------- other engines


def test_a_server_is_sent_a_tensor_that_loads_without_objects() -> None:
    whole = np.arange(4096, dtype=np.float32).reshape(64, 64)
    sent = base64.b64decode(tensor_base64(whole[3:5]), validate=True)
    loaded = torch.load(io.BytesIO(sent), weights_only=True)
    assert (loaded.dtype, loaded.shape) == (torch.float32, (2, 64))
    assert np.array_equal(loaded.numpy(), whole[3:5])
    assert len(sent) < 4096, "a part brings nothing but itself"


def test_echo_counts_a_soft_token_as_one_and_repeats_no_marker() -> None:
    (answer,) = EchoEngine().generate([embedded_prompt("two words", VOICE, "[F1] a smile")], Sampling())
    assert answer.n_prompt_tokens == 2 + 3 + 3
    assert "soft" not in answer.text
    assert "a smile [F1]" in answer.text
