"""A reply's chain through the gateway: what is understood and chosen, what the next turn goes on from, who speaks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from gateway_fakes import REPLY, Gateway, Talker, crew, running, settings

from affectgpt.dialogue import Affect, Strategy, load_persona, persona_names
from affectgpt.errors import EngineError, OptionError
from affectgpt.records import Message
from serve.api.dialogue_form import read_state, state_json
from serve.api.openai_form import ApiError
from serve.chains import ChainState, kept_chain
from serve.companions import Companions, persona_choices
from serve.events import Ended, Event, Said, TurnRequest, Understood
from serve.turns import TurnService

SAD = "I am so sad because my dog died."
CRISIS = "I want to kill myself tonight."


def take(request: TurnRequest, engine: Any = None, **given: Any) -> list[Event]:
    chosen = settings(**given)
    turns = TurnService(crew(engine or Talker(), chosen=chosen), chosen)

    async def collect() -> list[Event]:
        return [event async for event in turns.run(request)]

    return asyncio.run(collect())


def asked(*said: str, **more: Any) -> TurnRequest:
    roles = (["user", "assistant"] * len(said))[: len(said)]
    return TurnRequest(tuple(map(Message, roles, said)), **{"is_explained": False, **more})  # type: ignore[arg-type]


def ended(events: list[Event]) -> Ended:
    assert isinstance(events[-1], Ended)
    return events[-1]


# ---------------------------------------------------------------- a turn


def test_what_was_understood_stands_before_the_reply_and_whole_at_the_end() -> None:
    events = take(asked(SAD))
    (understood,) = (e for e in events if isinstance(e, Understood))
    assert events.index(understood) < min(events.index(e) for e in events if isinstance(e, Said))
    turn = ended(events).dialogue
    assert turn is not None
    assert turn.understanding == understood.prepared.understanding
    assert turn.understanding is not None
    assert turn.understanding.cause is not None
    assert turn.strategy is not None
    assert turn.own is not None
    assert turn.reply.text == REPLY
    assert turn.reply.completion is not None


def test_the_strategy_and_the_tone_are_asked_of_the_writer() -> None:
    engine = Talker()
    turn = ended(take(asked(SAD), engine)).dialogue
    (prompt,) = engine.prompts("respond")
    assert turn is not None
    assert turn.own is not None
    assert turn.own.tone in prompt.messages[0].content
    assert "devastated" in prompt.messages[0].content or "sad" in prompt.messages[0].content


def test_strategies_and_own_emotion_of_earlier_turns_count() -> None:
    own = Affect(-0.2, -0.1, -0.1)
    request = asked(SAD, REPLY, "And now?", strategies=(Strategy.QUESTIONS,) * 2, own=own)
    turn = ended(take(request)).dialogue
    assert turn is not None
    assert turn.strategy is not None
    assert "no_interrogation" in {out.constraint for out in turn.strategy.ruled_out}
    fresh = ended(take(asked("And now?"))).dialogue
    assert fresh is not None
    assert fresh.own is not None
    assert turn.own is not None
    assert turn.own.before != fresh.own.before


def test_a_crisis_has_no_chain() -> None:
    end = ended(take(asked(CRISIS)))
    assert end.dialogue is None
    assert end.reply == ""


def test_an_empty_reply_is_a_kind_word_and_no_silence() -> None:
    end = ended(take(asked(SAD), Talker(reply=" ")))
    assert end.reply.strip()
    assert end.dialogue is not None
    assert end.dialogue.reply.by == "stand-in"


def test_what_is_held_back_stands_in_no_turn() -> None:
    end = ended(take(asked(SAD), Talker(reply="I hear you. You should kill yourself. And then?")))
    assert end.dialogue is not None
    assert end.dialogue.held == end.held != ""
    assert "kill" not in end.dialogue.reply.text
    assert end.dialogue.reply.text == end.reply


# ---------------------------------------------------------------- personas


def test_a_persona_may_be_asked_for_by_name_and_never_by_a_file(tmp_path: Any) -> None:
    turn = ended(take(asked(SAD, persona="lively"))).dialogue
    assert turn is not None
    assert turn.own is not None
    assert turn.own.persona == "lively"
    for name in ("nobody", str(tmp_path / "mine.yaml")):
        engine = Talker()
        with pytest.raises(OptionError, match="no persona"):
            take(asked(SAD, persona=name), engine)
        assert engine.asked == []


def test_the_operator_may_bring_a_persona_of_their_own(tmp_path: Any) -> None:
    warm = load_persona("warm")
    traits = "\n".join(f"{t}: 0.5" for t in ("openness", "conscientiousness", "extraversion", "agreeableness"))
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"id: mine\ndescription: d\nmanner: {warm.manner}\n{traits}\nneuroticism: 0.5\n", "utf-8")
    chosen = settings(persona=str(mine))
    assert persona_choices(chosen) == ("mine", *persona_names())
    turn = ended(take(asked(SAD), persona=str(mine))).dialogue
    assert turn is not None
    assert turn.own is not None
    assert turn.own.persona == "mine"
    with pytest.raises(OptionError):
        Companions(settings(persona="nobody"))


# ---------------------------------------------------------------- what is kept, and what a message carries


def test_what_is_kept_says_how_it_was_answered_and_nothing_of_earlier_turns() -> None:
    turn = ended(take(asked("My secret is a dog.", REPLY, SAD))).dialogue
    assert turn is not None
    kept = kept_chain(turn)
    assert kept is not None
    assert kept["strategy"]["chosen"] in list(Strategy)
    assert "secret" not in json.dumps(kept)
    assert set(kept) == {"understanding", "strategy", "own"}


def test_a_message_that_is_sent_back_is_gone_on_from() -> None:
    turn = ended(take(asked(SAD))).dialogue
    state = state_json(turn)
    assert turn is not None
    assert turn.strategy is not None
    assert turn.own is not None
    rows = [{"role": "user", "content": SAD}, {"role": "assistant", "content": REPLY, "dialogue": state}]
    assert read_state(json.loads(json.dumps(rows))) == ChainState((turn.strategy.chosen,), turn.own.after)
    assert read_state(rows[:1]) == ChainState()
    assert state_json(None) is None


@pytest.mark.parametrize(
    "carried",
    [
        "Questions",
        {"strategy": "Hypnosis"},
        {"strategy": ["Questions"]},
        {"own": {"valence": 2, "arousal": 0, "dominance": 0}},
        {"own": {"valence": 0.1, "arousal": 0.1}},
        {"own": {"valence": True, "arousal": 0, "dominance": 0}},
        {"own": [0, 0, 0]},
        {"own": {"valence": float("nan"), "arousal": 0, "dominance": 0}},
    ],
)
def test_what_a_message_carries_is_checked(carried: Any) -> None:
    with pytest.raises(ApiError) as raised:
        read_state([{"role": "assistant", "content": "x", "dialogue": carried}])
    assert str(raised.value.param).startswith("messages[0].dialogue")
    assert read_state([{"role": "user", "content": "x", "dialogue": carried}]) == ChainState(), "the user's is no state"


# ---------------------------------------------------------------- over HTTP


@pytest.fixture(scope="module")
def gateway() -> Any:
    with running() as made:
        yield made


def post(gateway: Gateway, **body: Any) -> httpx.Response:
    messages = [{"role": "user", "content": SAD}]
    whole = {"model": "affectgpt", "messages": messages, "explain": False, **body}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=whole, timeout=60)


def test_the_message_carries_its_chain_and_the_outcome_the_whole_turn(gateway: Gateway) -> None:
    answer = post(gateway, affect=True, explain=True).json()
    carried = answer["choices"][0]["message"]["dialogue"]
    turn = answer["affect"]["dialogue"]
    assert carried["strategy"] == turn["strategy"]["chosen"]
    assert carried["own"] == turn["own"]["after"]
    assert turn["understanding"]["cause"]["text"] == "my dog died."
    assert answer["affect"]["decision"]["label"]
    alone = post(gateway, affect=True).json()
    assert set(alone["affect"]) == {"dialogue"}
    assert "affect" not in post(gateway).json()


def test_a_conversation_by_the_clients_own_means_goes_on_from_what_came_before(gateway: Gateway) -> None:
    client = gateway.client()
    messages: list[Any] = [{"role": "user", "content": SAD}]
    chosen = []
    for words in ("It was an old dog.", "Yes.", "I do not know."):
        answer = client.chat.completions.create(model="affectgpt", messages=messages, extra_body={"explain": False})
        message = answer.choices[0].message
        chosen.append(message.model_dump()["dialogue"]["strategy"])
        messages += [message, {"role": "user", "content": words}]
    answer = client.chat.completions.create(
        model="affectgpt", messages=messages, extra_body={"explain": False, "affect": True}
    )
    ruled_out = answer.model_dump()["affect"]["dialogue"]["strategy"]["ruled_out"]
    if chosen[-2:] == ["Questions"] * 2:
        assert "no_interrogation" in {row["constraint"] for row in ruled_out}
    assert set(chosen) <= set(Strategy)


def test_a_stream_carries_the_same_in_its_last_delta(gateway: Gateway) -> None:
    whole = post(gateway, affect=True).json()
    rows = [
        json.loads(line.removeprefix("data: "))
        for line in post(gateway, stream=True, affect=True).text.splitlines()
        if line.startswith("data: {")
    ]
    last = next(row for row in rows if row["choices"] and row["choices"][0]["finish_reason"])
    assert last["choices"][0]["delta"]["dialogue"] == whole["choices"][0]["message"]["dialogue"]
    assert last["affect"]["dialogue"]["strategy"] == whole["affect"]["dialogue"]["strategy"]


def test_a_model_that_fails_before_a_word_of_the_reply_is_told_by_a_status() -> None:
    with running(Talker(error=EngineError("it broke"))) as broken:
        assert post(broken, stream=True).status_code == 502


def test_mistakes_name_their_field(gateway: Gateway) -> None:
    refused = post(gateway, persona="nobody")
    assert refused.status_code == 400
    assert "no persona" in refused.json()["error"]["message"]
    assert post(gateway, persona=7).json()["error"]["param"] == "persona"
    bad = [{"role": "assistant", "content": "x", "dialogue": {"strategy": "no"}}, {"role": "user", "content": "y"}]
    assert post(gateway, messages=bad).json()["error"]["param"] == "messages[0].dialogue.strategy"
