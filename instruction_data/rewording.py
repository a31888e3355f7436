"""The same observations in other words: a second vocabulary that no training row uses, and wordings to train on.

The second shows whether a model reads evidence, or lines that it knows. The drawn ones teach it to: lines in ever other
order and names. The facts stay: every number, id and quote. An answer over these lines restates them by the same
rules as over the usual ones.
"""

from __future__ import annotations

import random
from dataclasses import replace

from affectgpt.cues import load_cues, unit_of
from affectgpt.records import Modality, Observation, Observations

__all__ = ["SECOND", "VARIED", "reword", "vary"]

SECOND, VARIED = "second", "varied"
"""How a row's provenance names the second vocabulary, and the drawn wordings."""
_VOICE_LEVELS = {
    "much lower": "far below",
    "lower": "below",
    "near": "level with",
    "higher": "above",
    "much higher": "far above",
}
_MISSING = (
    ("no transcript, so the words are unknown", "speech was not transcribed: its content is unknown"),
    ("the face is seen and shows no clear movement", "a face is in view without any clear movement"),
    ("no face was found in any frame", "not one frame holds a face"),
    ("no face in", "there is no face in"),
    ("the face is turned away in", "one sees no more than a profile, turned away, in"),
    ("no speech was detected in the sound", "the sound holds no speech"),
    ("more weaker face observation", "lesser facial movement"),
    ("more weaker voice observation", "lesser vocal measure"),
    ("unknown: ", "not known, because "),
)
"""What absences are called here; one that the list lacks stays as it is."""


def reword(observations: Observations) -> Observations:
    """The observations told in the second vocabulary."""
    return replace(observations, items=tuple(replace(o, text=_told(o)) for o in observations.items))


def _told(o: Observation) -> str:
    if o.is_missing:
        return _missing(o.text)
    if o.modality is Modality.SPEECH:
        who, said, rest = o.text.partition('said "')
        return f'spoken{f" by {who.strip()}" if who.strip() else ""}: "{rest}' if said else o.text
    return _face(o) if o.modality is Modality.FACE else _voice(o)


def _missing(text: str) -> str:
    for usual, other in _MISSING:
        text = text.replace(usual, other)
    return text


def _face(o: Observation) -> str:
    unit, cues = unit_of(o.cue), load_cues()
    if unit is None:
        return o.text
    # The class's second word, where there is one: pronounced for marked, strong for severe.
    word = next(level.words[1] for level in cues.face_levels if level.letter == (o.level or "A"))
    times = "" if o.start_s is None or o.end_s is None else f" from {o.start_s:.1f} to {o.end_s:.1f} s"
    rest = "own rest" if o.baseline_kind == "own" else "an average rest"
    value = f"{o.value:.1f}" if o.value is not None else "?"
    return (
        f"{o.cue}: {cues.face[unit].movement}, {word}, {value} out of 5{times}, against {rest}, "
        f"certainty {o.confidence:.2f}"
    )


def _voice(o: Observation) -> str:
    cues = load_cues().voice
    if o.cue not in cues:
        return o.text
    printed = o.text.split(", ")[1]
    times = "" if o.start_s is None or o.end_s is None else f" from {o.start_s:.1f} to {o.end_s:.1f} s"
    norm = "the speaker's own norm" if o.baseline_kind == "own" else "what most speakers show"
    away = f"{abs(o.value or 0.0):.1f} SD"
    level = _VOICE_LEVELS[o.level or "near"]
    return f"{cues[o.cue].noun}, {printed}, {level} {norm} by {away}{times}, certainty {o.confidence:.2f}"


# ---------------------------------------------------------------- wordings to train on


def vary(observations: Observations, rng: random.Random) -> Observations:
    """The observations in a wording that is drawn: one manner for the face, one for the voice, one for the words.

    No line of it is a line of the second vocabulary.
    """
    key = rng.getrandbits(32)
    # The same draws for every line of a modality: a textualizer has one manner.
    return replace(
        observations,
        items=tuple(
            replace(o, text=_varied(o, random.Random(f"{key}/{o.modality.value}"))) for o in observations.items
        ),
    )


def _varied(o: Observation, rng: random.Random) -> str:
    if o.is_missing:
        return o.text
    if o.modality is Modality.SPEECH:
        who, said, rest = o.text.partition('said "')
        head = rng.choice(("transcript", "heard", "utterance", "in words"))
        return f'{head}{f" ({who.strip()})" if who.strip() else ""}: "{rest}' if said else o.text
    unit = unit_of(o.cue)
    if unit is None and o.cue not in load_cues().voice:
        return o.text
    head, tail = _varied_face(o, unit, rng) if unit is not None else _varied_voice(o, rng)
    if o.start_s is not None and o.end_s is not None:
        tail.append(rng.choice(("{a:.1f} to {b:.1f} s", "at {a:.1f}-{b:.1f} s")).format(a=o.start_s, b=o.end_s))
    tail.append(f"{rng.choice(('sure to', 'reliability', 'weight'))} {o.confidence:.2f}")
    return ", ".join([*head, *rng.sample(tail, len(tail))])


def _varied_face(o: Observation, unit: int, rng: random.Random) -> tuple[list[str], list[str]]:
    cue, level = load_cues().face[unit], o.level or "A"
    head = rng.choice(
        ("{noun} (unit {unit})", "unit {unit}, {noun}", "{noun}, {key}", "{key} = {noun}", "seen: {noun} ({key})")
    ).format(noun=cue.noun, unit=unit, key=o.cue)
    value = f"{o.value:.1f}" if o.value is not None else "?"
    grade = rng.choice((f"class {level}", f"grade {level}", f"FACS {level}", load_cues().face_word(level)))
    reached = rng.choice(("{v} of 5", "intensity {v}", "peak {v} of 5")).format(v=value)
    rest = "this person's rest" if o.baseline_kind == "own" else "a mean face"
    return [head], [grade, reached, f"{rng.choice(('beside', 'relative to', 'from'))} {rest}"]


def _varied_voice(o: Observation, rng: random.Random) -> tuple[list[str], list[str]]:
    cue, printed = load_cues().voice[o.cue], o.text.split(", ")[1]
    head = rng.choice(("{noun}", "measured {noun}", "voice: {noun}", "acoustic: {noun}")).format(noun=cue.noun)
    norm = "this speaker" if o.baseline_kind == "own" else "the usual speaker"
    way = rng.choice(
        (f"{o.value or 0.0:+.1f} SD", f"{cue.adjective(o.level or 'near')} by {abs(o.value or 0.0):.1f} SD")
    )
    return [head, printed], [f"{way} {rng.choice(('beside', 'relative to', 'from'))} {norm}"]
