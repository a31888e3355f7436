"""What is installed and at hand for `explain`, under which licence, and what to do about what is not.

Packages are really imported, each group in a process of its own: a resolver can be content with an environment whose
parts then refuse one another when they are loaded.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata, util
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from affectgpt.appraise import cards
from affectgpt.engines import embedded
from affectgpt.errors import AffectError
from affectgpt.perceive.whisper import find_whisper
from affectgpt.versions import DISTRIBUTIONS, own_version

__all__ = ["Diagnosis", "Finding", "State", "examine", "to_json"]

IMPORT_LIMIT_S = 120.0
"""A cold disk and two cores load torch, transformers and mediapipe in some 30 s; four times that is a hang."""

NEEDED_FREE_MB = 600
"""The converted embedded model takes 272 MB, and twice that while it is being replaced."""

OPTIONAL_USES = {
    "decord": "--video-backend decord",
    "faster-whisper": "--whisper FOLDER",
    "openai-whisper": "--whisper MODEL.pt",
    "pocketsphinx": "--sphinx",
    "opensmile": "--voice-reader opensmile",
    "praat-parselmouth": "--voice-reader praat",
}

# Where a package's own metadata says nothing, or less than the licence does.
LICENCE_NOTES = {
    "opensmile": "audEERING Research License: research and education only",
    "decord": "Apache-2.0; the FFmpeg inside its wheel calls itself nonfree and not redistributable",
    "praat-parselmouth": "GPL-3.0-or-later",
}

FACE_MODELS = (
    "modules/face_landmark/face_landmark_with_attention.tflite",
    "modules/face_detection/face_detection_full_range_sparse.tflite",
)


# A line before and after each import: a crash or a hang is pinned on the module that began and never ended.
_PROBE = """
import importlib, sys
for module in sys.argv[1:]:
    print("begin", module, flush=True)
    try:
        importlib.import_module(module)
    except BaseException as error:
        print("end", module, type(error).__name__ + ":", " ".join(str(error).split())[:200], flush=True)
    else:
        print("end", module, flush=True)
"""


class State(StrEnum):
    """How a thing is: `ok`, `absent` (and only some options need it), or `broken` (and `explain` needs it)."""

    OK = "ok"
    ABSENT = "absent"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what it is, how it is, and the remedy where it is not well."""

    group: str
    name: str
    state: State
    detail: str = ""
    licence: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was looked at, in order."""

    findings: tuple[Finding, ...]

    @property
    def is_able(self) -> bool:
        """Whether `explain` can run with its defaults."""
        return not any(f.state is State.BROKEN for f in self.findings)


def examine() -> Diagnosis:
    """Look at the system, the packages, the readers, the models, the engine and the disk; takes some ten seconds."""
    required, optional = _requirements()
    with ThreadPoolExecutor(2) as pool:
        faults = pool.map(_import_faults, ([r.name for r in required], [r.name for r in optional]))
        broken = {name: fault for group in faults for name, fault in group.items()}
    return Diagnosis(
        (
            *_system(),
            *(_package(r, broken, is_required=True) for r in required),
            *(_package(r, broken, is_required=False) for r in optional),
            _face_models(),
            *_appraisers(),
            *_language_model(),
            _disk(),
        )
    )


def to_json(diagnosis: Diagnosis) -> dict[str, object]:
    """The diagnosis in JSON's types: `is_able`, and `findings` with every field of `Finding`."""
    return {"is_able": diagnosis.is_able, "findings": [dataclasses.asdict(f) for f in diagnosis.findings]}


def _system() -> Iterator[Finding]:
    yield Finding("system", "affectgpt", State.OK, own_version(), "Apache-2.0")
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    remedy = "" if fits else "install Python 3.11 or 3.12: mediapipe 0.10.21 has wheels for no later one"
    yield Finding("system", "python", State.OK if fits else State.BROKEN, platform.python_version(), "PSF-2.0", remedy)
    yield Finding("system", "machine", State.OK, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores")


def _requirements() -> tuple[list[Requirement], list[Requirement]]:
    """This package's own requirements here: those without an extra, and those optional ones that `explain` can use."""
    try:
        rows = [Requirement(row) for row in metadata.requires("affectgpt") or ()]
    except metadata.PackageNotFoundError:
        rows = []
    required = [r for r in rows if r.marker is None or r.marker.evaluate({"extra": ""})]
    return required, [Requirement(name) for name in OPTIONAL_USES]


def _package(requirement: Requirement, broken: dict[str, str], *, is_required: bool) -> Finding:
    name = requirement.name
    group = "packages" if is_required else "optional packages"
    worst = State.BROKEN if is_required else State.ABSENT
    use = OPTIONAL_USES.get(name, "")
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(group, name, worst, _joined("not installed", use), remedy=f"pip install '{requirement}'")
    licence = LICENCE_NOTES.get(name) or _licence(name)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(
            group, name, worst, f"{version} is not {requirement.specifier}", licence, f"pip install '{requirement}'"
        )
    if fault := broken.get(name):
        remedy = f"pip install --force-reinstall '{requirement}'"
        return Finding(group, name, worst, f"{version} does not import: {fault}", licence, remedy)
    return Finding(group, name, State.OK, _joined(version, use), licence)


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _licence(name: str) -> str:
    """The licence in a few words, from the package's metadata."""
    about = metadata.metadata(name)
    if "License-Expression" in about:
        return about["License-Expression"]
    classified = [
        row.rpartition(" :: ")[2] for row in about.get_all("Classifier") or () if row.startswith("License ::")
    ]
    declared = str(next(iter(about.get_all("License") or ()), "")).strip()
    if declared and "\n" not in declared and len(declared) <= 40:
        return declared
    return ", ".join(classified) or "not declared"


def _import_faults(names: Iterable[str]) -> dict[str, str]:
    """The packages of these that are installed and do not import, each with the reason."""
    modules = {module: dist for module, dist in DISTRIBUTIONS.items() if dist in set(names) and _is_found(module)}
    command = [sys.executable, "-c", _PROBE, *modules]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_LIMIT_S, check=False)
        lines, ending = run.stdout.splitlines(), f"the process died with code {run.returncode}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        lines = (output.decode() if isinstance(output, bytes) else output).splitlines()
        ending = f"nothing came back within {IMPORT_LIMIT_S:g} s"
    return {modules[m]: fault for m, fault in _faults(lines, ending).items()}


def _faults(lines: Iterable[str], ending: str) -> dict[str, str]:
    faults: dict[str, str] = {}
    for line in lines:
        match = re.fullmatch(r"(begin|end) (\w+)(?: (.+))?", line)
        if match and match[1] == "begin":
            faults[match[2]] = ending
        elif match and match[3]:
            faults[match[2]] = match[3]
        elif match:
            faults.pop(match[2], None)
    return faults


def _is_found(module: str) -> bool:
    return util.find_spec(module) is not None


def _face_models() -> Finding:
    spec = util.find_spec("mediapipe")
    places = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    lacking = [m for m in FACE_MODELS if not any((place / m).is_file() for place in places)]
    if lacking:
        remedy = "pip install --force-reinstall mediapipe==0.10.21: later wheels carry no models"
        return Finding("readers", "FaceMesh models", State.BROKEN, f"missing {', '.join(lacking)}", "", remedy)
    return Finding("readers", "FaceMesh models", State.OK, "in the mediapipe wheel", "Apache-2.0")


def _appraisers() -> Iterator[Finding]:
    """Each set of trained heads by what it reads, with the licences of the data behind it."""
    for permissive in (False, True):
        use = "--permissive" if permissive else "the default set"
        licences: dict[str, set[str]] = {}
        for path in sorted(cards.set_folder(permissive).glob("*.json")):
            modality = path.stem.partition("_")[0]
            reads = "conformal sets" if modality == "conformal" else f"heads for {modality}"
            try:
                licences.setdefault(reads, set()).update(_licences_of(path))
            except AffectError as error:
                yield Finding("appraisers", path.stem, State.BROKEN, error.what, remedy=error.remedy or "")
        for reads, names in sorted(licences.items()):
            trained_on = f"{use}; trained on data under:"
            yield Finding("appraisers", reads, State.OK, trained_on, "; ".join(sorted(names)))


def _licences_of(card: Path) -> Iterator[str]:
    """`MELD GPL-3.0`: each corpus of a card with its licence."""
    licence = cards.read_card(card.parent, card.stem, ("licence",))["licence"]
    yield from (f"{data} {terms}" for data, terms in licence.items()) if isinstance(licence, dict) else (str(licence),)


def _language_model() -> Iterator[Finding]:
    server = os.environ.get("OPENAI_BASE_URL", "")
    state = embedded.state()
    told = {
        "converted": f"ready in {embedded.cache_root()}",
        "installed": "in its wheel; converted on first use, some ten seconds",
        "missing": "not installed",
    }[state]
    worst = State.ABSENT if server else State.BROKEN
    well = State.OK if state != "missing" else worst
    yield Finding("models", embedded.MODEL_ID, well, told, "Apache-2.0", "" if state != "missing" else embedded.REMEDY)
    yield from _adapter()
    yield _whisper()
    key = "with a key" if os.environ.get("OPENAI_API_KEY") else "without a key"
    if server:
        yield Finding(
            "models", "server", State.OK, f"OPENAI_BASE_URL names {urlsplit(server).hostname}, {key}; not called"
        )
    else:
        yield Finding(
            "models", "server", State.ABSENT, "OPENAI_BASE_URL is not set", remedy="set it, or give --base-url"
        )


def _adapter() -> Iterator[Finding]:
    """The adapter that comes with this package, and the terms of what it was trained on."""
    from affectgpt.engines import adapter

    folder = adapter.shipped()
    if folder is None:
        return
    try:
        manifest = adapter.read_manifest(folder)
    except AffectError as error:
        yield Finding("models", "adapter", State.BROKEN, error.what, remedy=error.remedy or "")
        return
    terms = manifest.notes.get("licence") or {}
    told = "; ".join(f"{source} {licence}" for source, licence in sorted(terms.items()))
    yield Finding("models", f"adapter {manifest.id}", State.OK, "trained on rows made of data under:", told)


def _whisper() -> Finding:
    """The recogniser that is used where a clip brings no words and --whisper names none."""
    name = "speech recogniser"
    remedy = "give --whisper FOLDER, or name one in AFFECTGPT_WHISPER; or put a .srt beside the clip"
    try:
        found = find_whisper()
    except AffectError as error:
        return Finding("models", name, State.ABSENT, f"AFFECTGPT_WHISPER: {error.what}", remedy=error.remedy or remedy)
    if found is None:
        return Finding("models", name, State.ABSENT, "no whisper model on this machine", remedy=remedy)
    return Finding("models", name, State.OK, found.name, "MIT")


def _disk() -> Finding:
    root = embedded.cache_root()
    there = next(p for p in (root, *root.parents) if p.exists())
    free_mb = shutil.disk_usage(there).free // 1_000_000
    held_mb = sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) // 1_000_000 if root.exists() else 0
    detail = f"{root}: {held_mb} MB held, {free_mb} MB free"
    short = free_mb < NEEDED_FREE_MB and embedded.state() == "installed"
    remedy = f"free {NEEDED_FREE_MB} MB there, or set AFFECTGPT_CACHE" if short else ""
    return Finding("disk", "cache", State.BROKEN if short else State.OK, detail, remedy=remedy)
