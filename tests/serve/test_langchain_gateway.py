"""LangChain's chat models against the gateway, over a real socket: `ChatOpenAI` unchanged, and our own."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from gateway_fakes import CONCLUSION, REPLY, Behind, Gateway, running
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel

from affectgpt.langchain.chat import ChatAffectGPT

SAD = "I am so tired of all this."
CRISIS = "I want to kill myself tonight."
MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(64)
CLIP = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{base64.b64encode(MP4).decode()}"}}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running() as running_gateway:
        yield running_gateway


def stock(gateway: Gateway, model: str = "affectgpt", **options: Any) -> ChatOpenAI:
    """LangChain's own."""
    return ChatOpenAI(model=model, base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, **options)


def own(gateway: Gateway, **options: Any) -> ChatAffectGPT:
    """Ours."""
    return ChatAffectGPT(base_url=f"{gateway.url}/v1", max_retries=0, **options)


def whole(chat: Runnable[Any, Any], asked: Any) -> AIMessageChunk:
    """A stream put together."""
    pieces = list(chat.stream(asked))
    assert len(pieces) > 2
    joined = pieces[0]
    for piece in pieces[1:]:
        joined += piece
    assert isinstance(joined, AIMessageChunk)
    return joined


# ---------------------------------------------------------------- LangChain's own chat model


def test_it_invokes_streams_and_answers_batches(gateway: Gateway) -> None:
    chat = stock(gateway)
    answer = chat.invoke([SystemMessage("Be brief."), HumanMessage(SAD)])
    assert answer.content == REPLY
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "affectgpt"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert whole(chat, SAD).content == REPLY
    said = [f"I lost {n} keys." for n in range(5)]
    assert [a.content for a in chat.batch([*said], {"max_concurrency": 3})] == [REPLY] * 5
    asked = {p.messages[-1].content for p in gateway.engine.prompts("respond")}
    assert all(any(words in prompt for prompt in asked) for words in said)


def test_it_awaits(gateway: Gateway) -> None:
    async def later() -> tuple[Any, str, list[Any]]:
        chat = stock(gateway)
        one = await chat.ainvoke(SAD)
        pieces = [str(piece.content) async for piece in chat.astream(SAD)]
        return one.content, "".join(pieces), [a.content for a in await chat.abatch([SAD, SAD])]

    assert asyncio.run(later()) == (REPLY, REPLY, [REPLY, REPLY])


def test_it_sends_a_clip_and_the_fields_of_our_own(gateway: Gateway) -> None:
    chat = stock(gateway, extra_body={"transcript": SAD, "subject": 1})
    chat.invoke([HumanMessage([CLIP, {"type": "text", "text": "How do they seem?"}])])
    _, options, content = gateway.reader.read[-1]
    assert content == MP4
    assert options.face.subject == 1
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(64)).decode()
    chat.invoke([HumanMessage([{"type": "image", "base64": picture, "mime_type": "image/png"}])])
    assert gateway.reader.read[-1][0].suffix == ".png", "LangChain's own form of a picture"


def test_it_stands_in_a_chain(gateway: Gateway) -> None:
    chain = ChatPromptTemplate.from_messages([("user", "{words}")]) | stock(gateway) | StrOutputParser()
    assert chain.invoke({"words": SAD}) == REPLY
    assert "".join(chain.stream({"words": SAD})) == REPLY


def test_a_refusal_is_raised_with_what_to_do(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="name another model"):
        stock(gateway).with_structured_output(Mood, method="json_schema").invoke(SAD)
    with pytest.raises(openai.NotFoundError, match="see /v1/models"):
        stock(gateway, model="gpt-x").invoke(SAD)


# ---------------------------------------------------------------- other models, handed on


class Mood(BaseModel):
    """How somebody seems."""

    label: Literal["happy", "sad"]
    sure: float


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
def test_structured_output_goes_through(server: Behind, front: Gateway, method: str) -> None:
    chat = stock(front, "base").with_structured_output(Mood, method=method)  # type: ignore[arg-type]
    mood = '{"label": "sad", "sure": 0.75}'
    if method == "function_calling":
        server.words = []
        server.tool_calls = [{"id": "call-1", "type": "function", "function": {"name": "Mood", "arguments": mood}}]
    else:
        server.words = [mood[:9], mood[9:]]
    assert chat.invoke(SAD) == Mood(label="sad", sure=0.75)
    (asked,) = server.asked
    if method == "json_schema":
        schema = asked["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["label"]["enum"] == ["happy", "sad"]
    elif method == "json_mode":
        assert asked["response_format"] == {"type": "json_object"}
    else:
        assert asked["tool_choice"] == {"type": "function", "function": {"name": "Mood"}}


@tool
def weather(place: str) -> str:
    """The weather at a place."""
    return f"Rain in {place}."


CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Bergen"}'}}


def test_tools_go_through_streamed_and_whole(server: Behind, front: Gateway) -> None:
    server.words, server.tool_calls = [], [CALL]
    chat = stock(front, "base").bind_tools([weather])
    wanted = [{"name": "weather", "args": {"place": "Bergen"}, "id": "call-1", "type": "tool_call"}]
    answer = chat.invoke("And the weather?")
    assert isinstance(answer, AIMessage)
    assert answer.tool_calls == wanted
    assert whole_calls(chat) == wanted
    assert [asked["tools"][0]["function"]["name"] for asked in server.asked] == ["weather", "weather"]


def whole_calls(chat: Runnable[Any, Any]) -> list[Any]:
    joined = None
    for piece in chat.stream("And the weather?"):
        joined = piece if joined is None else joined + piece
    assert joined is not None
    return list(joined.tool_calls)


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_an_agent_of_langgraph_runs_over_the_gateway(server: Behind, front: Gateway) -> None:
    server.words, server.tool_calls = [], [CALL]
    graph = create_react_agent(stock(front, "base"), [weather])
    course = []
    for step in graph.stream({"messages": [("user", "And the weather?")]}, stream_mode="updates"):
        course += [message for node in step.values() for message in node["messages"]]
        server.words, server.tool_calls = ["It ", "rains."], None
    assert [type(m) for m in course] == [AIMessage, ToolMessage, AIMessage]
    assert course[1].content == "Rain in Bergen."
    assert course[2].content == "It rains."
    assert server.asked[1]["messages"][-1]["role"] == "tool"
    assert server.asked[1]["messages"][-1]["content"] == "Rain in Bergen."


# ---------------------------------------------------------------- our own chat model


def test_the_three_parts_are_reachable_whole_and_streamed(gateway: Gateway) -> None:
    chat = own(gateway)
    for answer in (chat.invoke(SAD), whole(chat, SAD)):
        thought = answer.additional_kwargs["reasoning_content"]
        assert thought.startswith("**Key observations**")
        assert thought.endswith(CONCLUSION)
        assert answer.content == REPLY
        assert answer.response_metadata["ai_generated"] is True
        assert answer.response_metadata["finish_reason"] == "stop"
        assert {"type": "reasoning", "reasoning": thought} in answer.content_blocks
        assert "affect" not in answer.response_metadata


def test_a_thought_comes_before_the_reply(gateway: Gateway) -> None:
    chunks = [chunk for chunk in own(gateway).stream(SAD) if has_text(chunk)]
    kinds = ["thought" if "reasoning_content" in chunk.additional_kwargs else "reply" for chunk in chunks]
    assert kinds == sorted(kinds, reverse=True)
    assert {*kinds} == {"thought", "reply"}


def has_text(chunk: Any) -> bool:
    return bool(chunk.content) or "reasoning_content" in chunk.additional_kwargs


def test_the_outcome_comes_where_it_is_asked_for(gateway: Gateway) -> None:
    chat = own(gateway, extra_body={"affect": True})
    for answer in (chat.invoke(SAD), whole(chat, SAD)):
        assert answer.response_metadata["affect"]["decision"]["label"] == "sad"


def test_a_conversation_goes_on_from_what_an_answer_carries(gateway: Gateway) -> None:
    chat = own(gateway, extra_body={"affect": True})
    for answer in (chat.invoke(SAD), whole(chat, SAD)):
        carried = answer.additional_kwargs["dialogue"]
        assert set(carried) == {"persona", "strategy", "own"}
        began = [HumanMessage(SAD), AIMessage(answer.text), HumanMessage("I still am.")]
        went_on = [HumanMessage(SAD), answer, HumanMessage("I still am.")]
        anew, later = (
            chat.invoke(said).response_metadata["affect"]["dialogue"]["own"]["before"] for said in (began, went_on)
        )
        # On the way back to its own mood, and not there yet.
        assert carried["own"]["valence"] < later["valence"] < anew["valence"]


def test_in_a_crisis_the_card_is_there_once(gateway: Gateway) -> None:
    chat = own(gateway, extra_body={"locale": "de-DE"})
    for answer in (chat.invoke(CRISIS), whole(chat, CRISIS)):
        card = answer.response_metadata["card"]
        assert card["locale"] == "de-DE"
        assert str(answer.content).strip() == card["markdown"].strip()
        assert answer.response_metadata["finish_reason"] == "content_filter"


def test_other_models_keep_their_thoughts_and_their_card(server: Behind, front: Gateway) -> None:
    chat = own(front, model="base")
    assert chat.invoke(SAD).content == "".join(server.words)
    for answer in (chat.invoke(CRISIS), next(iter(chat.stream(CRISIS)))):
        assert "reasoning_content" not in answer.additional_kwargs
        assert answer.response_metadata["card"]["markdown"].strip()


@pytest.mark.slow
def test_no_key_of_openai_leaves_for_a_gateway() -> None:
    code = (
        "import os; os.environ |= {'OPENAI_API_KEY': 'sk-secret', 'OPENAI_API_BASE': 'https://elsewhere.example/v1'}\n"
        "from affectgpt.langchain.chat import ChatAffectGPT\n"
        "chat = ChatAffectGPT()\n"
        "print(chat.openai_api_key.get_secret_value(), chat.root_client.api_key, chat.root_client.base_url)\n"
        "os.environ['AFFECTGPT_API_KEY'] = 'agpt_mine'\n"
        "print(ChatAffectGPT().root_client.api_key, ChatAffectGPT(api_key='given').root_client.api_key)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert told[:2] == ["none none http://127.0.0.1:8000/v1/", "agpt_mine given"]


# ---------------------------------------------------------------- the example


def example(repo: Path, *args: str) -> str:
    env = {**os.environ, "AFFECTGPT_ENGINE": "echo"}
    command = [sys.executable, "-W", "error", str(repo / "examples" / "langchain_agent.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=repo).stdout


@pytest.mark.slow
def test_the_example_shows_what_a_model_would_be_told(repo: Path) -> None:
    told = example(repo)
    assert told.startswith("Label: ")
    assert "AU12" in told


@pytest.mark.slow
def test_the_example_runs_with_a_model_that_calls_tools(repo: Path, server: Behind) -> None:
    wanted = {"name": "explain_clip", "arguments": '{"path": "astronaut_smile.mp4"}'}
    server.words, server.tool_calls = [], [{"id": "call-1", "type": "function", "function": wanted}]

    def answer_next() -> None:
        while not server.asked:
            time.sleep(0.1)
        time.sleep(1.0)  # it answered long ago, and the clip is being read
        server.words, server.tool_calls = ["She smiles [F1]."], None

    thread = threading.Thread(target=answer_next, daemon=True)
    thread.start()
    told = example(repo, "How is she?", "--base-url", server.url, "--model", "base")
    assert told.startswith("-> explain_clip {'path': 'astronaut_smile.mp4'}\nLabel: ")
    assert told.strip().endswith("She smiles [F1].")
    assert [m["role"] for m in server.asked[1]["messages"]] == ["user", "assistant", "tool"]
