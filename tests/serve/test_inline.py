"""Base64 and data: URLs: what is not exactly that is refused, and size is known before decoding."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import (
    UploadRefused,
    UploadTooLarge,
)
from serve.incoming.inline import decode_base64, open_data_url


@given(st.binary(max_size=2000))
def test_base64_comes_back(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert b"".join(decode_base64(text, len(data))) == data
    assert b"".join(open_data_url(f"data:video/mp4;base64,{text}", len(data))) == data
    if data:
        with pytest.raises(UploadTooLarge):
            decode_base64(text, len(data) - 1)


@given(st.text(max_size=100))
def test_other_text_is_refused_or_is_base64(text: str) -> None:
    try:
        data = b"".join(decode_base64(text, 1000))
    except UploadRefused:
        return
    assert base64.b64encode(data).decode()[:-4] == text[:-4]


@pytest.mark.parametrize(
    "text", ["A", "AA", "AAA", "AAAA\n", "AA==AAAA", "=AAA", "A===", "AA=A", "AA-_", "ÄAAA", "AAAA AAA"]
)
def test_broken_base64_is_refused(text: str) -> None:
    with pytest.raises(UploadRefused):
        list(decode_base64(text, 1000))


def test_padding_in_the_midst_is_refused_where_blocks_meet() -> None:
    block = "A" * ((1 << 18) - 4)
    with pytest.raises(UploadRefused):
        list(decode_base64(block + "AA==" + block, 1 << 20))
    assert sum(map(len, decode_base64(block + "AAAA" + block, 1 << 20))) == 3 * (1 << 17) - 3


def test_what_is_too_large_is_not_decoded_at_all() -> None:
    text = "A" * 40_000_000
    begin = time.perf_counter()
    with pytest.raises(UploadTooLarge):
        decode_base64(text, 1000)
    assert time.perf_counter() - begin < 0.1


@pytest.mark.parametrize(
    "url",
    [
        "data:", "data:,", "data:text/plain,hello", "data:image/png;base64", "data:image/png;base64;x,AAAA",
        "data:image/png ;base64,AAAA", "data://image/png;base64,AAAA", " data:image/png;base64,AAAA",
        "data:image/png/x;base64,AAAA", "data:image;base64,AAAA", "data:image/png;base64,%41AAA",
        "data:image/png;BASE64X,AAAA", "data:" + "a" * 5000 + "/b;base64,AAAA", "data:;;base64,AAAA",
        "data:image/png" + ";a=b" * 50 + ";base64,AAAA", "data:image/png;base64,AAAA#x", "data:image/png;base64, AAAA",
    ],
)  # fmt: skip
def test_a_data_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(UploadRefused):
        list(open_data_url(url, 1000))
