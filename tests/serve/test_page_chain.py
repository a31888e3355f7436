"""How a reply came about, on the page: folded beside it, kept with it, and gone on from by the next turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import dialogue_fakes
import pytest
from page_fakes import ME, Stand, run, send

from affectgpt.dialogue import Asked, Prepared, Strategy
from serve.chains import ChainState, kept_chain, state_of_chains
from serve.events import Ended, Said, Understood
from serve.store import Answered, open_store
from serve.store import Asked as Message
from serve.web.asking import Choices, request_of
from serve.web.messages import show_turns
from serve.web.running import Rehearsal

SAD = "I am so sad because my <b>dog</b> died."


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return dialogue_fakes.companion().prepare(Asked(SAD))


def answered(prepared: Prepared, reply: str = "That hurts.") -> Answered:
    return Answered.of(Ended(None, "", reply, "stop", "m", dialogue=prepared.turn(reply)))


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with open_store(retain=False) as store:
        made = Stand(store, tmp_path)
        yield made
        made.intake.close()


def test_the_chain_is_folded_between_the_reasoning_and_the_reply(stand: Stand, prepared: Prepared) -> None:
    conversation = stand.store.create(ME.owner)
    revision = stand.store.begin(ME.owner, conversation.id, Message(SAD))
    stand.store.finish(ME.owner, revision.id, answered(prepared))
    messages, places = show_turns(stand.store.get(ME.owner, conversation.id).turns, {})
    assert [m["role"] for m in messages] == ["user", "assistant", "assistant"]
    assert places == [0, 0, 0]
    folded = messages[1]
    assert folded["metadata"]["status"] == "done"
    assert str(prepared.strategy.chosen if prepared.strategy else "") in folded["metadata"]["title"]
    for part in ("What was understood", "ruled out", "own emotion", "persona warm"):
        assert part in folded["content"]
    assert "<b>" not in folded["content"], "what somebody wrote is no markup"
    assert "claims" not in folded["content"], "a list of claims keeps a column for marks, and nothing is marked here"
    assert "That hurts." in messages[2]["content"]


def test_it_shows_while_the_reply_is_still_written(stand: Stand, prepared: Prepared) -> None:
    conversation = stand.store.create(ME.owner)
    revision = stand.store.begin(ME.owner, conversation.id, Message(SAD))
    now = Rehearsal().after(Understood(prepared))
    assert now.chain == kept_chain(prepared)
    turns = stand.store.get(ME.owner, conversation.id).turns
    messages, _ = show_turns(turns, {revision.id: now.after(Said("That"))})
    titles = [m["metadata"]["title"] for m in messages if "metadata" in m]
    assert len(titles) == 2
    assert "How it answers" in titles[1]


def test_a_crisis_has_no_chain_to_fold(stand: Stand) -> None:
    views = run(send(stand, "crisis"))
    last = next(view for view in reversed(views) if view.messages)
    assert not any("How it answers" in str(m.get("metadata", "")) for m in last.messages or ())


def test_it_is_kept_and_the_next_turn_goes_on_from_it(stand: Stand, prepared: Prepared) -> None:
    conversation = stand.store.create(ME.owner)
    first = stand.store.begin(ME.owner, conversation.id, Message(SAD))
    stand.store.finish(ME.owner, first.id, answered(prepared))
    second = stand.store.begin(ME.owner, conversation.id, Message("And now?"))
    whole = stand.store.get(ME.owner, conversation.id)
    kept = whole.turns[0].revision.answered
    assert kept is not None
    assert kept.chain == json.loads(json.dumps(kept_chain(prepared)))
    request = request_of(whole, second, Choices())
    assert prepared.strategy is not None
    assert prepared.own is not None
    assert request.strategies == (prepared.strategy.chosen,)
    assert request.own == prepared.own.after
    assert [m.content for m in request.messages] == [SAD, "That hurts.", "And now?"]
    assert request_of(whole, first, Choices()).strategies == ()


def test_what_was_kept_of_older_turns_has_no_chain() -> None:
    assert state_of_chains([]) == ChainState()
    assert state_of_chains([{"strategy": None, "own": None, "understanding": None}]) == ChainState()
    chain = {"strategy": {"chosen": "Questions"}, "own": None}
    assert state_of_chains([chain, chain]).strategies == (Strategy.QUESTIONS,) * 2


def test_a_chosen_persona_goes_with_the_turn_and_no_other_name_does(stand: Stand) -> None:
    async def talk(persona: str) -> str:
        async for _ in stand.handlers.send(ME, None, "Hello there.", [], Choices(persona=persona)):
            pass
        return stand.turns.asked[-1].persona

    assert asyncio.run(talk("warm")) == "warm"
    assert asyncio.run(talk("/etc/passwd")) == ""


def test_an_export_tells_how_an_answer_came_about(stand: Stand, prepared: Prepared) -> None:
    conversation = stand.store.create(ME.owner)
    revision = stand.store.begin(ME.owner, conversation.id, Message(SAD))
    stand.store.finish(ME.owner, revision.id, answered(prepared))
    text = "".join(stand.store.export(ME.owner, "md"))
    assert "What was understood" in text
    assert "<b>" not in text
