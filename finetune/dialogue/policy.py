"""Fit the strategy policy on ESConv, limits held by multipliers: `python -m finetune.dialogue.policy --shared DATA`.

Figures are of folds over whole dialogues: each dialogue is answered by a policy that was fitted on others, whose ridge
was chosen on a fifth of those. The shipped policy is fitted on all of them. It stands beside the majority, whose macro
F1 says what a constant costs.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.heads import save_head
from affectgpt.corpora import Example
from affectgpt.corpora.support import STRATEGIES, read_esconv
from affectgpt.dialogue.hearing import EncoderHearing, Heard
from affectgpt.dialogue.policy import POLICY, is_early_for_advice, is_questioned_out, policy_row
from affectgpt.dialogue.records import Strategy
from affectgpt.dialogue.transitions import weights_folder
from affectgpt.evaluation import metrics
from affectgpt.evaluation.intervals import Resampling, difference, interval
from finetune.cards import making
from finetune.dialogue.constrained import Constrained, Limits, expected_costs, fit_constrained
from finetune.word_figures import softmax

__all__ = ["COSTS", "Rows", "cross_fitted", "figures", "main", "rows_of"]

N_FOLDS = 5
PENALTIES = (3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
COSTS = {"advice_before_listening": 0.001, "interrogation": 0.003, "claimed_life": 0.02}
"""What a policy may cost at most, in expectation over ESConv's states: half of what people there did, and a fifth of
what they told of themselves; rules of this project. People's own rates stand on the card. The chooser's hard
constraints forbid the same outright; the limits keep the policy from leaning on it."""

Ints = NDArray[np.intp]
Double = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """ESConv's states: inputs (B, D), what the supporter chose (B,), costs (B, 8, I), and each row's dialogue."""

    x: NDArray[np.float32]
    y: Ints
    costs: Double
    dialogues: tuple[str, ...]

    def part(self, at: NDArray[Any]) -> Rows:
        """The rows at some places."""
        kept = np.arange(len(self.y))[at]
        return Rows(self.x[kept], self.y[kept], self.costs[kept], tuple(self.dialogues[k] for k in kept))


def rows_of(examples: Sequence[Example], hear: Callable[[str], Heard]) -> Rows:
    """Every supporter's turn as a state and a choice; `hear` reads a line of the seeker."""
    x, costs = [], []
    for e in examples:
        before = [Strategy(s) for s in e.group["before"].split("|") if s]
        n_turns, text = int(e.group["turn"]), e.text or ""
        x.append(policy_row(hear(text), text, before, n_turns))
        costs.append(_costs(text, before, n_turns))
    y = np.array([STRATEGIES.index(str(e.label)) for e in examples], np.intp)
    return Rows(np.stack(x), y, np.stack(costs), tuple(e.group["dialogue"] for e in examples))


def cross_fitted(rows: Rows, seed: int = 0) -> tuple[Double, Double, list[float]]:
    """Probabilities (B, 8) of each row by a policy that never saw its dialogue, with limits and without.

    And the ridge of each fold.
    """
    p, free = np.zeros((2, len(rows.y), len(STRATEGIES)))
    chosen = []
    for held in _folds(rows.dialogues, N_FOLDS, seed):
        given = rows.part(~held)
        inner = _folds(given.dialogues, N_FOLDS, seed + 1)[0]
        losses = {}
        for penalty in PENALTIES:
            fitted = _fit(given.part(~inner), penalty, is_limited=False)
            losses[penalty] = _log_loss(softmax(fitted.fit(given.x[inner])), given.y[inner])
        best = min(losses, key=lambda k: losses[k])
        chosen.append(best)
        p[held] = softmax(_fit(given, best, is_limited=True).fit(rows.x[held]))
        free[held] = softmax(_fit(given, best, is_limited=False).fit(rows.x[held]))
    return p, free, chosen


def figures(rows: Rows, p: Double, free: Double) -> dict[str, Any]:
    """Accuracy and macro F1 with intervals over dialogues, beside the majority's, and what each costs.

    `free` are the probabilities of the same policy fitted without limits.
    """
    most = int(np.bincount(rows.y).argmax())
    answers = {"policy": p.argmax(1), "without_limits": free.argmax(1), "majority": np.full(len(rows.y), most)}
    how = Resampling(1000, 0, rows.dialogues)
    found: dict[str, Any] = {"n": len(rows.y), "n_dialogues": len(set(rows.dialogues))}
    for name, said in answers.items():
        for kind in ("accuracy", "macro_f1"):
            found[f"{name}_{kind}"] = _listed(interval(kind, _scorer(rows.y, said, kind), len(rows.y), how))
    for kind in ("accuracy", "macro_f1"):
        pair = (_scorer(rows.y, answers[name], kind) for name in ("policy", "majority"))
        figure, chance = difference(kind, *pair, len(rows.y), how)
        found[f"gain_over_majority_{kind}"] = [*_listed(figure), round(chance, 4)]
    found["log_loss"] = round(_log_loss(p, rows.y), 4)
    shares = np.bincount(rows.y, minlength=len(STRATEGIES)) / len(rows.y)
    found["log_loss_of_shares"] = round(float(-np.log(shares[rows.y]).mean()), 4)
    people = np.eye(len(STRATEGIES))[rows.y]
    for name, q in (("policy", p), ("without_limits", free), ("people", people)):
        spent = expected_costs(q, rows.costs)
        found[f"{name}_costs"] = {c: round(float(v), 4) for c, v in zip(COSTS, spent, strict=True)}
    return found


def main(argv: list[str] | None = None) -> None:
    """Fit, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds text/esconv")
    parser.add_argument("--out", type=Path, default=weights_folder())
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    path = asked.shared / "text" / "esconv" / "devWithStrategy_short.tsv"
    examples = read_esconv(path).usable
    texts = sorted({e.text or "" for e in examples})
    heard = dict(zip(texts, EncoderHearing().lines(texts), strict=True))
    rows = rows_of(examples, heard.__getitem__)
    p, free, chosen = cross_fitted(rows, asked.seed)
    found = figures(rows, p, free)
    penalty = Counter(chosen).most_common(1)[0][0]
    whole = _fit(rows, penalty, is_limited=True)
    weights = {k: t.astype(np.float16) if k.endswith(".weight") else t for k, t in whole.fit.weights.items()}
    card = {
        "data": ["ESConv"],
        "licence": {"ESConv": "CC BY-NC 4.0"},
        "split": f"{N_FOLDS} folds over the dialogues of the development side; the shipped weights are fitted on all",
        "metrics": found,
        "classes": list(STRATEGIES),
        "kind": "softmax",
        "temperature": 1.0,
        "input": {"width": rows.x.shape[1], "encoder": "all-MiniLM-L6-v2, tuned", "make": "dialogue.policy.policy_row"},
        "penalty": penalty,
        "limits": COSTS,
        "multipliers": {c: round(float(v), 4) for c, v in zip(COSTS, whole.multipliers, strict=True)},
        **making(asked.seed),
    }
    save_head(asked.out, POLICY, weights, card)
    print(json.dumps(found | {"penalties": chosen, "multipliers": card["multipliers"]}, indent=1))


def _costs(text: str, before: Sequence[Strategy], n_turns: int) -> Double:
    """What each strategy costs here (8, I): 1 where it is what a constraint is about, else 0."""
    found = np.zeros((len(STRATEGIES), len(COSTS)))
    if is_early_for_advice(text, before, n_turns):
        found[STRATEGIES.index(Strategy.SUGGESTIONS.value), 0] = 1.0
    if is_questioned_out(before):
        found[STRATEGIES.index(Strategy.QUESTIONS.value), 1] = 1.0
    found[STRATEGIES.index(Strategy.SELF_DISCLOSURE.value), 2] = 1.0
    return found


def _fit(rows: Rows, penalty: float, is_limited: bool) -> Constrained:
    n = len(COSTS) if is_limited else 0
    limits = Limits(rows.costs[:, :, :n], np.array(list(COSTS.values()))[:n])
    return fit_constrained(rows.x, rows.y, limits, penalty)


def _folds(names: Sequence[str], n: int, seed: int) -> list[NDArray[np.bool_]]:
    """Masks (B,) of what each fold holds: rows of one dialogue stay together."""
    unlike = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(unlike))
    fold = {unlike[at]: k % n for k, at in enumerate(order)}
    return [np.array([fold[name] == k for name in names], np.bool_) for k in range(n)]


def _log_loss(p: Double, y: Ints) -> float:
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean())


def _scorer(gold: Ints, said: Ints, kind: str) -> Any:
    def score(at: Ints) -> float:
        table = metrics.confusion(gold[at], said[at], len(STRATEGIES))
        return metrics.accuracy(table) if kind == "accuracy" else metrics.f1(table, "macro")

    return score


def _listed(figure: Any) -> list[float]:
    return [round(x, 4) for x in (figure.value, figure.low, figure.high)]


if __name__ == "__main__":
    main()
