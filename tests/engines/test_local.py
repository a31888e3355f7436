"""The local engine on a tiny random model made here, and (slow) on the embedded one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from affectgpt.engines import adapter as adapters
from affectgpt.engines import embedded, models
from affectgpt.engines.engine import EngineOptions, open_engine
from affectgpt.engines.local import LocalEngine, _settled
from affectgpt.errors import AffectError, ModelError, OptionError
from affectgpt.records import Message, Prompt, Sampling
from tests.tiny_model import opened

# peft 0.21 asks transformers 5.23 for a property by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

TEXTS = ["abc abc abc ab", "a much longer question, [F1] [F2] [F1] and so on: [F1]", "x", "0.1 0.2 0.3 0.1 0.2"]


def prompt(text: str) -> Prompt:
    return Prompt((Message("system", "s"), Message("user", text)), "explain", "2")


PROMPTS = [prompt(text) for text in TEXTS]


@pytest.fixture(scope="module")
def engine(tiny: Path) -> LocalEngine:
    return opened(tiny, batch_size=3)


def plain_greedy(engine: LocalEngine, one: Prompt, n: int) -> list[int]:
    """Greedy decoding with nothing but the model's own forward pass: no cache, no drafts, no padding."""
    ids = models.chat_ids(engine._tokenizer, one.messages)
    start = len(ids)
    with torch.inference_mode():
        while len(ids) < start + n and (len(ids) == start or ids[-1] != 257):
            ids.append(int(engine._model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


def test_the_laws_hold(engine: LocalEngine) -> None:
    sampling = Sampling(max_tokens=24)
    answers = engine.generate(PROMPTS, sampling)
    assert len(answers) == len(PROMPTS)
    assert engine.generate([], sampling) == []
    assert {(a.engine, a.model, a.prompt_id, a.prompt_version) for a in answers} == {
        ("local", "tiny (no adapter, float32)", "explain", "2")
    }
    assert len({a.text for a in answers}) > 1
    assert engine.generate(PROMPTS, sampling) == answers
    lengths = [len(models.chat_ids(engine._tokenizer, one.messages)) for one in PROMPTS]
    assert [a.n_prompt_tokens for a in answers] == lengths


def test_batches_drafts_and_plain_greedy_give_the_same_tokens(engine: LocalEngine) -> None:
    sampling = Sampling(max_tokens=40)
    together = engine.generate(PROMPTS, sampling)
    alone = [engine.generate([one], sampling)[0] for one in PROMPTS]
    assert together == alone
    for one, answer in zip(PROMPTS, alone, strict=True):
        assert engine._text(plain_greedy(engine, one, 40)) == answer.text


def test_a_cut_answer_says_so_and_counts_its_tokens(engine: LocalEngine) -> None:
    (answer,) = engine.generate(PROMPTS[:1], Sampling(max_tokens=7))
    assert (answer.finish_reason, answer.n_completion_tokens) == ("length", 7)


def test_an_ended_answer_says_so(tiny: Path, tmp_path: Path) -> None:
    whole = opened(tiny).generate(PROMPTS, Sampling(max_tokens=30))
    seen = plain_greedy(opened(tiny), PROMPTS[0], 30)
    folder = tmp_path / "ending"
    shutil.copytree(tiny, folder)
    # A second end token, as Llama 3 has: one that the model is known to write.
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [257, seen[5]]}))
    at = seen.index(seen[5])
    answers = opened(folder).generate(PROMPTS, Sampling(max_tokens=30))
    assert (answers[0].finish_reason, answers[0].n_completion_tokens) == ("stop", at)
    assert whole[0].text.startswith(answers[0].text)


def test_stop_strings_cut_alone_and_in_batches(engine: LocalEngine) -> None:
    whole = engine.generate(PROMPTS, Sampling(max_tokens=30))
    mark = whole[0].text[4:6]
    sampling = Sampling(max_tokens=30, stop=(mark,))
    (alone,) = engine.generate(PROMPTS[:1], sampling)
    together = engine.generate(PROMPTS, sampling)
    assert alone.text == together[0].text == whole[0].text[: whole[0].text.index(mark)]
    assert alone.finish_reason == together[0].finish_reason == "stop"
    assert [a.text for a in together] == [w.text.split(mark)[0] for w in whole]


def test_a_stream_joins_to_the_answer_and_stops_when_closed(engine: LocalEngine) -> None:
    for one in PROMPTS:
        for stop in ((), (engine.generate([one], Sampling(max_tokens=30))[0].text[9:11],)):
            sampling = Sampling(max_tokens=30, stop=stop)
            pieces = list(engine.stream(one, sampling))
            assert "".join(pieces) == engine.generate([one], sampling)[0].text
    stream = engine.stream(PROMPTS[0], Sampling(max_tokens=200))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert engine.generate(PROMPTS[:1], Sampling(max_tokens=2))[0].n_completion_tokens == 2


def test_an_engine_of_a_loaded_model_answers_as_the_opened_one(tiny: Path, engine: LocalEngine) -> None:
    class Trained(LocalEngine):
        name = "trained"

    made = Trained.of(models.load_model(tiny).eval(), models.load_tokenizer(tiny), "mine", batch_size=2)
    sampling = Sampling(max_tokens=20)
    answers = made.generate(PROMPTS, sampling)
    assert isinstance(made, Trained)
    assert {(a.engine, a.model) for a in answers} == {("trained", "mine")}
    assert [a.text for a in answers] == [a.text for a in engine.generate(PROMPTS, sampling)]


def test_an_answer_goes_on_from_its_opening(engine: LocalEngine) -> None:
    opened = replace(PROMPTS[0], opening="**Key observations**\n- a smile [F1].\n")
    sampling = Sampling(max_tokens=20)
    (plain,), (answer,) = engine.generate(PROMPTS[:1], sampling), engine.generate([opened], sampling)
    assert answer.text.startswith(opened.opening)
    assert answer.text != opened.opening + plain.text, "the model reads the opening before it goes on"
    assert answer.n_prompt_tokens > plain.n_prompt_tokens
    assert "".join(engine.stream(opened, sampling)) == answer.text


def test_held_back_text_is_what_could_still_change() -> None:
    assert _settled("abc EN", ("END",)) == "abc "
    assert _settled("abc END more", ("END",)) == "abc "
    assert _settled("caf\ufffd", ()) == "caf"


def test_sampling_repeats_by_its_seed_and_leaves_the_callers_randomness_alone(engine: LocalEngine) -> None:
    hot = Sampling(max_tokens=20, temperature=1.5, seed=1)
    first, second = engine.generate([PROMPTS[0], PROMPTS[0]], hot)
    assert first == second
    other = Sampling(max_tokens=20, temperature=1.5, seed=2)
    assert engine.generate(PROMPTS[:1], other)[0].text != first.text
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    engine.generate(PROMPTS[:1], hot)
    assert torch.equal(torch.rand(1), expected)


def test_a_prompt_beyond_the_context_is_refused_and_answers_end_at_it(engine: LocalEngine) -> None:
    with pytest.raises(OptionError, match=r"has \d+ tokens, and the context of tiny .* is 256"):
        engine.generate([prompt("x" * 300)], Sampling())
    (answer,) = engine.generate([prompt("y" * 200)], Sampling(max_tokens=500))
    assert answer.n_prompt_tokens + answer.n_completion_tokens <= 256


def test_dtype_is_stamped_and_auto_follows_the_processor(tiny: Path) -> None:
    expected = "bfloat16" if models.has_native_bfloat16() else "float32"
    assert opened(tiny, dtype="auto").model == f"tiny (no adapter, {expected})"


# ---------------------------------------------------------------- model folders that must not load


def test_folders_that_cannot_be_trusted_are_refused(tiny: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        return Path(shutil.copytree(tiny, tmp_path / name))

    pickled = broken("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    cut = broken("cut")
    (cut / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes()[:5000])
    lacking = broken("lacking")
    config = json.loads((lacking / "config.json").read_text())
    (lacking / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    mute = broken("mute")
    settings = json.loads((mute / "tokenizer_config.json").read_text())
    settings.pop("chat_template")
    (mute / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "empty").mkdir()
    for name in ("pickled", "cut", "lacking", "mute", "empty", "absent"):
        with pytest.raises(ModelError, match=name):
            opened(tmp_path / name)
    with pytest.raises(ModelError, match="cannot load model no-such/model"):
        open_engine(EngineOptions(engine="local", model="no-such/model"), {})


# ---------------------------------------------------------------- adapters


def test_an_adapter_is_merged_and_stamped(tiny: Path, tuned: Path, engine: LocalEngine) -> None:
    from peft import PeftModel

    merged = opened(tiny, adapter=str(tuned))
    assert merged.model == "tiny+tuned-1 (float32)"
    wrapped = PeftModel.from_pretrained(models.load_model(tiny), str(tuned))
    ids = torch.tensor([models.chat_ids(merged._tokenizer, PROMPTS[0].messages)])
    with torch.inference_mode():
        assert torch.allclose(merged._model(ids).logits, wrapped(ids).logits, atol=1e-4)
    assert merged.generate(PROMPTS, Sampling(max_tokens=20)) != engine.generate(PROMPTS, Sampling(max_tokens=20))
    assert adapters.read_manifest(tuned).notes == {"prompt": "explain 2"}
    assert opened(tiny, adapter="none").model == "tiny (no adapter, float32)"


def test_an_adapter_that_does_not_fit_is_refused(tiny: Path, tuned: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    def altered(name: str) -> Path:
        return Path(shutil.copytree(tuned, tmp_path / name))

    unsealed = altered("unsealed")
    (unsealed / "manifest.json").unlink()
    swapped = altered("swapped")
    tensors = load_file(swapped / "adapter_model.safetensors")
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, swapped / "adapter_model.safetensors")
    lacking = altered("lacking")
    save_file(dict(list(tensors.items())[1:]), lacking / "adapter_model.safetensors")
    adapters.write_manifest(lacking, "lacking", "tiny", tiny, {})
    foreign = altered("foreign")
    adapters.write_manifest(foreign, "foreign", embedded.MODEL_ID, tiny, {})
    reasons = {
        unsealed: "has no manifest.json",
        swapped: "not what its manifest seals",
        lacking: "does not hold the tensors",
        foreign: "does not fit 'tiny'",
        tmp_path / "absent": "has no manifest.json",
    }
    for folder, reason in reasons.items():
        with pytest.raises(ModelError, match=reason):
            opened(tiny, adapter=str(folder))
    other = Path(shutil.copytree(tiny, tmp_path / "other"))
    (other / "config.json").write_text((tiny / "config.json").read_text() + "\n")
    with pytest.raises(ModelError, match="does not fit 'other'"):
        opened(other, adapter=str(tuned))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": 1}', '{"id": "", "x": 2}'])
def test_a_malformed_manifest_is_told(tuned: Path, tmp_path: Path, text: str) -> None:
    folder = Path(shutil.copytree(tuned, tmp_path / "bent"))
    (folder / "manifest.json").write_text(text)
    with pytest.raises(AffectError, match=r"manifest\.json is malformed"):
        adapters.read_manifest(folder)


# ---------------------------------------------------------------- the embedded model


@pytest.mark.slow
def test_the_embedded_model_answers_the_same_alone_drafted_and_in_a_batch() -> None:
    engine = open_engine(EngineOptions(engine="local", adapter="none", dtype="float32"), {})
    assert isinstance(engine, LocalEngine)
    assert engine.model == "smollm2-135m-instruct (no adapter, float32)"
    france = Prompt((Message("user", "What is the capital of France?"),), "p", "1")
    asked = [france, prompt("Repeat: [F1] lip corner puller (AU12) marked, 2.9 of 5, 0.6–2.4 s"), prompt("hello")]
    sampling = Sampling(max_tokens=40)
    together = engine.generate(asked, sampling)
    assert together == [engine.generate([one], sampling)[0] for one in asked]
    assert (together[0].text, together[0].finish_reason) == ("The capital of France is Paris.", "stop")
