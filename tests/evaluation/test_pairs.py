"""Two texts before a blind judge: fair judges are taken at their word, judges of places decide nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.engines.echo import EchoEngine
from affectgpt.engines.engine import stamp
from affectgpt.evaluation import pairs
from affectgpt.evaluation.pairs import Asking, Compared, Pair, compare, read_verdict, summarise
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Completion, Prompt, Sampling

LIBRARY = PromptLibrary()
PROMPTS = ("compare", "compare-replies")


class Judge(EchoEngine):
    """Prefers the text that holds `favourite`; the first place where it has none; says nothing of use as `nobody`."""

    def __init__(self, favourite: str) -> None:
        super().__init__()
        self.favourite = favourite
        self.asked: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        self.asked += prompts
        return [stamp(self, p, self._verdict(p.messages[-1].content), (0, 0)) for p in prompts]

    def _verdict(self, text: str) -> str:
        if self.favourite == "nobody":
            return "Both are poor."
        first, second = text.split(" A\n")[-1].split(" B\n")
        place = "A" if self.favourite in first else "B" if self.favourite in second else "equal"
        return f"At first sight better: A, but no.\n**Better:** {place}"


def pair(i: int, ours: str = "ours", theirs: str = "theirs") -> Pair:
    return Pair(f"r{i}", "speaker: I won.", f"{ours} {i}", f"{theirs} {i}")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_fair_judge_is_taken_at_its_word(prompt: str) -> None:
    for favourite, wins in (("ours", 6), ("theirs", 0)):
        told = summarise(compare(Judge(favourite), [pair(i) for i in range(6)], LIBRARY, Asking(prompt)))
        assert (told["ours"], told["theirs"], told["equal"]) == (wins, 6 - wins, 0)
        assert told["ours_preferred"][0] == wins / 6
        assert (told["agreement"], told["first_place"]) == (1.0, 0.5)
        assert told["prompt"] == f"{prompt} {LIBRARY.get(prompt).version}"


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_judge_of_places_decides_nothing(prompt: str) -> None:
    told = summarise(compare(Judge(""), [pair(i) for i in range(6)], LIBRARY, Asking(prompt)))
    assert (told["equal"], told["agreement"], told["first_place"], told["ours_preferred"][0]) == (6, 0.0, 1.0, 0.5)
    assert told["kappa"] <= 0.0


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_judge_is_blind_and_sees_each_text_once_in_each_place(prompt: str) -> None:
    judge = Judge("ours")
    compare(judge, [pair(i) for i in range(5)], LIBRARY, Asking(prompt))
    shown = [p.messages[-1].content for p in judge.asked]
    firsts = [text.split(" A\n")[-1].split(" B\n")[0].split()[0] for text in shown]
    assert sorted(firsts) == ["ours"] * 5 + ["theirs"] * 5
    words = " ".join(m.content for p in judge.asked for m in p.messages).lower().split()
    assert not {"model", "adapter", "untuned", "retrieval"} & set(words)
    again = Judge("ours")
    compare(again, [pair(i) for i in range(5)], LIBRARY, Asking(prompt))
    assert [p.messages for p in again.asked] == [p.messages for p in judge.asked]


def test_one_text_is_not_asked_about_and_a_mumbled_verdict_is_counted() -> None:
    judge = Judge("nobody")
    compared = compare(judge, [pair(0), pair(1, "same", "same")], LIBRARY)
    assert len(judge.asked) == 2
    told = summarise(compared)
    assert (told["pairs"], told["unread"], told["same_text"], told["equal"]) == (2, 1, 1, 1)
    assert told["agreement"] is told["kappa"] is told["first_place"] is None
    assert compared[0].raw == ("Both are poor.", "Both are poor.")


def test_nothing_compared_is_summed_up_too() -> None:
    told = summarise([])
    assert (told["pairs"], told["judge"], told["agreement"]) == (0, "", None)
    assert math.isnan(told["ours_preferred"][0])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Better: A", "A"), ("better - b.", "B"), ("**Better:** equal", "equal"), ("Better: neither", "equal"),
        ("Better: A at first.\nBetter: B", "B"), ("A is better than B", "unread"), ("", "unread"),
        ("It is better than a poem", "unread"),
    ],
)  # fmt: skip
def test_the_last_verdict_counts(text: str, verdict: str) -> None:
    assert read_verdict(text) == verdict


@given(st.lists(st.tuples(*[st.sampled_from(["ours", "theirs", "equal"])] * 2), min_size=1, max_size=12))
def test_kappa_is_cohens(verdicts: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    ours = pairs.kappa([Compared("r", a, b, "j", "p", ("x", "y")) for a, b in verdicts])  # type: ignore[arg-type]
    first, second = zip(*verdicts, strict=True)
    if len(set(first + second)) == 1:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(cohen_kappa_score(first, second))
