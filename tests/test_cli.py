"""The command line: what is printed where, what a mistake costs, and that nothing is left half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import fakes
import media_files
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from affectgpt.cli import app
from affectgpt.cli.guard import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED
from affectgpt.cli.plain import plain

SAID = "I got the job, I can hardly believe it!"
COMMAND = [sys.executable, "-c", "from affectgpt.cli import main; main()"]


def run(*arguments: object) -> object:
    """The command's result, run in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """A transcript alone."""
    return fakes.media_path(tmp_path, "said.txt", SAID.encode())


@pytest.fixture(scope="session")
def talkie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of pictures without a face, and a tone."""
    path = tmp_path_factory.mktemp("cli") / "talkie.mp4"
    return media_files.write_video(path, media_files.even_times_ms(50), sound=media_files.tone(2.0)[None])


# ---------------------------------------------------------------- what is printed


def test_json_is_one_document_on_stdout_and_progress_is_elsewhere(talkie: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "explain", talkie, "--engine", "echo", "--json", "--transcript", SAID],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["clip"]["path"] == str(talkie)
    assert read["completion"]["engine"] == "echo"
    assert "reading the" in done.stderr


def test_the_three_parts_the_counts_and_the_origin_are_printed(said: Path) -> None:
    done = run("explain", said, "--engine", "echo")
    assert done.exit_code == 0, done.output
    for part in ("Observations", "Key observations", "Interpretation", "Conclusion", "Grounding", "Missing"):
        assert f"\n{part}\n" in f"\n{done.stdout}"
    assert SAID in done.stdout
    assert "supported, 0 contradicted, 0 uncited" in " ".join(done.stdout.split())
    assert "engine echo" in done.stdout
    assert "prompt explain" in done.stdout
    assert "Made by AI" in done.stdout


def test_observe_asks_no_model(said: Path) -> None:
    done = run("observe", said)
    assert done.exit_code == 0, done.output
    assert SAID in done.stdout
    assert "Conclusion" not in done.stdout
    assert json.loads(run("observe", said, "--json").stdout)["answer"] is None


def test_words_from_outside_are_neither_markup_nor_terminal_commands(tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07 [red]hot[/red] \x9b31m :smile: \u202eabc"
    said = fakes.media_path(tmp_path, "hostile.txt", hostile.encode())
    done = run("explain", said, "--engine", "echo")
    assert done.exit_code == 0, done.output
    assert not set(done.stdout) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "red)hot(/red" in done.stdout.replace("[", "(").replace("]", ")"), "read as text, not as a colour"
    assert ":smile:" in done.stdout


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünï 日本 👩‍🚀", "plain – ünï 日本 👩‍🚀"),
        ("a\x1b[31mb", "a\\u001b[31mb"),
        ("two\r\nlines\tand tab", "two lines and tab"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("bad\udcff", "bad\\udcff"),
    ],
)
def test_plain_shows_what_a_terminal_would_act_on(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_protected_context_refuses_face_and_voice_and_says_so(talkie: Path) -> None:
    done = run("observe", talkie, "--context", "workplace", "--transcript", SAID)
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert "AI Act, Art. 5(1)(f)" in words
    assert SAID in words


def test_the_page_is_written_whole(said: Path, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    page.write_text("an older page", encoding="utf-8")
    done = run("explain", said, "--engine", "echo", "--report", page)
    assert done.exit_code == 0, done.output
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.html", "said.txt"]


def test_prompts_are_listed_shown_and_rendered(said: Path) -> None:
    listed = run("prompts", "list")
    assert "explain\t" in listed.stdout
    shown = run("prompts", "show", "explain")
    assert "{observations}" in shown.stdout
    rendered = run("prompts", "render", said)
    assert rendered.exit_code == 0, rendered.output
    assert SAID in rendered.stdout
    assert "{observations}" not in rendered.stdout
    unknown = run("prompts", "show", "nothing")
    assert unknown.exit_code == 2
    assert "no prompt 'nothing'" in unknown.stderr


def test_version_and_help() -> None:
    assert run("--version").stdout.startswith("affectgpt ")
    for command in ([], ["explain"], ["observe"], ["doctor"], ["prompts"], ["prompts", "render"]):
        done = run(*command, "--help")
        assert done.exit_code == 0
        assert "Usage" in done.stdout


def test_help_loads_nothing_heavy() -> None:
    probe = (
        "import sys\nfrom affectgpt.cli import app\n"
        "try: app(['explain', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'mediapipe', 'librosa', 'transformers', 'plotly', 'av', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


# ---------------------------------------------------------------- mistakes


def _bad_inputs(folder: Path) -> dict[str, list[object]]:
    """Arguments by what is wrong with them."""
    empty = fakes.media_path(folder, "empty.mp4", b"")
    noise = fakes.media_path(folder, "noise.mp4", np.random.default_rng(0).bytes(20_000))
    talkie = media_files.write_video(
        folder / "talkie.mp4", media_files.even_times_ms(50), sound=media_files.tone(2.0)[None]
    )
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    fakes.media_path(folder, "not.csv", b"a,b\n1,2\n")
    fakes.media_path(folder, "bad.srt", b"\x00\x01\x02 no cue here")
    return {
        "a missing file": [folder / "nowhere.mp4"],
        "a folder": [folder],
        "an empty file": [empty],
        "random bytes": [noise],
        "too long": [talkie, "--max-duration", "1"],
        "too many pixels": [folder / "bomb.png"],
        "a missing transcript": [folder / "nowhere.srt"],
        "no transcript in it": [folder / "bad.srt"],
        "a missing transcript file": [talkie, "--transcript-file", folder / "nowhere.srt"],
        "two transcripts": [talkie, "--transcript", "a", "--transcript-file", folder / "b.srt"],
        "not an exported track": [talkie, "--face-file", folder / "not.csv"],
        "two face readers": [talkie, "--face-file", folder / "not.csv", "--face-task", folder / "x.task"],
        "a rate of nothing": [talkie, "--face-rate", "0"],
        "an unknown modality": [talkie, "--modalities", "face,smell"],
        "no modality": [talkie, "--modalities", ","],
        "nothing at all": [],
        "a page in no folder": [talkie, "--report", folder / "no" / "out.html"],
        "a page that is a folder": [talkie, "--report", folder],
        "a page over the clip": [talkie, "--report", talkie],
    }


@pytest.fixture(scope="session")
def bad_inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[object]]]:
    """The folder, and arguments by what is wrong with them."""
    folder = tmp_path_factory.mktemp("bad")
    return folder, _bad_inputs(folder)


@pytest.mark.parametrize(
    "case",
    [
        "a missing file",
        "a folder",
        "an empty file",
        "random bytes",
        "too long",
        "too many pixels",
        "a missing transcript",
        "no transcript in it",
        "a missing transcript file",
        "two transcripts",
        "not an exported track",
        "two face readers",
        "a rate of nothing",
        "an unknown modality",
        "no modality",
        "nothing at all",
        "a page in no folder",
        "a page that is a folder",
        "a page over the clip",
    ],
)
@pytest.mark.parametrize("command", [("explain", "--engine", "echo"), ("observe",)], ids=["explain", "observe"])
def test_a_mistake_costs_one_line_exit_2_and_no_file(
    bad_inputs: tuple[Path, dict[str, list[object]]], command: tuple[str, ...], case: str
) -> None:
    folder, cases = bad_inputs
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    arguments = cases[case]
    page = [] if "--report" in arguments else ["--report", folder / "page.html"]
    done = run(*command, *arguments, *page, "--json", "--quiet")
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("affectgpt: ")
    assert "; " in line, "it says what to do about it"
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_debug_shows_the_traceback_and_nothing_else_does(tmp_path: Path) -> None:
    assert "Traceback" not in run("observe", tmp_path / "no.mp4").stderr
    assert "Traceback" in run("observe", tmp_path / "no.mp4", "--debug").stderr


@pytest.mark.parametrize(
    "flags",
    [["--max-tokens", "0"], ["--temperature", "-1"], ["--base-url", "http://127.0.0.1:9/v1"]],
    ids=lambda flags: flags[0],
)
def test_engine_options_are_checked(said: Path, flags: list[str]) -> None:
    done = run("explain", said, "--quiet", "--engine", "echo", *flags)
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("affectgpt: ")


def test_an_unreachable_server_is_one_line(said: Path) -> None:
    done = run("explain", said, "--quiet", "--engine", "http", "--base-url", "http://127.0.0.1:9/v1", "--model", "m")
    assert done.exit_code == 1
    (line,) = done.stderr.strip().splitlines()
    assert "127.0.0.1:9" in line


# ---------------------------------------------------------------- odd media that are no mistake


def test_one_frame_silence_clipping_and_stills_are_plainly_told(tmp_path: Path) -> None:
    one = media_files.write_video(tmp_path / "one.mp4", [0])
    rng = np.random.default_rng(1)
    loud = np.clip(rng.normal(0, 3, (1, 48_000)), -1, 1).astype(np.float32)
    clipped = media_files.write_sound(tmp_path / "clipped.wav", loud, "pcm_s16le")
    silence = media_files.write_sound(tmp_path / "silence.wav", np.zeros((1, 48_000), np.float32), "pcm_s16le")
    Image.new("RGB", (320, 240), (90, 120, 90)).save(tmp_path / "wall.jpg")
    for path in (one, clipped, silence, tmp_path / "wall.jpg"):
        done = run("explain", path, "--engine", "echo", "--json", "--quiet")
        assert done.exit_code == 0, (path, done.output, done.exception)
        read = json.loads(done.stdout)
        assert any(o["is_missing"] for o in read["observations"]), path
        assert read["answer"] is None or read["answer"]["parsed"]


def test_a_truncated_file_gives_what_it_holds(tmp_path: Path) -> None:
    whole = media_files.write_video(tmp_path / "whole.mkv", media_files.even_times_ms(75))
    cut = fakes.media_path(tmp_path, "cut.mkv", whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    done = run("observe", cut, "--json", "--quiet")
    assert done.exit_code == 0, done.output
    with av.open(str(cut)) as container:
        assert container.streams.video, "the file is damaged, not empty"


def test_latin_1_subtitles_are_read(tmp_path: Path) -> None:
    said = fakes.media_path(
        tmp_path, "said.srt", "1\n00:00:00,000 --> 00:00:01,000\nC'était très drôle\n".encode("latin-1")
    )
    done = run("observe", said)
    assert done.exit_code == 0, done.output
    assert "C'était très drôle" in done.stdout


# ---------------------------------------------------------------- signals and pipes


def test_a_reader_that_hangs_up_ends_it_quietly(said: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [*COMMAND, "observe", said, "--json"], stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60
        )
    finally:
        os.close(write_end)
    assert done.returncode == EXIT_BROKEN_PIPE
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.slow
def test_an_interrupt_ends_it_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    long = media_files.write_video(
        tmp_path / "long.mp4", media_files.even_times_ms(25 * 120), sound=media_files.tone(120.0)[None]
    )
    page = tmp_path / "page.html"
    process = subprocess.Popen(
        [*COMMAND, "observe", long, "--report", page], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert time.monotonic() - begun < 30
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.mp4"]


def test_a_given_transcript_that_a_sidecar_outranks_is_told(repo: Path) -> None:
    done = run("observe", repo / "examples" / "astronaut_smile.mp4", "--transcript", "other", "--modalities", "speech")
    assert "the given transcript was not used" in done.stdout  # type: ignore[attr-defined]
