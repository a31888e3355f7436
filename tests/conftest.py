"""What every test stands on: no network, seeded randomness, the shared data where it lies, and a ledger of skips."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("AFFECTGPT_SHARED", REPO.parent / "shared" / "data"))
ALLOWED_SKIPS = REPO / "tests" / "allowed_skips.txt"

# Before anything imports torch, transformers or a BLAS: these are read once, at import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("GLOG_minloglevel", "2")
# An API key or a server from the developer's shell must never decide what a test does.
for _name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HF_TOKEN"):
    os.environ.pop(_name, None)


# ---------------------------------------------------------------- no network


class NetworkBlocked(RuntimeError):
    """A test reached for an address outside this machine."""


def _is_local(host: Any) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ip_address(text.split("%")[0]).is_loopback or text in ("0.0.0.0", "::")
    except ValueError:
        return False


def _guard(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None  # a str or bytes address is a Unix socket
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if not _is_local(host):
        raise NetworkBlocked(f"{event} to {host!r}: tests talk to this machine only")


# An audit hook rather than a patched socket: it holds for every library, from import time on.
sys.addaudithook(_guard)


# ---------------------------------------------------------------- hypothesis

try:
    from hypothesis import settings
except ModuleNotFoundError:  # the wheel's own test runs in an environment without the test group
    pass
else:
    settings.register_profile("repeatable", deadline=None, derandomize=True, database=None, max_examples=60)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


# ---------------------------------------------------------------- fixtures and markers


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings beside the repository (or `AFFECTGPT_SHARED`); skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("shared data absent")
    return SHARED


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium or chromedriver not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=Service(driver))
    yield session
    session.quit()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `shared` tests where the data is absent, and give `slow` tests a longer leash."""
    for item in items:
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="shared data absent"))
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


# ---------------------------------------------------------------- a skip is allowed in writing, or CI fails


class SkipLedger:
    """Collects skips; under `CI=true` one that `allowed_skips.txt` does not list fails the run.

    A line of the list is `node id pattern | reason pattern`, both as in fnmatch; `#` begins a comment.
    """

    def __init__(self, allowed: Path) -> None:
        lines = allowed.read_text(encoding="utf-8").splitlines() if allowed.is_file() else []
        rows = (line.split("#")[0].strip() for line in lines)
        self.allowed = [tuple(part.strip() for part in row.split("|", 1)) for row in rows if row]
        self.skipped: dict[str, str] = {}

    def record(self, nodeid: str, longrepr: Any) -> None:
        """Note one skip; pytest hands the reason over as (path, line, 'Skipped: reason')."""
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        self.skipped[nodeid] = reason.removeprefix("Skipped: ")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hook: a test that skipped itself, or was marked so."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.record(report.nodeid, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Hook: a whole module that skipped itself at import."""
        if report.skipped:
            self.record(report.nodeid, report.longrepr)

    def unlisted(self) -> dict[str, str]:
        """The skips that no line of the list allows."""
        return {
            node: reason
            for node, reason in self.skipped.items()
            if not any(
                fnmatchcase(node, row[0]) and fnmatchcase(reason, row[1] if len(row) > 1 else "*")
                for row in self.allowed
            )
        }

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hook: turn a green run red."""
        if os.environ.get("CI") == "true" and self.unlisted() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Hook: name each unlisted skip."""
        if os.environ.get("CI") != "true":
            return
        for node, reason in self.unlisted().items():
            terminalreporter.write_line(f"SKIP NOT ALLOWED {node}: {reason} (tests/allowed_skips.txt)", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Register the ledger."""
    config.pluginmanager.register(SkipLedger(ALLOWED_SKIPS), "skip-ledger")
