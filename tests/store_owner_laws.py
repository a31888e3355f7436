"""The laws of the store, continued: finding, owning, removing, saying what one thinks, and taking a copy along."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable

import pytest
from store_laws import OUTCOME, KeepingLaws, Opened, answer, ask, line

from affectgpt.errors import InputError
from serve.store import Asked, Feedback, NotKept, Retention, Settings, Store


class StoreLaws(KeepingLaws):
    """All of them."""

    # ------------------------------------------------------------ lists and search

    def test_pages_hold_everything_once_last_changed_first(self, store: Store) -> None:
        made = [store.create("anna", f"no {i}").id for i in range(7)]
        ask(store, made[2], "?")
        seen, after = [], None
        while True:
            page = store.recent("anna", after, 3)
            seen += [item.id for item in page.items]
            after = page.after
            if after is None:
                break
        assert seen == [made[2], *[m for m in reversed(made) if m != made[2]]]
        for mark in ("", "0", "x.y", f"{'9' * 30}.{made[0]}", "1.' OR 1=1 --"):
            with pytest.raises(InputError, match="mark"):
                store.recent("anna", mark)
        with pytest.raises(InputError, match="page"):
            store.recent("anna", None, 0)

    @pytest.mark.parametrize(
        "query",
        ["ärger", "ÄRGER zu", "caf", "don't", "世界", "glad", "3.5", "example.com", "foo_bar", "हिन्दी", "😀"],
    )
    def test_search_finds_words_by_their_beginning(self, store: Store, query: str) -> None:
        made = store.create("anna", "a title")
        other = store.create("anna", "another")
        ask(store, made.id, "Ärger zu Hause im café, I don't know 你好世界 3.5 example.com foo_bar हिन्दी 😀")
        ask(store, other.id, "nothing of it", "You seem calm.")
        found = store.search("anna", query).items
        assert [f.summary.id for f in found] == [made.id]
        assert found[0].turn_id == store.get("anna", made.id).turns[0].id
        assert store.search("bob", query).items == ()

    def test_search_looks_into_titles_and_wants_every_word(self, store: Store) -> None:
        made = store.create("anna", "Übung mit Bodo")
        ask(store, made.id, "one two")
        assert [f.turn_id for f in store.search("anna", "übung bodo").items] == [None]
        assert store.search("anna", "one three").items == ()
        assert store.search("anna", "one two").items[0].snippet == "one two"

    @pytest.mark.parametrize(
        "query",
        ['"', "'", "\\", "*", "%", "_", "x OR y", "NEAR(a b)", "text:one", "') OR 1=1 --", "a' & 'b", ":*", "(",
         "one\x00", "-one", "NOT two", "col : x", "|", "!one", "<->", "{a}", "^one"],
    )  # fmt: skip
    def test_nothing_in_a_query_is_an_operator(self, store: Store, query: str) -> None:
        made = store.create("bob")
        ask(store, made.id, "secret one two", owner="bob")
        mine = store.create("anna")
        ask(store, mine.id, "three")
        assert store.search("anna", query).items == ()

    def test_search_refuses_nothing_and_too_much(self, store: Store) -> None:
        for query in ("", "  ", "x" * 201):
            with pytest.raises(InputError, match="query"):
                store.search("anna", query)

    def test_search_pages(self, store: Store) -> None:
        made = [store.create("anna").id for _ in range(5)]
        for m in made:
            ask(store, m, "the same")
        first = store.search("anna", "same", limit=3)
        second = store.search("anna", "same", first.after, 3)
        assert [f.summary.id for f in (*first.items, *second.items)] == list(reversed(made))
        assert second.after is None

    # ------------------------------------------------------------ owners

    def test_nobody_reaches_what_is_another_owners(self, store: Store) -> None:
        made = store.create("anna")
        revision = ask(store, made.id, "mine alone")
        store.rate("anna", revision.turn_id, Feedback("up"))
        tries: list[Callable[[], object]] = [
            lambda: store.get("bob", made.id),
            lambda: store.rename("bob", made.id, "x"),
            lambda: store.settle("bob", made.id, Settings()),
            lambda: store.delete("bob", made.id),
            lambda: store.begin("bob", made.id, Asked("x")),
            lambda: store.revise("bob", revision.turn_id),
            lambda: store.finish("bob", revision.id, answer()),
            lambda: store.fail("bob", revision.id, "x"),
            lambda: store.revision("bob", revision.id),
            lambda: store.choose("bob", revision.id),
            lambda: store.rate("bob", revision.turn_id, Feedback("down")),
            lambda: store.unrate("bob", revision.turn_id),
            lambda: list(store.export("bob", "json", made.id)),
        ]
        missing = [_told(lambda: store.get("bob", "0" * 32)), _told(lambda: store.get("bob", "no' id"))]
        assert {_told(work) for work in tries} == set(missing), "the answer differs from that for what never was"
        assert store.recent("bob").items == ()
        assert store.search("bob", "mine").items == ()
        assert json.loads("".join(store.export("bob", "json")))["conversations"] == []
        assert store.delete_all("bob") == 0
        assert line(store, made.id) == ["mine alone"]
        own = store.create("bob")
        theirs = ask(store, own.id, "?", owner="bob")
        with pytest.raises(NotKept):
            store.rate("bob", theirs.turn_id, Feedback("up"), revision.id)
        feedback = store.revision("anna", revision.id).feedback
        assert feedback is not None
        assert feedback.thumbs == "up"

    # ------------------------------------------------------------ removal

    def test_deleting_takes_everything_of_it(self, store: Store) -> None:
        made, kept = store.create("anna"), store.create("anna")
        ask(store, kept.id, "stays")
        revision = ask(store, made.id, "goes")
        store.rate("anna", revision.turn_id, Feedback("down", "sad", may_reuse=True))
        store.delete("anna", made.id)
        for work in (lambda: store.get("anna", made.id), lambda: store.revision("anna", revision.id)):
            with pytest.raises(NotKept):
                work()
        assert list(store.corrections()) == []
        assert store.search("anna", "goes").items == ()
        assert store.search("anna", "stays").items != ()
        assert store.delete_all("anna") == 1
        assert store.recent("anna").items == ()

    def test_an_answer_to_a_deleted_conversation_is_told(self, store: Store) -> None:
        made = store.create("anna")
        begun = store.begin("anna", made.id, Asked("?"))
        store.delete("anna", made.id)
        with pytest.raises(NotKept):
            store.finish("anna", begun.id, answer())

    def test_what_is_older_than_the_retention_is_swept(self, opened: Opened) -> None:
        store = opened(retention=Retention(seconds=0.5))
        old = store.create("anna")
        ask(store, old.id, "old words")
        time.sleep(0.7)
        new = store.create("anna")
        assert store.sweep() == 1
        assert [s.id for s in store.recent("anna").items] == [new.id]
        assert store.search("anna", "old").items == ()

    def test_an_owner_keeps_no_more_than_the_most(self, opened: Opened) -> None:
        store = opened(retention=Retention(most=3))
        made = [store.create("anna").id for _ in range(5)]
        theirs = store.create("bob")
        assert [s.id for s in store.recent("anna").items] == made[:1:-1]
        assert [s.id for s in store.recent("bob").items] == [theirs.id]

    # ------------------------------------------------------------ feedback

    def test_feedback_is_replaced_and_taken_back(self, store: Store) -> None:
        made = store.create("anna")
        revision = ask(store, made.id, "?")
        store.rate("anna", revision.turn_id, Feedback("up"))
        given = store.rate("anna", revision.turn_id, Feedback("down", "sad", (" let  down ", ""), "no\x00", True))
        assert (given.thumbs, given.label, given.words, given.text) == ("down", "sad", ("let down",), "no\ufffd")
        assert given.given is not None
        assert store.revision("anna", revision.id).feedback == given
        store.unrate("anna", revision.turn_id)
        assert store.revision("anna", revision.id).feedback is None

    def test_feedback_that_means_nothing_is_refused(self, store: Store) -> None:
        made = store.create("anna")
        begun = store.begin("anna", made.id, Asked("?"))
        with pytest.raises(InputError, match="no answer"):
            store.rate("anna", begun.turn_id, Feedback("up"))
        store.finish("anna", begun.id, answer())
        with pytest.raises(InputError, match="basic emotion"):
            store.rate("anna", begun.turn_id, Feedback(label="<script>"))
        with pytest.raises(InputError, match="words"):
            store.rate("anna", begun.turn_id, Feedback(words=("x",) * 17))

    def test_corrections_leave_only_with_consent_and_without_what_was_written(self, store: Store) -> None:
        made = store.create("anna")
        kept = ask(store, made.id, "a private message")
        store.rate("anna", kept.turn_id, Feedback("down", "sad", ("let down",), "a private remark", may_reuse=True))
        refused = ask(store, made.id, "not this")
        store.rate("anna", refused.turn_id, Feedback("down", "angry", may_reuse=False))
        praised = ask(store, made.id, "nor this")
        store.rate("anna", praised.turn_id, Feedback("up", may_reuse=True))
        [written] = store.corrections()
        assert "private" not in written
        assert made.id not in written
        row = json.loads(written)
        assert (row["label"], row["words"], row["consent_to_reuse"]) == ("sad", ["let down"], True)
        assert row["observations"] == OUTCOME["observations"]
        assert list(store.corrections("anna")) == [written]
        assert list(store.corrections("bob")) == []
        store.rate("anna", kept.turn_id, Feedback("down", "sad", may_reuse=False))
        assert list(store.corrections()) == []

    # ------------------------------------------------------------ export

    def test_exports_mark_what_a_model_wrote(self, store: Store) -> None:
        made = store.create("anna", "Title <b>")
        ask(store, made.id, "# Not a heading\n![x](http://evil.example/p.png)")
        failed = store.begin("anna", made.id, Asked("and?"))
        store.fail("anna", failed.id, "no engine")
        markdown = "".join(store.export("anna", "md", made.id))
        assert "### Answer by AI, model tiny-model" in markdown
        assert "\n# Title &lt;b>\n" in markdown
        assert "\n> # Not a heading\n" in markdown
        assert "![" not in markdown
        assert "*No answer (failed: no engine).*" in markdown
        document = json.loads("".join(store.export("anna", "json", made.id)))
        assert document["ai_generated"] is True
        [conversation] = document["conversations"]
        [revision] = conversation["turns"][0]["revisions"]
        assert revision["ai_generated"] is True
        assert revision["answered"]["model"] == "tiny-model"
        assert revision["answered"]["outcome"]["observations"] == OUTCOME["observations"]
        rows = list(csv.DictReader(io.StringIO("".join(store.export("anna", "csv", made.id)))))
        assert [r["role"] for r in rows] == ["user", "assistant", "user"]
        assert [r["ai_generated"] for r in rows] == ["false", "true", "false"]
        assert (rows[1]["model"], rows[1]["label"]) == ("tiny-model", "happy")

    def test_json_holds_every_revision(self, store: Store) -> None:
        made = store.create("anna")
        first = ask(store, made.id, "a")
        ask(store, made.id, "b")
        store.finish("anna", store.revise("anna", first.turn_id, Asked("A")).id, answer())
        [conversation] = json.loads("".join(store.export("anna", "json")))["conversations"]
        texts = [[r["asked"]["text"] for r in t["revisions"]] for t in conversation["turns"]]
        assert texts == [["a", "A"], ["b"]]
        assert [t["is_in_line"] for t in conversation["turns"]] == [True, False]

    def test_no_cell_of_a_table_is_a_formula(self, store: Store) -> None:
        made = store.create("anna", "=HYPERLINK(1)")
        for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "＝1", "\r=1", 'a","=1'):
            ask(store, made.id, text, text)
        rows = list(csv.reader(io.StringIO("".join(store.export("anna", "csv")), newline="")))
        cells = [cell for row in rows for cell in row]
        assert not [c for c in cells if c.lstrip()[:1] in tuple("=+-@\t\r＝＋－＠") and c.strip()]
        assert "'=HYPERLINK(1)" in cells
        assert 'a","=1' in cells

    def test_an_unknown_form_and_a_missing_conversation_fail_before_the_first_piece(self, store: Store) -> None:
        with pytest.raises(InputError, match="md, json, csv"):
            store.export("anna", "pdf")  # type: ignore[arg-type]
        with pytest.raises(NotKept):
            store.export("anna", "md", "0" * 32)

    def test_all_are_exported_one_at_a_time_and_one_deleted_meanwhile_is_left_out(self, store: Store) -> None:
        made = [store.create("anna", f"no {i}").id for i in range(3)]
        pieces = store.export("anna", "json")
        first = next(pieces) + next(pieces)
        store.delete("anna", made[1])
        document = json.loads(first + "".join(pieces))
        assert [c["title"] for c in document["conversations"]] == ["no 0", "no 2"]

    # ------------------------------------------------------------ upkeep

    def test_it_says_whether_it_is_ready(self, store: Store) -> None:
        assert store.is_ready()


def _told(work: Callable[[], object]) -> str:
    with pytest.raises(NotKept) as raised:
        work()
    return str(raised.value)
