"""A client's file name is shown, and shows nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.incoming.uploads import shown_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("clip.mp4", "clip.mp4"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("", "upload"),
        ("...", "upload"),
        ("a/", "upload"),
        ("x\u202egpj.exe", "xgpj.exe"),
        ("a\x00b\x1b[31m\n.png", "ab[31m.png"),
        ("Zoë\u200b\ufeff.wav", "Zoë.wav"),
        ("Zoe\u0308.wav", "Zoë.wav"),
        ("  much   space .mp4 ", "much space .mp4"),
        ("\ud800.png", "?.png"),
    ],
)
def test_a_name_is_shown_safely(name: str, shown: str) -> None:
    assert shown_name(name) == shown


@given(st.text(st.characters(), max_size=300))
def test_any_name_is_shown_safely(name: str) -> None:
    shown = shown_name(name)
    assert 1 <= len(shown) <= 80
    assert not set("/\\\n\r\x00\x1b\u202e") & set(shown)
    assert shown.isprintable()
    assert shown_name(shown) == shown


def test_a_long_name_keeps_its_ending() -> None:
    assert shown_name("x" * 500 + ".mp4").endswith("….mp4")
