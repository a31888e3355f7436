"""The same observations in a second vocabulary, which no training row uses.

It shows whether a model reads evidence, or lines that it knows. Names, classes and order change, the facts do not:
every number, id and quote stays. An answer over these lines restates them by the same rules as over the usual ones.
"""

from __future__ import annotations

from dataclasses import replace

from affectgpt.cues import load_cues, unit_of
from affectgpt.records import Modality, Observation, Observations

__all__ = ["SECOND", "reword"]

SECOND = "second"
"""How a row's provenance names this vocabulary."""
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
