"""`/v1/explain` and `/v1/audio/transcriptions` as a client meets them: forms in, events or one document out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import media_files
import pytest
from gateway_fakes import CONCLUSION, Gateway, Reader, Talker, crew, running, wait_for

from affectgpt.errors import UnreadableMedia
from affectgpt.records import Completion, Modality
from serve.gateway import create_app
from serve.incoming.intake import FolderIntake
from serve.parts import Parts, open_parts
from serve.perception import Perception
from serve.settings import ServeSettings

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(64)
CLIP = {"file": ("me.mp4", MP4, "video/mp4")}
SAD = "I am so tired of all this."
JSON = {"accept": "application/json"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running() as running_gateway:
        yield running_gateway


def explain(gateway: Gateway, files: Any = None, headers: Any = None, **fields: Any) -> httpx.Response:
    files = files if files is not None or not fields else {"": ("", b"")}
    return httpx.post(f"{gateway.url}/v1/explain", data=fields, files=files, headers=headers, timeout=20)


def events(answer: httpx.Response) -> list[tuple[str, Any]]:
    """(name, JSON) of each server-sent event."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    found, name = [], ""
    for line in answer.text.splitlines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            found.append((name, json.loads(line[6:])))
    return found


def test_events_come_in_order_and_done_holds_everything(gateway: Gateway) -> None:
    told = events(explain(gateway, CLIP))
    names = [name for name, _ in told]
    assert set(names) == {"stage", "observation", "token", "done"}
    assert names.count("done") == 1
    assert names[-1] == "done"
    assert names.index("stage") < names.index("observation") < names.index("token")
    done = told[-1][1]
    assert done["ai_generated"] is True
    assert done["model"] == "talker-1"
    assert done["outcome"]["decision"]["label"] == "sad"
    assert done["reasoning"] == "".join(row["text"] for name, row in told if name == "token")
    assert done["reasoning"].endswith(CONCLUSION)
    assert [row for name, row in told if name == "observation"] == done["outcome"]["observations"]
    assert {row["name"] for name, row in told if name == "stage"} >= {"face", "tell", "appraise", "answer", "check"}
    assert all(row["share"] is None or 0 <= row["share"] <= 1 for name, row in told if name == "stage")


def test_one_document_where_json_is_accepted(gateway: Gateway) -> None:
    streamed = events(explain(gateway, CLIP))[-1][1]
    document = explain(gateway, CLIP, JSON).json()
    assert set(document) == set(streamed)
    assert document["reasoning"] == streamed["reasoning"]
    assert document["outcome"]["clip"]["path"] == "me.mp4"


def test_nothing_is_replied(gateway: Gateway) -> None:
    explain(gateway, CLIP)
    assert gateway.engine.prompts("respond") == []


@pytest.mark.parametrize("encoding", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_words_alone(gateway: Gateway, encoding: str) -> None:
    files = {"transcript": (None, SAD)} if encoding.startswith("multipart") else None
    data = None if files else {"transcript": SAD}
    answer = httpx.post(f"{gateway.url}/v1/explain", files=files, data=data, headers=JSON)
    assert answer.request.headers["content-type"].startswith(encoding)
    assert answer.json()["outcome"]["observations"][0]["quote"] == SAD


def test_fields_reach_the_readers() -> None:
    with running() as gateway:
        explain(gateway, CLIP, modalities="face, voice", subject="1", transcript="we lost the house")
        _, options, content = gateway.reader.read[0]
        assert content == MP4
        assert {m.value for m in options.modalities} == {"face", "voice"}
        assert options.face.subject == 1
        assert options.speech.path is not None
        wait_for(lambda: gateway.files() == [])


def test_a_setting_refuses_face_and_voice_and_says_so(gateway: Gateway) -> None:
    outcome = explain(gateway, CLIP, JSON, setting="workplace").json()["outcome"]
    seen = {o["modality"] for o in outcome["observations"] if not o["is_missing"]}
    assert seen <= {"speech"}
    assert any("Art. 5(1)(f)" in o["text"] for o in outcome["observations"])


def test_a_crisis_is_answered_with_the_card_alone() -> None:
    with running(reader=Reader(words="I want to kill myself tonight.")) as gateway:
        told = events(explain(gateway, CLIP, locale="en-US"))
        assert [name for name, _ in told if name != "stage"] == ["card", "done"]
        assert "988" in told[-1][1]["card"]["markdown"]
        assert told[-1][1]["outcome"] is None
        assert gateway.engine.asked == []


WRONG = [
    ({"data": {"transcript": SAD, "colour": "red"}}, 400),
    ({"data": {"transcript": SAD, "subject": "two"}}, 400),
    ({"data": {"transcript": SAD, "modalities": "smell"}}, 400),
    ({"data": {"transcript": SAD, "setting": "church"}}, 400),
    ({"files": {"transcript": (None, "")}}, 422),
    ({"files": {"file": ("x.exe", b"MZ" + bytes([0, 1, 200, 255]) * 40)}}, 415),
    ({"files": {"file": ("x.mp4", MP4), "more": ("y.mp4", MP4)}}, 400),
    ({"json": {"transcript": SAD}}, 415),
    ({"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=x"}}, (400, 422)),
    ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, 400),
]


@pytest.mark.parametrize(("sent", "status"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_what_is_wrong_is_named(gateway: Gateway, sent: Any, status: Any) -> None:
    answer = httpx.post(f"{gateway.url}/v1/explain", **sent)
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert gateway.files() == []


def test_a_file_that_is_too_large_is_refused_while_it_comes() -> None:
    with running(max_upload_bytes=100_000) as gateway:
        large = {"file": ("big.mp4", MP4 + bytes(200_000))}
        assert explain(gateway, large).status_code == 413
        huge = {"file": ("big.mp4", MP4 + bytes(8_000_000))}
        assert explain(gateway, huge).status_code == 413
        assert gateway.files() == []


@pytest.mark.parametrize("headers", [None, JSON], ids=["events", "document"])
def test_what_cannot_be_read(headers: Any) -> None:
    with running(reader=Reader(error=UnreadableMedia("the stream breaks off"))) as gateway:
        answer = explain(gateway, CLIP, headers)
        assert answer.status_code == 422
        assert gateway.files() == []


@pytest.mark.parametrize("headers", [None, JSON], ids=["events", "document"])
def test_leaving_gives_the_reading_up_and_deletes_the_file(headers: Any) -> None:
    with running(reader=Reader(hold=True)) as gateway:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{gateway.url}/v1/explain", files=CLIP, headers=headers, timeout=0.4)
        wait_for(lambda: gateway.reader.n_cancelled == 1)
        wait_for(lambda: gateway.files() == [])


def test_leaving_in_the_middle_of_the_events_stops_the_model() -> None:
    with running(Talker(pause_s=0.1)) as gateway:
        with httpx.stream("POST", f"{gateway.url}/v1/explain", data={"transcript": SAD}) as answer:
            for line in answer.iter_lines():
                if line == "event: observation":
                    break
        wait_for(lambda: gateway.turns.n_running == 0)
        wait_for(lambda: gateway.engine.n_closed == 1 or not gateway.engine.asked)


def test_what_is_kept_is_named_and_can_be_deleted() -> None:
    with running(retain=True) as gateway:
        (kept,) = explain(gateway, CLIP, JSON).json()["uploads"]
        assert (kept["name"], kept["kind"]) == ("me.mp4", "video")
        url = f"{gateway.url}/v1/uploads/{kept['id']}"
        assert httpx.delete(url).status_code in (204, 404)
        assert httpx.delete(url).status_code == 404


# ---------------------------------------------------------------- words out of a sound


def test_without_a_whisper_model_the_remedy_is_named(gateway: Gateway) -> None:
    answer = httpx.post(f"{gateway.url}/v1/audio/transcriptions", files={"file": ("a.wav", b"RIFF")})
    assert answer.status_code == 404
    assert "--whisper" in answer.json()["error"]["message"]


def test_the_words_of_a_sound(tmp_path: Path) -> None:
    sound = media_files.write_sound(tmp_path / "a.wav", media_files.tone(0.5)[None], "pcm_s16le").read_bytes()
    intake, reader = FolderIntake(1_000_000), Reader(words="well here we are")
    parts = Parts(crew(Talker(), reader), intake, recogniser="whisper", closing=[intake.close])
    with running(parts=parts, whisper="small") as gateway:
        hear = gateway.client().audio.transcriptions
        assert hear.create(model="whisper-1", file=("a.wav", sound)).text == "well here we are"
        assert hear.create(model="w", file=("a.wav", sound), response_format="text").strip() == "well here we are"
        detailed = hear.create(model="w", file=("a.wav", sound), response_format="verbose_json")
        assert detailed.segments is not None
        assert detailed.segments[0].text == "well here we are"
        assert list(intake.folder.iterdir()) == []
    _, options, content = reader.read[0]
    assert (options.modalities, options.speech.whisper) == (frozenset({Modality.SPEECH}), "small")
    assert content == sound


def test_a_sound_that_breaks_its_decoder_costs_its_own_request(
    perception: Perception, order: Callable[..., Path]
) -> None:
    intake = FolderIntake(1_000_000)
    parts = Parts(crew(Talker(), perception), intake, recogniser="whisper", closing=[intake.close])
    with running(parts=parts) as gateway:

        def send(**orders: object) -> httpx.Response:
            files = {"file": ("a.wav", order("a.wav", **orders).read_bytes())}
            return httpx.post(f"{gateway.url}/v1/audio/transcriptions", files=files, timeout=30)

        broken = send(act="crash")
        assert (broken.status_code, broken.json()["error"]["code"]) == (422, "unreadable_media")
        assert str(intake.folder) not in broken.text
        assert send(n=2).status_code in (200, 422)
        assert httpx.get(f"{gateway.url}/ready").status_code == 200
        assert list(intake.folder.iterdir()) == []


def test_leaving_a_transcription_gives_the_reading_up() -> None:
    intake, reader = FolderIntake(1_000_000), Reader(hold=True)
    parts = Parts(crew(Talker(), reader), intake, recogniser="whisper", closing=[intake.close])
    with running(parts=parts) as gateway:
        files = CLIP
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{gateway.url}/v1/audio/transcriptions", files=files, timeout=0.7)
        wait_for(lambda: reader.n_cancelled == 1)
        wait_for(lambda: not list(intake.folder.iterdir()))


# ---------------------------------------------------------------- the real thing


@pytest.mark.slow
def test_a_clip_end_to_end_with_the_embedded_model(repo: Path, tmp_path: Path) -> None:
    chosen = ServeSettings(engine="local", page=False, database="memory", n_workers=1)
    parts = open_parts(chosen)
    with running(parts=parts) as gateway:
        clip = (repo / "examples" / "astronaut_smile.mp4").read_bytes()
        files = {"file": ("smile.mp4", clip)}
        told = httpx.post(f"{gateway.url}/v1/explain", files=files, timeout=300)
        done = events(told)[-1][1]
        assert done["outcome"]["answer"]["parsed"] is True
        assert done["outcome"]["decision"]["label"] == "happy"
        assert "+explain" in done["model"] or "adapter" in done["model"]
        answer = gateway.client().chat.completions.create(
            model="affectgpt", messages=[{"role": "user", "content": SAD}], timeout=300
        )
        assert answer.choices[0].message.content
        assert "(no adapter" in answer.system_fingerprint


@pytest.mark.slow
@pytest.mark.shared
def test_a_real_recording_is_read_in_a_worker_and_once(shared_data: Path) -> None:
    clip = (shared_data / "clips" / "mead_dreamtalk" / "W009_front_angry_level3_001.mp4").read_bytes()
    chosen = ServeSettings(engine="echo", page=False, database="memory", n_workers=1)
    parts = open_parts(chosen)
    with running(parts=parts) as gateway:
        first = explain_long(gateway, clip)
        second = explain_long(gateway, clip)
        assert first["outcome"]["observations"] == second["outcome"]["observations"]
        assert "cache" in second["outcome"]["timings_s"]
        assert any(o["modality"] == "face" and not o["is_missing"] for o in first["outcome"]["observations"])


def explain_long(gateway: Gateway, clip: bytes) -> Any:
    return httpx.post(f"{gateway.url}/v1/explain", files={"file": ("a.mp4", clip)}, headers=JSON, timeout=300).json()


def test_an_outcome_is_a_completion_of_the_explainer(gateway: Gateway) -> None:
    completion = explain(gateway, CLIP, JSON).json()["outcome"]["completion"]
    assert completion["model"] == gateway.engine.model
    assert set(completion) == set(Completion.__dataclass_fields__)
    assert create_app is not None
