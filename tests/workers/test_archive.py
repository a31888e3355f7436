"""Records come back from bytes bit for bit, and other bytes bring nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fakes import face_track, transcript, voice_track
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.agent import Senses
from affectgpt.records import Clip, Modality, VoiceTrack
from affectgpt.workers import pack, unpack


def senses() -> Senses:
    clip = Clip(Path("a b/ö.mp4"), 4.0, 25.0, True, True, 640, 480)
    return Senses(clip, face_track(AU12=4.0), voice_track(), transcript("well", "yes"), {Modality.FACE: "x"}, {"t": 1})


def test_senses_come_back_bit_for_bit() -> None:
    told = senses()
    back = unpack(pack(told), Senses)
    assert (back.clip, back.transcript) == (told.clip, told.transcript)
    assert back.failures == told.failures
    assert isinstance(next(iter(back.failures)), Modality)
    for ours, theirs in ((back.face, told.face), (back.voice, told.voice)):
        assert type(ours) is type(theirs)
        for name in type(theirs).__dataclass_fields__:
            a, b = getattr(ours, name), getattr(theirs, name)
            if isinstance(b, np.ndarray):
                assert a.dtype == b.dtype
                assert np.array_equal(a, b, equal_nan=b.dtype.kind == "f"), name
            else:
                assert repr(a) == repr(b), name


def test_nothing_sensed_comes_back_as_nothing() -> None:
    assert unpack(pack(Senses()), Senses).clip is None


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="Senses"):
        unpack(data, Senses)


@given(at=st.integers(0, 2000), flip=st.integers(1, 255))
def test_altered_bytes_are_refused_or_give_a_record(at: int, flip: int) -> None:
    data = bytearray(pack(Senses(clip=Clip(Path("a"), 1.0, 1.0, True, True))))
    data[at % len(data)] ^= flip
    with suppress(ValueError):
        assert isinstance(unpack(bytes(data), Senses), Senses)


def test_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="VoiceTrack"):
        unpack(pack(senses()), VoiceTrack)


@dataclass(frozen=True)
class Odd:
    """Holds what has no form."""

    thing: object


def test_a_value_without_a_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no archive form for set"):
        pack(Odd({1}))
    assert replace(Odd(1), thing=2).thing == 2
