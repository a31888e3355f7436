"""The fused path through a gateway: who is asked, with what, and what is said where it cannot be had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fakes
import httpx
import pytest
from gateway_fakes import Behind, Gateway, Reader, Talker, behind, crew, running, settings

from affectgpt.agent import Senses
from affectgpt.errors import ModelError, OptionError
from affectgpt.fusion.config import FusionConfig, ModalityConfig
from affectgpt.fusion.facial import FacialEncoder
from affectgpt.fusion.features import Signals
from affectgpt.fusion.folder import save_fusion
from affectgpt.fusion.soft_reader import LORA_FOLDER
from affectgpt.records import EmbeddedPrompt, Modality, Prompt, Sampling
from serve.fusing import Fusion, open_fusion
from serve.incoming.intake import FolderIntake
from serve.parts import Parts
from serve.upstream import Upstream
from serve.writers import LocalWriter, UpstreamWriter
from tests.soft_prompts import embedded_prompt
from tests.tiny_model import write_tiny, write_tuned

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(64)
CLIP = {"file": ("me.mp4", MP4, "video/mp4")}
FACE = FacialEncoder()


@dataclass
class EncodingReader(Reader):
    """As `Reader`, with the face's features where its encoder is asked for."""

    async def sense(self, path: Path | None, options: Any, *given: Any, **named: Any) -> Senses:
        """Known tracks and what the encoder makes of them."""
        senses = await super().sense(path, options, *given, **named)
        if not options.encoders or senses.face is None:
            return senses
        return replace(senses, features=(FACE.encode(Signals(senses.face)),))


@dataclass
class SoftTalker(Talker):
    """As `Talker`, and it takes soft tokens."""

    takes_soft: bool = True
    model: str = "soft talker"


@dataclass
class Stand:
    """A gateway with a fused path, and everybody that it may ask."""

    gateway: Gateway
    explainer: Talker
    fused: SoftTalker
    soft: fakes.FakeSoftReader
    reader: EncodingReader = field(default_factory=EncodingReader)

    def explain(self, **fields: str) -> dict[str, Any]:
        """The outcome of a clip."""
        for talker in (self.explainer, self.fused):
            talker.asked.clear()
        accept = {"accept": "application/json"}
        answer = httpx.post(f"{self.gateway.url}/v1/explain", data=fields, files=CLIP, headers=accept, timeout=20)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    explainer, fused, soft, reader = Talker(), SoftTalker(), fakes.FakeSoftReader(), EncodingReader()
    own = replace(crew(explainer, reader), fusion=Fusion(soft, LocalWriter(fused)))
    intake = FolderIntake(10_000_000)
    with running(explainer, reader, parts=Parts(own, intake, closing=[intake.close])) as gateway:
        yield Stand(gateway, explainer, fused, soft, reader)


def test_who_asks_for_it_is_answered_by_the_fused_path(stand: Stand) -> None:
    outcome = stand.explain(path="fused")
    ((prompt, _),) = stand.fused.asked
    assert isinstance(prompt, EmbeddedPrompt)
    assert [part.name for part in prompt.parts] == ["face"]
    assert stand.explainer.asked == []
    assert stand.reader.read[-1][1].encoders == stand.soft.encoders
    assert "fake fusion" in json.dumps(outcome)


@pytest.mark.parametrize(
    "fields",
    [{}, {"path": "text"}, {"path": "fused", "modalities": "speech"}, {"path": "fused", "setting": "workplace"}],
    ids=str,
)
def test_everybody_else_and_words_alone_go_by_the_text_path(stand: Stand, fields: dict[str, str]) -> None:
    stand.explain(**fields)
    ((prompt, _),) = stand.explainer.asked
    assert type(prompt) is Prompt
    assert stand.fused.asked == []
    assert stand.reader.read[-1][1].encoders == ()


def test_a_chat_may_ask_for_it_too(stand: Stand) -> None:
    stand.fused.asked.clear()
    clip = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAAGGZ0eXBpc29t" + "A" * 84}}
    asked = {"model": "affectgpt", "messages": [{"role": "user", "content": [clip]}], "path": "fused"}
    answer = httpx.post(f"{stand.gateway.url}/v1/chat/completions", json=asked, timeout=20)
    assert answer.status_code == 200, answer.text
    assert isinstance(stand.fused.asked[0][0], EmbeddedPrompt)


def test_a_path_that_cannot_be_had_is_told(stand: Stand) -> None:
    unknown = httpx.post(f"{stand.gateway.url}/v1/explain", data={"path": "astral"}, files=CLIP, timeout=20)
    assert unknown.status_code == 400
    assert "text, fused" in unknown.text
    with running() as gateway:
        accept = {"accept": "application/json"}
        answer = httpx.post(f"{gateway.url}/v1/explain", data={"path": "fused"}, files=CLIP, headers=accept, timeout=20)
        assert answer.status_code == 400
        assert "makes no soft tokens" in answer.text


# ---------------------------------------------------------------- opening it


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def fusion(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random fusion folder of the tiny model, with a LoRA adapter."""
    from affectgpt.fusion.fuser import Fuser

    folder = tmp_path_factory.mktemp("fusion") / "face"
    modalities = {Modality.FACE: ModalityConfig(f"{FACE.id}@{FACE.version}", FACE.width)}
    save_fusion(folder, Fuser(FusionConfig(modalities, 32, prefusion="none")), "face-1", "tiny", tiny / "config.json")
    write_tuned(folder / LORA_FOLDER, tiny)
    return folder


@pytest.fixture
def server() -> Iterator[Behind]:
    with behind() as opened:
        yield opened


def upstream_writer(server: Behind, *listed: dict[str, str], is_vllm: bool = True) -> UpstreamWriter:
    return UpstreamWriter(Upstream(server.url), "explain", continues=is_vllm, listed=listed)


BASE, LORA = {"id": "served", "root": "/models/tiny"}, {"id": "tuned-1", "parent": "served"}
EXPLAIN = {"id": "explain", "parent": "served"}


def test_the_servers_adapter_of_the_same_name_explains(server: Behind, fusion: Path) -> None:
    opened = open_fusion(fusion, settings(), upstream_writer(server, BASE, EXPLAIN, LORA))
    assert (opened.reader.id, opened.writer.model) == ("face-1", "tuned-1")
    assert isinstance(opened.writer, UpstreamWriter)
    (part,) = opened.reader.read((FACE.encode(Signals(fakes.face_track(AU12=4.0))),), {})
    body = opened.writer.body(embedded_prompt("Face", part), Sampling())
    assert [part["type"] for part in body["messages"][-1]["content"]] == ["text", "prompt_embeds"]


def test_a_server_that_cannot_is_told_of_at_the_start(server: Behind, fusion: Path) -> None:
    with pytest.raises(OptionError, match=r"no adapter 'tuned-1'.*served, explain"):
        open_fusion(fusion, settings(), upstream_writer(server, BASE, EXPLAIN))
    with pytest.raises(OptionError, match="takes no soft tokens"):
        open_fusion(fusion, settings(), upstream_writer(server, BASE, EXPLAIN, LORA, is_vllm=False))
    other = {"id": "served", "root": "/models/another"}
    with pytest.raises(ModelError, match="do not fit"):
        open_fusion(fusion, settings(), upstream_writer(server, other, EXPLAIN, LORA))


def test_in_this_process_the_folders_adapter_explains_beside_the_other(tiny: Path, fusion: Path) -> None:
    opened = open_fusion(fusion, settings(engine="local", model=str(tiny)), LocalWriter(Talker()))
    assert opened.writer.model.startswith("tiny+tuned-1")
    echo = LocalWriter(SoftTalker())
    assert open_fusion(fusion, settings(engine="echo"), echo).writer is echo
