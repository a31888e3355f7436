from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from affectgpt.appraise.encoder import MAX_TOKENS, N_LAYERS, SHA256, WIDTH, Encoder, find_encoder, load_encoder
from affectgpt.errors import InputError, ModelError

TEXTS = ["I am furious!", "", "You never listen to me, and I have had enough of it.", "ok", "\ud800 broken", "😀 ¿qué?"]


def test_sentence_vectors_have_unit_length_and_do_not_depend_on_their_neighbours() -> None:
    encoder = load_encoder()
    rows = encoder.embed(TEXTS)
    assert rows.shape == (len(TEXTS), WIDTH)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)
    for k, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.embed([text])[0], rows[k], atol=2e-6)
    assert (encoder.embed(TEXTS) == rows).all()


def test_like_meanings_lie_nearer_than_unlike_ones() -> None:
    a, b, c = load_encoder().embed(["He is furious with her.", "He is very angry at her.", "The train leaves at nine."])
    assert a @ b > 0.6 > 0.3 > a @ c


def test_no_texts_give_no_rows() -> None:
    assert load_encoder().embed([]).shape == (0, WIDTH)
    assert load_encoder().words([]) == []


def test_features_are_the_layers_side_by_side() -> None:
    encoder = load_encoder()
    both = encoder.features(TEXTS, layers=(2, N_LAYERS))
    assert both.shape == (len(TEXTS), 2 * WIDTH)
    np.testing.assert_array_equal(both[:, WIDTH:], encoder.features(TEXTS))


def test_bfloat16_training_vectors_point_the_same_way() -> None:
    exact, fast = load_encoder().embed(TEXTS), load_encoder("bfloat16").embed(TEXTS)
    assert (exact * fast).sum(axis=1).min() > 0.999


def test_words_are_those_between_spaces_and_keep_their_place() -> None:
    text = "  I'm un-believably   happy-go-lucky, you know… 😀"
    words = load_encoder().words([text])[0]
    assert [text[a:b] for a, b in words.spans][:3] == ["I'm", "un-believably", "happy-go-lucky,"]
    assert words.states.shape == (len(words.spans), WIDTH)
    assert np.isfinite(words.states).all()


def test_a_very_long_text_is_read_as_far_as_the_limit() -> None:
    long = "sad " * 10_000
    assert len(load_encoder().words([long])[0].spans) == MAX_TOKENS - 2
    assert np.isfinite(load_encoder().embed([long])).all()


@pytest.mark.parametrize("bad", ["one text", [None], [b"bytes"], [3]])
def test_what_is_no_list_of_texts_is_refused(bad: object) -> None:
    with pytest.raises(InputError):
        load_encoder().embed(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(SHA256))
def test_a_file_that_is_missing_or_was_changed_is_refused(tmp_path: Path, name: str) -> None:
    for other in SHA256:
        (tmp_path / other).symlink_to(find_encoder() / other)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=name):
        Encoder(tmp_path)
    shutil.copyfile(find_encoder() / name, tmp_path / name)
    with (tmp_path / name).open("ab") as handle:
        handle.write(b" ")
    with pytest.raises(ModelError, match="not the file"):
        Encoder(tmp_path)


@pytest.mark.slow
def test_threads_that_ask_at_once_get_one_encoder() -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from affectgpt.appraise.encoder import load_encoder\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    found = list(pool.map(lambda _: load_encoder(), range(8)))\n"
        "assert len(set(map(id, found))) == 1"
    )
    # A process of its own: here everything is imported already, and that is where threads got into each other's way.
    subprocess.run([sys.executable, "-c", code], check=True)
