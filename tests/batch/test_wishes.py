"""A row's wishes are checked, granted where they narrow the job, and never widen it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.batch.wishes import WISHES, read_wishes, wish
from affectgpt.errors import InputError, OptionError
from affectgpt.readers import AgentOptions
from affectgpt.records import Modality, Sampling

JOB = AgentOptions()


def test_what_a_table_says_as_text_is_read() -> None:
    told = {
        "subject": "1",
        "modalities": "Voice, face",
        "temperature": "0.5",
        "max_tokens": 9.0,
        "stop": "X",
        "seed": "",
    }
    read = read_wishes(told | {"colour": "blue"})
    assert read == {
        "subject": 1,
        "modalities": ["face", "voice"],
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": ("X",),
    }
    options = wish(JOB, read)
    assert options.modalities == {Modality.FACE, Modality.VOICE}
    assert options.face.subject == 1
    assert options.sampling == Sampling(max_tokens=9, temperature=0.5, stop=("X",))


def test_no_wish_changes_nothing() -> None:
    assert read_wishes({"subject": None, "setting": "", "modalities": [], "seed": float("nan")}) == {}
    assert wish(JOB, {}) == JOB


def test_a_file_of_words_goes_before_the_words_of_the_job() -> None:
    options = wish(JOB, {"transcript_file": "said.srt"})
    assert options.speech.path == Path("said.srt")


def test_a_wish_never_widens_the_job() -> None:
    job = AgentOptions(modalities=frozenset({Modality.SPEECH}), setting="workplace")
    assert wish(job, {"modalities": ["face", "speech"]}).modalities == {Modality.SPEECH}
    assert wish(job, {"setting": "education"}).setting == "workplace"
    assert wish(JOB, {"setting": "education"}).setting == "education"
    with pytest.raises(OptionError, match="no modality"):
        wish(job, {"modalities": ["face"]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject", -1),
        ("subject", 1.5),
        ("subject", True),
        ("subject", "first"),
        ("modalities", "smell"),
        ("modalities", 3),
        ("modalities", ","),
        ("setting", "home"),
        ("transcript_file", 3),
        ("max_tokens", 0),
        ("temperature", 2.1),
        ("temperature", "inf"),
        ("top_p", -0.1),
        ("seed", 2**32),
        ("stop", ["x"] * 9),
        ("stop", [""]),
    ],
)
def test_what_cannot_be_granted_is_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        read_wishes({name: value})


@given(
    st.dictionaries(
        st.sampled_from(sorted(WISHES)),
        st.none() | st.text(max_size=9) | st.integers() | st.floats() | st.lists(st.text(max_size=4)) | st.booleans(),
    )
)
def test_any_value_is_granted_or_refused(told: dict[str, object]) -> None:
    try:
        read = read_wishes(told)
    except InputError:
        return
    wish(JOB, read)
