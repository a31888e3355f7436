"""Whole answers of a server: waited for word by word, with the opening in front, and without a form it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from gateway_fakes import Behind, behind

from affectgpt.errors import EngineError
from affectgpt.records import Completion, Message, Prompt, Sampling
from serve.upstream import Upstream
from serve.writers import UpstreamWriter

PROMPT = Prompt((Message("user", "How are you?"),), "p", "1", {"type": "object"}, opening="Well, ")


@pytest.fixture
def server() -> Iterator[Behind]:
    with behind() as opened:
        yield opened


def completed(server: Behind, timeout_s: float = 5.0, *, is_vllm: bool = False) -> Completion:
    async def ask() -> Completion:
        upstream = Upstream(server.url, timeout_s=timeout_s)
        try:
            return await UpstreamWriter(upstream, "base", continues=is_vllm).complete(PROMPT, Sampling())
        finally:
            await upstream.close()

    return asyncio.run(ask())


def test_the_longest_wait_is_for_a_word_and_not_for_all_of_them(server: Behind) -> None:
    server.pause_s = 0.15
    assert completed(server, 0.5).text == "Well, well. It rains today."
    server.pause_s = 1.5
    with pytest.raises(EngineError, match="did not answer within"):
        completed(server, 0.5)


def test_an_opening_stands_in_front_where_the_server_goes_on_from_it(server: Behind) -> None:
    server.words = ["well. ", "It rains."]
    assert completed(server, is_vllm=True).text == "Well, well. It rains."
    assert completed(server).text == "well. It rains."


def test_tokens_are_counted(server: Behind) -> None:
    told = completed(server)
    assert (told.n_prompt_tokens, told.n_completion_tokens, told.finish_reason) == (7, 5, "stop")


def test_what_broke_off_is_no_answer(server: Behind) -> None:
    server.is_cut = True
    with pytest.raises(EngineError, match="broke off"):
        completed(server)


def test_a_refusal_for_another_reason_stays_one(server: Behind) -> None:
    server.error = (400, {"error": {"message": "the prompt is too long"}})
    with pytest.raises(EngineError, match="too long"):
        completed(server)
    assert len(server.asked) == 1
