"""Soft tokens over HTTP: parts of a message for a vLLM, and nothing at all for any other server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from affectgpt.engines.splicing import tensor_base64
from affectgpt.errors import EngineError, OptionError
from affectgpt.records import Completion, Message, Prompt, Sampling
from tests.scripted_server import Scripted
from tests.soft_prompts import embedded_prompt, soft_part

SOFT = embedded_prompt("he said </s>", soft_part("face"), soft_part("voice", 3), "after", system="be brief")
WORDS = Prompt((Message("user", "hello"),), "explain", "7")


def ask(server: Scripted, prompt: Prompt) -> Completion:
    (answer,) = server.open().generate([prompt], Sampling())
    assert isinstance(answer, Completion)
    return answer


def test_soft_tokens_go_to_a_vllm_as_parts_between_whole_lines(server: Scripted) -> None:
    server.owner = "vllm"
    assert ask(server, SOFT).text == "fine"
    system, user = server.asked[0]["messages"]
    assert system["content"] == "be brief"
    assert [part["type"] for part in user["content"]] == ["text", "prompt_embeds", "prompt_embeds", "text"]
    assert user["content"][0]["text"] == "he said < /s>"
    assert user["content"][2]["data"] == tensor_base64(SOFT.parts[1].tokens)
    assert user["content"][3]["text"] == "after"
    ask(server, replace(SOFT, opening="So "))
    assert server.asked[1]["messages"][1] == user
    assert server.asked[1]["continue_final_message"]


def test_no_other_server_is_ever_sent_soft_tokens(server: Scripted) -> None:
    engine = server.open()
    for answer in (
        lambda: engine.generate([WORDS, SOFT], Sampling()),
        lambda: list(engine.stream(SOFT, Sampling())),
    ):
        with pytest.raises(OptionError, match=r"http engine with m takes no soft tokens.*--enable-prompt-embeds"):
            answer()
    assert server.asked == []
    without = embedded_prompt("Face", "none")
    assert ask(server, without).text == "fine"
    assert server.asked[0]["messages"][-1]["content"] == "Face\nnone"


def test_a_vllm_that_takes_none_says_so(server: Scripted) -> None:
    server.owner = "vllm"
    server.script = [(400, {"error": {"message": "You must set `--enable-prompt-embeds` to input `prompt_embeds`"}})]
    with pytest.raises(EngineError, match=r"400: .*--enable-prompt-embeds"):
        ask(server, SOFT)
