"""The chat page without a browser: what its handlers do, what it shows, and whom it lets in."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import fakes
import page_fakes
import pytest
from page_fakes import ME, Stand, all_of, clip_at, run, send

from affectgpt.errors import EngineError
from affectgpt.record_json import to_json
from affectgpt.records import Modality, Verdict
from serve.api.callers import LOCAL_OWNER
from serve.events import Attachment
from serve.store import Feedback, Store, open_store
from serve.web import page
from serve.web.consent import Person
from serve.web.handlers import Choices, View
from serve.web.messages import show_turns, typed_text
from serve.web.shelf import Shelf
from serve.web.texts import say


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store(retain=False) as opened:
        yield opened


@pytest.fixture
def stand(store: Store, tmp_path: Path) -> Iterator[Stand]:
    made = Stand(store, tmp_path)
    yield made
    made.intake.close()


# ---------------------------------------------------------------- a turn


def test_a_clip_is_told_step_by_step_and_kept(stand: Stand, tmp_path: Path) -> None:
    clip = clip_at(tmp_path)
    stand.turns.step_s = 0.06  # snapshots are taken a twentieth of a second apart
    views = run(send(stand, "How was I?", clip))
    told = [v for v in views if v.messages]
    assert "Reading the face" in str([v.messages for v in told])
    last = views[-1]
    assert last.is_busy is False
    assert last.stage is not None
    assert last.stage[1] == "whole"
    assert last.n_people == 2
    roles = [m["role"] for m in last.messages or ()]
    assert roles == ["user", "assistant", "assistant"]
    (turn,) = stand.store.get(LOCAL_OWNER, stand.conversation()).turns
    assert turn.revision.state == "done"
    assert turn.revision.answered is not None
    assert turn.revision.answered.reply.startswith("It seems that something lightened.")
    assert not clip.exists(), "Gradio's copy goes once the server has its own"
    shown = stand.shelf.get(turn.revision.id, LOCAL_OWNER)
    assert shown is not None
    assert shown.figure is not None
    assert shown.figure["rows"] == ["face", "pitch", "level", "affect"]
    (request,) = stand.turns.asked
    assert request.attachments[0].path != clip


def test_nothing_is_taken_before_the_notice_was_agreed_to(stand: Stand, tmp_path: Path) -> None:
    clip = clip_at(tmp_path)
    stranger = Person(LOCAL_OWNER, None)
    (view,) = run(all_of(stand.handlers.send(stranger, None, "hello", [(clip, "c.mp4")], Choices())))
    assert view.status == say("consent.needed")
    assert stand.turns.asked == []
    assert stand.store.recent(LOCAL_OWNER).items == ()
    (arrived,) = run(all_of(stand.handlers.arrive(stranger)))
    assert arrived.history is None


def test_what_the_server_does_not_take_is_said_and_the_words_come_back(stand: Stand, tmp_path: Path) -> None:
    bad = tmp_path / "notes.exe"
    bad.write_bytes(b"MZ\x00\x01" * 10)
    views = run(all_of(stand.handlers.send(ME, None, "look", [(bad, "notes.exe")], Choices())))
    assert views[-1].rejected == "look"
    assert "notes.exe was not taken" in str(views[-1].status)
    assert stand.store.recent(LOCAL_OWNER).items == ()


def test_the_choices_reach_the_turn(stand: Stand) -> None:
    chosen = Choices(frozenset({Modality.SPEECH}), subject=1, locale="de-AT")
    handlers = replace(stand.handlers, setting="workplace")
    run(all_of(handlers.send(ME, None, "hello", [], chosen)))
    (request,) = stand.turns.asked
    assert (request.modalities, request.subject, request.locale) == (frozenset({Modality.SPEECH}), 1, "de-AT")
    assert request.setting == "workplace"


@pytest.mark.parametrize("has_soft", [True, False])
def test_soft_tokens_are_asked_for_only_where_the_server_makes_some(stand: Stand, has_soft: bool) -> None:
    handlers = replace(stand.handlers, has_soft=has_soft)
    run(all_of(handlers.send(ME, None, "hello", [], Choices(is_fused=True))))
    assert stand.turns.asked[0].is_fused is has_soft
    run(all_of(handlers.send(ME, None, "hello", [], Choices())))
    assert stand.turns.asked[1].is_fused is False


def test_a_turn_hears_what_was_said_before_and_by_whom(stand: Stand) -> None:
    async def work() -> None:
        await send(stand, "first")
        await send(stand, "second", conversation=stand.conversation())

    run(work())
    said = [(m.role, m.content.split()[0]) for m in stand.turns.asked[1].messages]
    assert said == [("user", "first"), ("assistant", "It"), ("user", "second")]


def test_stop_keeps_what_stands_and_closes_the_work(store: Store, tmp_path: Path) -> None:
    stand = Stand(store, tmp_path, page_fakes.ScriptedTurns(step_s=0.03))

    async def work() -> list[View]:
        views = []
        async for view in stand.handlers.send(ME, None, "hello", [], Choices()):
            views.append(view)
            if "Key observations" in str(view.messages):
                await stand.handlers.stop(ME, stand.conversation())
        return views

    views = run(work())
    assert stand.turns.n_closed == 1
    (turn,) = store.get(LOCAL_OWNER, stand.conversation()).turns
    assert turn.revision.answered is not None
    assert turn.revision.answered.finish_reason == "stopped"
    assert "Key observations" in turn.revision.answered.reasoning
    assert say("chat.stopped") in str(views[-1].messages)


def test_what_nobody_watches_is_stopped(store: Store, tmp_path: Path) -> None:
    stand = Stand(store, tmp_path, page_fakes.ScriptedTurns(step_s=0.3))

    async def work() -> None:
        views = stand.handlers.send(ME, None, "hello", [], Choices())
        async for view in views:
            if view.messages:
                break  # the client left: nobody asks for more, and nobody closes it either
        await asyncio.sleep(1.2)
        assert stand.running.find(LOCAL_OWNER) is None

    run(work())
    assert stand.turns.n_closed == 1


def test_a_reload_finds_the_answer_still_going(store: Store, tmp_path: Path) -> None:
    stand = Stand(store, tmp_path, page_fakes.ScriptedTurns(step_s=0.02))

    async def work() -> list[View]:
        async for view in stand.handlers.send(ME, None, "hello", [], Choices()):
            if view.messages:
                break
        return await all_of(stand.handlers.arrive(ME))

    views = run(work())
    assert views[1].is_busy is True
    assert views[-1].is_busy is False
    assert "How was it for you?" in str(views[-1].messages)
    assert stand.turns.n_closed == 0


def test_a_second_message_waits_for_the_first(store: Store, tmp_path: Path) -> None:
    stand = Stand(store, tmp_path, page_fakes.ScriptedTurns(step_s=0.02))

    async def work() -> View:
        async for view in stand.handlers.send(ME, None, "hello", [], Choices()):
            if view.messages:
                break
        (refused,) = await send(stand, "again", conversation=stand.conversation())
        await stand.running.close()
        return refused

    refused = run(work())
    assert refused.status == say("chat.busy")
    assert refused.rejected == "again"


def test_a_failure_is_shown_and_kept_and_can_be_answered_anew(store: Store, tmp_path: Path) -> None:
    stand = Stand(store, tmp_path, page_fakes.ScriptedTurns(error=EngineError("the model is gone", "start it")))

    async def work() -> list[View]:
        views = await send(stand, "hello")
        stand.turns.error = None
        again = await all_of(stand.handlers.again(ME, stand.conversation(), 0, None, Choices()))
        return [views[-1], again[-1]]

    failed, mended = run(work())
    assert "the model is gone" in str(failed.messages)
    assert "the model is gone" in str(failed.status)
    assert "How was it for you?" in str(mended.messages)
    assert "the model is gone" not in str(mended.messages)


def test_help_stays_in_sight_through_the_conversation(stand: Stand) -> None:
    async def work() -> list[View]:
        await send(stand, "this is a crisis")
        views = await send(stand, "and now something else", conversation=stand.conversation())
        return [*views, *await all_of(stand.handlers.open(ME, stand.conversation()))]

    views = run(work())
    assert all(v.card == page_fakes.CARD for v in views if v.messages)
    first = stand.store.get(LOCAL_OWNER, stand.conversation()).turns[0].revision
    assert first.answered is not None
    assert first.answered.outcome is None, "nothing was analysed"


# ---------------------------------------------------------------- anew


def test_an_edit_and_a_regeneration_keep_the_file_and_drop_what_followed(stand: Stand, tmp_path: Path) -> None:
    async def work() -> tuple[View, View]:
        await send(stand, "one", clip_at(tmp_path))
        conversation = stand.conversation()
        await send(stand, "two", conversation=conversation)
        edited = await all_of(stand.handlers.again(ME, conversation, 0, "uno", Choices(subject=1)))
        again = await all_of(stand.handlers.again(ME, conversation, -1, None, Choices()))
        return edited[-1], again[-1]

    edited, again = run(work())
    assert (edited.messages or [])[0]["content"] == "uno\n\n▸ astronaut_smile.mp4 (video)"
    assert sum(m["role"] == "user" for m in edited.messages or ()) == 1
    assert stand.turns.asked[2].attachments[0].kind == "video"
    assert stand.turns.asked[2].subject == 1
    assert again.messages == [
        {**m, "content": m["content"].replace(edited.stage[0], again.stage[0])}  # type: ignore[index]
        for m in edited.messages or ()
    ]


def test_without_its_file_a_turn_is_not_answered_anew(stand: Stand, tmp_path: Path) -> None:
    async def work() -> View:
        await send(stand, "one", clip_at(tmp_path))
        stand.shelf.close()
        return (await all_of(stand.handlers.again(ME, stand.conversation(), 0, None, Choices())))[-1]

    view = run(work())
    assert view.status == say("chat.not_kept_media")
    assert len(stand.turns.asked) == 1


def test_an_edited_message_loses_what_was_added_to_it() -> None:
    assert typed_text("words\n\n▸ a.mp4 (video)") == "words"
    assert typed_text("two\nlines") == "two\nlines"


# ---------------------------------------------------------------- history and feedback


def test_the_history_is_listed_searched_opened_renamed_and_deleted(stand: Stand) -> None:
    async def work() -> None:
        await send(stand, "about the harbour")
        await send(stand, "about the mountain")
        found = await stand.handlers.list(ME, "harb")
        assert [summary.title for summary, _ in found] == ["about the harbour"]
        chosen = found[0][0].id
        (view,) = await all_of(stand.handlers.open(ME, chosen))
        assert "about the harbour" in str(view.messages)
        renamed = await stand.handlers.rename(ME, chosen, "The sea")
        assert renamed.conversation is not None
        assert renamed.conversation.title == "The sea"
        deleted = await stand.handlers.delete(ME, chosen)
        assert [summary.title for summary, _ in deleted.history or ()] == ["about the mountain"]
        gone = await all_of(stand.handlers.open(ME, chosen))
        assert gone[-1].status == say("conversation.gone")
        await stand.handlers.forget(ME)
        assert await stand.handlers.list(ME) == []

    run(work())


def test_another_owner_finds_nothing(stand: Stand) -> None:
    async def work() -> None:
        await send(stand, "mine alone")
        other = Person("other", page_fakes.CONSENTED)
        assert await stand.handlers.list(other) == []
        (view,) = await all_of(stand.handlers.open(other, stand.conversation()))
        assert view.messages == []
        rated = await stand.handlers.rate(other, stand.conversation(), 1, True)
        assert rated.correcting is None

    run(work())


def test_thumbs_and_corrections_reach_the_store_and_can_be_taken_back(stand: Stand) -> None:
    async def work() -> None:
        await send(stand, "hello")
        conversation = stand.conversation()
        rated = await stand.handlers.rate(ME, conversation, 1, False)
        assert rated.correcting is not None
        turn = rated.correcting
        said = Feedback(label="sad", words=("wistful",), text="look at the eyes", may_reuse=True)
        await stand.handlers.correct(ME, conversation, turn.id, said)
        kept = stand.store.get(LOCAL_OWNER, conversation).turns[0].revision.feedback
        assert kept is not None
        assert (kept.thumbs, kept.label, kept.words, kept.may_reuse) == ("down", "sad", ("wistful",), True)
        (line,) = stand.store.corrections()
        assert json.loads(line)
        await stand.handlers.take_back(ME, conversation, turn.id)
        assert stand.store.get(LOCAL_OWNER, conversation).turns[0].revision.feedback is None
        assert list(stand.store.corrections()) == []

    run(work())


# ---------------------------------------------------------------- what is shown


def test_claims_are_marked_and_citations_lead_to_their_turn(stand: Stand, tmp_path: Path) -> None:
    view = run(send(stand, "hello", clip_at(tmp_path)))[-1]
    _, thought, reply = view.messages or ()
    assert view.stage is not None
    assert f'href="#cite-{view.stage[0]}-F1"' in thought["content"]
    assert thought["metadata"]["title"].startswith("Reasoning · ")
    assert "not borne out" in thought["metadata"]["title"]
    for text in ("Seems happy", "confidence 0.8", "also possible: sad, surprised", "Cues disagree", "Made by AI"):
        assert text in reply["content"]


HOSTILE = "<img src=x onerror=alert(1)> [click](http://evil.example) ![x](http://evil.example/x.png) </div>"


def test_hostile_words_stay_words(stand: Stand, store: Store) -> None:
    run(send(stand, "hello"))
    (turn,) = store.get(LOCAL_OWNER, stand.conversation()).turns
    assert turn.revision.answered is not None
    answered = replace(turn.revision.answered, reply=HOSTILE, reasoning=f"- {HOSTILE}\n{HOSTILE}", model=HOSTILE)
    hostile = replace(turn, revision=replace(turn.revision, answered=answered))
    messages, _ = show_turns([hostile], {})
    for message in messages[1:]:
        assert "<img" not in message["content"]
        assert message["content"].count("<div") == message["content"].count("</div>")
    assert "](" not in re.sub(r"\\[\[\]!]", "", messages[-1]["content"].split("\n\n")[0])


def test_a_sentence_that_was_kept_back_is_not_shown_beside_the_talk() -> None:
    from serve.web.timelines import tell

    senses = page_fakes.senses_of(None)
    document = to_json(page_fakes.outcome_of(senses))
    frown = "A frown, the brow lowerer, is severe [F1]"
    assert frown.split(" [")[0] in tell(document, fakes.ANSWER, can_seek=False)
    assert frown.split(" [")[0] not in tell(document, "", can_seek=False)


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    texts = tomllib.loads((files("serve.web") / "texts.toml").read_text("utf-8"))
    there = {f"{t}.{k}" for t, table in texts.items() if isinstance(table, dict) for k in table}
    source = "".join(p.read_text("utf-8") for p in Path(page.__file__).parent.rglob("*") if p.suffix in {".py", ".js"})
    for key in re.findall(r'say\(\s*"([a-z_.]+)"', source):
        say(key)
    words = set(re.findall(r"[a-z_]+", source))
    by_value = {
        *(f"reasoning.{v}" for v in Verdict),
        *(key for key in there if key.startswith(("stages.", "setting."))),
    }
    unused = {key for key in there - by_value if key.split(".")[1] not in words}
    assert unused == set()


# ---------------------------------------------------------------- the shelf


def test_the_shelf_lets_go_in_its_time(tmp_path: Path) -> None:
    now = [0.0]
    shelf = Shelf(tmp_path / "shown", 10, clock=lambda: now[0])
    source = fakes.media_path(tmp_path, "a.mp4", b"film")
    (kept,) = shelf.put("r1", "me", [Attachment(source, "video", "a.mp4", "00")])
    source.unlink()
    assert kept.path.read_bytes() == b"film"
    assert shelf.get("r1", "me") is not None
    assert shelf.get("r1", "you") is None
    now[0] = 10.0
    assert shelf.get("r1", "me") is None
    assert not kept.path.exists()
