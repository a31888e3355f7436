"""Predictors that read a text or a clip with one appraiser of the package, without a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from affectgpt.appraise import prototypes
from affectgpt.appraise.heads import read_card
from affectgpt.corpora import Example
from affectgpt.errors import AffectError, EngineUnreachable, MissingDependency, ModelError, OptionError
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.samples import Answer, Prediction
from affectgpt.records import EmotionDistribution

__all__ = ["Face", "Prototypes", "Voice", "Words", "answer_each", "read_distribution"]

_DIMENSIONS = ("valence", "arousal", "dominance")
_LEAST = 0.5


def read_distribution(read: EmotionDistribution | None, labels: LabelSet) -> Prediction:
    """An appraiser's distribution as a prediction in the task's labels; nothing read is an unparsed answer."""
    if read is None:
        return Prediction(unparsed="the appraiser had nothing to read")
    p = labels.spread(read.probabilities)
    top = max(p, key=lambda k: p[k]) if p else None
    values = {"valence": read.valence, "arousal": read.arousal, "dominance": read.dominance}
    return Prediction(top, (top,) if top else (), p, values)


def answer_each(answer: Callable[[Example], Prediction], examples: Sequence[Example]) -> list[Answer]:
    """The answers, or what kept one from being given; a fault that every example would meet is raised."""
    found: list[Answer] = []
    for example in examples:
        try:
            found.append(answer(example))
        except (EngineUnreachable, MissingDependency, ModelError):
            raise
        except AffectError as error:
            found.append(error)
    return found


class Prototypes:
    """The prior reading of the package: the emotion words of a text, or the cues of a clip, against prototypes."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """Text by its words; a clip through the readers, without a language model."""
        return answer_each(self._one, examples)

    def _one(self, example: Example) -> Prediction:
        if example.media is None:
            return read_distribution(prototypes.read_words([example.text or ""]), self._labels)
        from affectgpt.agent import AffectAgent
        from affectgpt.readers import AgentOptions, SpeechOptions

        agent = AffectAgent(None, AgentOptions(speech=SpeechOptions(text=example.text)))
        observations = agent.observe(agent.sense(example.media))
        return read_distribution(prototypes.appraise(observations).fused, self._labels)


class Words:
    """The trained appraiser of words, over a text and what was said before it.

    head: basic8, meld7, goemotions28 or empathetic32 for that label set, `vad` for the three dimensions, `cause` for
    the words that caused the feeling. least: the probability from which a label, or a word, is among those answered;
    without it the thresholds of the head's card, and 0.5 where it has none. context: whether what was said before is
    read too; the agent reads a clip's words without.
    """

    def __init__(
        self,
        labels: LabelSet,
        permissive: bool = False,
        head: str = "basic8",
        least: float | None = None,
        context: bool = True,
    ) -> None:
        from affectgpt.appraise.words import HEADS, WordsAppraiser

        if head not in (*HEADS, "vad", "cause"):
            raise OptionError(
                f"the appraiser of words has no head {head!r}", f"choose of {', '.join(HEADS)}, vad, cause"
            )
        name = HEADS.get(head, f"words_{head}")
        card = read_card(name, permissive)
        self._labels, self._head, self._context = labels, head, context
        self._read = WordsAppraiser(permissive=permissive)
        given = card.get("thresholds") if least is None else None
        self._least: Mapping[str, float] = dict(zip(card["classes"], given, strict=True)) if given else {}
        self._otherwise = _LEAST if least is None else least
        self.origin = _origin(name, card)

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By text; an example without words is not answered."""
        said = [e for e in examples if (e.text or "").strip()]
        found = dict(zip((e.id for e in said), self._answers(said) if said else [], strict=True))
        return [found.get(e.id, Prediction(unparsed="the appraiser had nothing to read")) for e in examples]

    def _answers(self, said: Sequence[Example]) -> list[Prediction]:
        texts = [e.text or "" for e in said]
        if self._head == "cause":
            return [self._caused(text) for text in texts]
        if self._head == "vad":
            return [Prediction(values=values) for values in self._values(texts)]
        found = self._read.probabilities(self._head, texts, [e.context if self._context else () for e in said])
        rows = [{k: float(v[i]) for k, v in found.items()} for i in range(len(said))]
        values = self._values(texts) if self._head == "basic8" else [{} for _ in texts]
        return [self._labelled(p, v) for p, v in zip(rows, values, strict=True)]

    def _values(self, texts: Sequence[str]) -> list[dict[str, float]]:
        return [dict(zip(_DIMENSIONS, map(float, row), strict=True)) for row in self._read.dimensions(texts)]

    def _labelled(self, p: Mapping[str, float], values: Mapping[str, float]) -> Prediction:
        ranked = sorted(p, key=lambda k: -p[k])
        words = tuple(k for k in ranked if p[k] >= self._least.get(k, self._otherwise)) or tuple(ranked[:1])
        return Prediction(self._labels.place(ranked[0]), words, self._labels.spread(p), values)

    def _caused(self, text: str) -> Prediction:
        found = [(word, round(p, 4)) for word, p in self._read.cause_words(text)]
        words = tuple(word for word, p in found if p >= self._otherwise)
        return Prediction(words=words, facts={"cause": [list(pair) for pair in found]})


class Voice:
    """The trained appraiser of the voice, over a clip's sound.

    speaker: the column that names the speaker; a speaker's clips within one batch are then measured against each other,
    so that `batch_size` should hold all clips of one.
    """

    def __init__(
        self, labels: LabelSet, permissive: bool = False, reader: str = "librosa", speaker: str | None = None
    ) -> None:
        from affectgpt.appraise.voice import VoiceAppraiser
        from affectgpt.readers import open_voice_reader

        self._labels, self._speaker = labels, speaker
        self._read = VoiceAppraiser(permissive=permissive)
        self._sense = open_voice_reader(reader)  # type: ignore[arg-type]
        name = "voice_normalised" if speaker else "voice_raw"
        self.origin = "prototypes" if permissive else _origin(name, read_card(name))

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By the sound of each clip."""
        if self._speaker is None:
            return answer_each(lambda e: read_distribution(self._read.read(self._track(e)), self._labels), examples)
        tracks: dict[str, Any] = {}

        def hear(example: Example) -> Prediction:
            tracks[example.id] = self._track(example)
            return Prediction()

        answers = dict(zip((e.id for e in examples), answer_each(hear, examples), strict=True))
        by_speaker: dict[str, list[str]] = {}
        for e in examples:
            if e.id in tracks:
                by_speaker.setdefault(e.group.get(self._speaker, e.id), []).append(e.id)
        for ids in by_speaker.values():
            read = self._read.normalised([tracks[i] for i in ids])
            answers |= {i: read_distribution(r, self._labels) for i, r in zip(ids, read, strict=True)}
        return [answers[e.id] for e in examples]

    def _track(self, example: Example) -> Any:
        from affectgpt import media

        return self._sense.read(media.waveform(media.open_clip(_media(example))))


class Face:
    """The trained appraiser of the face, over a clip's pictures or a still."""

    def __init__(self, labels: LabelSet, permissive: bool = False) -> None:
        from affectgpt.appraise.face import FaceAppraiser

        self._labels = labels
        self._read = FaceAppraiser(permissive=permissive)
        self.origin = "prototypes" if permissive else _origin("face_basic8", read_card("face_basic8"))

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By the most prominent face of each clip."""
        return answer_each(self._one, examples)

    def _one(self, example: Example) -> Prediction:
        from affectgpt import media
        from affectgpt.readers import FaceOptions, open_face_reader

        options = FaceOptions()
        clip = media.open_clip(_media(example))
        track = open_face_reader(options, clip.fps).read(media.frames(clip, options.rate_hz))
        return read_distribution(self._read.read(track), self._labels)


def _media(example: Example) -> Any:
    if example.media is None:
        raise OptionError("the example has no media", "use an appraiser of words")
    return example.media


def _origin(name: str, card: Mapping[str, Any]) -> str:
    """What a head was fitted on: whoever evaluates on the same data must see it."""
    return f"{name}: fitted on {', '.join(card['data'])}; {card['split']}"
