"""Laws that hold for every engine, how one is chosen, and the shipped fake."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.engines.echo import EchoEngine
from affectgpt.engines.engine import EngineOptions, cut_at_stop, open_engine, split_reasoning
from affectgpt.errors import OptionError
from affectgpt.records import Message, Prompt, Sampling

SEEN = "[F1] lip corner puller (AU12) marked, 2.9 of 5\n[S1] “we made it” 0.4–2.2 s\nnot a line [F9]"
PROMPT = Prompt((Message("system", "[X1] is no observation"), Message("user", SEEN)), "explain", "4")


def test_choosing_and_echo_pull_in_nothing_heavy() -> None:
    code = (
        "import sys, affectgpt.engines.engine as e, affectgpt.engines.embedded, affectgpt.engines.adapter\n"
        "e.open_engine(e.EngineOptions(engine='echo'), {})\n"
        "print([m for m in ('torch', 'transformers', 'openai', 'gguf', 'peft') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        (EngineOptions(engine="http"), {}, "OPENAI_BASE_URL"),
        (EngineOptions(engine="local", base_url="http://x/v1"), {}, "drop --base-url"),
        (EngineOptions(engine="echo", base_url="http://x/v1"), {}, "drop --base-url"),
        (EngineOptions(base_url="http://x/v1", adapter="folder"), {}, "adapter"),
        (EngineOptions(base_url="ftp://x"), {}, "no base URL"),
        (EngineOptions(), {"AFFECTGPT_ENGINE": "gpt"}, "'gpt'"),
        (EngineOptions(engine="echo", timeout_s=float("nan")), {}, "timeout_s"),
        (EngineOptions(engine="echo", batch_size=0), {}, "batch_size"),
    ],
)
def test_contradictions_are_told(options: EngineOptions, env: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError, match=words.replace("(", r"\(")):
        open_engine(options, env)


def test_a_flag_goes_before_the_environment() -> None:
    assert open_engine(EngineOptions(), {"AFFECTGPT_ENGINE": "echo", "OPENAI_BASE_URL": "http://x/v1"}).name == "echo"
    assert open_engine(EngineOptions(engine="echo"), {"AFFECTGPT_ENGINE": "local"}).name == "echo"
    named = open_engine(EngineOptions(model="flag"), {"OPENAI_BASE_URL": "http://x/v1", "AFFECTGPT_MODEL": "env"})
    assert (named.name, named.model) == ("http", "flag")


def test_echo_copies_each_observation_and_concludes_nothing() -> None:
    (answer,) = EchoEngine().generate([PROMPT], Sampling())
    lines = answer.text.splitlines()
    assert lines[:4] == [
        "**Key observations**",
        "- lip corner puller (AU12) marked, 2.9 of 5 [F1]",
        "- “we made it” 0.4–2.2 s [S1]",
        "**Interpretation**",
    ]
    assert lines[5:8] == ["**Conclusion**", "Emotions: cannot tell", "Label: cannot tell"]
    assert (answer.engine, answer.model, answer.prompt_id, answer.prompt_version) == ("echo", "echo-1", "explain", "4")
    assert answer.finish_reason == "stop"


def test_echo_keeps_order_and_count() -> None:
    prompts = [Prompt((Message("user", f"[F{i}] cue {i}"),), "explain", str(i)) for i in range(1, 6)]
    answers = EchoEngine().generate(prompts, Sampling())
    assert [a.prompt_version for a in answers] == [p.version for p in prompts]
    assert all(f"- cue {i} [F{i}]" in a.text for i, a in enumerate(answers, 1))
    assert EchoEngine().generate([], Sampling()) == []
    assert EchoEngine().generate([PROMPT, PROMPT], Sampling())[0] == EchoEngine().generate([PROMPT], Sampling())[0]


def test_scripted_echo_takes_turns_and_is_cut() -> None:
    engine = EchoEngine(scripted=["one two three", "END four"])
    answers = engine.generate([PROMPT] * 3, Sampling(max_tokens=2))
    assert [(a.text, a.finish_reason) for a in answers] == [
        ("one two", "length"),
        ("END four", "stop"),
        ("one two", "length"),
    ]
    assert EchoEngine(scripted=["a STOP b"]).generate([PROMPT], Sampling(stop=("STOP",)))[0].text == "a "
    with pytest.raises(ValueError, match="at least one"):
        EchoEngine(scripted=[])


@given(st.text(max_size=60), st.integers(1, 30))
def test_echo_streams_what_it_generates(text: str, max_tokens: int) -> None:
    sampling = Sampling(max_tokens=max_tokens)
    whole = EchoEngine(scripted=[text]).generate([PROMPT], sampling)[0].text if text else ""
    assert not text or "".join(EchoEngine(scripted=[text]).stream(PROMPT, sampling)) == whole


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=3), max_size=3))
def test_nothing_of_a_stop_string_is_left(text: str, stop: list[str]) -> None:
    kept, is_cut = cut_at_stop(text, stop)
    assert text.startswith(kept)
    assert is_cut == any(mark in text for mark in stop)
    assert not any(mark in kept for mark in stop)


def test_leading_thought_is_parted_from_the_answer() -> None:
    assert split_reasoning("<think>\nhm\n</think>\n\nYes") == ("hm", "Yes")
    assert split_reasoning("<think>never done") == ("never done", "")
    assert split_reasoning("A <think> in the text") == ("", "A <think> in the text")
