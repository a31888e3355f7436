"""Scorers over words and texts: sentiment, free emotion words, the emotion wheels, BLEU and ROUGE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.emotions import load_lexicon
from affectgpt.errors import MissingDependency, OptionError
from affectgpt.evaluation import metrics
from affectgpt.evaluation.measures import Measure, ScoringPlan, with_gold
from affectgpt.evaluation.open_vocabulary import score_words
from affectgpt.evaluation.samples import Sample

__all__ = ["open_vocabulary", "sentiment", "text", "wheel"]


def sentiment(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """Sentiment WAF as MER-UniBench has it (gold 0 left out), and the three-way F1 that keeps it."""
    key = next((k for k in ("sentiment", "valence") if any(k in s.values for s in samples)), "sentiment")
    members = with_gold(samples, lambda s: key in s.values)
    gold = np.array([samples[i].values[key] for i in members])
    side = np.array([_side(samples[i]) for i in members])
    three = np.sign(gold).astype(np.intp) + 1
    return [
        Measure(
            "sentiment WAF", lambda at: metrics.sentiment_waf(gold[at], side[at] > 0), members, note="gold 0 left out"
        ),
        Measure(
            "sentiment 3-way weighted F1",
            lambda at: metrics.f1(
                metrics.confusion(three[at], np.where(side[at] == -2, metrics.NO_ANSWER, side[at] + 1), 3), "weighted"
            ),
            members,
        ),
    ]


def _side(sample: Sample) -> int:
    """-1, 0 or 1 of the answer, -2 without one: its sentiment, else the sign of its label's or words' valence."""
    if sample.status != "scored":
        return -2
    given = sample.answer.values.get("sentiment")
    if given is not None:
        return int(np.sign(given))
    lexicon = load_lexicon()
    for word in (sample.answer.label, *sample.answer.words):
        found = lexicon.resolve(word) if word else None
        if found:
            # Surprise is neither good nor bad of itself, and neutral is neutral.
            return 0 if found.basic in ("neutral", "surprise") else (1 if lexicon.vad(found.node).valence > 0 else -1)
    return -2


def open_vocabulary(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """This project's word score: neutral kept, unknown words and spamming paid for, nearness by the tree."""
    members = with_gold(samples, lambda s: bool(s.labels))
    each = [score_words(samples[i].labels, _words(samples[i])) for i in members]
    titles = {"precision": "words precision", "recall": "words recall", "f": "words F", "distance": "tree distance"}
    columns = {title: np.array([getattr(e, name) for e in each]) for name, title in titles.items()}
    unknown = np.array([len(e.unknown) for e in each])
    words = np.array([len(_words(samples[i])) for i in members])
    found = [
        Measure(title, lambda at, c=column: float(c[at].mean()), members, title != "tree distance")  # type: ignore[misc]
        for title, column in columns.items()
    ]
    share = lambda at: float(unknown[at].sum() / max(1, words[at].sum()))  # noqa: E731
    return [*found, Measure("unknown words", share, members, higher_is_better=False)]


def _words(sample: Sample) -> tuple[str, ...]:
    if sample.status != "scored":
        return ()
    return sample.answer.words or ((sample.answer.label,) if sample.answer.label else ())


def wheel(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """MER-UniBench's emotion-wheel family, faults included: beside `open_vocabulary`, never in its place."""
    from affectgpt.evaluation.wheel import load_wheels

    if plan.wheels is None:
        raise OptionError("the wheel scorer has no wheel files", "name their folder with `wheels:`")
    return _wheel_measures(samples, load_wheels(plan.wheels, plan.wheel_forms))


def _wheel_measures(samples: Sequence[Sample], wheels: Any) -> list[Measure]:
    members = with_gold(samples, lambda s: bool(s.labels))
    found: dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}
    for name, group in wheels.mappers().items():
        gold = [{g for w in samples[i].labels if (g := group(w.lower().strip()))} for i in members]
        said = [{g for w in _words(samples[i]) if (g := group(w.lower().strip()))} for i in members]
        pairs = list(zip(gold, said, strict=True))
        found[name] = (
            np.array([bool(g) for g, _ in pairs]),
            np.array([len(g & s) / len(s) if s else 0.0 for g, s in pairs]),
            np.array([len(g & s) / len(g) if g and s else 0.0 for g, s in pairs]),
        )
    first = [found[f"M3-W{w}-L1"] for w in range(1, 6)]
    dropped = int((~np.logical_or.reduce([kept for kept, _, _ in first])).sum())
    note = f"{dropped} of {len(members)} samples dropped on every wheel"
    measures = [
        Measure("wheel Fs (5 wheels, L1)", lambda at: float(np.mean([_f(p, at) for p in first])), members, note=note),
        Measure("wheel M-avg (12)", lambda at: float(np.mean([_f(p, at) for p in found.values()])), members),
        Measure("wheel M1", lambda at: _f(found["M1"], at), members),
        Measure("wheel M2", lambda at: _f(found["M2"], at), members),
    ]
    if all(len(samples[i].labels) == 1 for i in members):
        hit = lambda at: float(np.mean([_kept_mean(kept, recall, at) for kept, _, recall in first]))  # noqa: E731
        measures.append(Measure("wheel hit rate", hit, members, note=note))
    return measures


def _kept_mean(kept: NDArray[Any], values: NDArray[Any], at: NDArray[np.intp]) -> float:
    chosen = at[kept[at]]
    return float(values[chosen].mean()) if len(chosen) else 0.0


def _f(parts: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], at: NDArray[np.intp]) -> float:
    p, r = (_kept_mean(parts[0], column, at) for column in parts[1:])
    return 2 * p * r / (p + r) if p + r else 0.0


def text(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """Corpus BLEU by sacrebleu and mean ROUGE-L by rouge-score, against the references."""
    try:
        from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", "pip install 'affectgpt[eval]'") from None
    members = with_gold(samples, lambda s: bool(s.references))
    said = [samples[i].answer.text if samples[i].status == "scored" else "" for i in members]
    references = [samples[i].references for i in members]
    rouge = RougeScorer(["rougeL"], use_stemmer=True)
    each = np.array([rouge.score_multi(list(r), s)["rougeL"].fmeasure for r, s in zip(references, said, strict=True)])
    depth = max((len(r) for r in references), default=1)

    def bleu(at: NDArray[np.intp]) -> float:
        # sacrebleu takes None for "no such reference"; its types do not say so.
        columns: Any = [[references[i][k] if k < len(references[i]) else None for i in at] for k in range(depth)]
        return float(BLEU().corpus_score([said[i] for i in at], columns).score)

    return [Measure("BLEU", bleu, members), Measure("ROUGE-L", lambda at: float(each[at].mean()), members)]
