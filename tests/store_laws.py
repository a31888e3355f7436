"""The laws of the store, for every kind of database: what is kept, its states, its revisions.

A test class inherits them, with those of store_owner_laws.py, and gives an `opened` fixture.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from affectgpt.errors import InputError
from affectgpt.records import Message
from serve.store import Answered, Asked, KeptAttachment, Retention, Revision, Settings, Store
from serve.store.database import Database

Opened = Callable[..., Store]

OUTCOME: dict[str, Any] = {
    "schema_version": "1",
    "clip": {"path": "uploads/5f/secret-folder/smile.mp4", "duration_s": 3.0},
    "observations": [{"id": "F1", "modality": "face", "cue": "AU12", "text": "lip corners pulled up", "value": 3.0}],
    "decision": {"label": "happy"},
}


def answer(reply: str = "You seem glad.", **more: Any) -> Answered:
    return Answered("**Key observations**\nA smile [F1].", reply, "tiny-model", outcome=OUTCOME, **more)


def ask(store: Store, conversation: str, text: str, reply: str = "You seem glad.", owner: str = "anna") -> Revision:
    begun = store.begin(owner, conversation, Asked(text))
    return store.finish(owner, begun.id, answer(reply))


def goes_down_and_up_again(database: Database) -> None:
    """Every migration, back and forth."""
    database.migrate("base")
    with database.reading() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"affectgpt_version"}
    database.migrate("head")
    with Store(database, Retention()) as store:
        ask(store, store.create("anna").id, "after")
        assert store.search("anna", "after").items


def line(store: Store, conversation: str, owner: str = "anna") -> list[str]:
    return [turn.revision.asked.text for turn in store.get(owner, conversation).turns]


class KeepingLaws:
    @pytest.fixture
    def store(self, opened: Opened) -> Store:
        return opened()

    # ------------------------------------------------------------ what is kept

    def test_a_turn_comes_back_as_it_was(self, store: Store) -> None:
        settings = Settings("de-AT", None, {"modalities": ["face"], "subject": 1})
        made = store.create("anna", settings=settings)
        attached = KeptAttachment("smile.mp4", "video", "ab" * 32)
        begun = store.begin("anna", made.id, Asked("Ärger? 你好 😀", (attached,)))
        assert begun.state == "pending"
        assert begun.answered is None
        card = "**Help**"
        ended = store.finish("anna", begun.id, answer(card=card, n_prompt_tokens=7, n_completion_tokens=9))
        conversation = store.get("anna", made.id)
        [turn] = conversation.turns
        assert turn.revision == ended
        assert (ended.state, ended.ai_generated, ended.asked.attachments) == ("done", True, (attached,))
        assert ended.answered is not None
        assert (ended.answered.model, ended.answered.card, ended.answered.n_completion_tokens) == (
            "tiny-model",
            card,
            9,
        )
        assert ended.observations == tuple(OUTCOME["observations"])
        assert conversation.summary.settings == settings
        assert conversation.summary.title == "Ärger? 你好 😀"
        assert conversation.messages() == (
            Message("user", "Ärger? 你好 😀"),
            Message("assistant", "You seem glad."),
        )

    def test_no_path_is_kept(self, store: Store) -> None:
        made = store.create("anna")
        for name in ("/tmp/uploads/x/smile.mp4", "C:\\Users\\anna\\smile.mp4", "../../smile.mp4"):
            begun = store.begin("anna", made.id, Asked("?", (KeptAttachment(name, "video", "0" * 64),)))
            ended = store.finish("anna", begun.id, answer())
            assert ended.asked.attachments[0].name == "smile.mp4"
            assert ended.answered is not None
            assert ended.answered.outcome is not None
            assert ended.answered.outcome["clip"] == {"path": "smile.mp4", "duration_s": 3.0}

    def test_text_that_a_database_refuses_is_kept_without_what_it_refuses(self, store: Store) -> None:
        made = store.create("anna", "a\x00b")
        ended = ask(store, made.id, "nul \x00 and a lone \ud800 surrogate", "reply \x00")
        assert ended.asked.text == "nul \ufffd and a lone \ufffd surrogate"
        assert store.get("anna", made.id).summary.title == "a\ufffdb"
        begun = store.begin("anna", made.id, Asked("numbers"))
        told = Answered("", "", "m", outcome={"x": float("nan"), "y\x00": [float("inf"), "z\x00"]})
        kept = store.finish("anna", begun.id, told).answered
        assert kept is not None
        assert kept.outcome == {"x": None, "y\ufffd": [None, "z\ufffd"]}

    def test_what_is_too_long_is_refused_and_leaves_nothing(self, store: Store) -> None:
        made = store.create("anna")
        with pytest.raises(InputError, match="200001 characters"):
            store.begin("anna", made.id, Asked("x" * 200_001))
        with pytest.raises(InputError, match="title"):
            store.rename("anna", made.id, "x" * 2_001)
        with pytest.raises(InputError, match="empty"):
            store.rename("anna", made.id, " \n ")
        with pytest.raises(InputError, match="files"):
            store.begin("anna", made.id, Asked("?", (KeptAttachment("a", "image", "0"),) * 33))
        assert store.get("anna", made.id).turns == ()

    def test_the_longest_text_is_kept_and_found(self, store: Store) -> None:
        made = store.create("anna")
        words = " ".join(f"word{i:05d}" for i in range(18_000))
        ask(store, made.id, f"needle {words}", "x" * 200_000)
        assert [f.summary.id for f in store.search("anna", "needle").items] == [made.id]

    def test_a_title_is_the_messages_first_words(self, store: Store) -> None:
        made = store.create("anna")
        ask(store, made.id, "  Why did\nshe   look away when I asked her about the money she had borrowed? ")
        title = store.get("anna", made.id).summary.title
        assert title == "Why did she look away when I asked her about the money she…"
        store.rename("anna", made.id, " Money ")
        ask(store, made.id, "And now?")
        assert store.get("anna", made.id).summary.title == "Money"

    # ------------------------------------------------------------ states

    def test_a_failure_is_told_and_the_conversation_goes_on(self, store: Store) -> None:
        made = store.create("anna")
        begun = store.begin("anna", made.id, Asked("?"))
        failed = store.fail("anna", begun.id, "the clip cannot be read;\nsend another")
        assert (failed.state, failed.failure) == ("failed", "the clip cannot be read; send another")
        ask(store, made.id, "and this?")
        assert line(store, made.id) == ["?", "and this?"]
        assert store.get("anna", made.id).messages()[0] == Message("user", "?")

    def test_a_turn_that_is_being_answered_blocks_the_next(self, store: Store) -> None:
        made = store.create("anna")
        begun = store.begin("anna", made.id, Asked("?"))
        with pytest.raises(InputError, match="still being answered"):
            store.begin("anna", made.id, Asked("again"))
        with pytest.raises(InputError, match="still being answered"):
            store.revise("anna", begun.turn_id)
        store.finish("anna", begun.id, answer())
        with pytest.raises(InputError, match="ended already"):
            store.finish("anna", begun.id, answer())
        with pytest.raises(InputError, match="ended already"):
            store.fail("anna", begun.id, "late")

    def test_a_lease_is_renewed_while_the_turn_is_written(self, opened: Opened) -> None:
        store = opened(lease_s=0.6)
        made = store.create("anna")
        begun = store.begin("anna", made.id, Asked("?"))
        time.sleep(1.5)
        assert store.revision("anna", begun.id).state == "pending"
        store.finish("anna", begun.id, answer())
        until = time.monotonic() + 5
        while any(t.name == "store leases" for t in threading.enumerate()) and time.monotonic() < until:
            time.sleep(0.02)
        assert not any(t.name == "store leases" for t in threading.enumerate())

    def test_many_threads_at_once_lose_nothing(self, store: Store) -> None:
        failures: list[BaseException] = []

        def work(n: int) -> None:
            try:
                made = store.create(f"owner{n}")
                for i in range(5):
                    ask(store, made.id, f"{n}/{i}", owner=f"owner{n}")
                    store.recent(f"owner{n}")
            except BaseException as error:  # noqa: BLE001 - handed to the test
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        for n in range(8):
            [summary] = store.recent(f"owner{n}").items
            assert summary.n_turns == 5
            assert line(store, summary.id, f"owner{n}") == [f"{n}/{i}" for i in range(5)]

    def test_of_two_that_begin_a_turn_at_once_one_waits_for_the_other_and_is_told(self, store: Store) -> None:
        made = store.create("anna")
        barrier = threading.Barrier(6)
        told: list[str] = []

        def work() -> None:
            barrier.wait()
            try:
                store.begin("anna", made.id, Asked("?"))
                told.append("begun")
            except InputError:
                told.append("refused")

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told) == ["begun"] + ["refused"] * 5
        assert len(store.get("anna", made.id).turns) == 1

    # ------------------------------------------------------------ revisions

    def test_regenerating_keeps_the_older_answer(self, store: Store) -> None:
        made = store.create("anna")
        first = ask(store, made.id, "?", "one")
        second = store.revise("anna", first.turn_id)
        assert (second.number, second.asked.text) == (2, "?")
        store.finish("anna", second.id, answer("two"))
        [turn] = store.get("anna", made.id).turns
        assert turn.revision.id == second.id
        assert turn.revisions == (first.id, second.id)
        assert store.revision("anna", first.id).answered == answer_as_kept("one")

    def test_editing_leaves_what_followed_and_choosing_brings_it_back(self, store: Store) -> None:
        made = store.create("anna")
        first = ask(store, made.id, "a")
        ask(store, made.id, "b")
        ask(store, made.id, "c")
        edited = store.revise("anna", first.turn_id, Asked("A"))
        store.finish("anna", edited.id, answer())
        assert line(store, made.id) == ["A"]
        ask(store, made.id, "B")
        assert line(store, made.id) == ["A", "B"]
        chosen = store.choose("anna", first.id)
        assert [t.revision.asked.text for t in chosen.turns] == ["a", "b", "c"]
        assert [t.number for t in chosen.turns] == [1, 2, 3]
        assert chosen.summary.n_turns == 3
        store.choose("anna", edited.id)
        assert store.recent("anna").items[0].n_turns == 2


def answer_as_kept(reply: str) -> Answered:
    clip = {"path": "smile.mp4", "duration_s": 3.0}
    return Answered(answer().reasoning, reply, "tiny-model", outcome={**OUTCOME, "clip": clip})
