"""Rows get their answers however often the engine turns them away, or it is told why not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Sequence

import fakes
import pytest

from affectgpt.agent import AffectAgent, Senses
from affectgpt.batch.asking import Answerer
from affectgpt.batch.gathering import GatheringEngine
from affectgpt.batch.limiting import AdaptiveLimit
from affectgpt.batch.servers import Patience, Server, check_alike
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import AffectError, EngineBusy, EngineError, EngineUnreachable, OptionError
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions
from affectgpt.records import Completion, Explanation, Message, Modality, Outcome, Prompt, Sampling

SOON = Patience(attempts=5, outage_s=2.0, unit_s=0.002)
OPTIONS = AgentOptions(modalities=frozenset({Modality.SPEECH}), revisions=0)


class Moody(EchoEngine):
    """Raises what `mood` gives for the number of the request, from 0; None lets it answer."""

    def __init__(self, mood: Callable[[int], AffectError | None], pause_s: float = 0.0) -> None:
        super().__init__()
        self._mood, self._pause_s = mood, pause_s
        self._turn = threading.Lock()
        self.n_asked = self.n_inside = self.n_most = 0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        with self._turn:
            number, self.n_asked = self.n_asked, self.n_asked + 1
            self.n_inside += 1
            self.n_most = max(self.n_most, self.n_inside)
        try:
            time.sleep(self._pause_s)
            if (error := self._mood(number)) is not None:
                raise error
            return super().generate(prompts, sampling)
        finally:
            with self._turn:
                self.n_inside -= 1


@pytest.fixture(scope="module")
def weighed() -> Outcome:
    """Something to ask about."""
    said = fakes.transcript("I got the job")
    return Outcome(None, AffectAgent(None, OPTIONS).observe(Senses(transcript=said)), None, said)


def ask(
    engine: EchoEngine | list[EchoEngine], weighed: Outcome, n_rows: int, patience: Patience = SOON, most: int = 8
) -> list[object]:
    """What comes of each row, and after how many attempts."""
    engines = engine if isinstance(engine, list) else [engine]
    counts = [0] * n_rows

    async def play() -> list[object]:
        answerer = Answerer([Server(each, PromptLibrary(), AdaptiveLimit(most)) for each in engines], patience)

        def counting(n: int) -> Callable[[int], None]:
            def count(number: int) -> None:
                counts[n] = number

            return count

        asked = [answerer.answer(weighed, OPTIONS, counting(n)) for n in range(n_rows)]
        got = await asyncio.gather(*asked, return_exceptions=True)
        answerer.close()
        return list(got)

    return list(zip(asyncio.run(play()), counts, strict=True))


def test_every_row_is_answered_and_no_more_than_the_limit_at_once(weighed: Outcome) -> None:
    engine = Moody(lambda _: None, pause_s=0.005)
    got = ask(engine, weighed, 40, most=4)
    assert all(isinstance(outcome.answer, Explanation) for outcome, _ in got)
    assert {attempts for _, attempts in got} == {1}
    assert 2 <= engine.n_most <= 4


def test_a_storm_of_refusals_costs_tries_and_no_row(weighed: Outcome) -> None:
    engine = Moody(lambda n: EngineBusy("answered 429") if n % 3 else None)
    got = ask(engine, weighed, 30, Patience(attempts=40, unit_s=0.0005))
    assert all(isinstance(outcome, Outcome) for outcome, _ in got)
    assert sum(attempts for _, attempts in got) == engine.n_asked > 60


def test_who_is_turned_away_too_often_is_told_so(weighed: Outcome) -> None:
    engine = Moody(lambda _: EngineBusy("answered 503"))
    ((error, attempts),) = ask(engine, weighed, 1)
    assert isinstance(error, EngineBusy)
    assert attempts == SOON.attempts == engine.n_asked


@pytest.mark.parametrize("error", [EngineError("answered 401"), OptionError("the prompt has 9000 tokens")])
def test_what_no_try_can_change_is_not_tried_again(weighed: Outcome, error: AffectError) -> None:
    engine = Moody(lambda _: error)
    ((got, attempts),) = ask(engine, weighed, 1)
    assert (type(got), attempts, engine.n_asked) == (type(error), 1, 1)


def test_a_server_is_left_alone_for_as_long_as_it_asks(weighed: Outcome) -> None:
    later = EngineBusy("answered 429")
    later.retry_after_s = 30.0
    engine = Moody(lambda n: later if n == 0 else None)
    begun_s = time.monotonic()
    ask(engine, weighed, 1, Patience(unit_s=0.01))
    assert time.monotonic() - begun_s >= 0.3


def test_a_server_that_restarts_costs_no_row_an_attempt(weighed: Outcome) -> None:
    engine = Moody(lambda n: EngineUnreachable("nothing answers") if 5 <= n < 30 else None)
    got = ask(engine, weighed, 60, Patience(attempts=1, outage_s=60.0, unit_s=0.001))
    assert all(isinstance(outcome, Outcome) for outcome, _ in got)
    assert {attempts for _, attempts in got} == {1}


def test_while_it_is_away_only_one_looks(weighed: Outcome) -> None:
    away_until_s = time.monotonic() + 0.6
    engine = Moody(lambda _: EngineUnreachable("nothing answers") if time.monotonic() < away_until_s else None)
    got = ask(engine, weighed, 50, Patience(outage_s=60.0, unit_s=0.05), most=50)
    assert all(isinstance(outcome, Outcome) for outcome, _ in got)
    assert engine.n_asked <= 50 + 50 + 10, "each row once into the outage at most, a few looks, and the answers"


def test_a_server_that_stays_away_ends_it_for_all(weighed: Outcome) -> None:
    engine = Moody(lambda _: EngineUnreachable("nothing answers at http://127.0.0.1:9"))
    got = ask(engine, weighed, 20, Patience(outage_s=0.2, unit_s=0.01))
    assert {type(error) for error, _ in got} == {EngineUnreachable}
    assert "give the same command again" in str(got[0][0])


# ---------------------------------------------------------------- several servers


def test_servers_share_the_rows_by_what_they_take(weighed: Outcome) -> None:
    is_nearly_done = threading.Event()

    def hurry(number: int) -> None:
        if number == 115:
            is_nearly_done.set()

    def hang(_: int) -> None:
        is_nearly_done.wait(120)

    fast, slow = Moody(hurry), Moody(hang)
    got = ask([fast, slow], weighed, 120, most=4)
    assert all(isinstance(outcome, Outcome) for outcome, _ in got)
    assert (fast.n_asked, slow.n_asked) == (116, 4), "no row stood behind a server that hangs"
    assert max(fast.n_most, slow.n_most) <= 4


def test_equal_servers_are_asked_in_turn(weighed: Outcome) -> None:
    engines: list[EchoEngine] = [Moody(lambda _: None) for _ in range(3)]

    async def play() -> None:
        answerer = Answerer([Server(each, PromptLibrary(), AdaptiveLimit(4)) for each in engines], SOON)
        for _ in range(9):  # one at a time: none is ever busier than another
            await answerer.answer(weighed, OPTIONS, lambda _: None)
        answerer.close()

    asyncio.run(play())
    assert [each.n_asked for each in engines if isinstance(each, Moody)] == [3, 3, 3]


def test_while_one_is_away_the_others_take_its_rows_and_none_waits(weighed: Outcome) -> None:
    gone = Moody(lambda _: EngineUnreachable("nothing answers"))
    there = Moody(lambda _: None)
    got = ask([gone, there], weighed, 60, Patience(attempts=1, outage_s=0.0, unit_s=1000.0))  # whoever waits is late
    assert {attempts for _, attempts in got} == {1}
    assert all(isinstance(outcome, Outcome) for outcome, _ in got)
    assert there.n_asked == 60
    assert gone.n_asked <= 8 + 2, "those that were on their way, and a look or two"


def test_one_that_comes_back_is_asked_again(weighed: Outcome) -> None:
    first = Moody(lambda n: EngineUnreachable("nothing answers") if n < 12 else None, pause_s=0.002)
    other = Moody(lambda _: None, pause_s=0.01)
    got = ask([first, other], weighed, 200, Patience(attempts=1, outage_s=60.0, unit_s=0.001), most=4)
    assert all(isinstance(outcome, Outcome) for outcome, _ in got)
    assert first.n_asked > 50


def test_only_when_none_is_left_for_long_it_ends(weighed: Outcome) -> None:
    engines: list[EchoEngine] = [Moody(lambda _: EngineUnreachable("nothing answers")) for _ in range(3)]
    got = ask(engines, weighed, 20, Patience(outage_s=0.2, unit_s=0.01))
    assert {type(error) for error, _ in got} == {EngineUnreachable}


def test_servers_of_different_models_are_refused() -> None:
    check_alike([EchoEngine(), EchoEngine()])
    with pytest.raises(OptionError, match="different models: echo echo-1, echo echo-scripted"):
        check_alike([EchoEngine(), EchoEngine(["other words"])])


# ---------------------------------------------------------------- a model of this process


class Slate(EchoEngine):
    """Remembers how many prompts it got at a time; a prompt that says so fails its whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        self.sizes.append(len(prompts))
        time.sleep(0.01)
        if any("too long" in p.messages[-1].content for p in prompts):
            raise OptionError("the prompt has too many tokens")
        return super().generate(prompts, sampling)


def asked_in_threads(engine: GatheringEngine, texts: Sequence[str], samplings: Sequence[Sampling]) -> dict[str, object]:
    got: dict[str, object] = {}

    def one(text: str, sampling: Sampling) -> None:
        try:
            (got[text],) = engine.generate([Prompt((Message("user", text),), "explain", "1")], sampling)
        except AffectError as error:
            got[text] = error

    threads = [threading.Thread(target=one, args=pair) for pair in zip(texts, samplings, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return got


def test_prompts_of_many_threads_are_written_side_by_side() -> None:
    slate = Slate()
    texts = [f"- [F{n}] seen" for n in range(40)]
    got = asked_in_threads(GatheringEngine(slate, 8), texts, [Sampling()] * 40)
    assert all(f"[F{n}]" in got[text].text for n, text in enumerate(texts))  # type: ignore[attr-defined]
    assert max(slate.sizes) <= 8
    assert len(slate.sizes) < 20


def test_a_batch_is_sampled_alike_and_one_bad_prompt_fails_alone() -> None:
    slate = Slate()
    texts = [f"{'too long' if n == 7 else 'fine'} - [F{n}] seen" for n in range(20)]
    samplings = [Sampling(seed=n % 2) for n in range(20)]
    got = asked_in_threads(GatheringEngine(slate, 8), texts, samplings)
    assert {text for text, outcome in got.items() if isinstance(outcome, AffectError)} == {texts[7]}
    assert len(got) == 20


def test_a_gathering_engine_streams_as_the_inner_one() -> None:
    prompt = Prompt((Message("user", "- [F1] seen"),), "explain", "1")
    stream: Generator[str, None, Completion] = GatheringEngine(EchoEngine(), 4).stream(prompt, Sampling())
    assert "".join(stream) == EchoEngine().generate([prompt], Sampling())[0].text
