"""The gateway as OpenAI's client meets it: over a real socket, with every kind of part, and with what is wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest
from gateway_fakes import CONCLUSION, REPLY, Gateway, Reader, Talker, running, wait_for

from affectgpt.errors import EngineError, EngineUnreachable, PoolFull, UnreadableMedia, WorkerDied

SAD = "I am so tired of all this."
CRISIS = "I want to kill myself tonight."
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(64)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)
SRT = b"1\n00:00:00,000 --> 00:00:01,000\nWe lost the house.\n"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64(content)}"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running() as running_gateway:
        yield running_gateway


def ask(gateway: Gateway, *content: Any, **options: Any) -> Any:
    messages = [{"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}]
    return gateway.client().chat.completions.create(model="affectgpt", messages=messages, **options)


def post(gateway: Gateway, document: Any, timeout: float = 20.0) -> httpx.Response:
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=document, timeout=timeout)


# ---------------------------------------------------------------- what an answer holds


def test_an_answer_holds_the_reply_the_three_parts_under_both_names_and_who_wrote_it(gateway: Gateway) -> None:
    answer = ask(gateway, SAD)
    message = answer.choices[0].message
    assert message.content == REPLY
    assert message.reasoning == message.reasoning_content
    assert message.reasoning.startswith("**Key observations**\n")
    assert message.reasoning.endswith(CONCLUSION)
    assert (answer.model, answer.system_fingerprint, answer.ai_generated) == ("affectgpt", "talker-1", True)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert not hasattr(answer, "affect")


def test_the_whole_outcome_comes_where_it_is_asked_for(gateway: Gateway) -> None:
    answer = ask(gateway, SAD, extra_body={"affect": True})
    assert answer.affect["decision"]["label"] == "sad"
    assert answer.affect["observations"][0]["quote"] == SAD
    *_, last = ask(gateway, SAD, stream=True, extra_body={"affect": True})
    assert last.affect["decision"] == answer.affect["decision"]


def test_a_stream_joins_to_the_whole_answer(gateway: Gateway) -> None:
    whole = ask(gateway, SAD)
    chunks = list(ask(gateway, SAD, stream=True, stream_options={"include_usage": True}))
    *pieces, last, usage = chunks
    joined = {
        name: "".join(getattr(c.choices[0].delta, name, None) or "" for c in pieces)
        for name in ("content", "reasoning", "reasoning_content")
    }
    assert joined == {name: getattr(whole.choices[0].message, name) for name in joined}
    assert pieces[0].choices[0].delta.role == "assistant"
    assert last.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage == whole.usage
    assert all(c.usage is None for c in [*pieces, last])
    assert len({c.id for c in chunks}) == 1
    assert all(c.ai_generated and c.model == "affectgpt" and c.object == "chat.completion.chunk" for c in chunks)


def test_a_stream_has_no_usage_that_nobody_asked_for(gateway: Gateway) -> None:
    assert all(c.choices and c.usage is None for c in ask(gateway, SAD, stream=True))


def test_the_reply_comes_sentence_by_sentence(gateway: Gateway) -> None:
    pieces = [c.choices[0].delta.content for c in ask(gateway, SAD, stream=True)]
    assert len([p for p in pieces if p]) == REPLY.count(".") + REPLY.count("?")


def test_the_reply_alone(gateway: Gateway) -> None:
    message = ask(gateway, SAD, extra_body={"explain": False}).choices[0].message
    assert (message.content, message.reasoning) == (REPLY, "")


def test_a_crisis_is_answered_with_the_card_in_the_language_asked_for(gateway: Gateway) -> None:
    answer = ask(gateway, CRISIS, extra_body={"locale": "de-DE"})
    choice = answer.choices[0]
    assert choice.finish_reason == "content_filter"
    assert "112" in choice.message.content
    assert answer.card["locale"] == "de-DE"
    streamed = list(ask(gateway, CRISIS, stream=True, extra_body={"locale": "de-DE"}))
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == choice.message.content
    assert streamed[-1].card == answer.card


def test_max_tokens_ends_the_reply_and_says_so(gateway: Gateway) -> None:
    choice = ask(gateway, SAD, max_completion_tokens=3).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("That sounds like", "length")


# ---------------------------------------------------------------- every kind of part


PARTS = [
    ({"type": "image_url", "image_url": {"url": data_url(PNG, "image/png")}}, PNG),
    ({"type": "image_url", "image_url": data_url(PNG, "image/png")}, PNG),
    ({"type": "input_audio", "input_audio": {"data": b64(WAV), "format": "wav"}}, WAV),
    ({"type": "audio_url", "audio_url": {"url": data_url(WAV, "audio/wav")}}, WAV),
    ({"type": "video_url", "video_url": {"url": data_url(MP4, "video/mp4")}}, MP4),
    ({"type": "file", "file": {"file_data": data_url(MP4, "video/mp4"), "filename": "me.mp4"}}, MP4),
    ({"type": "file", "file": {"file_data": b64(MP4), "filename": "../../etc/passwd"}}, MP4),
]


@pytest.mark.parametrize(("part", "content"), PARTS, ids=[f"{p['type']}{n}" for n, (p, _) in enumerate(PARTS)])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_every_kind_of_part_reaches_the_readers(part: Any, content: bytes, is_streamed: bool) -> None:
    with running() as gateway:
        answer = ask(gateway, {"type": "text", "text": "And this?"}, part, stream=is_streamed)
        if is_streamed:
            answer = list(answer)
        ((path, _, read),) = gateway.reader.read
        assert read == content
        assert path.parent == gateway.folder
        wait_for(lambda: gateway.files() == [])


def test_a_file_of_subtitles_is_a_transcript() -> None:
    part = {"type": "file", "file": {"file_data": b64(SRT), "filename": "words.srt"}}
    with running(reader=Words()) as gateway:
        assert "We lost the house." in ask(gateway, part).choices[0].message.reasoning


class Words(Reader):
    """Reads transcripts as the agent does."""

    async def sense(self, path: Any, options: Any, on_progress: Any, **_: Any) -> Any:
        from affectgpt.agent import AffectAgent

        return AffectAgent(None, options).sense(path)


def test_a_transcript_beside_a_clip_gives_its_words() -> None:
    part = {"type": "video_url", "video_url": {"url": data_url(MP4, "video/mp4")}}
    with running() as gateway:
        answer = ask(gateway, part, extra_body={"transcript": "We lost the house."})
        assert "We lost the house." in answer.choices[0].message.reasoning
        assert gateway.files() == []


def test_wishes_reach_the_readers() -> None:
    part = {"type": "video_url", "video_url": {"url": data_url(MP4, "video/mp4")}}
    with running() as gateway:
        ask(gateway, part, extra_body={"modalities": ["voice", "speech"], "subject": 1})
        options = gateway.reader.read[0][1]
        assert {m.value for m in options.modalities} == {"voice", "speech"}
        assert options.face.subject == 1


def test_media_of_earlier_turns_are_not_read_again() -> None:
    image = {"type": "image_url", "image_url": {"url": data_url(PNG, "image/png")}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, image]},
        {"role": "assistant", "content": "I see."},
        {"role": "user", "content": SAD},
    ]
    with running() as gateway:
        gateway.client().chat.completions.create(model="affectgpt", messages=messages)  # type: ignore[arg-type]
        assert gateway.reader.read == []


# ---------------------------------------------------------------- what is wrong


def good(**more: Any) -> dict[str, Any]:
    return {"model": "affectgpt", "messages": [{"role": "user", "content": SAD}], **more}


def said(*parts: Any) -> dict[str, Any]:
    return good(messages=[{"role": "user", "content": list(parts)}])


WRONG = [
    ([], 400, None),
    ({"messages": []}, 400, "model"),
    (good(messages=[]), 400, "messages"),
    (good(messages="hello"), 400, "messages"),
    (good(messages=[{"role": "oracle", "content": "x"}]), 400, "messages[0].role"),
    (good(messages=[{"role": "assistant", "content": "x"}]), 400, "messages"),
    (good(messages=[{"role": "user", "content": 7}]), 400, "messages[0].content"),
    (said({"type": "smell", "smell": "rose"}), 400, "messages[0].content[0].type"),
    (said({"type": "image_url", "image_url": {}}), 400, "messages[0].content[0].image_url.url"),
    (said({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), 400, None),
    (said({"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}), 400, None),
    (said({"type": "image_url", "image_url": {"url": "/etc/passwd"}}), 400, None),
    (said({"type": "file", "file": {"file_id": "file-1"}}), 400, "messages[0].content[0].file.file_id"),
    (said({"type": "input_audio", "input_audio": {"data": "not base64!", "format": "wav"}}), 415, None),
    (said({"type": "file", "file": {"file_data": b64(b"\x7fELF" + bytes(64))}}), 415, None),
    (good(temperature="hot"), 400, "temperature"),
    (good(temperature=9), 400, "temperature"),
    (good(max_tokens=0.5), 400, "max_tokens"),
    (good(n=3), 400, "n"),
    (good(stop=[1]), 400, "stop"),
    (good(stream="yes"), 400, "stream"),
    (good(setting="church"), 400, "setting"),
    (good(modalities=["smell"]), 400, "modalities"),
    (good(subject=-1), 400, "subject"),
    (good(tools=[{"type": "function"}]), 400, "tools"),
    (good(response_format={"type": "json_object"}), 400, "response_format"),
    (good(model="gpt-9"), 404, "model"),
]


@pytest.mark.parametrize(("document", "status", "param"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_what_is_wrong_is_named_in_openais_form(gateway: Gateway, document: Any, status: int, param: Any) -> None:
    answer = post(gateway, document)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert len(error["message"]) > 10


def test_openais_client_raises_its_own_errors(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        gateway.client().chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="no content part"):
        ask(gateway, {"type": "smell"}, {"type": "smell"})


def test_what_is_no_json_and_what_says_that_it_is_none(gateway: Gateway) -> None:
    url = f"{gateway.url}/v1/chat/completions"
    assert httpx.post(url, content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert httpx.post(url, content=b"[" * 100_000, headers={"content-type": "application/json"}).status_code == 400
    # What a form of another site can send without asking.
    assert httpx.post(url, content=json.dumps(good()), headers={"content-type": "text/plain"}).status_code == 415


def test_too_much_is_refused_before_it_is_read_whole() -> None:
    with running(max_inline_bytes=10_000, max_upload_bytes=5_000) as gateway:
        large = said({"type": "image_url", "image_url": {"url": data_url(PNG + bytes(20_000), "image/png")}})
        assert post(gateway, large).status_code == 413

        def unannounced() -> Iterator[bytes]:
            for _ in range(1000):
                yield b" " * 1000

        url, headers = f"{gateway.url}/v1/chat/completions", {"content-type": "application/json"}
        with suppress(httpx.WriteError):  # the server had hung up while we still sent
            assert httpx.post(url, content=unannounced(), headers=headers).status_code == 413
        medium = said({"type": "image_url", "image_url": {"url": data_url(PNG + bytes(6_000), "image/png")}})
        assert post(gateway, medium).status_code == 413
        assert gateway.files() == []


FAILURES = [
    (UnreadableMedia("it breaks off"), 422),
    (WorkerDied("it broke its reader"), 422),
    (PoolFull("2 workers are busy"), 429),
]


@pytest.mark.parametrize(("error", "status"), FAILURES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_reader_that_fails_is_told_by_its_status(error: Exception, status: int, is_streamed: bool) -> None:
    with running(reader=Reader(error=error)) as gateway:
        document = said({"type": "video_url", "video_url": {"url": data_url(MP4, "video/mp4")}})
        answer = post(gateway, {**document, "stream": is_streamed})
        assert answer.status_code == status
        assert answer.json()["error"]["message"]
        assert ("retry-after" in answer.headers) == (status == 429)
        assert gateway.files() == []


@pytest.mark.parametrize(("error", "status"), [(EngineError("it broke"), 502), (EngineUnreachable("it is gone"), 503)])
def test_a_model_that_fails(error: Exception, status: int) -> None:
    with running(Talker(error=error)) as gateway:
        assert post(gateway, good(explain=False)).status_code == status
        streamed = post(gateway, good(stream=True))
        assert streamed.status_code == 200
        events = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        assert json.loads(events[-2])["error"]["message"]
        with pytest.raises(openai.APIError, match=str(error)):
            list(ask(gateway, SAD, stream=True))


def test_a_fault_of_ours_is_told_without_its_words() -> None:
    with running(Talker(error=RuntimeError("the secret recipe"))) as gateway:
        answer = post(gateway, good(explain=False))
        assert answer.status_code == 500
        assert "secret" not in answer.text


def test_one_turn_too_many() -> None:
    with (
        running(Talker(pause_s=0.05), n_turns=1) as gateway,
        httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=good(stream=True)) as first,
    ):
        lines = first.iter_lines()
        next(lines)
        assert post(gateway, good()).status_code == 429


# ---------------------------------------------------------------- whoever leaves


def test_leaving_a_stream_stops_the_model() -> None:
    with running(Talker(reply="One. " * 2000, pause_s=0.005)) as gateway:
        stream = ask(gateway, SAD, stream=True)
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        stream.close()
        wait_for(lambda: gateway.engine.n_closed == 1)
        wait_for(lambda: gateway.turns.n_running == 0)
        assert gateway.engine.n_words < 1000


def test_leaving_before_the_answer_stops_the_reading_and_deletes_the_file() -> None:
    with running(reader=Reader(hold=True)) as gateway:
        document = said({"type": "video_url", "video_url": {"url": data_url(MP4, "video/mp4")}})
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{gateway.url}/v1/chat/completions", json=document, timeout=0.5)
        wait_for(lambda: gateway.reader.n_cancelled == 1)
        wait_for(lambda: gateway.files() == [])
        assert gateway.turns.n_running == 0
