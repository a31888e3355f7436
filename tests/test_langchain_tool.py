"""The tool: what a model is told, what it may open, and how an agent uses it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fakes
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from langchain_fakes import WORDS, agent, make_folder, untimed

from affectgpt.agent import AffectAgent, Parts
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import OptionError
from affectgpt.langchain import ExplainRunnable, brief, make_explain_tool
from affectgpt.record_json import NOTICE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("langchain"))


@pytest.fixture(scope="module")
def clip(folder: Path) -> str:
    return str(folder / "talkie.mp4")


# ---------------------------------------------------------------- the tool


@pytest.fixture(scope="module")
def tool(folder: Path) -> StructuredTool:
    return make_explain_tool(agent(), folder)


def call(tool: StructuredTool, **args: Any) -> ToolMessage:
    """As a model calls it."""
    message = tool.invoke({"type": "tool_call", "id": "1", "name": tool.name, "args": args})
    assert isinstance(message, ToolMessage)
    return message


def test_a_model_gets_a_short_text_with_citations_and_a_program_the_outcome(tool: StructuredTool, clip: str) -> None:
    message = call(tool, path="talkie.mp4")
    whole = agent().explain(clip)
    assert message.status == "success"
    assert message.content == brief(whole)
    assert {**message.artifact, "timings_s": None} == untimed(whole)
    assert json.loads(json.dumps(message.artifact, allow_nan=False)) == message.artifact
    for part in ("Label: happy", "[F1]", "[V1]", "[S1]", "Interpretation:", "Conclusion:", NOTICE):
        assert part in message.content
    later = asyncio.run(tool.ainvoke({"type": "tool_call", "id": "1", "name": tool.name, "args": {"path": clip}}))
    assert later.content == message.content, "an absolute path into the folder is one too"


def test_a_model_is_told_what_a_call_may_hold(tool: StructuredTool) -> None:
    schema = tool.tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    assert set(schema["properties"]) == {"path", "transcript", "modalities", "subject"}
    assert all(row.get("description") for row in schema["properties"].values())
    assert "how somebody seems" in " ".join(tool.description.split()).replace(
        "how somebody seems", "how somebody seems"
    )


def test_words_alone(tool: StructuredTool) -> None:
    message = call(tool, transcript=WORDS, modalities=["speech"])
    assert WORDS in str(message.content)
    assert message.artifact["clip"] is None
    assert call(tool, path="words.txt").artifact["transcript"] == message.artifact["transcript"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({}, "give `path`, `transcript`, or both"),
        ({"path": "tallkie.mp4"}, "there are: broken.mp4, talkie.mp4, words.txt"),
        ({"path": "broken.mp4"}, "broken.mp4"),
        ({"path": "words.txt", "transcript": WORDS}, "is itself a transcript"),
        ({"path": "talkie.mp4", "modalities": ["smell"]}, "modalities.0: Input should be 'face', 'voice' or 'speech'"),
        ({"path": "talkie.mp4", "subject": "the tall one"}, "subject: Input should be a valid integer"),
        ({"path": "talkie.mp4", "frames": 9}, "frames: Extra inputs are not permitted"),
        ({"path": "../secret.txt"}, "name a file inside it"),
    ],
)
def test_a_failure_is_told_with_its_remedy_and_without_the_folders_place(
    tool: StructuredTool, folder: Path, args: dict[str, Any], says: str
) -> None:
    message = call(tool, **args)
    assert message.status == "error"
    assert says in message.content
    assert str(folder) not in message.content
    assert message.artifact is None


def test_a_fault_of_the_program_raises(folder: Path) -> None:
    reader = fakes.FakeFaceReader(error=ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        call(
            make_explain_tool(AffectAgent(None, parts=Parts(reader, fakes.FakeVoiceReader())), folder),
            path="talkie.mp4",
        )


def test_a_root_must_be_a_folder(folder: Path) -> None:
    for wrong in (folder / "words.txt", folder / "nowhere"):
        with pytest.raises(OptionError):
            make_explain_tool(agent(), wrong)


# ---------------------------------------------------------------- a path that a model names


def refused(tool: StructuredTool, path: str) -> str:
    message = call(tool, path=path)
    assert message.status == "error", path
    assert "secret words" not in str(message.content)
    return str(message.content)


@pytest.mark.parametrize(
    "there", ["../secret.txt", "../clips-too/other.txt", "sub/../../secret.txt", "./../secret.txt"]
)
def test_what_lies_outside_is_refused_whether_or_not_it_is_there(
    tool: StructuredTool, folder: Path, there: str
) -> None:
    absolute = str((folder / there).resolve())
    missing = f"{there}.not"
    for path in (there, absolute, missing, "/etc/passwd", "/etc/not-there", "..", "/"):
        assert "is outside the folder" in refused(tool, path)


def test_links_out_are_refused_and_links_inside_are_followed(tool: StructuredTool, folder: Path) -> None:
    links = {
        "out.txt": folder.parent / "secret.txt",
        "door": folder.parent,
        "inner.txt": folder / "words.txt",
        "round.txt": folder / "round.txt",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    try:
        assert "is outside" in refused(tool, "out.txt")
        assert "is outside" in refused(tool, "door/secret.txt")
        assert "no file" in refused(tool, "round.txt")
        assert WORDS in str(call(tool, path="inner.txt").content)
    finally:
        for name in links:
            (folder / name).unlink()


def test_subtitles_beside_a_clip_may_not_lead_out_either(tool: StructuredTool, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.srt"
    outside.write_text("1\n00:00:00,000 --> 00:00:01,000\nthe secret words\n")
    beside = folder / "talkie.en.srt"
    beside.symlink_to(outside)
    try:
        assert "is outside" in refused(tool, "talkie.mp4")
    finally:
        beside.unlink()


def test_what_is_no_plain_file_is_not_opened(tool: StructuredTool, folder: Path) -> None:
    os.mkfifo(folder / "pipe.mp4")
    try:
        for path in ("pipe.mp4", ".", "nul\0l.mp4", "n" * 5_000, "words.txt/x", ""):
            call_ = call(tool, path=path)
            assert call_.status == "error"
    finally:
        (folder / "pipe.mp4").unlink()


PIECES = st.sampled_from(
    ["..", ".", "", "/", "~", "clips", "secret.txt", "words.txt", "etc", "passwd", "\\..", "%2e%2e"]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), min_size=1, max_size=8).map("/".join))
@example("file:///etc/passwd")
@example("http://127.0.0.1/words.txt")
@example("concat:words.txt|../secret.txt")
@example("\udcff/../../secret.txt")
def test_no_name_reads_anything_outside(tool: StructuredTool, folder: Path, name: str) -> None:
    message = call(tool, path=name)
    assert "secret words" not in str(message.content)
    if message.status == "success":
        assert (folder / name).resolve() == folder / "words.txt"


# ---------------------------------------------------------------- an agent that uses it


class Scripted(BaseChatModel):
    """A model that calls the tool with `args` for as long as they last, then answers from what it was told."""

    args: list[dict[str, Any]]
    tools: list[Any] = []  # noqa: RUF012  pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.model_copy(update={"tools": [*tools]})

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        told = [m for m in messages if isinstance(m, ToolMessage)]
        if len(told) < len(self.args):
            args_ = self.args[len(told)]
            wanted = [{"name": self.tools[0].name, "args": args_, "id": f"call-{len(told)}"}]
            message = AIMessage("", tool_calls=wanted)
        else:
            label = str(told[-1].content).splitlines()[0]
            message = AIMessage(f"I was told: {label}")
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_graph_of_langgraph_calls_the_tool_and_answers_from_it(tool: StructuredTool, is_async: bool) -> None:
    from langgraph.prebuilt import create_react_agent

    model = Scripted(
        args=[{"path": "/etc/passwd"}, {"subject": "him"}, {"path": "nowhere.mp4"}, {"path": "talkie.mp4"}]
    )
    graph = create_react_agent(model, [tool])
    asked = {"messages": [("user", "How does she seem in talkie.mp4?")]}
    state = asyncio.run(graph.ainvoke(asked)) if is_async else graph.invoke(asked)
    told = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert [m.status for m in told] == ["error", "error", "error", "success"]
    assert "talkie.mp4" in told[2].content, "a model that errs is told what there is"
    assert told[3].artifact["decision"]["label"] == "happy"
    assert state["messages"][-1].content.startswith("I was told: Label: happy")


# ---------------------------------------------------------------- the real readers


@pytest.mark.slow
def test_the_example_end_to_end(repo: Path) -> None:
    tool = make_explain_tool(AffectAgent(EchoEngine()), repo / "examples")
    message = call(tool, path="astronaut_smile.mp4")
    assert message.status == "success"
    assert "AU12" in str(message.content)
    assert "I got the job" in str(message.content)
    streamed = list(ExplainRunnable(AffectAgent(EchoEngine())).stream(repo / "examples" / "astronaut_smile.mp4"))
    assert {**message.artifact, "timings_s": None} == untimed(streamed[-1])  # type: ignore[arg-type]
