"""A conversation as Gradio's chat messages: what was asked, the reasoning and the reply's chain folded away, the reply.

Everything that a model or a recording said is escaped; citations become links that lead to the clip's moment.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from affectgpt.report.chain import chain_steps, chain_title
from affectgpt.report.story import MARKS, pieces, verdicts
from serve.store import Asked, KeptAttachment, Turn
from serve.web.running import Rehearsal
from serve.web.texts import say, table

__all__ = ["ChatMessage", "Shown", "asked_text", "card_of", "show_turns", "spoken", "stage_line", "typed_text"]

ChatMessage = dict[str, Any]

_CLIP = "▸ "
_HEADING = re.compile(r"\*\*(.+?)\*\*")
_MARKDOWN = re.compile(r"([\\\[\]!])")


@dataclass(frozen=True, slots=True)
class Shown:
    """A turn as it is to be shown: from the store, or on its way."""

    revision_id: str
    asked: Asked
    reasoning: str = ""
    reply: str = ""
    model: str = ""
    note: str = ""
    thumbs: str | None = None
    document: Mapping[str, Any] | None = None
    chain: Mapping[str, Any] | None = None
    going: Rehearsal | None = None


def show_turns(turns: Sequence[Turn], going: Mapping[str, Rehearsal]) -> tuple[list[ChatMessage], list[int]]:
    """The messages of a conversation, and for each the place of its turn in `turns`; `going` by revision id."""
    messages: list[ChatMessage] = []
    places: list[int] = []
    for place, turn in enumerate(turns):
        told = _messages(_shown(turn, going.get(turn.revision.id)))
        messages += told
        places += [place] * len(told)
    return messages, places


def asked_text(text: str, attachments: Iterable[KeptAttachment]) -> str:
    """The user's message as it stands in the talk: the words, and a line for each file."""
    files = [f"{_CLIP}{a.name} ({a.kind})" for a in attachments]
    return "\n\n".join(part for part in (text, "\n".join(files)) if part)


def typed_text(shown: str) -> str:
    """The words of a message that was edited where it stands: what `asked_text` added is taken off again."""
    return "\n".join(line for line in shown.splitlines() if not line.startswith(_CLIP)).strip()


def stage_line(now: Rehearsal) -> str:
    """What is being done right now, in words."""
    name = table("stages").get(now.stage, say("reasoning.working"))
    return f"{name} … {now.share:.0%}" if now.share is not None and 0 < now.share < 1 else f"{name} …"


def spoken(now: Rehearsal) -> str:
    """What a screen reader is told of a turn on its way: its stage, then the reply as whole sentences."""
    if now.card:
        return f"{say('help.label')}: {now.card}"
    if now.failure:
        return say("chat.failed", why=now.failure)
    if now.is_stopped:
        return say("chat.stopped")
    if now.reply:
        return f"{now.reply} {say('spoken.done')}" if now.is_over else now.reply
    return stage_line(now)


def card_of(turns: Sequence[Turn], going: Rehearsal | None) -> str:
    """The help card that a conversation has to keep showing: the last one given in it."""
    if going is not None and going.card:
        return going.card
    cards = [t.revision.answered.card for t in turns if t.revision.answered is not None]
    return next((card for card in reversed(cards) if card), "")


def _shown(turn: Turn, now: Rehearsal | None) -> Shown:
    revision = turn.revision
    answered = revision.answered
    if now is not None and not (now.is_over and answered is not None):
        note = say("chat.failed", why=now.failure) if now.failure else ""
        return Shown(revision.id, revision.asked, now.reasoning, now.reply, note=note, chain=now.chain, going=now)
    if answered is None:
        failed = {"failed": say("chat.failed", why=revision.failure), "interrupted": say("chat.interrupted")}
        return Shown(revision.id, revision.asked, note=failed.get(revision.state, ""))
    notes = {"stopped": say("chat.stopped"), "length": say("chat.ended_length")}
    thumbs = revision.feedback.thumbs if revision.feedback else None
    return Shown(
        revision.id, revision.asked, answered.reasoning, answered.reply, answered.model,
        notes.get(answered.finish_reason, ""), thumbs, answered.outcome, answered.chain,
    )  # fmt: skip


def _messages(shown: Shown) -> list[ChatMessage]:
    told = [{"role": "user", "content": asked_text(shown.asked.text, shown.asked.attachments)}]
    is_going = shown.going is not None and not shown.going.is_over
    if shown.reasoning or is_going:
        told.append(_thought(shown, is_going))
    if shown.chain and (shown.reply or is_going):
        told.append(_chain(shown.chain))
    reply = "\n\n".join(part for part in (_reply(shown), _footer(shown)) if part)
    if reply:
        told.append({"role": "assistant", "content": reply})
    return told


def _thought(shown: Shown, is_going: bool) -> ChatMessage:
    known = _known(shown)
    n = sum(1 for id_ in known if not id_.startswith("M"))
    counted = say("reasoning.observations_one") if n == 1 else say("reasoning.observations_many", n=n)
    title = say("reasoning.title", observations=counted)
    n_faulty = sum(v != "supported" for v, _ in verdicts(shown.document).values()) if shown.document else 0
    if n_faulty:
        title += say("reasoning.faults", n=n_faulty)
    if is_going and shown.going is not None:
        title = stage_line(shown.going)
    body = _reasoning(shown, known) if shown.reasoning else _past(shown.going)
    return {
        "role": "assistant",
        "content": f'<div class="story reasoning">{body}</div>',
        "metadata": {"title": title, "status": "pending" if is_going else "done"},
    }


def _chain(chain: Mapping[str, Any]) -> ChatMessage:
    """How the reply came about, folded: what was understood, the strategy with what was ruled out, the own emotion."""
    told = ""
    for step in chain_steps(chain):
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in step.lines)
        told += f"<h4>{html.escape(step.title)}</h4>{lines}"
    return {
        "role": "assistant",
        "content": f'<div class="story reasoning">{told}</div>',
        "metadata": {"title": say("reasoning.chain", chain=chain_title(chain)), "status": "done"},
    }


def _past(now: Rehearsal | None) -> str:
    """The stages that are over, while nothing is told yet."""
    names = table("stages")
    over = [name for name in dict.fromkeys(now.past) if name in names and name != now.stage] if now else []
    rows = (f'<li class="supported">{_mark("done")}<span>{html.escape(names[name])}</span></li>' for name in over)
    return f'<ul class="claims">{"".join(rows)}</ul>'


def _known(shown: Shown) -> frozenset[str]:
    if shown.document is not None:
        return frozenset(o["id"] for o in shown.document["observations"])
    return frozenset(o.id for o in shown.going.observations) if shown.going else frozenset()


def _reasoning(shown: Shown, known: frozenset[str]) -> str:
    checked = verdicts(shown.document) if shown.document else {}
    told: list[str] = []
    in_list = False
    for line in filter(None, (line.strip() for line in shown.reasoning.splitlines())):
        is_item = line.startswith("- ")
        if is_item != in_list:
            told.append('<ul class="claims">' if is_item else "</ul>")
            in_list = is_item
        if is_item:
            told.append(_item(line[2:], checked, known, shown.revision_id))
        elif heading := _HEADING.fullmatch(line):
            told.append(f"<h4>{html.escape(heading[1])}</h4>")
        else:
            told.append(f"<p>{_marked(line, checked, known, shown.revision_id)}</p>")
    return "".join(told) + ("</ul>" if in_list else "")


def _item(text: str, checked: Mapping[str, tuple[str, str]], known: frozenset[str], revision_id: str) -> str:
    verdict = checked.get(text, ("", ""))[0]
    return f'<li class="{verdict}">{_mark(verdict)}<span>{_cited(text, known, revision_id)}</span></li>'


def _marked(text: str, checked: Mapping[str, tuple[str, str]], known: frozenset[str], revision_id: str) -> str:
    """A paragraph with a mark after each sentence that was checked and not borne out."""
    found = [(text.find(claim), claim, v) for claim, (v, _) in checked.items() if v != "supported" and claim in text]
    told, end = "", 0
    for start, claim, verdict in sorted(found):
        if start < end:
            continue
        told += _cited(text[end:start], known, revision_id)
        told += f'<span class="{verdict}">{_cited(claim, known, revision_id)} {_mark(verdict)}</span>'
        end = start + len(claim)
    return told + _cited(text[end:], known, revision_id)


def _mark(verdict: str) -> str:
    if verdict not in MARKS:
        return f'<span class="mark" aria-hidden="true">{"✓" if verdict == "done" else "•"}</span>'
    # Gradio strips roles and labels: what a mark means stands beside it, for those who do not see it.
    meaning = html.escape(say(f"reasoning.{verdict}"))
    return f'<span class="mark">{MARKS[verdict]}<span class="unseen">{meaning}</span></span>'


def _cited(text: str, known: frozenset[str], revision_id: str) -> str:
    """Escaped text whose citations are links: `#cite-REVISION-F1`, which the page's script follows."""
    return "".join(
        f'<a class="cite" href="#cite-{revision_id}-{p.cites}">{p.cites}</a>' if p.cites else html.escape(p.text)
        for p in pieces(text, known)
    )


def _reply(shown: Shown) -> str:
    """The reply as Markdown without HTML, links or pictures of the model's own."""
    return _MARKDOWN.sub(r"\\\1", html.escape(shown.reply, quote=False))


def _footer(shown: Shown) -> str:
    """How the person seems, how sure that is, what else is possible, what disagrees; and that an AI wrote it."""
    told = []
    if shown.document is not None:
        told += _verdict(shown.document)
    if shown.note:
        told.append(f'<p class="ended">{html.escape(shown.note)}</p>')
    if shown.model:
        told.append(f'<p class="by">{html.escape(say("verdict.by", model=shown.model))}</p>')
    return f'<div class="story footer">{"".join(told)}</div>' if told else ""


def _verdict(document: Mapping[str, Any]) -> list[str]:
    appraisal, decision, answer = document["appraisal"], document["decision"], document["answer"]
    label = decision["label"]
    parts = [
        f"<strong>{html.escape(say('verdict.seems', label=label) if label else say('verdict.cannot_tell'))}</strong>"
    ]
    conclusion = answer["conclusion"] if answer and answer["parsed"] else None
    confidence = conclusion["confidence"] if conclusion else None
    if label and confidence:
        parts.append(html.escape(say("verdict.confidence", value=f"{confidence:.1f}")))
    elif label and appraisal and label in appraisal["fused"]["probabilities"]:
        share = appraisal["fused"]["probabilities"][label]
        parts.append(html.escape(say("verdict.share", value=f"{share:.2f}")))
    told = []
    emotion_set = appraisal["emotion_set"] if appraisal else None
    if emotion_set:
        others = [e for e in emotion_set["labels"] if e != label]
        if emotion_set["abstains"]:
            parts.append(html.escape(say("verdict.abstains")))
        elif others:
            parts.append(html.escape(say("verdict.alternatives", labels=", ".join(others))))
    told.append(f'<p class="seems">{" · ".join(parts)}</p>')
    for conflict in appraisal["conflicts"] if appraisal else ():
        told.append(f'<p class="conflict"><strong>{say("verdict.conflict")}</strong> {html.escape(conflict)}</p>')
    if decision["is_disputed"]:
        disputed = say("verdict.disputed", appraisal=decision["appraisal"], llm=decision["llm"])
        told.append(f'<p class="conflict">{html.escape(disputed)}</p>')
    return told
