"""The fused path: from a clip through encoders and a reader of soft tokens to an engine that was shown them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fakes
import media_files
import pytest
from typer.testing import CliRunner

from affectgpt.agent import STAGES, AffectAgent, Parts
from affectgpt.cli import app
from affectgpt.errors import ModelError, OptionError, PromptError
from affectgpt.fusion.config import FusionConfig, ModalityConfig
from affectgpt.fusion.facial import FacialEncoder
from affectgpt.fusion.features import Features
from affectgpt.fusion.folder import save_fusion
from affectgpt.fusion.soft_reader import LORA_FOLDER, FusedReader, find_fusion, open_fused
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions, SpeechOptions, open_encoder, open_soft_reader
from affectgpt.records import Completion, EmbeddedPrompt, Modality, Prompt, Sampling
from affectgpt.workers import pack, unpack
from tests.tiny_model import write_tiny, write_tuned

FACE = FacialEncoder()
FACE_NAME = f"{FACE.id}@{FACE.version}"
VOICE_NAME = "voice-descriptors@1"
VOICE = open_encoder(VOICE_NAME)


@pytest.fixture(scope="module")
def talkie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of pictures and sound."""
    path = tmp_path_factory.mktemp("soft") / "talkie.mp4"
    return media_files.write_video(path, media_files.even_times_ms(50), sound=media_files.tone(2.0)[None])


def agent(engine: Any, soft: Any, **options: Any) -> AffectAgent:
    options = {"encoders": soft.encoders if soft else (), "speech": SpeechOptions(text="I got the job"), **options}
    return AffectAgent(
        engine,
        AgentOptions(**options),
        parts=Parts(fakes.FakeFaceReader(), fakes.FakeVoiceReader(), fakes.FakeTranscriber(), soft=soft),
    )


def test_the_prompt_carries_soft_tokens_and_observations(talkie: Path) -> None:
    engine, soft = fakes.CountingEngine([fakes.ANSWER]), fakes.FakeSoftReader()
    stages: list[str] = []
    outcome = agent(engine, soft, revisions=0).explain(talkie, lambda stage, *_: stages.append(stage))
    (prompt,) = engine.asked
    assert isinstance(prompt, EmbeddedPrompt)
    assert [part.name for part in prompt.parts] == ["face"]
    assert "[F1]" in prompt.messages[-1].content
    assert outcome.completion
    assert (outcome.completion.prompt_id, outcome.versions["soft tokens"]) == ("explain-fused", "fake fusion")
    ((features, reliability),) = soft.asked
    assert [(f.encoder, f.modality) for f in features] == [(FACE_NAME, Modality.FACE)]
    assert outcome.appraisal
    assert reliability == outcome.appraisal.reliability
    assert {"encode", "fuse"} < set(outcome.timings_s)
    first = list(dict.fromkeys(stages))
    assert set(first) <= set(STAGES)
    assert first.index("encode") < first.index("appraise") < first.index("fuse") < first.index("answer")


def test_without_a_reader_of_soft_tokens_nothing_is_encoded(talkie: Path) -> None:
    engine = fakes.CountingEngine([fakes.ANSWER])
    made = agent(engine, None, revisions=0)
    assert made.sense(talkie).features == ()
    made.explain(talkie)
    assert type(engine.asked[0]) is Prompt


def test_signals_alone_show_no_observations_and_restate_none(talkie: Path) -> None:
    engine, soft = fakes.CountingEngine([fakes.ANSWER]), fakes.FakeSoftReader(prompt_id="explain-signals")
    outcome = agent(engine, soft, revisions=0).explain(talkie)
    (prompt,) = engine.asked
    assert isinstance(prompt, EmbeddedPrompt)
    assert prompt.opening == ""
    assert "[F1]" not in prompt.messages[-1].content
    assert outcome.versions["key observations"] == "written by the model"


@pytest.mark.parametrize("setting", ["workplace", "education"])
def test_a_protected_setting_encodes_neither_face_nor_voice(talkie: Path, setting: str) -> None:
    engine, soft = fakes.CountingEngine([fakes.ANSWER]), fakes.FakeSoftReader()
    made = agent(engine, soft, setting=setting, revisions=0)
    assert made.sense(talkie).features == ()
    made.explain(talkie)
    (prompt,) = engine.asked
    assert isinstance(prompt, EmbeddedPrompt)
    assert prompt.parts == ()
    assert "none" in prompt.messages[-1].content


def test_a_modality_not_asked_for_or_broken_is_not_encoded(talkie: Path) -> None:
    soft = fakes.FakeSoftReader()
    made = agent(None, soft, modalities=frozenset({Modality.VOICE, Modality.SPEECH}))
    assert made.sense(talkie).features == ()
    torn = AffectAgent(
        None,
        AgentOptions(encoders=soft.encoders, speech=SpeechOptions(text="words")),
        parts=Parts(fakes.FakeFaceReader(error=fakes.broken()), fakes.FakeVoiceReader()),
    )
    assert torn.sense(talkie).features == ()


def test_an_engine_that_takes_none_is_never_shown_their_places(talkie: Path) -> None:
    class Deaf:
        name, model = "deaf", "m"

        def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
            raise AssertionError("asked")

    with pytest.raises(OptionError, match=r"deaf engine with m takes no soft tokens.*--path text"):
        agent(Deaf(), fakes.FakeSoftReader()).explain(talkie)


def test_features_travel_between_processes(talkie: Path) -> None:
    made = agent(None, fakes.FakeSoftReader())
    senses = made.sense(talkie)
    back = unpack(pack(senses), type(senses))
    (here,), (there,) = senses.features, back.features
    assert (here.encoder, here.modality, here.grid) == (there.encoder, there.modality, there.grid)
    for name in ("tokens", "times_s", "valid"):
        assert (getattr(here, name) == getattr(there, name)).all()
        assert getattr(here, name).dtype == getattr(there, name).dtype


# ---------------------------------------------------------------- fusion folders


def write_fusion(folder: Path, base: Path, width: int = 4, n_tokens: int = 2, **notes: Any) -> Path:
    """A random adapter for face and voice, sealed for the base whose config.json is given."""
    import torch

    from affectgpt.fusion.fuser import Fuser

    torch.manual_seed(0)
    modalities = {
        Modality.FACE: ModalityConfig(FACE_NAME, FACE.width, n_tokens=n_tokens),
        Modality.VOICE: ModalityConfig(VOICE_NAME, VOICE.width, n_tokens=n_tokens),
    }
    config = FusionConfig(modalities, width, prefusion="none")
    save_fusion(folder, Fuser(config), "both-1", "tiny", base, notes)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random language model whose context takes a prompt of the shipped kind."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny", context_tokens=4096)


@pytest.fixture(scope="module")
def base_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "config.json"
    path.write_text("{}")
    return path


@pytest.fixture(scope="module")
def fusion(tmp_path_factory: pytest.TempPathFactory, base_config: Path) -> Path:
    return write_fusion(tmp_path_factory.mktemp("fusion") / "face", base_config)


def test_a_fusion_folder_reads_features_into_parts(talkie: Path, fusion: Path) -> None:
    reader = open_fused(fusion, ("tiny",))
    assert isinstance(reader, FusedReader)
    assert (reader.id, reader.prompt_id, reader.encoders) == ("both-1", "explain-fused", (FACE_NAME, VOICE_NAME))
    engine = fakes.CountingEngine([fakes.ANSWER])
    agent(engine, reader, revisions=0, encoders=(FACE_NAME,)).explain(talkie)  # the fake voice has no bands
    (prompt,) = engine.asked
    assert isinstance(prompt, EmbeddedPrompt)
    assert [(part.name, part.tokens.shape) for part in prompt.parts] == [("face", (2, 4))]
    assert reader.read((), {}) == ()
    assert reader.read((Features.none(FACE_NAME, Modality.FACE, FACE.width),), {}) == ()
    with pytest.raises(ModelError, match="do not fit"):
        reader.read((Features.none("other@1", Modality.FACE, FACE.width),), {})


def test_another_base_or_prompt_is_refused(fusion: Path, base_config: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'tiny', do not fit 'other'"):
        open_fused(fusion, ("other", "more"))
    assert open_fused(fusion, ("served as this", "tiny")).id == "both-1"
    assert open_fused(fusion, ("renamed",), base_config).id == "both-1"
    (tmp_path / "config.json").write_text("{ }")
    with pytest.raises(ModelError, match="do not fit"):
        open_fused(fusion, ("tiny",), tmp_path / "config.json")
    version = PromptLibrary().get("explain-signals").version
    taught = write_fusion(tmp_path / "taught", base_config, prompt=f"explain-signals {version}")
    assert open_fused(taught, ("tiny",)).prompt_id == "explain-signals"
    with pytest.raises(ModelError, match=r"in prompt explain-fused 99, and this is \d+"):
        open_fused(write_fusion(tmp_path / "old", base_config, prompt="explain-fused 99"))
    with pytest.raises(PromptError, match="no prompt 'gone'"):
        open_fused(write_fusion(tmp_path / "gone", base_config, prompt="gone 1"))


def test_without_a_folder_or_with_a_deaf_engine_the_remedy_is_named(fusion: Path, tmp_path: Path) -> None:
    from affectgpt.engines.echo import EchoEngine

    with pytest.raises(OptionError, match="--fusion FOLDER"):
        find_fusion(None)
    with pytest.raises(ModelError, match=r"has no fusion\.json"):
        find_fusion(tmp_path)
    assert find_fusion(fusion) == fusion
    with pytest.raises(OptionError, match="takes no soft tokens"):
        open_soft_reader(fusion, object.__new__(type("Deaf", (), {"name": "deaf", "model": "m"})))
    assert open_soft_reader(fusion, EchoEngine()).id == "both-1"


def test_encoders_are_known_by_name_and_version() -> None:
    for name in (FACE_NAME, VOICE_NAME):
        made = open_encoder(name)
        assert f"{made.id}@{made.version}" == name
        assert open_encoder(name) is made
    with pytest.raises(ModelError, match=r"no encoder 'face-units@0'"):
        open_encoder("face-units@0")


# ---------------------------------------------------------------- the command line


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["explain", *map(str, arguments), "--quiet"])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--path", "fused"], "--fusion FOLDER"),
        (["--fusion", "."], "of no use to --path text"),
        (["--path", "fused", "--fusion", "/nowhere/at/all"], "has no fusion.json"),
    ],
)
def test_a_mistake_about_the_path_is_one_line_before_any_model_loads(talkie: Path, flags: list[str], told: str) -> None:
    done = run(talkie, *flags)
    (line,) = done.stderr.strip().splitlines()
    assert done.exit_code in (1, 2)
    assert line.startswith("affectgpt: ")
    assert told in line


def test_the_fused_path_is_one_command(tiny: Path, talkie: Path, tmp_path: Path) -> None:
    folder = write_fusion(tmp_path / "fusion", tiny / "config.json", width=32)
    write_tuned(folder / LORA_FOLDER, tiny)
    asked = [talkie, "--path", "fused", "--fusion", folder, "--model", tiny, "--transcript", "hello", "--json"]
    asked += ["--modalities", "face,speech"]
    done = run(*asked, "--max-tokens", "4", "--revisions", "0", "--top-k", "1", "--key-observations", "written")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["completion"]["prompt_id"] == "explain-fused"
    assert told["versions"]["soft tokens"] == "both-1"
    assert told["completion"]["model"].startswith("tiny+tuned-1"), "the folder's own LoRA adapter"
    plain = run(*asked, "--max-tokens", "4", "--revisions", "0", "--adapter", "none", "--key-observations", "written")
    assert json.loads(plain.stdout)["completion"]["model"].startswith("tiny (no adapter")


@pytest.mark.slow
def test_a_real_clip_gives_soft_tokens_of_face_and_voice(repo: Path, base_config: Path, tmp_path: Path) -> None:
    clip = repo / "examples" / "astronaut_smile.mp4"
    n_prompt_tokens = []
    for n_tokens in (2, 5):
        folder = write_fusion(tmp_path / str(n_tokens), base_config, n_tokens=n_tokens)
        done = run(clip, "--path", "fused", "--fusion", folder, "--engine", "echo", "--json")
        assert done.exit_code == 0, done.stderr
        told = json.loads(done.stdout)
        assert {"face", "voice"} <= {o["modality"] for o in told["observations"] if o["value"] is not None}
        n_prompt_tokens.append(told["completion"]["n_prompt_tokens"])
    n_modalities = 2
    assert n_prompt_tokens[1] - n_prompt_tokens[0] == 3 * n_modalities
