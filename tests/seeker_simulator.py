"""A made-up person who seeks help: what each strategy does to them, for tests of policies that nobody may be tried on.

No claim about people: its one use is that the right answer is known. Being listened to builds trust; comfort lowers
distress where there is trust; advice helps who is ready for it and costs trust where they are not; claims of a shared
life and questions upon questions cost wellbeing. `wellbeing` is how they are afterwards, and no turn is worth anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from affectgpt.dialogue.records import Need, Strategy
from affectgpt.dialogue.strategies import Situation

__all__ = ["Seeker", "rows", "step"]

LISTENING = (Strategy.QUESTIONS, Strategy.RESTATEMENT, Strategy.REFLECTION)


@dataclass(frozen=True, slots=True)
class Seeker:
    """distress, trust and dependence in [0, 1], and the strategies met so far."""

    distress: float = 0.8
    trust: float = 0.2
    dependence: float = 0.0
    before: tuple[Strategy, ...] = ()

    @property
    def wellbeing(self) -> float:
        """How they are, in [-1, 1]: calmer is better, leaning on the agent is worse."""
        return 1.0 - self.distress - self.dependence

    @property
    def situation(self) -> Situation:
        """What a chooser sees of them."""
        if self.distress > 0.5:
            need = Need.COMFORT if self.trust > 0.4 else Need.BE_HEARD
        else:
            need = Need.ADVICE if self.trust > 0.6 else Need.COMPANY
        return Situation(need, intensity=self.distress, before=self.before)


def step(seeker: Seeker, strategy: Strategy) -> Seeker:
    """The person after one reply."""
    distress, trust, dependence = seeker.distress, seeker.trust, seeker.dependence
    if strategy in LISTENING:
        is_third = seeker.before[-2:] == (strategy, strategy)
        trust += -0.1 if is_third else 0.2
        distress -= 0.0 if is_third else 0.05
    if strategy in (Strategy.REFLECTION, Strategy.AFFIRMATION):
        distress -= 0.2 * trust
    if strategy is Strategy.SUGGESTIONS:
        ready = trust > 0.6 and distress < 0.6
        distress += -0.2 if ready else 0.1
        trust += 0.0 if ready else -0.1
    if strategy is Strategy.SELF_DISCLOSURE:
        dependence += 0.15
    return replace(
        seeker,
        distress=float(np.clip(distress, 0, 1)),
        trust=float(np.clip(trust, 0, 1)),
        dependence=float(np.clip(dependence, 0, 1)),
        before=(*seeker.before, strategy),
    )


def rows(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]:
    """States (n, 2) of people, what a hasty helper chose in them (n,), and what early advice costs there (n, 8, 1).

    The helper gives advice wherever distress is high, which is where it does harm.
    """
    draw, order = np.random.default_rng(seed), list(Strategy)
    x = draw.uniform(0, 1, (n, 2)).astype(np.float32)
    hasty = draw.uniform(size=n) < 0.8
    advice, listening = order.index(Strategy.SUGGESTIONS), order.index(Strategy.REFLECTION)
    y = np.where((x[:, 0] > 0.5) & hasty, advice, np.where(hasty, listening, draw.integers(0, len(order), n)))
    costs = np.zeros((n, len(order), 1))
    costs[x[:, 0] > 0.5, advice, 0] = 1.0
    return x, y.astype(np.intp), costs
