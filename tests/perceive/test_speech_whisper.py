"""Whisper's loaders on tiny models with random weights: what they say is noise, when they say it must be right."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from affectgpt.errors import ModelError, OptionError
from affectgpt.perceive.speech import Transcriber
from affectgpt.perceive.whisper import Segment, WhisperTranscriber, find_whisper, open_whisper
from affectgpt.records import TranscriptSource, Waveform, Word

RATE_HZ = 16_000


pytestmark = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@cache
def voice(seconds: float) -> np.ndarray:
    """Speech of this length, over and over the same sentence."""
    command = ["espeak-ng", "--stdout", "Nobody wanted to leave the house this morning."]
    sound = subprocess.run(command, capture_output=True, check=True).stdout
    samples, rate_hz = soundfile.read(io.BytesIO(sound), dtype="float32")
    return np.resize(soxr.resample(samples, rate_hz, RATE_HZ), int(seconds * RATE_HZ))


class FixedRecogniser:
    """Gives the same segments for every piece, whatever it hears."""

    def __init__(self, *segments: Segment) -> None:
        self.segments = segments
        self.languages: list[str | None] = []

    def hear(self, samples: np.ndarray, language: str | None) -> tuple[list[Segment], str]:
        self.languages.append(language)
        return list(self.segments), "fr"


def segment(text: str, start_s: float, end_s: float, **quality: float) -> Segment:
    words = (Word(text, start_s - 0.5, end_s + 9.0),)
    given = {"log_probability": -0.2, "compression": 1.2, "no_speech": 0.1} | quality
    return Segment(text, start_s, end_s, words=words, **given)


class TestTranscriber:
    def test_times_stay_in_the_clip(self) -> None:
        sound = Waveform(voice(3.0), RATE_HZ, 7.0)
        found = WhisperTranscriber(
            FixedRecogniser(segment("one", 0.0, 2.0), segment("two", 1.0, 99.0)), "m"
        ).transcribe([sound])
        assert [u.text for u in found.utterances] == ["one", "two"]
        edges = [t for u in found.utterances for w in u.words for t in (w.start_s, w.end_s)]
        assert edges == sorted(edges)
        assert all(7.0 <= t <= 10.0 for t in edges)
        assert found.source is TranscriptSource.WHISPER
        assert (found.language, found.model) == ("fr", "m")
        assert found.utterances[0].confidence == pytest.approx(np.exp(-0.2))

    def test_doubtful_segments_are_left_out_and_counted(self) -> None:
        bad = (segment("la la la", 0, 1, compression=3.0), segment("hm", 1, 2, no_speech=0.9, log_probability=-2.0))
        found = WhisperTranscriber(FixedRecogniser(*bad), "m").transcribe([Waveform(voice(3.0), RATE_HZ, 0.0)])
        assert found.utterances == ()
        assert "2 doubtful segments" in found.note

    def test_the_first_piece_decides_on_the_language(self) -> None:
        recogniser = FixedRecogniser(segment("one", 0.0, 1.0))
        WhisperTranscriber(recogniser, "m").transcribe([Waveform(voice(70.0), RATE_HZ, 0.0)])
        assert recogniser.languages[0] is None
        assert set(recogniser.languages[1:]) == {"fr"}
        assert len(recogniser.languages) >= 3

    def test_silence_is_not_heard(self) -> None:
        recogniser = FixedRecogniser(segment("thanks for watching", 0.0, 1.0))
        found = WhisperTranscriber(recogniser, "m").transcribe([Waveform(np.zeros(99_999, np.float32), RATE_HZ, 0.0)])
        assert found.utterances == ()
        assert recogniser.languages == []


# ---------------------------------------------------------------- the libraries


def write_tokenizer(path: Path) -> None:
    """Whisper's multilingual tokenizer as tokenizer.json, from the ranks that openai-whisper ships."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from whisper.tokenizer import get_tokenizer

    ranks = {}
    for line in files("whisper").joinpath("assets/multilingual.tiktoken").read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    letters = byte_letters()
    vocabulary = {"".join(letters[b] for b in token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges(ranks, letters)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = get_tokenizer(multilingual=True).encoding._special_tokens
    ordered = sorted(special, key=lambda name: special[name])
    # As in OpenAI's own tokenizer.json, times are plain additions and the rest is special.
    tokenizer.add_tokens([AddedToken(name, special=not name[2].isdigit(), normalized=False) for name in ordered])
    assert all(tokenizer.token_to_id(name) == special[name] for name in ordered)
    tokenizer.save(str(path))


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for every byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}


def merges(ranks: dict[bytes, int], letters: dict[int, str]) -> list[tuple[str, str]]:
    """The pair that made each token: the last one left when it is encoded with the earlier ranks only."""
    found = []
    for token, rank in ranks.items():
        if len(token) == 1 or rank >= 3000:  # 3000 merges are plenty to prove a loader
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            pairs = [ranks.get(a + b, rank) for a, b in pairwise(parts)]
            i = min(range(len(pairs)), key=pairs.__getitem__)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        a, b = ("".join(letters[x] for x in part) for part in parts)
        found.append((a, b))
    return found


@pytest.fixture(scope="session")
def ct2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CTranslate2 folder of a whisper with random weights."""
    pytest.importorskip("ctranslate2")
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    source, target = tmp_path_factory.mktemp("hf"), tmp_path_factory.mktemp("ct2") / "tiny-random"
    write_tokenizer(source / "tokenizer.json")
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=51865,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        decoder_start_token_id=50258,
        pad_token_id=50257,
        bos_token_id=50257,
        eos_token_id=50257,
        suppress_tokens=[],
        begin_suppress_tokens=[220, 50257],
    )
    WhisperForConditionalGeneration(config).save_pretrained(source)
    PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"), unk_token="<|endoftext|>").save_pretrained(
        source
    )
    (source / "preprocessor_config.json").write_text(
        json.dumps({"feature_size": 80, "sampling_rate": RATE_HZ, "hop_length": 160, "chunk_length": 30, "n_fft": 400})
    )
    TransformersConverter(str(source), copy_files=["tokenizer.json", "preprocessor_config.json"]).convert(str(target))
    written = target / "config.json"
    # A converter reads these off a published model's generation config; without them no language is detected.
    written.write_text(json.dumps(json.loads(written.read_text()) | {"lang_ids": list(range(50259, 50358))}))
    return target


@pytest.fixture(scope="session")
def pt_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An openai-whisper checkpoint with random weights."""
    whisper = pytest.importorskip("whisper")
    import torch

    torch.manual_seed(0)
    dims = whisper.ModelDimensions(80, 1500, 64, 2, 2, 51865, 48, 64, 2, 2)  # a short text, for speed
    path = tmp_path_factory.mktemp("pt") / "tiny-random.pt"
    model = whisper.model.Whisper(dims)
    with torch.no_grad():  # wider than by default, or it says nothing at all
        model.decoder.token_embedding.weight.normal_(std=0.3)
        model.decoder.positional_embedding.normal_(std=0.3)
    torch.save({"dims": vars(dims), "model_state_dict": model.state_dict()}, path)
    return path


def check_transcript(transcriber: Transcriber) -> None:
    sound = Waveform(voice(3.0), RATE_HZ, 2.0)
    first, second = transcriber.transcribe([sound]), transcriber.transcribe([sound])
    assert first == second
    assert first.source is TranscriptSource.WHISPER
    edges = [t for u in first.utterances for w in u.words for t in (w.start_s, w.end_s)]
    assert edges == sorted(edges)
    assert all(2.0 <= t <= 5.0 for t in edges)
    assert first.utterances or first.note  # noise is left out, but never silently


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",  # openai-whisper leaves its token file open
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
class TestLoaders:
    def test_faster_whisper(self, ct2_folder: Path) -> None:
        transcriber = open_whisper(str(ct2_folder))
        check_transcript(transcriber)
        assert transcriber.transcribe([]).model == "tiny-random"

    def test_faster_whisper_words(self, ct2_folder: Path) -> None:
        """The library's own segments, before the doubtful are left out: there are words, with times."""
        transcriber = open_whisper(str(ct2_folder))
        assert isinstance(transcriber, WhisperTranscriber)
        segments, _ = transcriber._recogniser.hear(voice(3.0), "en")
        assert any(s.words for s in segments)

    def test_openai_whisper(self, pt_file: Path) -> None:
        transcriber = open_whisper(str(pt_file))
        check_transcript(transcriber)
        assert isinstance(transcriber, WhisperTranscriber)
        segments, _ = transcriber._recogniser.hear(voice(3.0), "en")
        assert any(s.words for s in segments)

    def test_a_folder_without_tokenizer_is_refused(self, ct2_folder: Path, tmp_path: Path) -> None:
        for name in ("model.bin", "config.json", "vocabulary.json"):
            (tmp_path / name).write_bytes((ct2_folder / name).read_bytes())
        with pytest.raises(ModelError, match=r"lacks tokenizer\.json"):
            open_whisper(str(tmp_path))

    def test_a_damaged_model_is_refused(self, ct2_folder: Path, tmp_path: Path) -> None:
        for path in ct2_folder.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes()[:200])
        with pytest.raises(ModelError, match="not a readable"):
            open_whisper(str(tmp_path))

    def test_the_environment_names_one(self, ct2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AFFECTGPT_WHISPER", str(ct2_folder))
        assert isinstance(find_whisper(), WhisperTranscriber)


class TestRefusals:
    def test_a_damaged_checkpoint(self, tmp_path: Path) -> None:
        path = tmp_path / "model.pt"
        path.write_bytes(b"not a checkpoint")
        with pytest.raises(ModelError, match=r"model\.pt"):
            open_whisper(str(path))

    @pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "nowhere.pt"])
    def test_no_such_path(self, name: str) -> None:
        with pytest.raises(OptionError, match="nowhere"):
            open_whisper(name)

    def test_no_such_name(self) -> None:
        with pytest.raises(OptionError, match="gigantic"):
            open_whisper("gigantic")

    def test_a_name_is_looked_for_here_only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        with pytest.raises(ModelError, match="not on this machine"):
            open_whisper("medium")

    def test_a_bare_transformers_folder_is_told_how_to_convert(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ModelError, match=r"lacks model\.bin.*ct2-transformers-converter"):
            open_whisper(str(tmp_path))
