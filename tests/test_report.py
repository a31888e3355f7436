"""The page: whole or absent, escaped, self-contained, and alive in a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import fakes
import media_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from affectgpt import media, report
from affectgpt.agent import AffectAgent, Senses
from affectgpt.engines.echo import EchoEngine
from affectgpt.records import Outcome
from affectgpt.report import picture
from affectgpt.report.story import pieces
from affectgpt.report.timeline import MOST_COLUMNS, figure

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)> "quoted" & more'


@pytest.fixture(scope="session")
def talkie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of pictures and sound that every browser plays."""
    path = tmp_path_factory.mktemp("report") / "talkie.mp4"
    return media_files.write_video(
        path, media_files.even_times_ms(100), sound=media_files.tone(4.0)[None], options={"movflags": "faststart"}
    )


def told(clip: Path | None, answer: str | None = fakes.ANSWER, words: str = "well") -> tuple[Outcome, Senses]:
    """An outcome over known tracks."""
    senses = Senses(
        clip=media.open_clip(clip) if clip else None,
        face=fakes.face_track(AU12=4.0, AU6=2.0) if clip else None,
        voice=fakes.voice_track(f0_median_hz=2.4) if clip else None,
        transcript=fakes.transcript(words),
    )
    return AffectAgent(EchoEngine([answer]) if answer else None).conclude(senses), senses


# ---------------------------------------------------------------- what is on it


def test_everything_told_is_on_the_page(talkie: Path) -> None:
    outcome, senses = told(talkie)
    page = report.render(outcome, senses)
    for observation in outcome.observations.items:
        assert f'<li id="{observation.id}"' in page
    for part in ("Key observations", "Interpretation", "Conclusion", "Grounding", "How this was made"):
        assert f">{part}</h2>" in page
    assert "Made by AI" in page
    assert 'href="#F1"' in page
    assert "contradicted: " in page, "the made-up frown"
    for name, version in outcome.versions.items():
        assert f"<dt>{name}</dt><dd>{version}</dd>" in page


def test_the_clip_itself_is_inside(talkie: Path) -> None:
    page = report.render(*told(talkie))
    (stored,) = re.findall(r'<script type="text/plain" id="media" data-mime="video/mp4">([^<]+)</script>', page)
    assert base64.b64decode(stored) == talkie.read_bytes()


def test_nothing_is_fetched_and_only_known_scripts_run(talkie: Path) -> None:
    page = report.render(*told(talkie))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    allowed = set(re.findall(r"sha256-([^&']+)", policy[1]))
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digests = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts}
    assert digests == allowed
    assert "default-src 'none'" in policy[1].replace("&#39;", "'")
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', outside)


@pytest.mark.parametrize("place", ["words", "answer", "name"])
def test_hostile_text_stays_text(tmp_path: Path, talkie: Path, place: str) -> None:
    clip = talkie
    if place == "name":
        clip = Path(shutil.copy(talkie, tmp_path / "<img src=x onerror=alert(1)>.mp4"))
    answer = fakes.ANSWER.replace("It may also be politeness.", HOSTILE) if place == "answer" else fakes.ANSWER
    plain_page = report.render(*told(talkie))
    page = report.render(*told(clip, answer, HOSTILE if place == "words" else "well"))
    assert page.count("<script") == plain_page.count("<script")
    assert "<img" not in page


def test_an_unreadable_answer_is_shown_raw(talkie: Path) -> None:
    page = report.render(*told(talkie, answer=f"no form {HOSTILE}"))
    assert "The answer could not be read" in page
    assert "no form &lt;/script&gt;" in page


def test_observations_alone_and_words_alone_have_pages(talkie: Path) -> None:
    assert "No language model was asked" in report.render(*told(talkie, answer=None))
    words = report.render(*told(None))
    assert "there is no clip to show" in words
    assert len(words) < 50_000, "nothing to draw: plotly is not carried"


@given(st.text(), st.sets(st.sampled_from(["F1", "V1", "S2", "M1"])))
def test_cut_text_joins_to_itself_and_links_only_what_exists(text: str, known: set[str]) -> None:
    cut = pieces(f"{text} [F1, S2] and [F9]", frozenset(known))
    assert "".join(p.text for p in cut) == f"{text} [F1, S2] and [F9]"
    assert {p.cites for p in cut} - {""} <= known


# ---------------------------------------------------------------- how it is written


def test_a_page_that_cannot_be_made_leaves_the_old_one_and_no_litter(tmp_path: Path, talkie: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old", encoding="utf-8")
    outcome, senses = told(talkie)
    with pytest.raises(AttributeError):
        report.write(page, replace(outcome, observations=None), senses)  # type: ignore[arg-type]
    assert page.read_text(encoding="utf-8") == "old"
    report.write(page, outcome, senses)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert page.stat().st_mode & 0o044, "readable as any new file is"


# ---------------------------------------------------------------- the clip as browsers play it


def test_what_no_browser_plays_is_copied_upright_and_in_time(tmp_path: Path) -> None:
    source = media_files.write_video(
        tmp_path / "old.avi", media_files.even_times_ms(50), codec="mpeg4", sound=media_files.tone(2.0)[None],
        audio_codec="mp3",
    )  # fmt: skip
    shown = picture.embed(media.open_clip(source))
    assert shown.kind == "video"
    assert "smaller copy" in shown.note
    with av.open(io.BytesIO(shown.data)) as copy:
        assert {s.codec_context.codec.canonical_name for s in copy.streams} == {"h264", "aac"}
        assert copy.duration is not None
        assert copy.duration / 1e6 == pytest.approx(2.0, abs=0.1)
    kept = tmp_path / "copy.mp4"
    kept.write_bytes(shown.data)
    old, new = (
        [(round(f.time_s, 3), media_files.read_number(f.pixels)) for f in media.frames(media.open_clip(path), 5.0)]
        for path in (source, kept)
    )
    assert new == old


def test_a_turned_phone_clip_is_left_to_the_browser_and_copied_upright(tmp_path: Path, talkie: Path) -> None:
    turned = Path(shutil.copy(talkie, tmp_path / "turned.mp4"))
    media_files.rotate_mp4(turned, 90)
    clip = media.open_clip(turned)
    assert picture.embed(clip).data == turned.read_bytes()
    kept = tmp_path / "copy.mp4"
    kept.write_bytes(picture._copy(clip))
    copied = media.open_clip(kept)
    assert (copied.width_px, copied.height_px) == (clip.width_px, clip.height_px)
    shown, meant = (next(iter(media.frames(c, 1.0))).pixels.astype(float) for c in (copied, clip))
    assert np.abs(shown - meant).mean() < 8


def test_sound_alone_is_played_or_copied(tmp_path: Path) -> None:
    wav = media_files.write_sound(tmp_path / "a.wav", media_files.tone(1.0)[None], "pcm_s16le")
    assert picture.embed(media.open_clip(wav)).mime == "audio/wav"
    mkv = media_files.write_gapped_sound(tmp_path / "a.mka", [(0.0, media_files.tone(1.0))])
    shown = picture.embed(media.open_clip(mkv))
    assert (shown.kind, shown.mime) == ("audio", "audio/mp4")


def test_a_still_is_shown_and_a_strange_one_converted(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 48), (200, 30, 30))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.bmp")
    assert picture.embed(media.open_clip(tmp_path / "a.png")).mime == "image/png"
    assert picture.embed(media.open_clip(tmp_path / "a.bmp")).mime == "image/jpeg"


def test_too_long_to_copy_is_said(tmp_path: Path, talkie: Path) -> None:
    gone = replace(media.open_clip(talkie), path=tmp_path / "gone.mp4")
    assert picture.embed(gone).kind == "none"
    avi = media_files.write_video(tmp_path / "old.avi", media_files.even_times_ms(25), codec="mpeg4")
    long = replace(media.open_clip(avi), duration_s=picture.LONGEST_COPY_S + 1)
    shown = picture.embed(long)
    assert shown.kind == "none"
    assert "too long" in shown.note


# ---------------------------------------------------------------- timelines


def test_the_figure_draws_the_tracks_on_one_axis() -> None:
    face, voice = fakes.face_track(AU12=4.0), fakes.voice_track()
    drawn = figure(face, voice, 4.0)
    assert drawn is not None
    assert drawn["rows"] == ["face", "pitch", "level"]
    heat = drawn["data"][0]
    row = heat["z"][next(i for i, name in enumerate(heat["y"]) if name.endswith(" 12"))]
    assert max(row) == pytest.approx(4.0, abs=0.05)
    assert heat["x"][int(np.argmax(row))] == pytest.approx(2.0, abs=0.1)
    json.dumps(drawn, allow_nan=False)


def test_long_tracks_are_pooled_to_their_peaks_and_said_so() -> None:
    face = fakes.face_track(duration_s=600, AU12=4.0)
    spiked = face.action_units.copy()
    spiked[3001, 0] = 5.0
    drawn = figure(replace(face, action_units=spiked), None, 600.0)
    assert drawn is not None
    heat = drawn["data"][0]
    assert len(heat["x"]) <= MOST_COLUMNS
    assert max(heat["z"][0]) == 5.0, "a short peak is not averaged away"
    assert "each column is the highest of" in drawn["caption"]


def test_nothing_to_draw_is_no_figure() -> None:
    assert figure(None, None, 4.0) is None
    assert figure(fakes.unseen_track(), None, 4.0) is None


# ---------------------------------------------------------------- in a browser


def _until(session: Any, script: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := session.execute_script(f"return {script}")):
        assert time.monotonic() < deadline, f"never true: {script}"
        time.sleep(0.1)
    return value


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("size", [(1400, 900), (390, 844)], ids=["desktop", "phone"])
def test_the_page_lives_in_a_browser(browser: Any, tmp_path: Path, talkie: Path, size: tuple[int, int]) -> None:
    from selenium.webdriver.common.keys import Keys

    outcome, senses = told(talkie, words=HOSTILE)
    page = tmp_path / "page.html"
    report.write(page, outcome, senses)
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())
    clip = "document.getElementById('clip')"
    _until(browser, f"{clip}.readyState >= 2")
    _until(browser, "document.querySelector('#timeline .plot-container')")

    # An observation seeks the clip, by mouse and by keyboard.
    seen = next(o for o in outcome.observations.items if o.start_s is not None and o.start_s > 0.5)
    button = browser.find_element("css selector", f"#{seen.id} .seek")
    button.send_keys(Keys.ENTER)
    _until(browser, f"{clip}.currentTime >= {seen.start_s} - 0.05")
    assert browser.execute_script(f"return {clip}.currentTime") < seen.end_s + 0.5
    _until(browser, f"document.getElementById('{seen.id}').classList.contains('now')")
    browser.execute_script(f"{clip}.pause(); {clip}.currentTime = 0;")
    browser.execute_script("arguments[0].click()", button)
    _until(browser, f"{clip}.currentTime >= {seen.start_s} - 0.05")

    # A citation leads to its observation.
    link = browser.find_element("css selector", '.claims a.cite[href="#V1"]')
    browser.execute_script("arguments[0].click()", link)
    assert browser.execute_script("return document.activeElement.id") == "V1"

    # The cursor of the timelines follows the clip.
    browser.execute_script(f"{clip}.pause(); {clip}.currentTime = 3;")
    _until(browser, "Math.abs(document.getElementById('timeline').layout.shapes[0].x0 - 3) < 0.05")

    # Nothing runs out of its place: neither the page sideways nor the timelines over their caption.
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    _until(browser, "document.querySelector('#timeline .main-svg').getBoundingClientRect().bottom"
                    " <= document.querySelector('figcaption').getBoundingClientRect().top + 1")  # fmt: skip
    assert browser.find_elements("css selector", "img") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
