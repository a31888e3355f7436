"""`affectgpt serve --launch` over real vLLM with the embedded model: OpenAI's client, events, the page, an accident.

One server for the whole file, in the order in which somebody would meet it; the last test ends it.
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_process import GatewayProcess, launched, wait_long
from model_child import gone
from page_fakes import CLIP
from page_visitor import requested_hosts, visiting

from affectgpt.engines import adapter, embedded
from serve.launching.command import PYTHON

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not set up: make vllm-setup"),
]

GLAD = "I got the job, and I cannot stop smiling!"
DATA_URL = "data:video/mp4;base64," + base64.b64encode(CLIP.read_bytes()).decode()
TURN_S = 120.0
"""Far more than an answer takes, also where ten others want the processor."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    env = {
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        "AFFECTGPT_SERVE_TIMEOUT_S": str(TURN_S),
        "AFFECTGPT_SERVE_N_WORKERS": "1",
    }
    with launched(tmp_path_factory.mktemp("served"), env=env) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=TURN_S) as opened:
        yield opened


def explainer() -> str:
    """The shipped adapter's name."""
    shipped = adapter.shipped()
    assert shipped
    return adapter.read_manifest(shipped).id


def chat(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "affectgpt", "messages": [{"role": "user", "content": content}], "max_tokens": 32, **more}


def test_it_says_where_it_is_and_what_it_serves(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    assert "loading the model" in gateway.told()
    assert gateway.is_ready()
    assert [model.id for model in client.models.list()] == ["affectgpt", embedded.MODEL_ID, explainer()]


def test_words_are_explained_by_the_adapter_and_answered_by_the_base(client: openai.OpenAI) -> None:
    answer: Any = client.chat.completions.create(**chat(GLAD, extra_body={"affect": True}))
    message = answer.choices[0].message
    assert answer.system_fingerprint == f"{explainer()} (explanation), {embedded.MODEL_ID} (reply)"
    assert answer.affect["decision"]["label"] == "happy"
    assert answer.affect["answer"]["parsed"] is True
    for part in ("Key observations", "Interpretation", "Conclusion"):
        assert part in message.reasoning
    assert message.content.strip()
    assert answer.usage.completion_tokens > 20


def test_a_stream_joins_to_the_whole(client: openai.OpenAI) -> None:
    whole: Any = client.chat.completions.create(**chat(GLAD))
    chunks = list(client.chat.completions.create(**chat(GLAD, stream=True, stream_options={"include_usage": True})))
    deltas: list[Any] = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert "".join(getattr(d, "reasoning", "") or "" for d in deltas) == whole.choices[0].message.reasoning
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_clip_is_read_and_each_claim_points_at_what_was_seen(client: openai.OpenAI) -> None:
    content = [
        {"type": "text", "text": "How did I come across?"},
        {"type": "video_url", "video_url": {"url": DATA_URL}},
    ]
    answer: Any = client.chat.completions.create(**chat(content, extra_body={"affect": True}))
    assert answer.affect["decision"]["label"] == "happy"
    assert "[F1]" in answer.choices[0].message.reasoning
    assert answer.affect["grounding"]["total"] > 0


def test_the_base_is_passed_on_with_its_tools(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": "explain_clip", "parameters": {"type": "object"}}}]
    for model in (embedded.MODEL_ID, "affectgpt"):
        for offered in (tools, []):
            asked = {**chat("Hello.", tools=offered), "model": model, "max_tokens": 8}
            assert client.chat.completions.create(**asked).choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_events_come_in_order(gateway: GatewayProcess) -> None:
    files = {"file": ("clip.mp4", CLIP.read_bytes())}
    told = httpx.post(f"{gateway.url}/v1/explain", files=files, timeout=TURN_S).text.splitlines()
    names = [line.removeprefix("event: ") for line in told if line.startswith("event: ")]
    order = [names.index(name) for name in ("stage", "observation", "token", "done")]
    assert order == sorted(order)
    assert names[-1] == "done"
    done = json.loads([line for line in told if line.startswith("data: ")][-1].removeprefix("data: "))
    assert done["outcome"]["answer"]["parsed"] is True


@pytest.mark.browser
def test_the_page_answers_a_clip_seeks_it_and_keeps_it(gateway: GatewayProcess, tmp_path: Path) -> None:
    answered = (
        "document.querySelector('#affect-chat').innerText.includes('Made by AI') "
        "&& !document.querySelector('#affect-box .stop-button')"
    )
    with visiting(f"{gateway.url}/") as v:
        v.open()
        v.find("dialog[open]")
        v.press("\ue007")
        v.until("!document.querySelector('dialog')", TURN_S)  # what is sent before is lost with the page under it
        v.until("document.querySelector('#affect-history .empty')", TURN_S)
        v.find("#affect-box input[type=file]").send_keys(str(CLIP))
        v.until("document.querySelector('#affect-box .thumbnail-item')", TURN_S)
        v.write("How did I come across?")
        v.until("document.querySelectorAll('#affect-stage .observation').length > 3", TURN_S)
        v.until(answered, TURN_S)
        talk = v.js("document.querySelector('#affect-chat').innerText")
        assert "Seems happy" in talk
        assert explainer() in talk
        v.find(".thought-group [role=button]").send_keys("\ue007")
        v.find(".reasoning a.cite[href$='-F1']").send_keys("\ue007")
        start_s = float(v.js("document.getElementById('F1').dataset.start"))
        v.until(f"Math.abs(document.getElementById('clip').currentTime - {start_s}) < 0.05", TURN_S)
        v.js("[...document.querySelectorAll('#affect-chat [aria-label=Like]')].at(-1).click()")
        v.until("document.querySelector('#affect-status').innerText.includes('Thank you')", TURN_S)
        v.session.save_screenshot(str(tmp_path / "answered.png"))
        v.open()
        v.click("[data-open]")
        v.until(answered, TURN_S)
        assert requested_hosts(v.session) == {gateway.url.removeprefix("http://")}


def test_an_engine_that_dies_is_told_of_and_another_comes(gateway: GatewayProcess) -> None:
    first = gateway.model_server()
    inner = [int(pid) for pid in Path(f"/proc/{first}/task/{first}/children").read_text("ascii").split()]
    for pid in (*inner, first):
        os.kill(pid, signal.SIGKILL)
    assert gone(first)
    assert gateway.ask().status_code == 503
    assert not gateway.is_ready()
    wait_long(gateway.is_ready)
    assert gateway.ask(TURN_S, max_tokens=8).status_code == 200


def test_a_signal_ends_all_of_it(gateway: GatewayProcess) -> None:
    children = gateway.children()
    assert gateway.model_server() in children
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(60) in (0, -signal.SIGTERM)
    assert all(gone(pid, 10) for pid in children)
    assert "Traceback" not in gateway.told()
