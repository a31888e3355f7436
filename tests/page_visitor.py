"""Somebody at the chat page: a driven browser, what it can be asked, and how readable what it shows is."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

_STATE = """[document.querySelector('#affect-talk')?.innerText.slice(0, 600),
    ...[...document.querySelectorAll('#affect-box button, #affect-camera button')].map((b) => b.className)
].join(' | ')"""


class Visitor:
    """Somebody at the page, in headless Chromium with a made-up camera and microphone."""

    def __init__(self, session: Any, url: str) -> None:
        self.session = session
        self.url = url

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.session.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.session.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def js(self, script: str, *arguments: Any) -> Any:
        return self.session.execute_script(f"return {script}", *arguments)

    def until(self, script: str, seconds: float = 40) -> Any:
        """Wait; what is not there yet is not true yet."""
        deadline = time.monotonic() + seconds
        while not (value := self.js(f"(() => {{ try {{ return {script}; }} catch {{ return null; }} }})()")):
            assert time.monotonic() < deadline, f"never true: {script}\n{self.js(_STATE)}"
            time.sleep(0.05)
        return value

    def find(self, selector: str) -> Any:
        self.until(f"document.querySelector({json.dumps(selector)})")
        return self.session.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        self.session.execute_script("arguments[0].click()", self.find(selector))

    def press(self, *keys: str) -> None:
        """Keys, to whatever has the focus."""
        self.session.switch_to.active_element.send_keys(*keys)

    def open(self) -> None:
        self.session.get(self.url)
        self.find("#affect-chat")

    def write(self, text: str) -> None:
        from selenium.webdriver.common.keys import Keys

        box = self.find("#affect-box textarea")
        box.send_keys(text)
        box.send_keys(Keys.ENTER)

    def fits(self) -> bool:
        """Whether nothing hangs out of the page at its side."""
        wide = """[...document.querySelectorAll('#affect-main *, #affect-strip *')].filter((e) => {
            const box = e.getBoundingClientRect();
            return box.width > 1 && box.right > innerWidth + 1 && !e.closest('svg, .svg-container');
        }).map((e) => `${e.tagName}#${e.id}.${e.className}`).slice(0, 5)"""
        assert self.js(wide) == []
        return bool(self.js("document.documentElement.scrollWidth <= innerWidth"))


@contextmanager
def visiting(url: str) -> Iterator[Visitor]:
    """Somebody who comes to this address; skips where there is no browser."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium or chromedriver not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=Service(driver))
    try:
        visitor = Visitor(session, url)
        visitor.resize(1300, 900)
        yield visitor
    finally:
        session.quit()


def requested_hosts(session: Any) -> set[str]:
    """Every host that the browser asked anything of."""
    hosts = set()
    for entry in session.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            hosts.add(urlsplit(message["params"]["request"]["url"]).netloc)
    return hosts - {""}


# The colour of each text and of the nearest opaque ground behind it.
TEXTS = """[...document.querySelectorAll('#affect-strip *, #affect-talk *, #affect-stage *, #affect-side *')]
    .filter((e) => e.offsetParent && !e.closest('svg, .unseen, video, #timeline'))
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((e) => {
        const solid = (c) => { const m = c.match(/[\\d.]+/g); return m && (m.length < 4 || Number(m[3]) > 0.99); };
        const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const grounds = [];
        for (let at = e; at; at = at.parentElement) {
            const c = getComputedStyle(at).backgroundColor;
            grounds.unshift(c);
            if (!c.startsWith('color') && solid(c)) break;
        }
        const over = (colours) => {
            paint.clearRect(0, 0, 1, 1);
            for (const c of colours) { paint.fillStyle = c; paint.fillRect(0, 0, 1, 1); }
            return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        return [e.textContent.trim().slice(0, 40), over([...grounds, getComputedStyle(e).color]), over(grounds)];
    })"""


def contrast(one: list[int], other: list[int]) -> float:
    """WCAG 2.2's contrast ratio of two sRGB colours."""

    def luminance(colour: list[int]) -> float:
        parts = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
