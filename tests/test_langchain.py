"""The agent inside LangChain: what a chain is given, what a model may open, and what a failure tells it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import fakes
import media_files
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from langchain_core.tools import StructuredTool
from page_fakes import KnownAppraiser

from affectgpt.agent import AffectAgent, Parts
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import EngineError, MediaNotFound, OptionError
from affectgpt.langchain import ExplainArgs, ExplainRunnable, Stage, Step, brief, make_explain_tool
from affectgpt.readers import AgentOptions
from affectgpt.record_json import NOTICE, to_json
from affectgpt.records import Completion, Modality, Observation, Outcome, Prompt, Sampling

WORDS = "I got the job, I can hardly believe it!"


def agent(engine: Any = None, **options: Any) -> AffectAgent:
    """Known readers, a known appraisal and a known answer."""
    parts = Parts(fakes.FakeFaceReader(), fakes.FakeVoiceReader(), fakes.FakeTranscriber(), KnownAppraiser())
    return AffectAgent(engine or EchoEngine([fakes.ANSWER]), AgentOptions(**options), parts=parts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips, with a neighbour that is nobody's business."""
    root = tmp_path_factory.mktemp("langchain") / "clips"
    root.mkdir()
    media_files.write_video(root / "talkie.mp4", media_files.even_times_ms(25), sound=media_files.tone(1.0)[None])
    (root / "words.txt").write_text(WORDS)
    (root / "broken.mp4").write_bytes(b"\0" * 100)
    (root.parent / "secret.txt").write_text("the secret words")
    (root.parent / "clips-too").mkdir()
    (root.parent / "clips-too" / "other.txt").write_text("the secret words")
    return root


@pytest.fixture(scope="module")
def clip(folder: Path) -> str:
    return str(folder / "talkie.mp4")


def untimed(outcome: Outcome) -> dict[str, object]:
    return {**to_json(outcome), "timings_s": None}


# ---------------------------------------------------------------- the Runnable


def test_it_gives_what_the_agent_gives(clip: str) -> None:
    assert untimed(ExplainRunnable(agent()).invoke(clip)) == untimed(agent().explain(clip))


def test_every_form_of_input(clip: str) -> None:
    runnable = ExplainRunnable(agent())
    whole = untimed(runnable.invoke(clip))
    for same in (Path(clip), {"path": clip}, ExplainArgs(path=clip)):
        assert untimed(runnable.invoke(same)) == whole
    said = runnable.invoke({"transcript": WORDS})
    assert said.clip is None
    assert said.transcript is not None
    assert [u.text for u in said.transcript.utterances] == [WORDS]
    timed = fakes.transcript("Well.", "I got the job.")
    assert runnable.invoke(timed).transcript == timed


def test_options_of_one_input_are_nobody_elses(clip: str) -> None:
    mine = agent()
    runnable = ExplainRunnable(mine)
    face = runnable.invoke({"path": clip, "modalities": ["face"], "subject": 3})
    assert {o.modality for o in face.observations.items} == {Modality.FACE}
    assert mine._parts.face.subject == 3  # type: ignore[union-attr]
    assert {o.modality for o in runnable.invoke(clip).observations.items} == set(Modality)
    assert mine.options == AgentOptions()


def test_an_input_may_look_at_less_than_its_maker_allows_and_never_at_more(clip: str) -> None:
    runnable = ExplainRunnable(agent(modalities=frozenset({Modality.SPEECH})))
    looked = runnable.invoke({"path": clip, "modalities": ["face", "speech"]})
    assert {o.modality for o in looked.observations.items} == {Modality.SPEECH}
    with pytest.raises(OptionError, match="no modality"):
        runnable.invoke({"path": clip, "modalities": ["face"]})
    there = ExplainRunnable(agent(setting="workplace")).invoke({"path": clip, "modalities": ["face", "voice"]})
    assert all(o.is_missing and "Art. 5(1)(f)" in o.text for o in there.observations.items)


@pytest.mark.parametrize(
    "bad", [{}, {"path": ""}, {"path": "x", "frames": 3}, {"path": "x", "subject": -1}, {"transcript": 3}, 7, None]
)
def test_an_input_that_says_nothing_is_an_option_error(bad: Any) -> None:
    with pytest.raises(OptionError):
        ExplainRunnable(agent()).invoke(bad)


def test_a_batch_keeps_its_order_and_a_bad_row_its_place(clip: str) -> None:
    rows = [{"transcript": "one"}, "nowhere.mp4", {"transcript": "three"}, {"frames": 1}, clip]
    runnable = ExplainRunnable(agent())
    got = runnable.batch(rows, return_exceptions=True)
    assert [type(x) for x in got] == [Outcome, MediaNotFound, Outcome, OptionError, Outcome]
    assert [x.transcript.utterances[0].text for x in (got[0], got[2])] == ["one", "three"]  # type: ignore[union-attr]
    later = asyncio.run(runnable.abatch(rows, return_exceptions=True))
    assert [type(x) for x in later] == [type(x) for x in got]
    with pytest.raises(MediaNotFound):
        runnable.batch(rows)


@dataclass
class Crowd:
    """An appraiser that counts how many ask it at once."""

    most: int = 0
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def appraise(self, *tracks: Any) -> Any:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.03)
        with self.lock:
            self.now -= 1
        return KnownAppraiser().appraise(*tracks)


@pytest.mark.parametrize(("allowed", "asked", "most"), [(3, None, 3), (3, 1, 1), (1, 8, 1)])
def test_no_more_are_read_at_once_than_allowed(allowed: int, asked: int | None, most: int) -> None:
    crowd = Crowd()
    runnable = ExplainRunnable(AffectAgent(EchoEngine(), parts=Parts(appraiser=crowd)), max_concurrency=allowed)
    config: Any = {"max_concurrency": asked} if asked else None
    assert len(runnable.batch([{"transcript": WORDS}] * 9, config)) == 9
    assert crowd.most == most
    with pytest.raises(OptionError):
        ExplainRunnable(agent(), max_concurrency=0)


def steps(runnable: ExplainRunnable, given: Any) -> tuple[list[Step], list[Step]]:
    """Streamed, and streamed asynchronously."""

    async def later() -> list[Step]:
        return [step async for step in runnable.astream(given)]

    return list(runnable.stream(given)), asyncio.run(later())


def test_a_stream_tells_each_step_and_ends_with_what_invoke_gives(clip: str) -> None:
    runnable = ExplainRunnable(agent())
    whole = runnable.invoke(clip)
    for told in steps(runnable, clip):
        *before, last = told
        assert isinstance(last, Outcome)
        assert untimed(last) == untimed(whole)
        assert [s for s in before if isinstance(s, Observation)] == list(whole.observations.items)
        stages = [s for s in before if isinstance(s, Stage)]
        assert len(stages) + len(whole.observations.items) == len(before)
        assert {s.name for s in stages} >= {"open", "face", "voice", "speech", "tell", "appraise", "answer", "check"}
        ended = [s.name for s in stages if s.fraction == 1.0]
        first = before.index(next(s for s in before if isinstance(s, Observation)))
        assert before.index(Stage("voice", 1.0)) < first < before.index(Stage("answer", 1.0))
        assert len(ended) == len(set(ended))


def test_a_stream_fails_as_invoke_does() -> None:
    for run in (lambda r: list(r.stream("nowhere.mp4")), lambda r: steps(r, "nowhere.mp4")):
        with pytest.raises(MediaNotFound):
            run(ExplainRunnable(agent()))

    async def later() -> None:
        async for _ in ExplainRunnable(agent()).astream("nowhere.mp4"):
            pass

    with pytest.raises(MediaNotFound):
        asyncio.run(later())


class Patient(EchoEngine):
    """An engine that says when it was asked, which a run that was given up never does."""

    n_asked = 0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        self.n_asked += 1
        return super().generate(prompts, sampling)


def explaining() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "explain"]


def wait_until_quiet() -> None:
    end_s = time.monotonic() + 10
    while explaining():
        assert time.monotonic() < end_s
        time.sleep(0.01)


class Slow(fakes.FakeFaceReader):
    """Looks long at each frame."""

    def read(self, frames: Any, *, subject: int | None = None) -> Any:
        def slowly() -> Iterator[Any]:
            for frame in frames:
                time.sleep(0.2)
                yield frame

        return super().read(slowly(), subject=subject)


def test_a_stream_that_is_closed_gives_its_run_up(clip: str) -> None:
    engine = Patient()
    runnable = ExplainRunnable(
        AffectAgent(engine, parts=Parts(Slow(), fakes.FakeVoiceReader(), appraiser=KnownAppraiser()))
    )
    stream = runnable.stream(clip)
    next(stream)
    stream.close()  # type: ignore[attr-defined]

    async def left() -> None:
        async def read() -> None:
            async for _ in runnable.astream(clip):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(left())
    wait_until_quiet()
    assert engine.n_asked == 0
    assert isinstance(runnable.invoke({"transcript": WORDS}), Outcome), "the places were given back"


def test_a_chain_that_streams_ends_as_one_that_is_invoked(clip: str) -> None:
    chain = ExplainRunnable(agent()) | RunnableLambda(lambda outcome: outcome.decision.label)
    assert list(chain.stream(clip)) == [chain.invoke(clip)] == ["happy"]


def test_an_input_that_comes_in_pieces_is_put_together(clip: str) -> None:
    def pieces(_: Iterator[str]) -> Iterator[str]:
        yield from (clip[:5], clip[5:])

    async def apieces(_: AsyncIterator[str]) -> AsyncIterator[str]:
        for piece in pieces(iter(())):
            yield piece

    chain = RunnableGenerator(pieces, apieces) | ExplainRunnable(agent())
    assert isinstance(list(chain.stream("go"))[-1], Outcome)

    async def later() -> list[Any]:
        return [step async for step in chain.astream("go")]

    assert isinstance(asyncio.run(later())[-1], Outcome)


class Log(BaseCallbackHandler):
    """Keeps how runs began and ended."""

    def __init__(self) -> None:
        self.began: list[dict[str, Any]] = []
        self.ended: list[Any] = []
        self.failed: list[BaseException] = []

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.began.append({"inputs": inputs, **kwargs})

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self.ended.append(outputs)

    def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        self.failed.append(error)


def test_callbacks_tags_and_names_reach_the_tracer(clip: str) -> None:
    log = Log()
    config: Any = {"callbacks": [log], "tags": ["a-tag"], "metadata": {"of": "a test"}, "run_name": "look"}
    runnable = ExplainRunnable(agent()).with_config(config)
    whole = runnable.invoke(clip)
    last = list(runnable.stream(clip))[-1]
    assert [b["name"] for b in log.began] == ["look", "look"]
    assert all("a-tag" in b["tags"] and b["metadata"]["of"] == "a test" for b in log.began)
    assert log.ended == [whole, last]
    with pytest.raises(MediaNotFound):
        runnable.invoke("nowhere.mp4")
    assert [type(e) for e in log.failed] == [MediaNotFound]


@dataclass
class Fickle:
    """An engine that fails as often as it is told to."""

    n_failures: int
    name: str = "fickle"
    model: str = "fickle-1"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        self.n_failures -= 1
        if self.n_failures >= 0:
            raise EngineError("the model fell over", "try again")
        return EchoEngine([fakes.ANSWER]).generate(prompts, sampling)


def test_retries_and_fallbacks_of_langchain_work() -> None:
    retried = ExplainRunnable(agent(Fickle(1))).with_retry(
        retry_if_exception_type=(EngineError,), wait_exponential_jitter=False
    )
    assert isinstance(retried.invoke({"transcript": WORDS}), Outcome)
    falling = ExplainRunnable(agent(Fickle(9))).with_fallbacks([ExplainRunnable(agent())])
    assert isinstance(falling.invoke({"transcript": WORDS}), Outcome)


def test_it_shows_a_schema_of_what_goes_in_and_out() -> None:
    runnable = ExplainRunnable(agent(), name="look")
    assert runnable.get_name() == "look"
    assert "transcript" in json.dumps(runnable.get_input_jsonschema())
    assert "observations" in json.dumps(runnable.get_output_jsonschema())


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
        call(make_explain_tool(AffectAgent(None, parts=Parts(face=reader)), folder), path="talkie.mp4")


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


# ---------------------------------------------------------------- without langchain


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_without_langchain_core_the_remedy_is_named() -> None:
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "import affectgpt.agent\nfrom affectgpt.errors import MissingDependency\n"
        "try: import affectgpt.langchain\nexcept MissingDependency as error: print(error.remedy)"
    )
    assert python(code) == "pip install 'affectgpt[langchain]'"


def test_only_those_who_import_it_pay_for_it() -> None:
    assert python("import sys, affectgpt, affectgpt.agent; print('langchain_core' in sys.modules)") == "False"


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
