"""Media that mean harm, for the tests that try the limits; `obey` is a reading whose file says how it goes."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path

import worker_tasks as tasks

from affectgpt.agent import Senses
from affectgpt.readers import AgentOptions
from affectgpt.records import Clip, Modality, Transcript, TranscriptSource, Utterance
from affectgpt.workers import pack, report


def png(width: int, height: int, *, body: bytes = b"") -> bytes:
    """A PNG that declares a size and holds `body`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def obey(path: Path, options: AgentOptions) -> bytes:
    """A reading that does what the file says, in JSON: leave a mark, tell progress for a while, then act."""
    orders = json.loads(path.read_text())
    with Path(orders["marks"]).open("a") as file:
        file.write("x")
    n_steps = round(orders.get("seconds", 0) / 0.02)
    for k in range(n_steps):
        report(("face", k / n_steps, ""))
        time.sleep(0.02)
    act = orders.get("act")
    if act == "crash":
        tasks.crash()
    elif act == "spin":
        tasks.spin()
    elif act == "fail":
        tasks.fail(str(path))
    elif act == "allocate":
        tasks.allocate(8 << 30)
    assert path.exists(), "somebody took the file away while it was read"
    clip = Clip(path, 1.0, 25.0, True, False)
    words = options.speech.path.read_text() if options.speech.path else str(options.speech.text)
    said = Transcript((Utterance(words, None, None),), TranscriptSource.GIVEN, note=f"found by {path}")
    return pack(Senses(clip, transcript=said, failures={Modality.VOICE: f"{path}: no sound"}, timings_s={"total": 9.0}))


def warm() -> None:
    """For a pool's `warm`: to name it is to import all that `obey` needs."""
