"""One database, SQLite or PostgreSQL: opened, migrated under a lock, and used in whole transactions only.

SQLite runs in WAL mode with `synchronous=FULL`: readers do not wait for a writer, and a commit is on the disk when it
returns; at two commits a turn the fsync is not felt, and with NORMAL a power cut could take back an answer that was
already shown. Deleted content is overwritten (`secure_delete`).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import StaticPool

from affectgpt.errors import AffectError, MissingDependency, OptionError
from serve.store.schema import VERSION_TABLE

__all__ = ["Database", "StoreError", "default_path", "migrate"]

BUSY_S = 30.0
"""Seconds that a writer of SQLite waits for another one."""
_MIGRATION_LOCK = 0x61_66_67_70  # any number of one's own: "afgp"


class StoreError(AffectError):
    """The database of conversations cannot be reached, read, written or migrated."""


def default_path() -> Path:
    """The user's own data folder (XDG Base Directory Specification 0.8), less what this program puts in it."""
    home = os.environ.get("XDG_DATA_HOME", "")
    folder = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "share"
    return folder / "affectgpt" / "history.sqlite"


class Database:
    """An engine and the two kinds of transaction. In memory there is one connection, and threads take turns."""

    def __init__(self, url: str, is_in_memory: bool = False, must_exist: bool = False) -> None:
        """Connect and migrate; `must_exist` makes no new file.

        Raises:
            OptionError: a URL of another kind. StoreError: cannot be reached, written or migrated.
        """
        self.is_in_memory = is_in_memory
        self._url = URL.create("sqlite") if is_in_memory else _read_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._turn: Any = threading.RLock() if is_in_memory else nullcontext()
        with _told(self._place):
            if self.is_sqlite and not is_in_memory:
                _prepare_file(Path(str(self._url.database)), must_exist)
            self._engine = _open_sqlite(self._url, is_in_memory) if self.is_sqlite else _open_postgres(self._url)
        try:
            self.migrate("head")
        except BaseException:
            self._engine.dispose()
            raise

    @property
    def _place(self) -> str:
        return "in memory" if self.is_in_memory else self._url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, on one state of the database."""
        with self._turn, _told(self._place), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is whole or not at all. SQLite's writers queue at its first statement, not its last."""
        with self._turn, _told(self._place), self._engine.connect() as connection:
            connection.execution_options(is_writing=True)
            with connection.begin():
                yield connection

    def migrate(self, to: str) -> None:
        """Bring the tables to a revision, alone: what starts at the same time waits, and finds it done."""
        with self.writing() as connection:
            if not self.is_sqlite:  # SQLite's writing transaction is the lock
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATION_LOCK})
            migrate(connection, to)

    def scrub(self) -> None:
        """After rows were removed: SQLite's log is emptied into the file, so that no copy stays behind in it."""
        if self.is_in_memory or not self.is_sqlite:
            return
        with _told(self._place), self._engine.connect() as connection:
            # A reader that holds it up is no failure: the next checkpoint comes with the next writes.
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()


def migrate(connection: Connection, to: str) -> None:
    """Run the migrations up or down to a revision (`head`, `base`) inside the connection's transaction.

    Raises:
        StoreError: the tables were made by a newer version of this program.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(files("serve.store").joinpath("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        (command.downgrade if to == "base" else command.upgrade)(config, to)
    except CommandError as error:
        raise StoreError(
            f"the store's tables are of another version ({error})", "update affectgpt, or name another store"
        ) from None


def _read_url(url: str) -> URL:
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url or default_path()).expanduser().absolute()))
    try:
        read = make_url(url)
    except sa.exc.ArgumentError:
        raise OptionError("the store's URL cannot be read", "give sqlite:///PATH or postgresql://HOST/NAME") from None
    backend = read.get_backend_name()
    if backend == "sqlite" and read.database and read.database != ":memory:" and not read.query:
        return read.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return read.set(drivername="postgresql+psycopg")
    raise OptionError(f"no store of the kind {read.drivername!r}", "give sqlite:///PATH or postgresql://HOST/NAME")


def _prepare_file(path: Path, must_exist: bool) -> None:
    """A file that only its owner may read, in WAL mode, which it then keeps."""
    if must_exist and not path.is_file():
        raise StoreError(f"no store of conversations at {path}", "name the one that the server keeps")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    until = time.monotonic() + BUSY_S
    while True:
        connection = sqlite3.connect(path, timeout=BUSY_S)
        try:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and VERSION_TABLE not in tables:
                raise StoreError(f"{path} is another program's database", "name a file of its own")
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise StoreError(f"{path} cannot be written beside", "put the store on a disk of this machine")
            return
        except sqlite3.OperationalError:  # two that start at once: the switch does not wait for its lock
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


def _open_sqlite(url: URL, is_in_memory: bool) -> Engine:
    pool: dict[str, Any] = {"poolclass": StaticPool} if is_in_memory else {"pool_size": 8, "max_overflow": 32}
    engine = sa.create_engine(
        url,
        connect_args={"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None},
        json_serializer=_dump_json,
        hide_parameters=True,  # an error's text must not hold what somebody wrote
        **pool,
    )

    @sa.event.listens_for(engine, "connect")
    def _settle(connection: sqlite3.Connection, _: object) -> None:
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "secure_delete=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        # SQLite's own knows ASCII only; a search must find "Ärger" by "ärger".
        connection.create_function("lower", 1, _lower, deterministic=True)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # The driver begins by itself only before some statements; here it never does, and writers lock at once.
        is_writing = connection.get_execution_options().get("is_writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


def _open_postgres(url: URL) -> Engine:
    try:
        return sa.create_engine(
            url,
            json_serializer=_dump_json,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=32,
            connect_args={"connect_timeout": 10},
        )
    except ModuleNotFoundError:
        raise MissingDependency("PostgreSQL needs psycopg", "pip install 'psycopg[binary]'") from None


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _dump_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@contextmanager
def _told(place: str) -> Iterator[None]:
    """A database's errors as StoreError, without the statement and what was in it."""
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        line = (str(cause).splitlines() or [type(cause).__name__])[0] if _is_about_the_server(cause) else ""
        raise StoreError(
            f"the store of conversations ({place}) failed: {line or type(cause).__name__}",
            "see that it is there, has room, and may be written",
        ) from None
    except OSError as error:
        raise StoreError(f"the store of conversations ({place}) failed: {error}", "name another place") from None


def _is_about_the_server(cause: object) -> bool:
    """Whether an error's own words are of the file or the server; those of a value could quote what somebody wrote."""
    return "OperationalError" in [c.__name__ for c in type(cause).__mro__]
