"""Which addresses are public, and which hosts a list allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_server import NO_TLS, PRIVATE, Names, fetch

from affectgpt.errors import OptionError, UrlRefused
from serve.incoming.addresses import is_public
from serve.incoming.remote import Remote


@pytest.mark.parametrize("address", PRIVATE)
def test_other_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4).filter(lambda a: not a.is_global))
def test_no_ipv6_form_makes_a_private_address_public(address: Any) -> None:
    n = int(address)
    groups = f"{n >> 16:x}:{n & 0xFFFF:x}"
    forms = (
        f"::ffff:{address}",
        f"::{address}",
        f"64:ff9b::{groups}",
        f"2002:{groups}::1",
        f"2606:4700::5efe:{groups}",
    )
    assert not any(is_public(form) for form in (str(address), *forms))


@pytest.mark.parametrize(
    ("entry", "url", "is_allowed"),
    [
        ("media.test", "http://media.test/", True),
        ("media.test", "https://media.test/", True),
        ("media.test", "https://MEDIA.test./", True),
        ("media.test", "http://media.test:8080/", False),
        ("media.test:8080", "http://media.test:8080/", True),
        ("media.test:8080", "http://media.test/", False),
        ("*.media.test", "http://a.b.media.test/", True),
        ("*.media.test", "http://media.test/", False),
        ("*.media.test", "http://xmedia.test/", False),
        ("bücher.test", "http://bücher.test/", False),  # a URL is ASCII: the name goes in its IDNA form
        ("bücher.test", "http://xn--bcher-kva.test/", True),
        (" Media.Test ", "http://media.test/", True),
    ],
)
def test_an_entry_allows_what_it_says(entry: str, url: str, is_allowed: bool) -> None:
    names = Names()
    with pytest.raises(UrlRefused):
        fetch(Remote([entry], resolver=names), url)
    assert bool(names.asked) == is_allowed


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*.", "http://a.test", "a.test/x", "a b", "a.test:0", "a.test:70000", "a..b", "-a.test", "a@b", "127.1",
     "0x7f.1", "2130706433", "[::1]", "0177.0.0.1"],
)  # fmt: skip
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(OptionError):
        Remote([entry])


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match="network"):
        Remote([], networks=["here"])


@given(st.text(max_size=60))
def test_whatever_the_url_says_only_allowed_names_are_resolved(text: str) -> None:
    names = Names()
    remote = Remote(["media.test", "*.media.test"], resolver=names, tls=NO_TLS)
    for url in (text, f"http://{text}", f"http://media.test{text}", f"http://{text}media.test/"):
        with pytest.raises(UrlRefused):
            fetch(remote, url)
    assert all(name == "media.test" or name.endswith(".media.test") for name in names.asked)
