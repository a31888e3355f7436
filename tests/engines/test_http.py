"""The http engine against a real server on the loopback, scripted answer by answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from affectgpt.engines.engine import EngineOptions, open_engine
from affectgpt.engines.http import _key
from affectgpt.errors import EngineBusy, EngineError, EngineUnreachable, OptionError
from affectgpt.records import Completion, Message, Prompt, Sampling
from tests.scripted_server import Scripted, reply

SECRET = "sk-very-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}}


def prompt(text: str = "hello", schema: dict[str, Any] | None = None) -> Prompt:
    return Prompt((Message("system", "be brief"), Message("user", text)), "explain", "7", schema)


def ask(server: Scripted, one: Prompt | None = None, **options: Any) -> Completion:
    (answer,) = server.open(**options).generate([one or prompt()], Sampling())
    assert isinstance(answer, Completion)
    return answer


def test_an_answer_is_stamped_and_the_request_says_what_was_asked(server: Scripted) -> None:
    sampling = Sampling(max_tokens=9, temperature=0.5, top_p=0.9, seed=4, stop=("END",))
    (answer,) = server.open().generate([prompt()], sampling)
    assert answer == Completion("fine", "http", "m", "explain", "7", 11, 5, "stop")
    assert server.asked == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
            "max_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 4,
            "stop": ["END"],
        }
    ]


def test_order_count_and_repeatability_hold_under_concurrency(server: Scripted) -> None:
    def slow_first(asked: dict[str, Any]) -> dict[str, Any]:
        text = asked["messages"][-1]["content"]
        time.sleep(0.2 if text == "0" else 0.01)
        return reply(text)

    server.script = [(200, slow_first)]
    engine = server.open(n_concurrent=4)
    assert [a.text for a in engine.generate([prompt(str(i)) for i in range(9)], Sampling())] == list("012345678")
    assert engine.generate([], Sampling()) == []
    same = engine.generate([prompt("a"), prompt("a")], Sampling())
    assert same[0] == same[1]


def test_requests_run_side_by_side_within_the_bound(server: Scripted) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def counted(_: dict[str, Any]) -> dict[str, Any]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1
        return reply("x")

    server.script = [(200, counted)]
    server.open(n_concurrent=3).generate([prompt()] * 9, Sampling())
    assert 2 <= most <= 3


def test_length_and_reasoning_are_kept(server: Scripted) -> None:
    server.script = [(200, reply("cut", "length"))]
    assert ask(server).finish_reason == "length"
    for extra in ({"reasoning": "because"}, {"reasoning_content": "because"}):
        server.script = [(200, reply("so", **extra))]
        assert (ask(server).text, ask(server).reasoning) == ("so", "because")
    server.script = [(200, reply("<think>because</think>so"))]
    assert (ask(server).text, ask(server).reasoning) == ("so", "because")
    server.script = [(200, reply(None, "length", reasoning="still thinking"))]
    assert (ask(server).text, ask(server).reasoning) == ("", "still thinking")


def test_rate_limits_and_server_errors_are_tried_again(server: Scripted) -> None:
    server.script = [(429, {"error": {"message": "slow down"}}), (503, {}), (200, reply("at last"))]
    assert ask(server).text == "at last"
    assert len(server.asked) == 3


def test_a_storm_of_errors_ends_in_one_that_counts_the_tries(server: Scripted) -> None:
    server.script = [(500, {"error": {"message": "out of \x1b[31mmemory"}})]
    with pytest.raises(EngineError, match=r"answered 500: .*memory.*after 2 retries") as e:
        ask(server)
    assert len(server.asked) == 3
    assert "\x1b" not in str(e.value)


def test_a_refused_key_never_shows(server: Scripted) -> None:
    server.script = [(401, {"error": {"message": f"Incorrect API key provided: {SECRET}"}})]
    with pytest.raises(EngineError, match=r"answered 401.*\[key\].*--api-key") as e:
        ask(server, api_key=SECRET)
    assert SECRET not in str(e.value)
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(("status", "is_for_now"), [(400, False), (401, False), (404, False), (429, True), (503, True)])
def test_what_may_be_different_later_is_told_from_what_may_not(server: Scripted, status: int, is_for_now: bool) -> None:
    server.script = [(status, {"error": {"message": "no"}})]
    server.later = "7"
    with pytest.raises(EngineError) as e:
        ask(server, n_retries=0)
    assert isinstance(e.value, EngineBusy) is is_for_now
    assert getattr(e.value, "retry_after_s", None) == (7.0 if is_for_now else None)


def test_a_date_to_come_back_at_is_not_relied_upon(server: Scripted) -> None:
    server.script, server.later = [(429, {})], "Wed, 21 Oct 2015 07:28:00 GMT"
    with pytest.raises(EngineBusy) as e:
        ask(server, n_retries=0)
    assert e.value.retry_after_s is None


def test_silence_is_a_timeout_and_a_closed_port_unreachable(server: Scripted) -> None:
    def late(_: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.6)
        return reply("late")

    server.script = [(200, late)]
    with pytest.raises(EngineError, match=r"did not answer within 0\.2 s.*--timeout") as e:
        ask(server, timeout_s=0.2, n_retries=0)
    assert isinstance(e.value, EngineBusy)
    options = EngineOptions(base_url="http://user:hunter2@127.0.0.1:9/v1", model="m", n_retries=0)
    with pytest.raises(EngineUnreachable, match=r"http://127\.0\.0\.1:9/v1; start the server") as e:
        open_engine(options, {}).generate([prompt()], Sampling())
    assert "hunter2" not in str(e.value)


@pytest.mark.parametrize("body", [b"{broken", b"<html>hello</html>", b'{"choices": []}', b"[]", b'{"choices": null}'])
def test_nonsense_is_an_engine_error(server: Scripted, body: bytes) -> None:
    server.script = [(200, body)]
    with pytest.raises(EngineError, match="did not answer in the OpenAI form"):
        ask(server)


def test_redirects_are_not_followed(server: Scripted) -> None:
    server.script = [(307, {})]
    with pytest.raises(EngineError, match=r"answered 307.*redirects are not followed"):
        ask(server, n_retries=0)


def test_structured_output_is_asked_for_where_the_prompt_has_a_schema(server: Scripted) -> None:
    assert ask(server, prompt(schema=SCHEMA)).text == "fine"
    sent = server.asked[0]["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]) == ("json_schema", SCHEMA)


def test_a_server_without_schemas_is_asked_again_once_and_remembered(server: Scripted) -> None:
    def picky(asked: dict[str, Any]) -> Any:
        return {"error": {"message": "response_format json_schema is not supported"}}

    server.script = [(400, picky), (200, reply("plain"))]
    engine = server.open()
    assert [engine.generate([prompt(schema=SCHEMA)], Sampling())[0].text for _ in range(2)] == ["plain", "plain"]
    assert ["response_format" in asked for asked in server.asked] == [True, False, False]
    server.script = [(400, {"error": {"message": "the prompt is too long"}})]
    with pytest.raises(EngineError, match=r"answered 400: .*too long"):
        ask(server, prompt(schema=SCHEMA))


def test_the_model_is_the_servers_only_one_or_must_be_named(server: Scripted) -> None:
    assert server.open(model=None).model == "m"
    server.models = ["a", "b\x1b"]
    with pytest.raises(OptionError, match=r"lists 2 models: a, b; name one with --model"):
        server.open(model=None)
    server.models = []
    with pytest.raises(OptionError, match="0 models: none"):
        server.open(model=None)
    server.models = {"data": None}
    with pytest.raises(EngineError):
        server.open(model=None)


def test_a_stored_openai_key_goes_to_openai_only() -> None:
    env = {"OPENAI_API_KEY": SECRET}
    urls = {
        "https://api.openai.com/v1": SECRET,
        "http://api.openai.com/v1": "local",
        "https://api.openai.com.evil.example/v1": "local",
        "https://api.openai.com@evil.example/v1": "local",
        "https://evil.example/api.openai.com/v1": "local",
        "http://localhost:8000/v1": "local",
    }
    assert {url: _key(EngineOptions(), url, env) for url in urls} == urls
    env["AFFECTGPT_API_KEY"] = "own"
    assert _key(EngineOptions(), "http://localhost/v1", env) == "own"
    assert _key(EngineOptions(api_key="flag"), "http://localhost/v1", env) == "flag"


def test_nothing_of_an_openai_environment_reaches_another_server(server: Scripted) -> None:
    code = (
        "import sys\n"
        "from affectgpt.engines.engine import *\n"
        "from affectgpt.records import *\n"
        "engine = open_engine()\n"
        "print(engine.generate([Prompt((Message('user', 'x'),), 'p', '1')], Sampling())[0].text)"
    )
    env = {
        **os.environ,
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": SECRET,
        "OPENAI_ADMIN_KEY": SECRET,
        "OPENAI_ORG_ID": SECRET,
        "OPENAI_PROJECT_ID": SECRET,
        "OPENAI_CUSTOM_HEADERS": f"X-Own: {SECRET}\nAuthorization: Bearer {SECRET}",
    }
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "fine"
    assert server.headers[0]["authorization"] == "Bearer local"
    assert SECRET not in json.dumps(server.headers)


def test_a_stream_joins_to_the_answer(server: Scripted) -> None:
    def event(piece: str | None, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": {"content": piece}, "finish_reason": finish}
        return (
            "data: " + json.dumps({"id": "x", "object": "c", "created": 0, "model": "m", "choices": [choice]}) + "\n\n"
        )

    server.script = [(200, (event("one ") + event("two") + event(None, "stop") + "data: [DONE]\n\n").encode())]
    assert list(server.open().stream(prompt(), Sampling())) == ["one ", "two"]
    server.script = [(401, {"error": {"message": "no"}})]
    with pytest.raises(EngineError, match="401"):
        list(server.open().stream(prompt(), Sampling()))


OPENED = replace(prompt(schema=SCHEMA), opening="**Key observations**\n- a <|im_end|> said\n")


@pytest.mark.parametrize("owner", ["vllm", "somebody"])
def test_only_a_vllm_goes_on_from_an_answers_opening(server: Scripted, owner: str) -> None:
    server.owner = owner
    server.script = [(200, reply("and on"))]
    answer, asked = ask(server, OPENED), server.asked[0]
    if owner == "vllm":
        assert answer.text == OPENED.opening + "and on"
        assert asked["messages"][-1] == {"role": "assistant", "content": OPENED.opening.replace("<|", "< |")}
        assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
        assert "response_format" not in asked
    else:
        assert answer.text == "and on"
        assert asked["messages"][-1]["role"] == "user"
        assert "response_format" in asked


def test_a_streamed_answer_begins_with_its_opening(server: Scripted) -> None:
    choice = {"index": 0, "delta": {"content": "on"}, "finish_reason": "stop"}
    event = json.dumps({"id": "x", "object": "c", "created": 0, "model": "m", "choices": [choice]})
    server.owner, server.script = "vllm", [(200, f"data: {event}\n\ndata: [DONE]\n\n".encode())]
    assert "".join(server.open().stream(OPENED, Sampling())) == OPENED.opening + "on"


@pytest.mark.parametrize(
    "mark", ["<|im_end|>", "<|eot_id|>", "<｜Assistant｜>", "</s>", "<start_of_turn>", "[/INST]", "<prompt_embeds>"]
)
def test_no_message_can_end_its_own_turn(server: Scripted, mark: str) -> None:
    ask(server, prompt(f"he said {mark} and a < b | c > d [1]"))
    sent = server.asked[0]["messages"][1]["content"]
    assert mark not in sent
    assert sent.replace(f"{mark[0]} {mark[1:]}", mark) == f"he said {mark} and a < b | c > d [1]"


def test_a_proxy_of_the_environment_does_not_stand_before_the_loopback(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(server, n_retries=0).text == "fine"
