"""What the tests of `affectgpt.langchain` share: an agent of known parts, and a folder of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fakes
import media_files
from page_fakes import KnownAppraiser

from affectgpt.agent import AffectAgent, Parts
from affectgpt.engines.echo import EchoEngine
from affectgpt.readers import AgentOptions
from affectgpt.record_json import to_json
from affectgpt.records import Outcome

WORDS = "I got the job, I can hardly believe it!"


def agent(engine: Any = None, **options: Any) -> AffectAgent:
    """Known readers, a known appraisal and a known answer."""
    parts = Parts(fakes.FakeFaceReader(), fakes.FakeVoiceReader(), fakes.FakeTranscriber(), KnownAppraiser())
    return AffectAgent(engine or EchoEngine([fakes.ANSWER]), AgentOptions(**options), parts=parts)


def make_folder(above: Path) -> Path:
    """A folder of clips, with a neighbour that is nobody's business."""
    root = above / "clips"
    root.mkdir()
    media_files.write_video(root / "talkie.mp4", media_files.even_times_ms(25), sound=media_files.tone(1.0)[None])
    (root / "words.txt").write_text(WORDS)
    (root / "broken.mp4").write_bytes(b"\0" * 100)
    (root.parent / "secret.txt").write_text("the secret words")
    (root.parent / "clips-too").mkdir()
    (root.parent / "clips-too" / "other.txt").write_text("the secret words")
    return root


def untimed(outcome: Outcome) -> dict[str, object]:
    return {**to_json(outcome), "timings_s": None}
