"""The store in SQLite and in memory: the laws, and what only a file can do wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_deaths import check_what_is_left, kill_a_writer
from store_laws import Opened, answer, ask, goes_down_and_up_again, line
from store_owner_laws import StoreLaws

from affectgpt.errors import OptionError
from serve.store import Answered, Asked, Retention, Store, open_store
from serve.store.database import Database, StoreError
from serve.store.schema import metadata


@pytest.fixture
def opened_stores() -> Iterator[list[Store]]:
    stores: list[Store] = []
    yield stores
    for store in stores:
        store.close()


class TestSqlite(StoreLaws):
    @pytest.fixture
    def opened(self, tmp_path: Path, opened_stores: list[Store]) -> Opened:
        def make(retention: Retention | None = None, **more: Any) -> Store:
            opened_stores.append(Store(Database(str(tmp_path / "kept" / "h.sqlite")), retention or Retention(), **more))
            return opened_stores[-1]

        return make


class TestMemory(StoreLaws):
    @pytest.fixture
    def opened(self, opened_stores: list[Store]) -> Opened:
        def make(retention: Retention | None = None, **more: Any) -> Store:
            opened_stores.append(Store(Database("", is_in_memory=True), retention or Retention(), **more))
            return opened_stores[-1]

        return make


def files_of(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.iterdir()))


# ---------------------------------------------------------------- the file


def test_the_file_is_its_owners_alone_and_safe_against_power_cuts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "h.sqlite"
    with open_store(f"sqlite:///{path}") as store:
        ask(store, store.create("anna").id, "?")
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file.name
        with store._database.reading() as connection:
            told = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "busy_timeout")
            }
    assert told == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "busy_timeout": 30_000,
    }


def test_what_was_closed_is_there_again(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "h.sqlite")) as store:
        made = store.create("anna")
        ask(store, made.id, "still here")
    with open_store(str(tmp_path / "h.sqlite")) as store:
        assert line(store, made.id) == ["still here"]


@pytest.mark.parametrize("everything", [False, True])
def test_what_was_deleted_is_nowhere_in_the_file(tmp_path: Path, everything: bool) -> None:
    with open_store(str(tmp_path / "h.sqlite")) as store:
        kept = store.create("bob")
        ask(store, kept.id, "ordinary words stay", owner="bob")
        made = store.create("anna")
        for i in range(20):
            ask(store, made.id, f"xylophone{i} zweisamkeit", "qwertzuiop")
        assert b"xylophone7" in files_of(tmp_path)
        if everything:
            store.delete_all("anna")
        else:
            store.delete("anna", made.id)
        left = files_of(tmp_path)
        assert b"ordinary" in left
        for word in (b"xylophone", b"zweisamkeit", b"qwertzuiop", made.id.encode()):
            assert word not in left, word


def test_nothing_is_written_where_nothing_is_retained(tmp_path: Path) -> None:
    code = (
        "import sys; from serve.store import *\n"
        "def hook(event, args):\n"
        "    if event == 'open' and isinstance(args[0], (str, bytes)) and (args[2] or 0) & 3: print('OPEN', args[0])\n"
        "store = open_store('ignored.sqlite', retain=False)\n"
        "sys.addaudithook(hook)\n"
        "made = store.create('anna')\n"
        "for i in range(50):\n"
        "    begun = store.begin('anna', made.id, Asked('x' * 50000))\n"
        "    store.finish('anna', begun.id, Answered('', 'y' * 50000, 'm'))\n"
        "assert store.search('anna', 'xxx').items\n"
        "store.delete('anna', made.id); store.close()\n"
    )
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "TMPDIR": str(tmp_path / "temp")}
    (tmp_path / "temp").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert [p.name for p in tmp_path.rglob("*")] == ["temp"]


def test_a_store_in_memory_does_not_grow_without_end() -> None:
    with open_store(retain=False) as store:
        for i in range(210):
            store.create("anna", str(i))
        assert len(store.recent("anna", None, 200).items) == 200
        assert store.recent("anna", None, 1).items[0].title == "209"


# ---------------------------------------------------------------- what is not a store


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="failed"):
        open_store(str(path))
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.sqlite"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE bookmarks (url)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's"):
        open_store(str(path))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["bookmarks.sqlite"]


def test_what_must_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        open_store(str(tmp_path / "new" / "h.sqlite"), must_exist=True)
    assert list(tmp_path.iterdir()) == []


def test_memory_may_be_named_as_the_place(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), open_store("memory") as store:
        store.create("anna")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_spoils_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    code = (
        "import resource, sys; from serve.store import *; from serve.store.database import StoreError\n"
        "store = open_store('h.sqlite'); made = store.create('anna'); print(made.id)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
        "for n in range(100):\n"
        "    try: begun = store.begin('anna', made.id, Asked(f'message {n} ' + 'x' * 20000))\n"
        "    except StoreError as error: print(n, error); break\n"
        "    try: store.finish('anna', begun.id, Answered('', 'y' * 20000, 'm'))\n"
        "    except StoreError as error: print(n + 1, error); break\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    conversation, told = ran.stdout.splitlines()
    n_begun, _, error = told.partition(" ")
    assert "failed" in error
    assert "message" not in error
    with open_store(str(tmp_path / "h.sqlite")) as store:
        assert line(store, conversation) == [f"message {n} " + "x" * 20_000 for n in range(int(n_begun))]
        ask(store, store.create("anna").id, "there is room again")


def test_a_folder_and_a_strange_url_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        open_store(str(tmp_path))
    for url in ("mysql://x/y", "sqlite://", "sqlite:///:memory:", "://", "sqlite:///x?mode=ro", "http://x"):
        with pytest.raises(OptionError, match="sqlite:///PATH"):
            open_store(url)


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    open_store(str(tmp_path / "h.sqlite")).close()
    with sqlite3.connect(tmp_path / "h.sqlite") as raw:
        raw.execute("UPDATE affectgpt_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(StoreError, match="another version"):
        open_store(str(tmp_path / "h.sqlite"))


def test_an_error_of_the_database_quotes_nobody(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "h.sqlite")) as store:
        made = store.create("anna")
        with sqlite3.connect(tmp_path / "h.sqlite") as raw:
            raw.execute("DROP TABLE feedback")
            raw.execute("DROP TABLE revisions")
        raw.close()
        with pytest.raises(StoreError) as raised:
            store.begin("anna", made.id, Asked("a private message"))
        assert "private" not in str(raised.value)
        assert raised.value.__cause__ is None
        assert store.is_ready()


# ---------------------------------------------------------------- migrations


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "h.sqlite"))
    with database.reading() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    database.close()


def test_migrations_go_down_and_up_again(tmp_path: Path) -> None:
    goes_down_and_up_again(Database(str(tmp_path / "h.sqlite")))


def test_a_migration_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    database = Database(str(path))
    database.migrate("base")
    database.close()
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE feedback (x)")  # what the migration makes last
        before = raw.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    raw.close()
    with pytest.raises(StoreError):
        open_store(str(path))
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == before
    raw.close()


def test_several_that_open_a_new_store_at_once_all_succeed(tmp_path: Path) -> None:
    for n in range(3):
        told: list[object] = []

        def work(n: int = n, told: list[object] = told) -> None:
            try:
                with open_store(str(tmp_path / f"{n}.sqlite")) as store:
                    told.append(store.create("anna").id)
            except StoreError as error:
                told.append(error)

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(isinstance(t, str) for t in told), told
        with open_store(str(tmp_path / f"{n}.sqlite")) as store:
            assert len(store.recent("anna").items) == 5


# ---------------------------------------------------------------- sudden death


def check_the_file(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        raw.execute("INSERT INTO revision_words(revision_words, rank) VALUES ('integrity-check', 1)")
    raw.close()


def test_a_writer_that_is_killed_leaves_whole_turns(tmp_path: Path, repo: Path) -> None:
    conversation, said = kill_a_writer(str(tmp_path / "h.sqlite"), repo, 0.3)
    assert said
    check_the_file(tmp_path / "h.sqlite")
    check_what_is_left(str(tmp_path / "h.sqlite"), conversation, said)


@pytest.mark.slow
def test_ten_writers_that_are_killed_leave_whole_turns(tmp_path: Path, repo: Path) -> None:
    rng = random.Random(5)
    for _ in range(10):
        conversation, said = kill_a_writer(str(tmp_path / "h.sqlite"), repo, rng.uniform(0.0, 0.4))
        check_the_file(tmp_path / "h.sqlite")
        check_what_is_left(str(tmp_path / "h.sqlite"), conversation, said)
    with open_store(str(tmp_path / "h.sqlite")) as store:
        assert len(store.recent("anna").items) == 10


def test_a_turn_left_open_at_a_clean_end_is_interrupted_at_once(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "h.sqlite")) as store:
        made = store.create("anna")
        begun = store.begin("anna", made.id, Asked("?"))
    with open_store(str(tmp_path / "h.sqlite")) as store:
        assert store.revision("anna", begun.id).state == "interrupted"
        markdown = "".join(store.export("anna", "md"))
        assert "*No answer (interrupted).*" in markdown
        again = store.revise("anna", begun.turn_id)
        assert store.finish("anna", again.id, answer()).state == "done"


def test_a_second_process_sees_a_turn_that_is_being_written_as_pending(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "h.sqlite")) as one, open_store(str(tmp_path / "h.sqlite")) as two:
        made = one.create("anna")
        begun = one.begin("anna", made.id, Asked("?"))
        assert two.revision("anna", begun.id).state == "pending"
        one.finish("anna", begun.id, Answered("", "yes", "m"))
        assert two.revision("anna", begun.id).state == "done"


def test_a_server_sweeps_in_the_background(tmp_path: Path) -> None:
    async def swept(store: Store) -> None:
        task = asyncio.create_task(store.keep_swept(0.05))
        async with asyncio.timeout(10):
            while await asyncio.to_thread(lambda: store.recent("anna").items):
                await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with open_store(str(tmp_path / "h.sqlite"), retention=Retention(seconds=0.2)) as store:
        store.create("anna")
        asyncio.run(swept(store))


def test_json_of_an_export_is_one_document_of_many_pieces(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "h.sqlite")) as store:
        for i in range(30):
            ask(store, store.create("anna").id, f"message {i}")
        pieces = list(store.export("anna", "json"))
        assert len(pieces) == 32
        assert len(json.loads("".join(pieces))["conversations"]) == 30
