"""Subtitles: the words, who says them and when, from files in any state."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import add_subtitles, even_times_ms, tone, write_video

from affectgpt.errors import TranscriptError
from affectgpt.media import open_clip, read_subtitles, stream_subtitles, subtitle_path
from affectgpt.media.subtitles import MAX_SUBTITLE_BYTES
from affectgpt.records import Utterance

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Hello</i> there, {\\an8}my friend.

2
00:00:03,250 --> 00:00:04,000
ANNA: I am fine.
And you?
"""


def write(tmp_path: Path, text: str | bytes, name: str = "a.srt") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def cue(text: str, span: str = "00:00:01,000 --> 00:00:02,000") -> str:
    return f"1\n{span}\n{text}\n"


def test_subrip(tmp_path: Path) -> None:
    assert read_subtitles(write(tmp_path, SRT)) == (
        Utterance("Hello there, my friend.", 1.0, 2.5),
        Utterance("I am fine. And you?", 3.25, 4.0, speaker="ANNA"),
    )


def test_webvtt_with_all_its_furniture(tmp_path: Path) -> None:
    text = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: white }

NOTE
a note --  not spoken

intro
00:01.000 --> 00:02.000 align:start position:10%
<v Anna>I <b>can't</b> &amp; won&#39;t.</v>

NOTE another note

second-cue
00:00:02.500 --> 00:00:04.000
<v.loud Bob>Why <00:00:03.000>not?</v>
<v Anna>Because!</v>
"""
    assert read_subtitles(write(tmp_path, text, "a.vtt")) == (
        Utterance("I can't & won't.", 1.0, 2.0, speaker="Anna"),
        Utterance("Why not?", 2.5, 4.0, speaker="Bob"),
        Utterance("Because!", 2.5, 4.0, speaker="Anna"),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_newlines(tmp_path: Path, encoding: str, newline: str) -> None:
    text = cue("Ça va très bien, señor Müller.").replace("\n", newline)
    (utterance,) = read_subtitles(write(tmp_path, text.encode(encoding)))
    assert utterance.text == "Ça va très bien, señor Müller."


def test_windows_quotes(tmp_path: Path) -> None:
    (utterance,) = read_subtitles(write(tmp_path, cue("“Don’t…” – 5 €").encode("cp1252")))
    assert utterance.text == "“Don’t…” – 5 €"


@pytest.mark.parametrize(
    ("text", "speaker", "words"),
    [
        ("ANNA: Hello.", "ANNA", "Hello."),
        ("DR. O'BRIEN: Sit.", "DR. O'BRIEN", "Sit."),
        ("ÉLODIE: Oui.", "ÉLODIE", "Oui."),
        ("MAN 2: Run!", "MAN 2", "Run!"),
        ("ANNA (V.O.): Once.", "ANNA", "Once."),
        (">> ANNA: What?", "ANNA", "What?"),
        ("It was\n1984", None, "It was 1984"),
        ("3", None, "3"),
        ("Listen: I know.", None, "Listen: I know."),
        ("It is 10: 30 now.", None, "It is 10: 30 now."),
        ("NO WAY!", None, "NO WAY!"),
        ("I love AT&T: a lot", None, "I love AT&T: a lot"),
        ("2 < 3 and 5 > 4", None, "2 < 3 and 5 > 4"),
        ("I <3 you", None, "I <3 you"),
    ],
)
def test_speakers_are_named_only_where_a_name_stands(
    tmp_path: Path, text: str, speaker: str | None, words: str
) -> None:
    (utterance,) = read_subtitles(write(tmp_path, cue(text)))
    assert (utterance.speaker, utterance.text) == (speaker, words)


def test_dashes_part_two_speakers(tmp_path: Path) -> None:
    got = read_subtitles(write(tmp_path, cue("- Are you well?\n- No.\nNot at all.")))
    assert [u.text for u in got] == ["Are you well?", "No. Not at all."]
    assert [u.text for u in read_subtitles(write(tmp_path, cue("- One of us.")))] == ["One of us."]


def test_overlapping_and_unordered_cues_are_sorted_and_kept(tmp_path: Path) -> None:
    text = (
        cue("later", "00:00:05,000 --> 00:00:09,000")
        + "\n"
        + cue("first", "00:00:01,000 --> 00:00:06,000")
        + "\n"
        + cue("middle", "00:00:02,000 --> 00:00:03,000")
    )
    got = read_subtitles(write(tmp_path, text))
    assert [(u.text, u.start_s, u.end_s) for u in got] == [
        ("first", 1.0, 6.0),
        ("middle", 2.0, 3.0),
        ("later", 5.0, 9.0),
    ]


@pytest.mark.parametrize(
    ("span", "start_s", "end_s"),
    [
        ("-00:00:01,000 --> 00:00:02,000", 0.0, 2.0),
        ("-00:00:03,000 --> -00:00:02,000", 0.0, 0.0),
        ("00:00:05,000 --> 00:00:02,000", 5.0, 5.0),
        ("00:00:01.5 --> 00:00:02.25", 1.5, 2.25),
    ],
)
def test_odd_times(tmp_path: Path, span: str, start_s: float, end_s: float) -> None:
    (utterance,) = read_subtitles(write(tmp_path, cue("hm", span)))
    assert (utterance.start_s, utterance.end_s) == (start_s, end_s)


@pytest.mark.parametrize("text", ["", "\n \n", "WEBVTT\n", "\ufeffWEBVTT\n\nNOTE nothing\n", cue(""), cue("<i></i>")])
def test_nothing_said_gives_nothing(tmp_path: Path, text: str) -> None:
    assert read_subtitles(write(tmp_path, text)) == ()


@pytest.mark.parametrize("text", ["just a page of prose\n" * 20, "1\n2\n3\n", "00:00:01 to 00:00:02 hello"])
def test_what_is_no_subtitle_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TranscriptError, match="timed line"):
        read_subtitles(write(tmp_path, text))


def test_missing_directory_and_too_large(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError):
        read_subtitles(tmp_path / "none.srt")
    with pytest.raises(TranscriptError):
        read_subtitles(tmp_path)
    with pytest.raises(TranscriptError, match="bytes"):
        read_subtitles(write(tmp_path, b"x" * (MAX_SUBTITLE_BYTES + 1)))


@pytest.mark.parametrize("unit", ["<a", "{\\", "<v ", "\n", "- ", "A ", "1\n", "00:00:01,000 --> ", "&lt;", "<1", "A-"])
def test_hostile_repetition_costs_little_time(tmp_path: Path, unit: str) -> None:
    path = write(tmp_path, cue(unit * (300_000 // len(unit))))
    started = time.process_time()
    with contextlib.suppress(TranscriptError):
        read_subtitles(path)
    assert time.process_time() - started < 20  # a quadratic scan takes minutes


@given(data=st.binary(max_size=600))
def test_any_bytes_give_utterances_or_a_transcript_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    check_any(tmp_path_factory.mktemp("fuzz"), data)


_PIECES = st.one_of(
    st.sampled_from(
        [
            "WEBVTT\n\n",
            "1\n",
            "\n\n",
            " --> ",
            "00:00:01,000 --> 00:00:02,000\n",
            "-00:00:01,000",
            "99:99:99,999",
            "<v Anna>",
            "</v>",
            "ANNA: ",
            "- ",
            "{\\an8}",
            "{\\p1}",
            "&#x110000;",
            "&amp;",
            "9999:00:00.00",
            "\x00",
            "\ufeff",
            "NOTE ",
            "\\N",
            "\x01",
            "\x02",
            "<00:00:01.000>",
            "٠٠:٠٠:٠١,٠٠٠ --> ٠٠:٠٠:٠٢,٠٠٠\n",
        ]
    ),
    st.text(max_size=8),
)


@given(pieces=st.lists(_PIECES, max_size=40), encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_any_text_gives_utterances_or_a_transcript_error(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], encoding: str
) -> None:
    data = "".join(pieces).encode(encoding, "surrogatepass")
    check_any(tmp_path_factory.mktemp("fuzz"), data)


def check_any(folder: Path, data: bytes) -> None:
    path = folder / "a.srt"
    path.write_bytes(data)
    try:
        got = read_subtitles(path)
    except TranscriptError:
        return
    for utterance in got:
        assert utterance.start_s is not None
        assert utterance.end_s is not None
        assert 0.0 <= utterance.start_s <= utterance.end_s
        assert utterance.text == " ".join(utterance.text.split()) != ""
        assert utterance.speaker is None or utterance.speaker.strip()
    assert list(got) == sorted(got, key=lambda u: u.start_s or 0.0)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], None),
        (["clip.srt"], "clip.srt"),
        (["clip.vtt"], "clip.vtt"),
        (["clip.vtt", "clip.srt"], "clip.srt"),
        (["clip.en.srt"], "clip.en.srt"),
        (["clip.de.srt", "clip.en.vtt"], "clip.en.vtt"),
        (["clip.pt-BR.srt"], "clip.pt-BR.srt"),
        (["clip2.srt", "clip.notes.srt", "clip.txt", "other.en.srt"], None),
    ],
)
def test_the_sidecar(tmp_path: Path, names: list[str], found: str | None) -> None:
    for name in names:
        write(tmp_path, SRT, name)
    got = subtitle_path(tmp_path / "clip.mp4")
    assert (got.name if got else None) == found


def test_the_sidecar_of_an_odd_name(tmp_path: Path) -> None:
    write(tmp_path, SRT, "a[1].b*.en.srt")
    assert subtitle_path(tmp_path / "a[1].b*.mp4") is not None
    assert subtitle_path(tmp_path / "gone" / "clip.mp4") is None


def test_a_subtitle_that_comes_or_goes_later_is_seen_however_often_one_looked(tmp_path: Path) -> None:
    settled_ns = time.time_ns() - 60 * 10**9
    for n in range(3):
        os.utime(tmp_path, ns=(settled_ns, settled_ns))
        assert subtitle_path(tmp_path / f"clip{n}.mp4") is None
        assert subtitle_path(tmp_path / f"clip{n}.mp4") is None
        made = tmp_path / f"Clip{n}.en-GB.srt"
        made.write_text("")
        assert subtitle_path(tmp_path / f"clip{n}.mp4") == made
        os.utime(tmp_path, ns=(settled_ns + n + 1, settled_ns + n + 1))
        assert subtitle_path(tmp_path / f"clip{n}.mp4") == made
        made.unlink()
        assert subtitle_path(tmp_path / f"clip{n}.mp4") is None


@pytest.mark.parametrize(
    ("codec", "name", "keeps_voice"),
    [("subrip", "a.mkv", True), ("mov_text", "a.mp4", True), ("webvtt", "a.webm", True), ("ass", "a.mkv", False)],
)
def test_embedded_subtitles(tmp_path: Path, codec: str, name: str, keeps_voice: bool) -> None:
    source = write_video(
        tmp_path / f"source{Path(name).suffix}", even_times_ms(60), codec="libvpx-vp9", sound=tone(2.0)[None],
        audio_codec="libopus",
    )  # fmt: skip
    first = "<v Anna>I <i>am</i> here.</v>" if keeps_voice else "0,0,Default,,0,0,0,,{\\an8}I am here."
    second = "Très bien." if codec != "ass" else "1,0,Default,,0,0,0,,Très\\Nbien."
    path = add_subtitles(source, tmp_path / name, codec, [(500, 1200, first), (1500, 2000, second)])
    clip = open_clip(path)
    assert clip.n_subtitle_streams == 1
    got = stream_subtitles(clip)
    assert [(u.text, u.speaker) for u in got] == [("I am here.", "Anna" if keeps_voice else None), ("Très bien.", None)]
    times = [t for u in got for t in (u.start_s, u.end_s)]
    assert times == pytest.approx([0.5, 1.2, 1.5, 2.0], abs=0.03)


def test_no_subtitle_stream(tmp_path: Path) -> None:
    assert stream_subtitles(open_clip(write_video(tmp_path / "a.mp4", even_times_ms(3)))) == ()
