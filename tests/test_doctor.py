"""The doctor tells what really imports, and says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from affectgpt.doctor import Diagnosis, Finding, State, _faults, examine, to_json


def test_a_crash_and_a_hang_are_pinned_on_the_module_that_began() -> None:
    told = ["begin a", "end a", "begin b", "end b ImportError: no c", "noise", "begin d"]
    assert _faults(told, "the process died with code -11") == {
        "b": "ImportError: no c",
        "d": "the process died with code -11",
    }
    assert _faults([], "died") == {}


def test_only_what_is_broken_makes_it_unable() -> None:
    ok, absent = Finding("g", "a", State.OK), Finding("g", "b", State.ABSENT)
    assert Diagnosis((ok, absent)).is_able
    assert not Diagnosis((ok, Finding("g", "c", State.BROKEN))).is_able


@pytest.mark.slow
def test_this_environment_is_able_and_every_fault_has_a_remedy() -> None:
    diagnosis = examine()
    assert diagnosis.is_able, [f for f in diagnosis.findings if f.state is State.BROKEN]
    assert {f.group for f in diagnosis.findings} >= {"system", "packages", "readers", "models", "disk"}
    assert all(f.remedy for f in diagnosis.findings if f.state is not State.OK)
    assert all(f.licence for f in diagnosis.findings if f.group == "packages" and f.state is State.OK)
    json.dumps(to_json(diagnosis))


@pytest.mark.slow
def test_a_package_that_does_not_import_is_broken_though_installed(tmp_path: Path) -> None:
    """A module of the same name that raises stands in for an environment whose parts refuse one another."""
    (tmp_path / "librosa.py").write_text("raise ImportError('numpy refused')\n", encoding="utf-8")
    command = "import json; from affectgpt.doctor import examine, to_json; print(json.dumps(to_json(examine())))"
    done = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        text=True,
        timeout=240,
        env={**__import__("os").environ, "PYTHONPATH": str(tmp_path)},
    )
    told = json.loads(done.stdout)
    (finding,) = [f for f in told["findings"] if f["name"] == "librosa"]
    assert finding["state"] == "broken"
    assert "numpy refused" in finding["detail"]
    assert finding["remedy"]
    assert told["is_able"] is False


def test_the_licences_of_the_appraisers_data_are_told_and_the_permissive_set_has_no_restricted_one() -> None:
    found = [f for f in examine().findings if f.group == "appraisers"]
    assert {f.name for f in found} >= {"heads for face", "heads for voice", "heads for words"}
    assert all(f.state is State.OK and f.licence for f in found)
    permissive = [f.licence for f in found if f.detail.startswith("--permissive")]
    assert permissive
    assert not any(word in licence for licence in permissive for word in ("NC", "GPL", "research"))
