"""API keys: made here, shown once, kept as hashes in one file that a running server reads again when it changes.

A secret is 256 random bits. Its SHA-256 is enough: slow, salted hashes (bcrypt, Argon2) are for passwords, which can be
guessed; nobody guesses 256 bits, and a slow hash a request would be a gift to whoever wants the server busy.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affectgpt.errors import AffectError, InputError, OptionError

__all__ = ["Key", "KeyLimits", "KeyRing", "KeysUnreadable"]

_SECRET = re.compile(r"agpt_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
"""`agpt_`, the key's id, and 32 random bytes in base64url (RFC 4648): scanners for leaked secrets can know it."""
_FORM = "affectgpt.keys/1"
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


class KeysUnreadable(AffectError):
    """The file of keys is damaged or may not be read: nobody is let in on a guess."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may do: requests in any minute, and seconds of media in any hour."""

    requests_per_minute: int = 60
    media_s_per_hour: int = 3600

    def __post_init__(self) -> None:
        """Raise OptionError for a limit below 1."""
        if self.requests_per_minute < 1 or self.media_s_per_hour < 1:
            raise OptionError("a limit below 1", "revoke a key that may do nothing")


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. `owner` is whose conversations it opens: its own id, or that of the key it replaced."""

    id: str
    name: str
    owner: str
    sha256: str
    created: datetime
    revoked: datetime | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)

    @property
    def shown(self) -> str:
        """What may be shown of the secret."""
        return f"agpt_{self.id}_…"


class KeyRing:
    """The keys in a file. Writers hold a lock and replace the file whole, so that a reader never sees half of one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Key] = {}

    def all(self) -> tuple[Key, ...]:
        """Every key, revoked ones too, in the order they were made. Raises KeysUnreadable."""
        return tuple(self._current().values())

    def add(self, name: str, limits: KeyLimits | None = None, replaces: str | None = None) -> tuple[Key, str]:
        """A new key and its secret, which is kept nowhere. `replaces` hands over a key's conversations and revokes it.

        Raises:
            InputError: a name of no or over 64 characters, or no such key to replace. KeysUnreadable.
        """
        if not _NAME.fullmatch(name) or not name.strip():
            raise InputError("a key's name has 1 to 64 characters on one line", "name whom or what it is for")
        key_id = secrets.token_hex(6)
        secret = f"agpt_{key_id}_{secrets.token_urlsafe(32)}"
        with self._changing() as keys:
            old = self._named(keys, replaces) if replaces is not None else None
            kept = limits or (old.limits if old else KeyLimits())
            key = Key(key_id, name.strip(), old.owner if old else key_id, _digest(secret), _now(), None, kept)
            if old is not None:
                keys[old.id] = replace(old, revoked=old.revoked or _now())
            keys[key_id] = key
        return key, secret

    def revoke(self, key_id: str) -> Key:
        """Let a key in no longer, from the next request on. Raises InputError where there is none. KeysUnreadable."""
        with self._changing() as keys:
            old = self._named(keys, key_id)
            keys[old.id] = replace(old, revoked=old.revoked or _now())
            return keys[old.id]

    def find(self, secret: str) -> Key | None:
        """The key that this is the secret of, unless it is revoked. Raises KeysUnreadable.

        Takes the same steps for an unknown key as for a wrong secret, and compares in constant time.
        """
        read = _SECRET.fullmatch(secret) if len(secret) <= 128 else None
        key = self._current().get(read[1]) if read else None
        stored = key.sha256 if key is not None else _NOBODY
        is_right = hmac.compare_digest(_digest(secret[:128]), stored)
        return key if is_right and key is not None and key.revoked is None else None

    @staticmethod
    def _named(keys: Mapping[str, Key], key_id: str) -> Key:
        wanted = key_id.removeprefix("agpt_").partition("_")[0]
        if wanted not in keys:
            raise InputError(f"no key {key_id[:40]!r}", "see `affectgpt serve keys list`")
        return keys[wanted]

    def _current(self) -> Mapping[str, Key]:
        """The keys as the file has them now; it is read again where it was replaced. No file: no keys."""
        with self._lock:
            try:
                at = self._path.stat()
            except FileNotFoundError:
                self._seen, self._keys = None, {}
                return self._keys
            except OSError as error:
                raise KeysUnreadable(f"the keys at {self._path}: {error.strerror}", "let this user read it") from None
            seen = (at.st_ino, at.st_mtime_ns, at.st_size)
            if seen != self._seen:
                self._keys, self._seen = _read(self._path), seen
            return self._keys

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = dict(_read(self._path)) if self._path.exists() else {}
                yield keys
                _write(self._path, keys)
            finally:
                os.close(lock)
        except OSError as error:
            raise KeysUnreadable(f"the keys at {self._path}: {error.strerror}", "let this user write it") from None


def _read(path: Path) -> dict[str, Key]:
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["form"] != _FORM:
            raise ValueError(document["form"])
        return {row["id"]: _key(row) for row in document["keys"]}
    except OSError as error:
        raise KeysUnreadable(f"the keys at {path}: {error.strerror}", "let this user read it") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeysUnreadable(f"{path} is no file of keys", "put back a copy, or make keys in another file") from None


def _key(row: Mapping[str, Any]) -> Key:
    """Raises ValueError, KeyError or TypeError for a row of another form."""
    if not re.fullmatch(r"[0-9a-f]{12}", row["id"]) or not re.fullmatch(r"[0-9a-f]{64}", row["sha256"]):
        raise ValueError(row["id"])
    times = {name: datetime.fromisoformat(row[name]) if row[name] else None for name in ("created", "revoked")}
    return Key(**{**row, **times, "limits": KeyLimits(**row["limits"])})


def _write(path: Path, keys: Mapping[str, Key]) -> None:
    """Replace the file whole, readable by its owner alone, and on the disk before it counts."""
    rows = [asdict(key) for key in keys.values()]
    text = json.dumps({"form": _FORM, "keys": rows}, default=datetime.isoformat, indent=1, ensure_ascii=False)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_NOBODY = _digest(secrets.token_urlsafe(32))
"""What an unknown key is compared with."""


def _now() -> datetime:
    return datetime.now(UTC)
