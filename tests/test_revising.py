"""What the evidence contradicts is asked again; what stays contradicted is withdrawn, and never hidden."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import fakes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from affectgpt import report
from affectgpt.agent import AffectAgent, Parts, Senses
from affectgpt.appraise import prototypes
from affectgpt.cli.flags import AnswerFlags, SenseFlags
from affectgpt.cli.screen import show
from affectgpt.engines.engine import cut_at_stop, stamp
from affectgpt.errors import EngineError, EngineUnreachable, OptionError
from affectgpt.readers import AgentOptions
from affectgpt.record_json import describe_revision, dumps, to_json
from affectgpt.records import (
    Appraisal,
    Completion,
    Explanation,
    Observations,
    Outcome,
    Prompt,
    Revision,
    Sampling,
    Verdict,
)

SENSES = Senses(
    face=fakes.face_track(AU12=4.0, AU6=2.4, AU1=2.0),
    voice=fakes.voice_track(f0_median_hz=2.4),
    transcript=fakes.transcript("well here we are"),
)
"""F1 is the lip corner puller, F2 the cheek raiser, F3 the inner brow raiser, V1 a much higher pitch."""

GOOD = "Raised lip corners [F1] and raised cheeks [F2] fit joy."
BAD = "A frown [F1] fits the higher pitch [V1]."
WORSE = "A lower pitch [V1] fits the frown [F2]."
HEDGE = "It may also be politeness."
END = (
    "\n**Conclusion**\nEmotions: delighted\nLabel: happy\nValence: 0.7\nArousal: 0.5\nDominance: 0.2\nConfidence: 0.8\n"
)
KEYS = "**Key observations**\n- The lip corners are pulled up [F1]\n**Interpretation**\n"


class Scripted:
    """Says what it was told to, in turn, and raises what is an error; it goes on from openings, or writes its own."""

    name = "scripted"
    model = "scripted-1"

    def __init__(self, *said: str | Exception, goes_on: bool = True) -> None:
        self.said = list(said)
        self.goes_on = goes_on
        self.asked: list[tuple[Prompt, Sampling]] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One text a prompt; the last one for ever."""
        return [self._one(prompt, sampling) for prompt in prompts]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """In one piece."""
        completion = self._one(prompt, sampling)
        yield completion.text
        return completion

    def _one(self, prompt: Prompt, sampling: Sampling) -> Completion:
        said = self.said[min(len(self.asked), len(self.said) - 1)]
        self.asked.append((prompt, sampling))
        if isinstance(said, Exception):
            raise said
        text = cut_at_stop(said, sampling.stop)[0]
        return stamp(self, prompt, (prompt.opening if self.goes_on else KEYS) + text, (10, 5))


class Prior:
    """The prototypes' reading: no fitted heads to load."""

    def appraise(self, observations: Observations, *_: object) -> Appraisal:
        """Of the observations alone."""
        return prototypes.appraise(observations)


def agent(engine: Scripted, **options: Any) -> AffectAgent:
    return AffectAgent(engine, AgentOptions(**options), parts=Parts(appraiser=Prior()))


def conclude(engine: Scripted, revisions: int = 3, **options: Any) -> tuple[Outcome, Explanation]:
    outcome = agent(engine, revisions=revisions, **options).conclude(SENSES)
    assert isinstance(outcome.answer, Explanation)
    return outcome, outcome.answer


def revision_of(answer: Explanation) -> Revision:
    assert answer.revision is not None
    return answer.revision


def says(*sentences: str) -> str:
    return " ".join(sentences) + END


# ---------------------------------------------------------------- a sentence at a time


def test_an_answer_that_stands_is_asked_once() -> None:
    engine = Scripted(says(GOOD, HEDGE))
    outcome, answer = conclude(engine)
    assert answer.revision is None
    assert len(engine.asked) == 1
    assert "revise" not in outcome.timings_s


def test_a_sentence_is_mended_in_its_place_and_the_rest_stays() -> None:
    engine = Scripted(says(GOOD, BAD, HEDGE), " A much higher pitch [V1] fits that less. And more")
    outcome, answer = conclude(engine)
    assert answer.interpretation == f"{GOOD} A much higher pitch [V1] fits that less. {HEDGE}"
    assert answer.conclusion.emotions == ("delighted",)
    assert answer.grounding is not None
    assert answer.grounding.count(Verdict.CONTRADICTED) == 0
    told = revision_of(answer)
    assert (told.n_asked, told.withdrawn, told.note) == (1, (), "")
    assert [c.claim.text for c in told.first.faults] == [BAD]
    assert BAD in told.first_raw
    assert outcome.completion is not None
    assert answer.raw == outcome.completion.text
    assert (outcome.completion.n_prompt_tokens, outcome.completion.n_completion_tokens) == (20, 10)
    assert outcome.versions["key observations"] == "restated by affectgpt"


def test_the_model_goes_on_from_the_words_before_the_sentence_by_sampling_with_another_seed() -> None:
    engine = Scripted(says(GOOD, BAD, HEDGE), BAD)
    conclude(engine, sampling=Sampling(seed=7))
    (first, greedy), *again = engine.asked
    assert greedy.temperature == 0
    assert [s.seed for _, s in again] == [8, 9, 10]
    assert {p.opening for p, _ in again} == {first.opening + GOOD}
    assert all(p.messages == first.messages and s.temperature > 0 for p, s in again)


def test_a_caller_s_higher_temperature_and_shorter_limit_are_kept() -> None:
    engine = Scripted(says(BAD), GOOD)
    conclude(engine, sampling=Sampling(temperature=1.5, max_tokens=30, stop=("###",)))
    sampling = engine.asked[1][1]
    assert (sampling.temperature, sampling.max_tokens) == (1.5, 30)
    assert "###" in sampling.stop


def test_every_contradicted_sentence_gets_its_turn_each_time() -> None:
    engine = Scripted(says(BAD, WORSE, HEDGE), GOOD, "Still a frown [F3].", "A much higher pitch [V1] stands apart.")
    _, answer = conclude(engine)
    assert answer.interpretation == f"{GOOD} A much higher pitch [V1] stands apart. {HEDGE}"
    assert revision_of(answer).n_asked == 2
    openings = [p.opening for p, _ in engine.asked]
    assert openings[2] == openings[3] == openings[0] + GOOD


@pytest.mark.parametrize(
    "written",
    [
        "",
        "\n**Conclusion**\nEmotions: sad",
        "**Conclusion**",
        HEDGE,
        BAD,
        'They say "well here [S1]',
        "Raised lip corners [F1",
    ],
)
def test_what_is_no_new_whole_sentence_changes_nothing(written: str) -> None:
    _, answer = conclude(Scripted(says(GOOD, BAD, HEDGE), written))
    assert answer.interpretation == f"{GOOD} {HEDGE}"
    assert [c.claim.text for c in revision_of(answer).withdrawn] == [BAD]


def test_a_sentence_that_was_cut_is_not_taken() -> None:
    class Cut(Scripted):
        def _one(self, prompt: Prompt, sampling: Sampling) -> Completion:
            written = super()._one(prompt, sampling)
            return replace(written, finish_reason="length") if len(self.asked) > 1 else written

    _, answer = conclude(Cut(says(BAD, HEDGE), "Raised lip corners [F1] fit the"))
    assert answer.interpretation == HEDGE


def test_a_worse_sentence_does_not_replace_the_first() -> None:
    _, answer = conclude(Scripted(says(BAD, HEDGE), "A frown [F9] and tears. Then a sob [F1]"))
    (withdrawn,) = revision_of(answer).withdrawn
    assert withdrawn.claim.text == BAD


# ---------------------------------------------------------------- what stays contradicted


def test_a_model_that_always_errs_is_asked_n_times_and_its_sentences_are_withdrawn() -> None:
    engine = Scripted(says(GOOD, BAD, HEDGE), WORSE)
    outcome, answer = conclude(engine, revisions=2)
    assert len(engine.asked) == 3
    assert answer.interpretation == f"{GOOD} {HEDGE}"
    told = revision_of(answer)
    assert told.n_asked == 2
    (withdrawn,) = told.withdrawn
    assert withdrawn.claim.text == BAD
    assert withdrawn.reason
    assert BAD in answer.raw, "what the model wrote stays in the record"
    assert answer.grounding is not None
    assert BAD not in {c.claim.text for c in answer.grounding.claims} | {c.text for c in answer.claims}
    row = to_json(outcome)
    assert row["grounding"]["withdrawn"] == 1  # type: ignore[index]
    assert row["answer"]["revision"]["withdrawn"][0]["text"] == BAD  # type: ignore[index]
    assert row["answer"]["revision"]["withdrawn"][0]["reason"]  # type: ignore[index]
    assert len(row["answer"]["revision"]["first"]) == len(told.first.claims)  # type: ignore[index]
    dumps(outcome)


def test_an_interpretation_may_lose_every_sentence() -> None:
    _, answer = conclude(Scripted(says(BAD, WORSE), BAD))
    assert answer.interpretation == ""
    assert len(revision_of(answer).withdrawn) == 2
    assert answer.conclusion.label == "happy"


def test_without_revisions_the_first_answer_stands_as_it_is() -> None:
    engine = Scripted(says(GOOD, BAD, HEDGE))
    _, answer = conclude(engine, revisions=0)
    assert len(engine.asked) == 1
    assert answer.revision is None
    assert answer.interpretation == f"{GOOD} {BAD} {HEDGE}"
    assert answer.grounding is not None
    assert [c.claim.text for c in answer.grounding.faults] == [BAD]


@pytest.mark.parametrize("error", [EngineError("the model failed"), EngineUnreachable("nothing answers", "start it")])
@pytest.mark.parametrize("goes_on", [True, False])
def test_the_first_answer_survives_a_failure_of_the_second(error: EngineError, goes_on: bool) -> None:
    engine = Scripted(says(GOOD, BAD, HEDGE), error, goes_on=goes_on)
    outcome, answer = conclude(engine)
    assert len(engine.asked) == 2
    assert answer.interpretation == f"{GOOD} {HEDGE}"
    assert error.what in revision_of(answer).note
    assert error.what in describe_revision(to_json(outcome)["answer"]["revision"])  # type: ignore[index]


def test_what_was_mended_before_a_failure_is_kept() -> None:
    engine = Scripted(says(BAD, WORSE, HEDGE), GOOD, EngineError("gone"))
    _, answer = conclude(engine)
    assert answer.interpretation == f"{GOOD} {HEDGE}"
    assert [c.claim.text for c in revision_of(answer).withdrawn] == [WORSE]


def test_a_failure_that_is_no_error_of_this_package_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        conclude(Scripted(says(BAD), ZeroDivisionError()))


# ---------------------------------------------------------------- engines that write whole answers


def test_a_whole_answer_is_asked_again_where_openings_are_not_gone_on_from() -> None:
    engine = Scripted(says(GOOD, BAD), says("Raised cheeks [F2] fit joy.", HEDGE), goes_on=False)
    outcome, answer = conclude(engine)
    assert answer.interpretation == f"Raised cheeks [F2] fit joy. {HEDGE}"
    assert revision_of(answer).n_asked == 1
    assert not engine.asked[1][1].stop, "a whole answer has more than one sentence"
    assert engine.asked[1][0] == engine.asked[0][0]
    assert outcome.versions["key observations"] == "written by the model"


def test_the_whole_answer_with_the_fewest_faults_is_kept() -> None:
    said = [says(BAD, WORSE), says(BAD, WORSE, "A sob [F9]."), says(GOOD, WORSE), "no form", says(WORSE, HEDGE)]
    _, answer = conclude(Scripted(*said, goes_on=False), revisions=4)
    assert answer.interpretation == GOOD, "the earlier of two that are equally good"
    told = revision_of(answer)
    assert told.n_asked == 4
    assert [c.claim.text for c in told.withdrawn] == [WORSE]
    assert len(told.first.faults) == 2


def test_the_model_s_own_key_observations_are_marked_and_not_asked_again() -> None:
    engine = Scripted(KEYS.replace("[F1]", "[F9]") + says(GOOD))
    _, answer = conclude(engine, key_observations="written")
    assert len(engine.asked) == 1
    assert answer.grounding is not None
    assert answer.grounding.count(Verdict.CONTRADICTED) == 1


# ---------------------------------------------------------------- what a reader sees


def on_screen(outcome: Outcome) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    show(outcome, console)
    return console.export_text()


def test_a_reader_is_told_what_was_withdrawn_and_why() -> None:
    outcome, answer = conclude(Scripted(says(GOOD, BAD, HEDGE), BAD))
    (withdrawn,) = revision_of(answer).withdrawn
    told = "Asked again 3 times for 1 sentence that the evidence contradicts: 0 mended, 1 withdrawn."
    screen, page = on_screen(outcome), report.render(outcome, SENSES)
    for shown in (screen, re.sub("<[^>]+>", "", html.unescape(page))):
        assert told in shown
        assert BAD in shown
        assert withdrawn.reason in shown
        assert shown.count(BAD) == 1, "beside the interpretation, not in it"


def test_a_reader_is_told_of_an_interpretation_that_was_mended() -> None:
    outcome, _ = conclude(Scripted(says(BAD, HEDGE), GOOD))
    told = "Asked again once for 1 sentence that the evidence contradicts: 1 mended, 0 withdrawn."
    for shown in (on_screen(outcome), report.render(outcome, SENSES)):
        assert told in shown
        assert "see Grounding" not in re.sub("<[^>]+>", "", shown)


def test_a_reader_is_told_of_an_interpretation_that_lost_everything() -> None:
    outcome, _ = conclude(Scripted(says(BAD), BAD))
    for shown in (on_screen(outcome), report.render(outcome, SENSES)):
        assert "Nothing of it is carried by the evidence." in shown


# ---------------------------------------------------------------- laws


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([GOOD, BAD, WORSE, HEDGE]), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from([GOOD, BAD, "", "A much higher pitch [V1] fits.", "x\n**y", HEDGE]), min_size=1),
    st.booleans(),
    st.integers(0, 4),
)
def test_laws(first: list[str], again: list[str], goes_on: bool, n_most: int) -> None:
    said = [says(*first), *(again if goes_on else [says(s or HEDGE) for s in again])]
    engine = Scripted(*said, goes_on=goes_on)
    outcome, answer = conclude(engine, revisions=n_most)
    once_more, _ = conclude(Scripted(*said, goes_on=goes_on), revisions=n_most)
    assert answer == once_more.answer, "the same input, the same answer"
    assert outcome.completion == once_more.completion
    assert answer.grounding is not None
    faults = {BAD, WORSE} & set(first)
    assert (answer.revision is not None) == bool(faults and n_most)
    if answer.revision is None:
        return
    told = answer.revision
    assert not answer.grounding.faults, "what is shown is not contradicted"
    assert {c.claim.text for c in told.first.faults} == faults
    assert 1 <= told.n_asked <= n_most
    assert len(told.withdrawn) <= len(faults)
    assert all(c.claim.text in answer.raw and c.claim.text not in answer.interpretation for c in told.withdrawn)
    assert outcome.completion is not None
    assert outcome.completion.n_prompt_tokens == 10 * len(engine.asked)


@pytest.mark.parametrize("n", [-1, 21])
def test_a_number_of_revisions_out_of_range_is_refused(n: int) -> None:
    with pytest.raises(OptionError, match="revisions"):
        AgentOptions(revisions=n)


def test_the_command_takes_the_number() -> None:
    assert SenseFlags().options(AnswerFlags()).revisions == AgentOptions().revisions == 3
    assert SenseFlags().options(AnswerFlags(revisions=0)).revisions == 0


def test_progress_tells_each_time() -> None:
    told: list[tuple[str, float | None, str]] = []

    def progress(stage: str, fraction: float | None, detail: str = "") -> None:
        told.append((stage, fraction, detail))

    agent(Scripted(says(BAD, HEDGE), BAD), revisions=2).conclude(SENSES, progress)
    assert [t for t in told if t[0] == "revise"] == [
        ("revise", None, ""),
        ("revise", 0.0, "1 of 2"),
        ("revise", 0.5, "2 of 2"),
        ("revise", 1.0, ""),
    ]
