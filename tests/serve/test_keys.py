"""API keys and the gate: what is kept of a key, who is let in, and how often."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from affectgpt.cli.keys import app as commands
from affectgpt.errors import InputError, OptionError
from serve.api.callers import LOCAL_OWNER, Caller, Gate
from serve.api.keys import KeyLimits, KeyRing, KeysUnreadable


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "new" / "keys.json")


def app_with(gate: Gate) -> FastAPI:
    app = FastAPI()

    @app.get("/who")
    async def who(caller: Caller = Depends(gate.caller)) -> dict[str, Any]:
        return {"owner": caller.owner, "key": caller.key_id}

    return app


def client_of(gate: Gate, address: str = "127.0.0.1", base_url: str = "http://127.0.0.1:8000") -> TestClient:
    return TestClient(app_with(gate), base_url=base_url, client=(address, 50_000))


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# ---------------------------------------------------------------- what is kept


def test_a_secret_is_shown_once_and_kept_as_a_hash(ring: KeyRing, tmp_path: Path) -> None:
    key, secret = ring.add("Anna's laptop")
    file = tmp_path / "new" / "keys.json"
    assert secret.startswith(f"agpt_{key.id}_")
    assert len(secret.rpartition("_")[2]) >= 1
    for kept in file.parent.iterdir():
        assert secret.split("_", 2)[2] not in kept.read_text("utf-8"), kept.name
        assert kept.stat().st_mode & 0o077 == 0, kept.name
    assert key.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert ring.find(secret) == key
    assert key.shown in secret.replace(secret.split("_", 2)[2], "…")


def test_secrets_are_long_and_never_the_same(ring: KeyRing) -> None:
    secrets = [ring.add(f"no {i}")[1] for i in range(20)]
    assert len({s.split("_", 2)[2] for s in secrets}) == 20
    assert all(len(s.split("_", 2)[2]) == 43 for s in secrets)  # 256 bits, 6 a character


def test_a_revoked_key_is_out_at_once_also_in_another_process(ring: KeyRing, tmp_path: Path) -> None:
    other = KeyRing(tmp_path / "new" / "keys.json")
    key, secret = ring.add("anna")
    assert other.find(secret) == key
    ring.revoke(key.shown)
    assert other.find(secret) is None
    assert [k.revoked is not None for k in other.all()] == [True]
    first = ring.all()[0].revoked
    assert ring.revoke(key.id).revoked == first, "a second time changes nothing"
    with pytest.raises(InputError, match="no key"):
        ring.revoke("agpt_000000000000_…")


def test_a_key_that_replaces_another_takes_its_conversations(ring: KeyRing) -> None:
    old, old_secret = ring.add("anna", KeyLimits(5, 50))
    new, secret = ring.add("anna, new", replaces=old.id)
    assert ring.find(old_secret) is None
    found = ring.find(secret)
    assert found is not None
    assert (found.owner, found.limits) == (old.owner, KeyLimits(5, 50))
    third, _ = ring.add("anna, newer", KeyLimits(6, 60), replaces=new.id)
    assert (third.owner, third.limits) == (old.id, KeyLimits(6, 60))


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb", "a\x1bb"])
def test_a_name_must_be_one(ring: KeyRing, name: str) -> None:
    with pytest.raises(InputError, match="name"):
        ring.add(name)


def test_a_limit_must_let_something_through() -> None:
    for limits in ((0, 1), (1, 0), (-1, 5)):
        with pytest.raises(OptionError):
            KeyLimits(*limits)


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: KeyRing(path).add(f"no {i}"), range(24)))
    ring = KeyRing(path)
    assert len(ring.all()) == 24
    assert all(ring.find(secret) == key for key, secret in made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"form": "affectgpt.keys/2", "keys": []}', '{"form": "affectgpt.keys/1", "keys": [{}]}',
     '{"form": "affectgpt.keys/1", "keys": 5}'],
)  # fmt: skip
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    _, secret = KeyRing(path).add("anna")
    path.write_text(text)
    for work in (lambda: KeyRing(path).find(secret), lambda: KeyRing(path).add("bob")):
        with pytest.raises(KeysUnreadable, match="no file of keys"):
            work()
    assert path.read_text() == text


def test_a_key_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeyRing(path).add("anna")
    document = json.loads(path.read_text())
    for change in ({"sha256": ""}, {"id": "x"}, {"limits": {"requests_per_minute": 0, "media_s_per_hour": 1}}):
        bad = {**document, "keys": [{**document["keys"][0], **change}]}
        path.write_text(json.dumps(bad))
        with pytest.raises((KeysUnreadable, OptionError)):
            KeyRing(path).all()


def test_no_file_means_no_key(tmp_path: Path) -> None:
    assert KeyRing(tmp_path / "none.json").all() == ()
    assert KeyRing(tmp_path / "none.json").find("agpt_0123456789ab_" + "x" * 43) is None


# ---------------------------------------------------------------- finding


@given(st.text(max_size=300) | st.from_regex(r"agpt_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", fullmatch=True))
def test_no_other_text_is_a_key(text: str) -> None:
    assert RING.find(text) is None


@given(st.integers(0, 61), st.characters())
def test_a_key_with_one_character_changed_is_none(place: int, character: str) -> None:
    changed = SECRET[:place] + character + SECRET[place + 1 :]
    assert (RING.find(changed) is None) == (changed != SECRET)


@pytest.fixture(autouse=True, scope="module")
def _one_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    global RING, SECRET  # noqa: PLW0603 - what hypothesis draws cannot take a fixture for each example
    RING = KeyRing(tmp_path_factory.mktemp("keys") / "keys.json")
    SECRET = RING.add("anna")[1]


RING: KeyRing
SECRET: str


def calls_of(work: Callable[[], object]) -> list[str]:
    """The names of the C functions that something calls, in order."""
    called: list[str] = []

    def note(frame: object, event: str, function: object) -> None:
        if event == "c_call":
            called.append(getattr(function, "__name__", ""))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return called[:-1]  # the last is setprofile itself


def test_a_right_key_a_wrong_one_and_an_unknown_one_go_through_the_same_steps(ring: KeyRing) -> None:
    """So that the time taken tells nothing: one hash of as many bytes, and one comparison in constant time."""
    key, secret = ring.add("anna")
    rest = secret.split("_", 2)[2]
    wrong_at_the_end = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    others = (wrong_at_the_end, f"agpt_{key.id}_{'x' * 43}", f"agpt_{'0' * 12}_{rest}")
    assert ring.find(secret) is not None  # the file is read by now
    steps = calls_of(lambda: ring.find(secret))
    assert steps.count("openssl_sha256") == steps.count("compare_digest") == 1
    assert [calls_of(lambda text=text: ring.find(text)) for text in others] == [steps] * 3  # type: ignore[misc]


# ---------------------------------------------------------------- who is let in


def test_a_key_opens_the_door_in_either_header(ring: KeyRing) -> None:
    key, secret = ring.add("anna")
    client = client_of(Gate(ring), "203.0.113.9", "http://affect.example")
    for headers in (bearer(secret), {"Authorization": f"bearer  {secret} "}, {"X-API-Key": secret}):
        assert client.get("/who", headers=headers).json() == {"owner": key.owner, "key": key.id}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"X-API-Key": ""},
        {"Authorization": "Bearer agpt_"},
        {"Authorization": "Bearer " + "x" * 60_000},
        {"X-API-Key": "x" * 60_000},
        {b"Authorization": "Bearer kläß 钥匙 🔑".encode()},
        {b"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": "Bearer null"},
    ],
)
def test_what_is_no_key_gets_401(ring: KeyRing, headers: dict[Any, Any]) -> None:
    ring.add("anna")
    answered = client_of(Gate(ring)).get("/who", headers=headers)
    assert answered.status_code == 401
    assert answered.headers["www-authenticate"] == "Bearer"


def test_where_there_are_keys_this_machine_needs_one_too(ring: KeyRing) -> None:
    assert client_of(Gate(ring)).get("/who").status_code == 401, "no file of keys lets nobody in"
    ring.add("anna")
    assert client_of(Gate(ring)).get("/who").status_code == 401


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_without_keys_this_machine_is_served(address: str) -> None:
    assert client_of(Gate(None), address).get("/who").json() == {"owner": LOCAL_OWNER, "key": None}
    assert client_of(Gate(None), address, "http://localhost:8000").get("/who").status_code == 200
    assert client_of(Gate(None), address, "http://[::1]:8000").get("/who").status_code == 200


@pytest.mark.parametrize(
    "address",
    ["192.168.1.5", "10.0.0.1", "::ffff:192.168.1.5", "fe80::1", "203.0.113.9", "testclient", "localhost.evil", ""],
)  # fmt: skip
def test_without_keys_nobody_else_is(address: str) -> None:
    assert client_of(Gate(None), address).get("/who").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"Via": "1.1 proxy"},
    ],
)
def test_what_a_proxy_passed_on_is_not_this_machine(headers: dict[str, str]) -> None:
    assert client_of(Gate(None)).get("/who", headers=headers).status_code == 403
    assert client_of(Gate(None), "203.0.113.9").get("/who", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8000"}, 403),
        ({"Host": "127.0.0.1@evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "localhost:1"}, 200),
    ],
)
def test_a_strange_page_in_a_browser_here_is_not_this_machine(headers: dict[str, str], status: int) -> None:
    assert client_of(Gate(None)).get("/who", headers=headers).status_code == status


# ---------------------------------------------------------------- how often


def test_requests_over_the_limit_get_429_with_the_time_to_wait(ring: KeyRing) -> None:
    _, secret = ring.add("anna", KeyLimits(3, 10))
    _, other = ring.add("bob", KeyLimits(3, 10))
    client = client_of(Gate(ring))
    assert [client.get("/who", headers=bearer(secret)).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = client.get("/who", headers=bearer(secret))
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert client.get("/who", headers=bearer(other)).status_code == 200, "one key's limit is no other's"


def test_a_wrong_key_costs_the_right_one_nothing(ring: KeyRing) -> None:
    _, secret = ring.add("anna", KeyLimits(2, 10))
    client = client_of(Gate(ring))
    for _ in range(10):
        assert client.get("/who", headers=bearer(secret[:-1] + "!")).status_code == 401
    assert client.get("/who", headers=bearer(secret)).status_code == 200


def test_a_burst_from_many_threads_gets_exactly_the_limit_through(ring: KeyRing) -> None:
    _, secret = ring.add("anna", KeyLimits(50, 10))
    gate = Gate(ring)
    app, barrier = app_with(gate), threading.Barrier(16)

    def work(_: int) -> list[int]:
        client = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1))
        barrier.wait()
        return [client.get("/who", headers=bearer(secret)).status_code for _ in range(10)]

    with ThreadPoolExecutor(16) as pool:
        told = [status for some in pool.map(work, range(16)) for status in some]
    assert told.count(200) == 50
    assert told.count(429) == 110


def status_of(work: Callable[[], object]) -> tuple[int, str | None]:
    with pytest.raises(HTTPException) as raised:
        work()
    return raised.value.status_code, (raised.value.headers or {}).get("Retry-After")


def test_media_are_counted_by_the_second(ring: KeyRing) -> None:
    _, secret = ring.add("anna", KeyLimits(100, 10))
    gate = Gate(ring)
    caller = gate.holder(secret)
    gate.spend_seconds(caller, 3.2)  # 4
    gate.spend_seconds(caller, 6.0)  # 10
    status, wait_s = status_of(lambda: gate.spend_seconds(caller, 0.1))
    assert status == 429
    assert wait_s is not None
    assert 3500 < int(wait_s) <= 3600
    assert status_of(lambda: gate.spend_seconds(caller, 10.5)) == (413, None)
    gate.spend_seconds(Caller(LOCAL_OWNER), 1e9)  # this machine without keys: no limit of its own


# ---------------------------------------------------------------- the command


def test_the_command_adds_lists_and_revokes(tmp_path: Path) -> None:
    path, runner = tmp_path / "keys.json", CliRunner()
    added = runner.invoke(commands, ["add", "anna", "--keys", str(path)])
    assert added.exit_code == 0, added.output
    secret = added.stdout.strip()
    key = KeyRing(path).find(secret)
    assert key is not None
    replaced = runner.invoke(
        commands, ["add", "bob", "--keys", str(path), "--replaces", key.shown, "--requests-per-minute", "7"]
    )
    assert replaced.exit_code == 0, replaced.output
    assert KeyRing(path).find(secret) is None
    new = KeyRing(path).find(replaced.stdout.strip())
    assert new is not None
    assert (new.owner, new.limits.requests_per_minute) == (key.owner, 7)
    listed = runner.invoke(commands, ["list", "--keys", str(path)]).stdout.splitlines()
    assert [("revoked" in line, secret in line) for line in listed] == [(True, False), (False, False)]
    gone = runner.invoke(commands, ["revoke", new.id], env={"AFFECTGPT_SERVE_KEYS": str(path)})
    assert gone.exit_code == 0, gone.output
    assert all(k.revoked for k in KeyRing(path).all())
