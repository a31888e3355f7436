"""Words come from the first source that has any, and a transcript says where from and what was passed over."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from affectgpt import media
from affectgpt.errors import TranscriptError
from affectgpt.perceive.speech import find_transcript, in_order, read_text, speech_pieces
from affectgpt.perceive.sphinx import MAX_CONFIDENCE, PocketSphinx
from affectgpt.records import Clip, Transcript, TranscriptSource, Utterance, Waveform, Word

SRT = "1\n00:00:00,500 --> 00:00:01,500\nFrom the sidecar.\n"
needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


class FakeTranscriber:
    """Says the same words of any sound, and counts how often it was asked."""

    name = "fake"

    def __init__(self) -> None:
        self.n_calls = 0
        self.heard_s = 0.0

    def transcribe(self, blocks: Iterable[Waveform]) -> Transcript:
        self.n_calls += 1
        self.heard_s = sum(len(b.samples) / b.rate_hz for b in blocks)
        return Transcript((Utterance("From the recogniser.", 0.0, 1.0),), TranscriptSource.WHISPER, "en", "fake")


def say(text: str, *options: str) -> Waveform:
    sound = subprocess.run(["espeak-ng", "--stdout", *options, text], capture_output=True, check=True).stdout
    samples, rate_hz = soundfile.read(io.BytesIO(sound), dtype="float32")
    return Waveform(samples, rate_hz, 0.0)


@pytest.fixture(autouse=True)
def no_models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose caches hold no model."""
    empty = str(tmp_path_factory.mktemp("cache"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, empty)
    monkeypatch.delenv("AFFECTGPT_WHISPER", raising=False)


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.01, 16_000), 16_000)
    return media.open_clip(path)


class TestOrder:
    def test_sidecar_first(self, clip: Clip) -> None:
        clip.path.with_suffix(".srt").write_text(SRT)
        fake = FakeTranscriber()
        found = find_transcript(clip, transcript="Given words.", transcriber=fake)
        assert found.source is TranscriptSource.SIDECAR
        assert [u.text for u in found.utterances] == ["From the sidecar."]
        assert fake.n_calls == 0
        assert "given transcript was not used" in found.note
        assert "fake was not run" in found.note

    def test_sidecar_alone_needs_no_note(self, clip: Clip) -> None:
        clip.path.with_suffix(".srt").write_text(SRT)
        assert find_transcript(clip).note == "" or "not used" not in find_transcript(clip).note

    def test_given_before_recogniser(self, clip: Clip) -> None:
        fake = FakeTranscriber()
        found = find_transcript(clip, transcript="One line.\n\n  Another\tline. ", transcriber=fake)
        assert found.source is TranscriptSource.GIVEN
        assert [u.text for u in found.utterances] == ["One line.", "Another line."]
        assert {u.start_s for u in found.utterances} == {None}
        assert fake.n_calls == 0

    def test_recogniser_hears_the_clip(self, clip: Clip) -> None:
        fake = FakeTranscriber()
        found = find_transcript(clip, transcriber=fake)
        assert found.source is TranscriptSource.WHISPER
        assert fake.heard_s == pytest.approx(1.0, abs=0.01)

    def test_nothing_is_said_plainly(self, clip: Clip) -> None:
        found = find_transcript(clip)
        assert found.source is TranscriptSource.NONE
        assert found.utterances == ()
        for looked in ("sidecar", "stream", "given", "whisper model", "--transcript", "--whisper"):
            assert looked in found.note

    def test_a_broken_sidecar_is_passed_over_and_told(self, clip: Clip) -> None:
        clip.path.with_suffix(".srt").write_bytes(b"no cue at all\n" * 3)
        found = find_transcript(clip, transcriber=FakeTranscriber())
        assert found.source is TranscriptSource.WHISPER
        assert "could not be read" in found.note

    @pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
    def test_stream_before_given(self, tmp_path: Path) -> None:
        subtitles, path = tmp_path / "words.srt", tmp_path / "clip.mkv"
        subtitles.write_text(SRT.replace("sidecar", "stream"))
        source = ["-f", "lavfi", "-i", "sine=duration=2", "-i", str(subtitles), "-c:s", "srt", str(path)]
        subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *source], check=True)
        found = find_transcript(media.open_clip(path), transcript="Given words.")
        assert found.source is TranscriptSource.STREAM
        assert found.utterances[0].text == "From the stream."


class TestGiven:
    def test_without_a_clip(self, tmp_path: Path) -> None:
        path = tmp_path / "words.srt"
        path.write_text(SRT)
        found = find_transcript(None, transcript_path=path)
        assert found.source is TranscriptSource.GIVEN
        assert found.utterances[0].start_s == 0.5

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
    def test_plain_file(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "words.txt"
        path.write_bytes("Déjà vu, she said.\r\nAgain.".encode(encoding))
        assert [u.text for u in find_transcript(None, transcript_path=path).utterances] == [
            "Déjà vu, she said.",
            "Again.",
        ]

    @pytest.mark.parametrize("content", [None, b"\x00\x01\x02" * 100])
    def test_unreadable_file(self, tmp_path: Path, clip: Clip, content: bytes | None) -> None:
        path = tmp_path / "words.txt"
        if content is not None:
            path.write_bytes(content)
        clip.path.with_suffix(".srt").write_text(SRT)
        with pytest.raises(TranscriptError, match=r"words\.txt"):
            find_transcript(clip, transcript_path=path)

    def test_empty_text_is_no_text(self) -> None:
        assert find_transcript(None, transcript=" \n\t").source is TranscriptSource.NONE

    @given(st.text(max_size=300))
    def test_any_text(self, text: str) -> None:
        for utterance in read_text(text):
            assert utterance.text.strip() == utterance.text != ""
            assert utterance.text.isprintable()


class TestPieces:
    @given(st.lists(st.tuples(st.floats(-2, 40), st.floats(-2, 40)), max_size=8))
    def test_words_come_into_order(self, times: list[tuple[float, float]]) -> None:
        words = in_order((Word("w", a, b) for a, b in times), 1.0, 30.0)
        edges = [t for w in words for t in (w.start_s, w.end_s)]
        assert edges == sorted(edges)
        assert all(1.0 <= t <= 30.0 for t in edges)
        assert len(words) == len(times)

    def test_silence_gives_none(self) -> None:
        assert list(speech_pieces([Waveform(np.zeros(48_000, np.float32), 16_000, 0.0)])) == []
        assert list(speech_pieces([])) == []

    @needs_espeak
    def test_pieces_are_short_cut_at_pauses_and_lose_no_speech(self) -> None:
        sentence = say("Nobody wanted to leave the house this morning.")
        quiet = np.zeros(sentence.rate_hz // 2, np.float32)
        one = np.concatenate([sentence.samples, quiet])
        n = int(75 * sentence.rate_hz / len(one)) + 1
        sound = Waveform(np.tile(one, n), sentence.rate_hz, 4.0)
        pieces = list(speech_pieces([sound]))
        assert len(pieces) >= 3
        assert all(len(samples) <= 30.5 * 16_000 for _, samples in pieces)
        starts = [start_s for start_s, _ in pieces]
        assert starts == sorted(starts)
        assert starts[0] >= 4.0
        for start_s, samples in pieces:
            end_s = start_s + len(samples) / 16_000
            # Each begins and ends in a pause; the first begins with the sound.
            assert start_s == 4.0 or np.abs(samples[:800]).max() < 0.05
            assert np.abs(samples[-800:]).max() < 0.05
            assert end_s <= 4.0 + len(sound.samples) / sound.rate_hz + 0.01
        # Every sentence, known by its energy, is in some piece.
        energy = sum(float((samples**2).sum()) for _, samples in pieces) / 16_000
        assert energy == pytest.approx(float((sound.samples**2).sum()) / sound.rate_hz, rel=0.03)

    @needs_espeak
    def test_blocks_do_not_matter(self) -> None:
        sound = say("Nobody wanted to leave the house this morning, not even the dog.")
        whole = list(speech_pieces([sound]))
        n = 5_000
        cut = [
            Waveform(sound.samples[i : i + n], sound.rate_hz, i / sound.rate_hz)
            for i in range(0, len(sound.samples), n)
        ]
        parts = list(speech_pieces(cut))
        assert [p[0] for p in parts] == [p[0] for p in whole]
        assert np.allclose(parts[0][1], whole[0][1], atol=1e-3)


class TestSphinx:
    @pytest.mark.slow
    @pytest.mark.shared
    def test_a_known_speech(self, shared_data: Path) -> None:
        clip = media.open_clip(shared_data / "speech" / "asr" / "jfk.flac")
        found = PocketSphinx().transcribe(media.waveform(clip))
        words = [w for u in found.utterances for w in u.words]
        assert {"what", "your", "country"} <= {w.text for w in words}
        edges = [t for w in words for t in (w.start_s, w.end_s)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] <= edges[-1] <= clip.duration_s
        assert all(u.confidence <= MAX_CONFIDENCE for u in found.utterances)
        assert found.source is TranscriptSource.POCKETSPHINX
        assert "low confidence" in found.note

    @pytest.mark.parametrize("n_samples", [0, 1, 800, 32_000])
    def test_nothing_said(self, n_samples: int) -> None:
        found = PocketSphinx().transcribe([Waveform(np.zeros(n_samples, np.float32), 16_000, 0.0)])
        assert found.utterances == ()
        assert "no speech" in found.note
