"""Nothing is fetched but from allowed hosts at public addresses; a real server on loopback stands for the forbidden."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from media_server import NO_TLS, PRIVATE, Media, Names, fetch

from affectgpt.errors import UploadTooLarge, UrlRefused
from serve.incoming.addresses import resolve
from serve.incoming.remote import Remote

MB = 1_000_000
HOME = ("127.0.0.1/32",)


@pytest.fixture(scope="module")
def listening() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Media)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(listening: ThreadingHTTPServer) -> ThreadingHTTPServer:
    listening.asked = []  # type: ignore[attr-defined]
    return listening


LOCAL = [["127.0.0.1"]]


def port_of(server: ThreadingHTTPServer) -> int:
    return int(server.server_address[1])


def allowed(server: ThreadingHTTPServer, names: Names, **options: Any) -> Remote:
    """A remote that may ask media.test at our server, and other.test too."""
    port = port_of(server)
    return Remote(
        [f"media.test:{port}", f"other.test:{port}", "media.test"],
        resolver=names,
        **{"networks": HOME, "tls": NO_TLS, **options},
    )


# ---------------------------------------------------------------- what may be fetched


def test_an_allowed_host_is_asked_in_its_own_name(server: ThreadingHTTPServer) -> None:
    names = Names(media_test=LOCAL)
    url = f"http://media.test:{port_of(server)}/ok?a=b#part"
    assert fetch(allowed(server, names), url) == b"media"
    ((host, path, headers),) = server.asked  # type: ignore[attr-defined]
    assert host == f"media.test:{port_of(server)}"
    assert path == "/ok?a=b"
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization"} & headers.keys()


def test_a_proxy_in_the_environment_is_not_used(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(allowed(server, Names(media_test=LOCAL)), f"http://media.test:{port_of(server)}/ok") == b"media"


def test_another_address_of_the_host_is_tried(server: ThreadingHTTPServer) -> None:
    names = Names(media_test=[["127.0.0.2", "127.0.0.1"]])
    remote = allowed(server, names, networks=("127.0.0.0/8",))
    assert fetch(remote, f"http://media.test:{port_of(server)}/ok") == b"media"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://media.test/a",
        "file:///etc/passwd",
        "gopher://media.test/",
        "//media.test/a",
        "media.test/a",
        "",
        "http://",
        "http:///a",
        "http://?",
        "http://media.test:0/",
        "http://media.test:99999/",
        "http://media.test:22/",
        "https://media.test:80/",
        "http://user@media.test/",
        "http://user:word@media.test/",
        "http://@media.test/",
        "http://media.test@127.0.0.1/",
        "http://127.0.0.1#@media.test/",
        "http://127.0.0.1\\@media.test/",
        "http://media.test\\.evil.test/",
        "http://media.test%2eevil.test/",
        "http://media.test%00.evil.test/",
        "http://media.test\t/",
        "http://media.test\n/",
        " http://media.test/",
        "http://media.test.evil.test/",
        "http://evil-media.test/",
        "http://sub.media.test/",
        "http://test/",
        "http://ⓜedia.test/",
        "http://media。test/",
        "http://" + "a" * 3000 + "/",
    ],
)
def test_a_url_of_another_form_or_host_asks_nobody(server: ThreadingHTTPServer, url: str) -> None:
    names = Names(media_test=LOCAL)
    with pytest.raises(UrlRefused):
        fetch(allowed(server, names), url)
    assert names.asked == []
    assert server.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "localhost", "[::1]", "[::]",
     "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[fe80::1%25lo]", "127.0.0.1.", "①②⑦.0.0.1"],
)  # fmt: skip
def test_loopback_in_any_dress_is_no_allowed_host(server: ThreadingHTTPServer, host: str) -> None:
    with pytest.raises(UrlRefused):
        fetch(Remote(["media.test", "*.test"]), f"http://{host}:{port_of(server)}/ok")
    assert server.asked == []  # type: ignore[attr-defined]


def test_loopback_is_refused_even_where_its_name_is_allowed(server: ThreadingHTTPServer) -> None:
    port = port_of(server)
    for name in ("localhost", "127.0.0.1"):
        with pytest.raises(UrlRefused, match="not public"):
            fetch(Remote([f"{name}:{port}"]), f"http://{name}:{port}/ok")
    assert server.asked == []  # type: ignore[attr-defined]


# ---------------------------------------------------------------- where a name leads


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_not_connected_to(server: ThreadingHTTPServer, address: str) -> None:
    names = Names(media_test=[[address]])
    with pytest.raises(UrlRefused, match="not public"):
        fetch(allowed(server, names, networks=()), f"http://media.test:{port_of(server)}/ok")
    assert server.asked == []  # type: ignore[attr-defined]


def test_one_bad_address_among_good_ones_is_enough(server: ThreadingHTTPServer) -> None:
    names = Names(media_test=[["127.0.0.1", "10.0.0.1"]])
    with pytest.raises(UrlRefused, match="not public"):
        fetch(allowed(server, names), f"http://media.test:{port_of(server)}/ok")
    assert server.asked == []  # type: ignore[attr-defined]


def test_a_name_is_resolved_once_and_what_was_checked_is_asked(server: ThreadingHTTPServer) -> None:
    names = Names(media_test=[["127.0.0.1"], ["169.254.169.254"]])
    assert fetch(allowed(server, names), f"http://media.test:{port_of(server)}/ok") == b"media"
    assert names.asked == ["media.test"]


def test_a_name_that_turns_to_loopback_after_the_check_is_not_followed(server: ThreadingHTTPServer) -> None:
    names = Names(media_test=[["93.184.216.34"], ["127.0.0.1"]])
    # The tests' own guard stops every connection that leaves this machine, and names where it went.
    with pytest.raises(ExceptionGroup) as caught:
        fetch(allowed(server, names, networks=()), f"http://media.test:{port_of(server)}/ok")
    assert [str(error).split(":")[0] for error in caught.value.exceptions] == ["socket.connect to '93.184.216.34'"]
    assert names.asked == ["media.test"]
    assert server.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("answers", [[[]], None])
def test_a_name_without_an_address_is_refused(server: ThreadingHTTPServer, answers: list[list[str]] | None) -> None:
    names = Names(**({"media_test": answers} if answers else {}))
    with pytest.raises(UrlRefused, match="no address"):
        fetch(allowed(server, names), f"http://media.test:{port_of(server)}/ok")


def test_the_system_s_resolver_gives_addresses() -> None:
    assert "127.0.0.1" in asyncio.run(resolve("localhost", 80)) or "::1" in asyncio.run(resolve("localhost", 80))


# ---------------------------------------------------------------- redirects


@pytest.mark.parametrize(
    "location",
    ["http://evil.test/", "http://127.0.0.1:{port}/ok", "http://localhost:{port}/ok", "file:///etc/passwd",
     "//evil.test/", "http://user:word@media.test/", "http://[::1]:{port}/", "http://2130706433:{port}/", "data:,x",
     "http://media.test:22/", "\\\\evil.test\\", "http://media.test\\@127.0.0.1:{port}/"],
)  # fmt: skip
def test_a_redirect_is_held_to_the_same_rules(server: ThreadingHTTPServer, location: str) -> None:
    names = Names(media_test=LOCAL)
    port = port_of(server)
    with pytest.raises(UrlRefused):
        fetch(allowed(server, names), f"http://media.test:{port}/to?{quote(location.format(port=port), safe='')}")
    assert len(server.asked) == 1  # type: ignore[attr-defined]
    assert set(names.asked) <= {"media.test"}


def test_a_redirect_to_a_host_that_leads_inside_is_refused(server: ThreadingHTTPServer) -> None:
    port = port_of(server)
    names = Names(media_test=LOCAL, other_test=[["10.0.0.1"]])
    with pytest.raises(UrlRefused, match=r"other\.test.*not public"):
        fetch(allowed(server, names), f"http://media.test:{port}/to?http://other.test:{port}/ok")


def test_a_redirect_resolves_again_and_checks_again(server: ThreadingHTTPServer) -> None:
    names = Names(media_test=[["127.0.0.1"], ["169.254.169.254"]])
    with pytest.raises(UrlRefused, match="not public"):
        fetch(allowed(server, names), f"http://media.test:{port_of(server)}/hops?1")
    assert names.asked == ["media.test"] * 2


def test_three_redirects_are_followed_and_no_more(server: ThreadingHTTPServer) -> None:
    remote, port = allowed(server, Names(media_test=LOCAL, other_test=LOCAL)), port_of(server)
    assert fetch(remote, f"http://media.test:{port}/to?http://other.test:{port}/ok") == b"media"
    assert fetch(remote, f"http://media.test:{port}/hops?3") == b"media"
    with pytest.raises(UrlRefused, match="more than 3 redirects"):
        fetch(remote, f"http://media.test:{port}/hops?4")


def test_a_redirect_without_an_end_stops(server: ThreadingHTTPServer) -> None:
    remote, port = allowed(server, Names(media_test=LOCAL)), port_of(server)
    with pytest.raises(UrlRefused):
        fetch(remote, f"http://media.test:{port}/nowhere")
    assert len(server.asked) <= 4  # type: ignore[attr-defined]


# ---------------------------------------------------------------- size, time, answers


@pytest.mark.parametrize("path", ["endless", "told?5000000", "told?99999999999999999999999"])
def test_more_than_the_limit_is_cut_off(server: ThreadingHTTPServer, path: str) -> None:
    with pytest.raises((UploadTooLarge, UrlRefused)) as caught:
        fetch(allowed(server, Names(media_test=LOCAL)), f"http://media.test:{port_of(server)}/{path}", 50_000)
    assert caught.type is UploadTooLarge or "9999" in path


def test_exactly_the_limit_is_taken(server: ThreadingHTTPServer) -> None:
    url = f"http://media.test:{port_of(server)}/ok"
    assert fetch(allowed(server, Names(media_test=LOCAL)), url, 5) == b"media"
    with pytest.raises(UploadTooLarge):
        fetch(allowed(server, Names(media_test=LOCAL)), url, 4)


def test_a_slow_host_is_left(server: ThreadingHTTPServer) -> None:
    begin = time.monotonic()
    with pytest.raises(UrlRefused, match="longer than"):
        fetch(allowed(server, Names(media_test=LOCAL), seconds=0.3), f"http://media.test:{port_of(server)}/slow")
    assert time.monotonic() - begin < 4


def test_a_slow_resolver_is_left(server: ThreadingHTTPServer) -> None:
    class Slow(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            await asyncio.sleep(60)
            return []

    with pytest.raises(UrlRefused, match="longer than"):
        fetch(allowed(server, Slow(), seconds=0.2), f"http://media.test:{port_of(server)}/ok")


@pytest.mark.parametrize(("path", "why"), [("zipped", "compressed"), ("missing", "404")])
def test_an_answer_that_is_no_file_is_refused(server: ThreadingHTTPServer, path: str, why: str) -> None:
    with pytest.raises(UrlRefused, match=why):
        fetch(allowed(server, Names(media_test=LOCAL)), f"http://media.test:{port_of(server)}/{path}")


def test_a_host_that_does_not_answer_is_an_error_of_the_request() -> None:
    remote = Remote(["media.test:9"], resolver=Names(media_test=LOCAL), networks=HOME)
    with pytest.raises(UrlRefused, match="could not be fetched"):
        fetch(remote, "http://media.test:9/")


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for media.test that only our own context trusts."""
    folder = tmp_path_factory.mktemp("tls")
    pem = folder / "media.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=media.test",
         "-addext", "subjectAltName=DNS:media.test", "-keyout", str(folder / "key.pem"), "-out", str(pem)],
        check=True, capture_output=True,
    )  # fmt: skip
    return pem


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[ThreadingHTTPServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Media)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.asked = []  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_certificate_is_checked_against_the_name_and_not_the_address(
    tls_server: ThreadingHTTPServer, certificate: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = port_of(tls_server)
    trusting = ssl.create_default_context(cafile=str(certificate))
    names = Names(media_test=LOCAL, other_test=LOCAL)
    remote = allowed(tls_server, names, tls=trusting)
    assert fetch(remote, f"https://media.test:{port}/ok") == b"media"
    with pytest.raises(UrlRefused):
        fetch(remote, f"https://other.test:{port}/ok")
    with pytest.raises(UrlRefused):
        fetch(allowed(tls_server, names), f"https://media.test:{port}/ok")
    with pytest.raises(UrlRefused, match="from https to http"):
        fetch(remote, f"https://media.test:{port}/to?http://media.test:{port}/ok")
    capfd.readouterr()
