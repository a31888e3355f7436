"""The store in PostgreSQL: a real server on a socket in a temporary folder, and the same laws."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_deaths import check_what_is_left, kill_a_writer
from store_laws import Opened, answer, goes_down_and_up_again
from store_owner_laws import StoreLaws

from serve.store import Asked, Retention, Store
from serve.store.database import Database, StoreError
from serve.store.schema import VERSION_TABLE, metadata

pytestmark = pytest.mark.slow

DEBIAN = Path("/usr/lib/postgresql")


def programs() -> Path:
    """The folder of the server's programs; skips where there are none."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"))
    if not versions:
        pytest.skip("no PostgreSQL server installed")
    return versions[-1].parent


def as_whom() -> list[str]:
    """How to run the server: it refuses the super-user; skips where nobody else can be had."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses the super-user, and there is no setpriv")
    return ["setpriv", "--reuid", "nobody", "--regid", str(pwd.getpwnam("nobody").pw_gid), "--clear-groups"]


def run(*command: object, cwd: Path) -> None:
    ran = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr + ran.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server's folder of sockets: no port, nothing that another machine could reach."""
    binaries, whom = programs(), as_whom()
    # A socket's path may have 107 characters: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if whom:
        shutil.chown(folder, "nobody")
    options = "-c listen_addresses='' -c max_connections=100 -c fsync=off -c full_page_writes=off"
    run(*whom, binaries / "initdb", "-D", folder / "data", "-U", "affect", "-A", "trust", "-E", "UTF8",
        "--locale=C.UTF-8", cwd=folder)  # fmt: skip
    started = [*whom, binaries / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    run(*started, "-o", f"{options} -k {folder}", "start", cwd=folder)
    try:
        yield str(folder)
    finally:
        run(*started, "-m", "immediate", "stop", cwd=folder)
        shutil.rmtree(folder)


@pytest.fixture
def url(server: str) -> str:
    """The server's database, emptied: a new one for each test would be seven megabytes to write and to remove."""
    engine = sa.create_engine(f"postgresql+psycopg://affect@/postgres?host={server}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return f"postgresql://affect@/postgres?host={server}"


@pytest.fixture
def opened(url: str) -> Iterator[Opened]:
    stores: list[Store] = []

    def make(retention: Retention | None = None, **more: Any) -> Store:
        stores.append(Store(Database(url), retention or Retention(), **more))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


class TestPostgres(StoreLaws):
    pass


def test_the_migrations_make_the_tables_that_the_code_uses(url: str) -> None:
    database = Database(url)

    def is_ours(thing: Any, name: str | None, kind: str, *_: object) -> bool:
        return not (kind in ("column", "index") and name in ("words", "ix_revisions_words"))

    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": is_ours, "version_table": VERSION_TABLE}
        )
        assert compare_metadata(context, metadata) == []
    database.close()


def test_migrations_go_down_and_up_again(url: str) -> None:
    goes_down_and_up_again(Database(url))


def test_several_that_open_a_new_store_at_once_all_succeed(url: str) -> None:
    told: list[object] = []

    def work() -> None:
        try:
            with Store(Database(url), Retention()) as store:
                told.append(store.create("anna").id)
        except StoreError as error:
            told.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(t, str) for t in told), told
    with Store(Database(url), Retention()) as store:
        assert len(store.recent("anna").items) == 6


def test_two_servers_share_one_database(url: str) -> None:
    with Store(Database(url), Retention()) as one, Store(Database(url), Retention()) as two:
        made = one.create("anna")
        begun = one.begin("anna", made.id, Asked("?"))
        assert two.revision("anna", begun.id).state == "pending"
        two.finish("anna", begun.id, answer("from the other"))
        assert one.revision("anna", begun.id).state == "done"


def test_writers_that_are_killed_leave_whole_turns(url: str, repo: Path) -> None:
    rng = random.Random(6)
    for _ in range(2):
        conversation, said = kill_a_writer(url, repo, rng.uniform(0.0, 0.4))
        check_what_is_left(url, conversation, said)


def test_a_connection_that_the_server_dropped_is_made_anew(url: str, server: str) -> None:
    with Store(Database(url), Retention()) as store:
        made = store.create("anna")
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as other:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            other.exec_driver_sql(f"{others} AND datname = current_database()")
        engine.dispose()
        assert store.get("anna", made.id).summary == made


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as raised:
        Database(f"postgresql://anna:hunter2@/x?host={tmp_path}")
    assert "hunter2" not in str(raised.value)
    assert "***" in str(raised.value)
