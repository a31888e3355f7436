"""What the gateway tells of itself: true figures, ids on every answer, and nothing that anybody said."""

from __future__ import annotations

import ast
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_fakes import Behind, Gateway, Reader, Talker, behind, running, wait_for
from prometheus_client.parser import text_string_to_metric_families

from affectgpt.errors import EngineError, UnreadableMedia
from serve.api.keys import KeyRing
from serve.logs import JsonLines, set_up_logs, write
from serve.upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]
CRISIS = "I want to kill myself tonight."
SECRET = "Xylophontragedy"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running() as running_gateway:
        yield running_gateway


@pytest.fixture(scope="module")
def passing() -> Iterator[tuple[Behind, Gateway]]:
    with behind() as server, running(upstream=Upstream(server.url, "sk-key")) as running_gateway:
        yield server, running_gateway


def chat(url: str, text: str = "I am so tired.", headers: dict[str, str] | None = None, **given: Any) -> httpx.Response:
    body = {"model": "affectgpt", "messages": [{"role": "user", "content": text}], **given}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def figures(url: str, **headers: str) -> dict[tuple[str, ...], float]:
    """Every sample: its name, then its label values in the order of their names."""
    answer = httpx.get(f"{url}/metrics", headers=headers)
    assert answer.status_code == 200
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def grown(url: str, before: dict[tuple[str, ...], float], *key: str) -> float:
    return figures(url).get(key, 0.0) - before.get(key, 0.0)


# ---------------------------------------------------------------- figures


def test_a_turn_is_counted_with_its_stages_and_tokens(gateway: Gateway) -> None:
    before = figures(gateway.url)
    usage = chat(gateway.url).json()["usage"]
    assert grown(gateway.url, before, "affectgpt_turns_total", "stop") == 1
    for stage in ("appraise", "answer", "check", "reply"):
        assert grown(gateway.url, before, "affectgpt_turn_stage_seconds_count", stage) == 1
    assert grown(gateway.url, before, "affectgpt_turn_first_text_seconds_count") == 1
    first = grown(gateway.url, before, "affectgpt_turn_first_text_seconds_sum")
    assert 0 < first <= grown(gateway.url, before, "affectgpt_turn_seconds_sum")
    for kind in ("prompt", "completion"):
        counted = grown(gateway.url, before, "affectgpt_tokens_total", kind, "talker-1")
        assert counted == usage[f"{kind}_tokens"] > 0
    key = ("affectgpt_http_requests_total", "/v1/chat/completions", "POST", "200")
    assert grown(gateway.url, before, *key) == 1


def test_a_crisis_and_a_reply_held_back_are_counted_by_their_risk(gateway: Gateway) -> None:
    before = figures(gateway.url)
    chat(gateway.url, CRISIS)
    assert grown(gateway.url, before, "affectgpt_screened_turns_total", "crisis", "user") == 1
    assert grown(gateway.url, before, "affectgpt_turns_total", "content_filter") == 1
    with running(Talker(reply="You should kill yourself. Nobody would miss you.")) as other:
        chat(other.url)
        held = {key: value for key, value in figures(other.url).items() if key[0] == "affectgpt_screened_turns_total"}
        assert list(held.values()) == [1.0]
        assert next(iter(held))[2] == "reply"


def test_turns_that_fail_are_refused_or_left_are_told_apart() -> None:
    for kind, error in (("failed", EngineError("no", "")), ("input", UnreadableMedia("no", ""))):
        with running(Talker(error=error)) as gateway:
            chat(gateway.url)
            assert figures(gateway.url)["affectgpt_turns_total", kind] == 1
    with running(Talker(pause_s=0.2), n_turns=1) as gateway:
        with httpx.stream(
            "POST",
            f"{gateway.url}/v1/chat/completions",
            json={"model": "affectgpt", "messages": [{"role": "user", "content": "hello"}], "stream": True},
        ) as stream:
            pieces = stream.iter_raw()
            next(pieces)
            assert figures(gateway.url)["affectgpt_turns_running",] == 1
            assert chat(gateway.url).status_code == 429
        wait_for(lambda: figures(gateway.url)["affectgpt_turns_total", "given_up"] == 1)
        assert figures(gateway.url)["affectgpt_turns_total", "refused"] == 1
        assert figures(gateway.url)["affectgpt_turns_running",] == 0


def test_tokens_of_models_that_are_passed_on_count_under_their_names(passing: tuple[Behind, Gateway]) -> None:
    server, front = passing
    server.reset()
    before = figures(front.url)
    chat(front.url, model="base")
    chat(front.url, model="base", stream=True, stream_options={"include_usage": True})
    assert grown(front.url, before, "affectgpt_tokens_total", "prompt", "base") == 2 * 7
    assert grown(front.url, before, "affectgpt_tokens_total", "completion", "base") == 2 * len(server.words)


def test_no_client_adds_a_time_series(passing: tuple[Behind, Gateway]) -> None:
    _, front = passing

    def shower(number: int) -> None:
        word = f"{SECRET}{number}"
        for path in (f"/{word}", f"/v1/{word}", f"/v1/models/{word}", f"/v1/uploads/{word}", f"/?{word}"):
            httpx.get(front.url + path)
            httpx.request("DELETE", front.url + path)
        assert httpx.request(word.upper(), f"{front.url}/health").status_code == 501
        chat(front.url, model=word)
        chat(front.url, word, locale=word, user=word, seed=number)
        chat(front.url, headers={"x-request-id": word, "user-agent": word, "host": f"{word}.example"})

    shower(0)
    before = {key for key in figures(front.url) if "created" not in key[0]}
    shower(1)
    shower(2)
    after = {key for key in figures(front.url) if "created" not in key[0]}
    assert after == before
    assert not any(SECRET.lower() in part.lower() for key in after for part in key)


def test_who_may_read_the_figures(gateway: Gateway, tmp_path: Path) -> None:
    assert httpx.get(f"{gateway.url}/metrics").headers["content-type"].startswith("text/plain")
    assert httpx.get(f"{gateway.url}/metrics", headers={"host": "evil.example"}).status_code == 403
    assert httpx.get(f"{gateway.url}/metrics", headers={"x-forwarded-for": "8.8.8.8"}).status_code == 403
    _, secret = KeyRing(tmp_path / "keys.json").add("a scraper")
    with running(keys=tmp_path / "keys.json") as locked:
        assert httpx.get(f"{locked.url}/metrics").status_code == 401
        assert figures(locked.url, authorization=f"Bearer {secret}")


# ---------------------------------------------------------------- ids


def test_every_answer_bears_an_id_also_one_that_refuses(gateway: Gateway) -> None:
    answers = [
        chat(gateway.url),
        chat(gateway.url, stream=True),
        httpx.get(f"{gateway.url}/none"),
        httpx.get(f"{gateway.url}/health"),
        httpx.request("BREW", f"{gateway.url}/health"),
        httpx.get(f"{gateway.url}/metrics", headers={"host": "evil.example"}),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"req-[0-9a-f]{24}", one) for one in ids)


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        ("0af7651916cd43dd8448eb211c80319c", True),
        ("6f1c3a2e-7f0b-4b1e-9a55-0f7d8a8f1c11", True),
        ("req_1.a-b", True),
        ("short1", False),
        ("a" * 64 + "1", False),
        ("AnnaKarenina", False),
        ("anna karenina 1", False),
        ('{"a": 12345}', False),
        ("é2345678", False),
    ],
)
def test_a_sane_id_of_the_client_is_taken_over(gateway: Gateway, given: str, is_taken: bool) -> None:
    answer = httpx.get(f"{gateway.url}/health", headers={b"x-request-id": given.encode()})
    assert (answer.headers["x-request-id"] == given) is is_taken


def test_a_fault_of_ours_is_answered_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    with running(reader=Reader(error=RuntimeError(SECRET))) as gateway, caplog.at_level(logging.ERROR):
        answer = httpx.post(
            f"{gateway.url}/v1/explain", files={"file": ("a.png", PNG)}, headers={"accept": "application/json"}
        )
    assert answer.status_code == 500
    assert SECRET not in answer.text
    (record,) = [record for record in caplog.records if record.message == "a fault"]
    line = json.loads(JsonLines().format(record))
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["raised"][0]["type"] == "builtins.RuntimeError"
    assert any("gateway_fakes.py" in frame for frame in line["raised"][0]["frames"])
    assert SECRET not in json.dumps(line)


# ---------------------------------------------------------------- lines of the log


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(JsonLines().format(record))
    return told


def test_a_line_holds_the_template_and_numbers_of_ours_and_only_the_place_of_others() -> None:
    make = logging.getLogger("serve.x").makeRecord
    ours = line_of(make("serve.x", logging.WARNING, "a.py", 7, "%s of %d", ("secret", 4), None))
    assert (ours["event"], ours["numbers"], ours["level"]) == ("%s of %d", [4], "warning")
    other = line_of(make("gradio.queue", logging.ERROR, "/x/site-packages/gradio/q.py", 9, "secret", (), None))
    assert other["at"] == "gradio/q.py:9"
    assert "secret" not in json.dumps([ours, other])


def test_what_was_raised_is_told_by_type_and_place_with_its_causes() -> None:
    try:
        try:
            raise ValueError("secret")
        except ValueError as error:
            raise KeyError("secret too") from error
    except KeyError:
        info = sys.exc_info()
    told = line_of(logging.getLogger().makeRecord("serve", logging.ERROR, "a.py", 1, "x", (), info))
    assert [one["type"] for one in told["raised"]] == ["builtins.KeyError", "builtins.ValueError"]
    assert "tests/serve/test_observing.py" in told["raised"][0]["frames"][-1]
    assert "secret" not in json.dumps(told)


def test_templates_of_our_log_are_literals() -> None:
    loose = []
    for path in [*ROOT.glob("serve/**/*.py"), *ROOT.glob("affectgpt/**/*.py")]:
        text = path.read_text("utf-8")
        # vLLM is another process, with a log of its own; `logs.write` hands on what this test finds at its callers.
        if "vllm" in path.parts or path.name == "logs.py" or not re.search(r"getLogger|serve\.logs", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            place = 1 if name == "write" and len(node.args) > 1 else 0
            is_log = re.fullmatch(r"_?log(ger)?\.(debug|info|warning|error|exception|critical)", name)
            is_write = name == "write" and node.args and ast.unparse(node.args[0]) in ("log", "_log")
            if (is_log or is_write) and not isinstance(node.args[place], ast.Constant):
                loose.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert loose == []


def test_whatever_this_process_writes_is_json() -> None:
    code = (
        "import asyncio, logging, threading, warnings, sys\n"
        "from serve.logs import set_up_logs\n"
        "set_up_logs('info')\n"
        f"logging.getLogger('httpx').error('{SECRET} %s', '{SECRET}')\n"
        f"warnings.warn('{SECRET}')\n"
        f"def fail(): raise ValueError('{SECRET}')\n"
        "t = threading.Thread(target=fail); t.start(); t.join()\n"
        "class Bad:\n    def __del__(self): fail()\n"
        "Bad()\n"
        "async def main():\n"
        "    asyncio.get_running_loop().call_soon(fail)\n"
        "    task = asyncio.create_task(asyncio.sleep(0)); await task\n"
        "asyncio.run(main())\n"
        "fail()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["httpx", "py.warnings", "serve", "serve", "asyncio", "serve"]
    assert SECRET not in ran.stdout + ran.stderr


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What the gateway of this process writes while the test runs."""
    root, stream = logging.getLogger(), StringIO()
    held = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    levels = {name: logging.getLogger(name).level for name in ("serve", "affectgpt")}
    set_up_logs("info", stream)
    yield stream
    root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook = held
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(False)


def test_a_turn_and_its_request_are_lines_with_the_same_id(written: StringIO) -> None:
    with running() as gateway:
        answer = chat(gateway.url)
        httpx.get(f"{gateway.url}/health")
        wait_for(lambda: '"request"' in written.getvalue())
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    turn, request = (next(line for line in lines if line["event"] == event) for event in ("turn", "request"))
    assert turn["request_id"] == request["request_id"] == answer.headers["x-request-id"]
    assert turn["finish_reason"] == "stop"
    assert turn["n_completion_tokens"] == answer.json()["usage"]["completion_tokens"]
    assert 0 < turn["first_text_s"] <= turn["seconds"] <= request["seconds"]
    assert set(turn["stages"]) >= {"appraise", "answer", "check", "reply"}
    assert (request["route"], request["status"], request["method"]) == ("/v1/chat/completions", 200, "POST")
    assert sum(line["event"] == "request" for line in lines) == 1  # nobody reads of health


def test_the_key_is_named_by_its_id(written: StringIO, tmp_path: Path) -> None:
    key, secret = KeyRing(tmp_path / "keys.json").add("a test")
    with running(keys=tmp_path / "keys.json") as gateway:
        chat(gateway.url, headers={"authorization": f"Bearer {secret}"})
        wait_for(lambda: '"request"' in written.getvalue())
    assert f'"key": "{key.id}"' in written.getvalue()
    assert secret not in written.getvalue()


def test_fields_that_are_no_json_do_not_break_a_line() -> None:
    stream = StringIO()
    logger, handler = logging.getLogger("serve.test"), logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    write(logger, "odd", what=Path(SECRET), when=time)
    logger.removeHandler(handler)
    assert json.loads(stream.getvalue())["when"] == "module"
    assert SECRET not in stream.getvalue()
