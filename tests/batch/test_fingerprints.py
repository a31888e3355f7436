"""A fingerprint is the same for what would be answered the same, and another for everything else."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from affectgpt.batch.fingerprints import DIGITS, Asking, answer_fingerprint, perception_fingerprint
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions, FaceOptions, SpeechOptions
from affectgpt.records import Modality, Sampling
from affectgpt.workers import reading_key
from affectgpt.workers.keys import NOT_SENSING

SHA256 = "0" * 64
OPTIONS = AgentOptions()
ASKING = Asking("echo", "echo-1", PromptLibrary().get("explain"))
ANSWERING_OPTIONS = (
    AgentOptions(top_k=3),
    AgentOptions(decide="llm"),
    AgentOptions(permissive=True),
    AgentOptions(coverage=0.5),
    AgentOptions(key_observations="written"),
    AgentOptions(revisions=0),
    AgentOptions(sampling=Sampling(seed=3)),
    AgentOptions(sampling=Sampling(max_tokens=3)),
)
SENSING_OPTIONS = (
    AgentOptions(modalities=frozenset({Modality.FACE})),
    AgentOptions(face=FaceOptions(rate_hz=5)),
    AgentOptions(face=FaceOptions(subject=1)),
    AgentOptions(speech=SpeechOptions(text="well")),
    AgentOptions(setting="workplace"),
    AgentOptions(voice_reader="praat"),
    AgentOptions(max_duration_s=10),
    AgentOptions(encoders=("face-units@1",)),
)


def seen(options: AgentOptions = OPTIONS, sha256: str = SHA256, suffix: str = ".mp4", *beside: str) -> str:
    return perception_fingerprint(reading_key(options, sha256, suffix, *beside))


def test_what_the_readers_never_see_leaves_perception_as_it_is() -> None:
    assert {seen(options) for options in ANSWERING_OPTIONS} == {seen()}
    assert seen(suffix=".MP4") == seen()


def test_whatever_the_readers_see_makes_another_perception() -> None:
    others = [seen(options) for options in SENSING_OPTIONS]
    others += [seen(sha256="1" * 64), seen(suffix=".srt"), seen(OPTIONS, SHA256, ".mp4", "2" * 64)]
    assert len({seen(), *others}) == 1 + len(others)
    assert all(len(one) == DIGITS and set(one) <= set("0123456789abcdef") for one in others)


def test_every_option_is_either_the_readers_or_the_answers() -> None:
    shown = {f.name for options in ANSWERING_OPTIONS for f in fields(options) if differs(options, f.name)}
    assert shown == NOT_SENSING
    shown = {f.name for options in SENSING_OPTIONS for f in fields(options) if differs(options, f.name)}
    assert shown == {f.name for f in fields(AgentOptions)} - NOT_SENSING


def differs(options: AgentOptions, name: str) -> bool:
    return bool(getattr(options, name) != getattr(OPTIONS, name))


def test_all_that_shapes_an_answer_makes_another(tmp_path: Path) -> None:
    assert ASKING.prompt is not None
    answers = [answer_fingerprint(seen(), options, ASKING) for options in (OPTIONS, *ANSWERING_OPTIONS)]
    others = [
        replace(ASKING, engine="http"),
        replace(ASKING, model="echo-2"),
        replace(ASKING, prompt=None),
        replace(ASKING, prompt=replace(ASKING.prompt, version="999")),
        replace(ASKING, prompt=replace(ASKING.prompt, user=ASKING.prompt.user + " Be brief.")),
        replace(ASKING, appraiser="mine"),
    ]
    answers += [answer_fingerprint(seen(), OPTIONS, asking) for asking in others]
    answers.append(answer_fingerprint(seen(sha256="1" * 64), OPTIONS, ASKING))
    assert len(set(answers)) == len(answers)
    assert answer_fingerprint(seen(), AgentOptions(), replace(ASKING)) == answers[0]
