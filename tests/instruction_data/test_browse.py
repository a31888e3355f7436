"""The page for looking at rows: to this machine alone, decisions kept as they are made, dropped rows taken out."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from affectgpt.cli import app
from affectgpt.errors import InputError, OptionError
from instruction_data.browse import REVIEW, Browser
from instruction_data.build import build
from instruction_data.recipe import load_recipe
from instruction_data.store import read_rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    given = [f"out={tmp_path / 'data'}", f"tracks={tmp_path / 'tracks'}", "rows={train: 12, dev: 3}", "workers=1"]
    return build(load_recipe("drawn", given))


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    sent = None if body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"} if sent else {}
    request = urllib.request.Request(url, sent, {**kind, **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_rows_are_shown_decided_and_taken_out(data: Path) -> None:
    browser = Browser(data)
    ids = [r.id for r in read_rows(data / "train.jsonl")]
    with browser.serve() as url:
        status, page = ask(url)
        assert status == 200
        assert b"<title>" in page
        shown = json.loads(ask(url + "row/3")[1])
        assert (shown["i"], shown["n"], shown["row"]["id"]) == (3, 12, ids[3])
        assert ask(url + "decide", {"id": ids[3], "verdict": "drop"})[0] == 200
        assert ask(url + "decide", {"id": ids[4], "verdict": "drop"})[0] == 200
        assert ask(url + "decide", {"id": ids[4], "verdict": "keep"})[0] == 200
        assert json.loads(ask(url + "row/3")[1])["verdict"] == "drop"
    # A program that was killed has its decisions still.
    again = Browser(data)
    assert again.decisions == {ids[3]: "drop", ids[4]: "keep"}
    assert again.save() == 1
    assert [r.id for r in read_rows(data / "train.jsonl")] == ids[:3] + ids[4:]
    assert again.save() == 0
    assert json.loads((data / "card.json").read_text())["dropped"]["train"]["by hand"] == 1


def test_no_other_page_and_no_other_host_gets_in(data: Path) -> None:
    browser = Browser(data)
    with browser.serve() as url:
        root = url.rsplit("/", 2)[0]
        assert url.startswith("http://127.0.0.1:")
        assert ask(f"{root}/")[0] == ask(f"{root}/guess/row/0")[0] == 404
        assert ask(url + "row/0", Host="evil.example")[0] == 404
        assert ask(url + "row/99")[0] == ask(url + "row/-1")[0] == ask(url + "row/%C2%B2")[0] == 404
        row = {"id": "x", "verdict": "drop"}
        assert ask(f"{root}/guess/decide", row)[0] == 400
        assert ask(url + "decide", row, **{"Content-Type": "text/plain"})[0] == 400
        assert ask(url + "decide", {"id": "x", "verdict": "burn"})[0] == 400
        assert ask(url + "decide", [1])[0] == 400
        assert ask(url + "decide", {"id": "x" * 20_000, "verdict": "drop"})[0] == 400
    assert not (data / REVIEW).exists()


def test_the_page_can_say_that_it_is_done(data: Path) -> None:
    browser = Browser(data, "dev")
    with browser.serve() as url:
        assert ask(url + "finish", {"all": True})[0] == 200
        browser.wait()


def test_damaged_rows_are_told_and_absent_ones_refused(data: Path, tmp_path: Path) -> None:
    with (data / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": 1}\n')
    browser = Browser(data)
    with browser.serve() as url:
        assert "row 13" in json.loads(ask(url + "row/12")[1])["fault"]
    with pytest.raises(OptionError, match="no test rows"):
        Browser(data, "test")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="holds no rows"):
        Browser(tmp_path / "empty.jsonl")
    assert json.dumps(browser.row(0))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    pytest.importorskip("selenium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no chromium and driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=Service(driver))
    yield session
    session.quit()


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_pages_lights_citations_and_drops_by_key(chromium: Any, data: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    browser = Browser(data)
    with browser.serve() as url:
        chromium.get(url)
        wait, body = WebDriverWait(chromium, 20), chromium.find_element(By.TAG_NAME, "body")
        wait.until(lambda d: d.find_element(By.ID, "name").text == browser.row(0)["row"]["id"])
        body.send_keys(Keys.ARROW_RIGHT)
        wait.until(lambda d: d.find_element(By.ID, "name").text == browser.row(1)["row"]["id"])
        cited = chromium.find_elements(By.CSS_SELECTOR, "#asked a.cite")
        if cited:
            cited[0].click()
            assert chromium.find_elements(By.CSS_SELECTOR, ".cite.lit")
        body.send_keys("d")
        wait.until(lambda d: d.find_element(By.ID, "name").text == browser.row(2)["row"]["id"])
        assert browser.decisions == {browser.row(1)["row"]["id"]: "drop"}
        chromium.find_element(By.ID, "finish").click()
        browser.wait()
    severe = [e["message"] for e in chromium.get_log("browser") if e["level"] == "SEVERE"]
    assert [m for m in severe if "favicon" not in m] == []


# ---------------------------------------------------------------- the commands


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["data", *map(str, words)])


def test_the_commands_build_export_and_count(tmp_path: Path) -> None:
    out = tmp_path / "out"
    built = run("build", "drawn", f"out={out}", "rows={train: 6, dev: 2}", "workers=1", f"tracks={tmp_path}/t")
    assert built.exit_code == 0, built.output
    assert "6 train, 2 dev" in built.output
    assert "making train rows: 6 of 6" in built.stderr
    exported = run("export", out, "--to", "llamafactory", "--out", tmp_path / "lf")
    assert exported.exit_code == 0
    assert (tmp_path / "lf" / "dataset_info.json").is_file()
    card = run("card", out)
    assert "# Data card: out" in card.output
    assert json.loads(run("card", out, "--json").output)["splits"]["train"]["rows"] == 6


def test_mistakes_end_with_code_two_and_one_line(tmp_path: Path) -> None:
    for words, said in (
        (("build", "none.yaml"), "no recipe"),
        (("build", "drawn", "colour=red", f"out={tmp_path}"), "no key 'colour'"),
        (("build", "explain", f"data={tmp_path}", f"out={tmp_path}/o", f"tracks={tmp_path}/t"), "no label file"),
        (("card", tmp_path), "no train.jsonl"),
        (("export", tmp_path, "--to", "word", "--out", tmp_path / "x"), "no export"),
    ):
        result = run(*words)
        assert result.exit_code == 2, (words, result.output)
        assert said in result.stderr
        assert result.stderr.count("\n") <= 2
