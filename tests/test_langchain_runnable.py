"""`ExplainRunnable`: what a chain is given, in which order, and how a run ends."""

from __future__ import annotations

import asyncio
import json
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
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from langchain_fakes import WORDS, agent, make_folder, untimed
from page_fakes import KnownAppraiser

from affectgpt.agent import AffectAgent, Parts
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import EngineError, MediaNotFound, OptionError
from affectgpt.langchain import ExplainArgs, ExplainRunnable, Stage, Step
from affectgpt.readers import AgentOptions
from affectgpt.records import Completion, Modality, Observation, Outcome, Prompt, Sampling


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("langchain"))


@pytest.fixture(scope="module")
def clip(folder: Path) -> str:
    return str(folder / "talkie.mp4")


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
    """An appraiser that counts how many ask it at once, and goes on when `n_meet` of them have come."""

    n_meet: int
    most: int = 0
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.meeting = threading.Barrier(self.n_meet, timeout=20)

    def appraise(self, *tracks: Any) -> Any:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.meeting.wait()
        time.sleep(0.01)
        with self.lock:
            self.now -= 1
        return KnownAppraiser().appraise(*tracks)


@pytest.mark.parametrize(("allowed", "asked", "most"), [(3, None, 3), (3, 1, 1), (1, 8, 1)])
def test_as_many_are_read_at_once_as_allowed_and_no_more(allowed: int, asked: int | None, most: int) -> None:
    crowd = Crowd(most)
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
