"""Questions about the evidence: yes or no, half of them about what was not observed, and numbers to be quoted right."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from affectgpt.cues import load_cues, unit_of
from affectgpt.evaluation.faithfulness import Question, questions
from affectgpt.records import Message, Modality, Observation
from instruction_data.composer import VERSION
from instruction_data.drafts import Draft, Evidence, Workbench
from instruction_data.tasks.explaining import stage

__all__ = ["numbers", "yes_no"]

Asked = tuple[str, str]
"""A question and its answer."""

_STRONGEST = "Which movement of the face is the most intense, and how intense is it?"


def yes_no(rng: random.Random, bench: Workbench) -> Draft | None:
    """Whether a cue, a direction, a quote or a channel is there; as often as not it is not.

    The question about a cue is worded as the evaluation words it, in the same prompt. As often as the recipe says, many
    questions about the same evidence follow each other: where only answers take the loss, one such row teaches as
    much as a dozen that show their evidence anew.
    """
    if bench.in_turn and rng.random() < bench.in_turn:
        return _in_turn(rng, bench)
    evidence = stage(rng, bench)
    ways: list[Callable[[random.Random, Evidence, Workbench], Asked | None]] = [
        _cue,
        _cue,
        _direction,
        _quote,
        _channel,
    ]
    rng.shuffle(ways)
    asked = next((a for way in ways if (a := way(rng, evidence, bench)) is not None), None)
    return None if asked is None else _draft("yes-no", evidence, bench, asked)


def numbers(rng: random.Random, bench: Workbench) -> Draft | None:
    """A number of an observation, with its unit, its span and its id; now and then of a cue that was not observed."""
    evidence = stage(rng, bench)
    told = [o for o in evidence.observations.items if o.value is not None]
    if not told:
        return None
    if rng.random() < 0.2:
        hidden = [q for q in questions(evidence.observations, rng.getrandbits(30), 1) if not q.expected]
        if hidden:
            noun = _noun(hidden[0].cue)
            answer = f"No observation reports {noun}, so no number is known."
            return _draft(
                "numbers", evidence, bench, (f"How far {_be(noun)} {noun} from rest or from the baseline?", answer)
            )
    faces = [o for o in told if o.modality is Modality.FACE]
    if len(faces) > 1 and rng.random() < 0.2:
        most = max(faces, key=lambda o: o.value or 0.0)
        if sum(o.value == most.value for o in faces) == 1:
            answer = f"{_upper(_noun(most.cue))} [{most.id}], at {most.value:.1f} of 5."
            return _draft("numbers", evidence, bench, (_STRONGEST, answer))
    return _draft("numbers", evidence, bench, _number(rng, rng.choice(told)))


def _in_turn(rng: random.Random, bench: Workbench) -> Draft | None:
    evidence = stage(rng, bench)
    cues = [_answered(q, evidence) for q in questions(evidence.observations, rng.getrandbits(30), 12)]
    rng.shuffle(cues)
    asked: dict[str, str] = dict(cues[: rng.randint(4, 10)])
    for way in (_direction, _direction, _quote, _channel, _number_of, _number_of):
        if (more := way(rng, evidence, bench)) is not None:
            asked.setdefault(*more)
    if len(asked) < 2:
        return None
    turns = list(asked.items())
    rng.shuffle(turns)
    first, *others = turns
    draft = _draft("yes-no", evidence, bench, first)
    messages = list(draft.prompt.messages)
    answer = first[1]
    for question, following in others:
        messages += [Message("assistant", answer), Message("user", question)]
        answer = following
    return replace(draft, prompt=replace(draft.prompt, messages=tuple(messages)), answer=answer)


def _number(rng: random.Random, o: Observation) -> Asked:
    noun = _noun(o.cue)
    if o.start_s is not None and o.end_s is not None and rng.random() < 0.4:
        return f"When {_be(noun)} {noun} observed?", f"From {o.start_s:.1f} to {o.end_s:.1f} s [{o.id}]."
    if rng.random() < 0.25:
        return f"How sure is the observation of {noun}?", f"Its confidence is {o.confidence:.2f} [{o.id}]."
    if o.modality is Modality.FACE:
        word = load_cues().face_word(o.level or "A")
        return f"How intense {_be(noun)} {noun}?", f"{o.value:.1f} of 5, {word} [{o.id}]."
    printed = o.text.split(", ")[1]
    apart = next(p for p in o.text.split(", ") if " SD " in p)
    return f"What was measured for {noun}, and how far is that from the baseline?", f"{printed}, {apart} [{o.id}]."


def _cue(rng: random.Random, evidence: Evidence, bench: Workbench) -> Asked | None:
    asked = questions(evidence.observations, rng.getrandbits(30), 1)
    return _answered(asked[0], evidence) if asked else None


def _number_of(rng: random.Random, evidence: Evidence, bench: Workbench) -> Asked | None:
    told = [o for o in evidence.observations.items if o.value is not None]
    return _number(rng, rng.choice(told)) if told else None


def _answered(q: Question, evidence: Evidence) -> Asked:
    there = next((o for o in evidence.observations.items if o.cue == q.cue), None)
    return q.text, f"Yes, in [{there.id}]." if there is not None else "No."


def _direction(rng: random.Random, evidence: Evidence, bench: Workbench) -> Asked | None:
    """Whether a measure of the voice is higher, where it is higher or lower."""
    heard = [o for o in evidence.observations.of(Modality.VOICE) if o.level not in (None, "near")]
    if not heard:
        return None
    o, cues = rng.choice(heard), load_cues().voice
    cue, is_true = cues[o.cue], rng.random() < 0.5
    up = str(o.level).endswith("higher")
    word = cue.up if up == is_true else cue.down
    said = f"Yes, in [{o.id}]." if is_true else f"No, it is {cue.adjective(str(o.level))} [{o.id}]."
    return f"Is the {cue.noun} {word} than the baseline? Answer yes or no.", said


def _quote(rng: random.Random, evidence: Evidence, bench: Workbench) -> Asked | None:
    """Whether these words were said; the false ones are somebody else's."""
    said = [o for o in evidence.observations.items if o.quote and len(o.quote.split()) <= 14]
    if not said:
        return None
    if rng.random() < 0.5:
        o = rng.choice(said)
        return f'Is anybody quoted as saying "{o.quote}"? Answer yes or no.', f"Yes, in [{o.id}]."
    other = bench.stage.draw(rng)
    planted = [o.quote for o in other.observations.items if o.quote and len(o.quote.split()) <= 14]
    planted = [q for q in planted if q not in {o.quote for o in evidence.observations.items}]
    return (f'Is anybody quoted as saying "{planted[0]}"? Answer yes or no.', "No.") if planted else None


def _channel(rng: random.Random, evidence: Evidence, bench: Workbench) -> Asked | None:
    """Whether a channel gave any evidence."""
    name, modality = rng.choice(
        (("the face", Modality.FACE), ("the voice", Modality.VOICE), ("the words", Modality.SPEECH))
    )
    of_it = evidence.observations.of(modality)
    if not of_it:
        return None
    evident = [o for o in of_it if not o.is_missing]
    answer = f"Yes, {' '.join(f'[{o.id}]' for o in evident)}." if evident else f"No, see [{of_it[0].id}]."
    return f"Do the observations hold any evidence from {name}? Answer yes or no.", answer


def _draft(prompt_id: str, evidence: Evidence, bench: Workbench, asked: Asked) -> Draft:
    prompt = bench.prompts.render(prompt_id, evidence.observations, question=asked[0])
    return Draft(prompt, asked[1], writer_version=VERSION).over(evidence)


def _noun(cue: str) -> str:
    unit = unit_of(cue)
    return load_cues().face[unit].noun if unit is not None else f"the {load_cues().voice[cue].noun}"


def _be(noun: str) -> str:
    return "is" if noun.startswith(("a ", "an ", "the ")) else "are"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
