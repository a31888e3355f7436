"""What a row must pass. A filter says in words why a row goes, and every reason is counted in the data card.

Low level: form, length, language, refusal, leak, contamination, a face that does not speak. High level: claims that
the evidence carries, annotators that agree (MER-Caption's model-based crowdsourcing, AffectGPT, ICML 2025), and a
label that a blind reader recovers. What repeats an earlier row goes last, in near.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, Protocol

from affectgpt.appraise.prototypes import appraise
from affectgpt.emotions import load_lexicon
from affectgpt.errors import MissingDependency
from affectgpt.grounding import check
from affectgpt.parsing import citations, parse_text
from affectgpt.records import Explanation, Observations, Verdict
from affectgpt.textualize import restate
from instruction_data.drafts import Draft, Evidence
from instruction_data.scenes import mouth_moves
from instruction_data.splits import TestFiles

__all__ = ["Annotator", "FilterOptions", "Filters", "vote"]

Agreement = Literal["off", "sentiment", "emotion"]

_LEAK = re.compile(
    r"\b(?:ground[- ]truth|gold label|(?:the|a) (?:given|provided|target|correct|assigned) (?:label|emotion|answer)"
    r"|(?:label|annotation|annotator|data ?set|short ?list|appraisal|task|prompt)s?\b"
    r"|as (?:labell?ed|annotated|instructed|given)|(?:was|is|been) (?:labell?ed|annotated) as|comes to)\b",
    re.IGNORECASE,
)
"""How a text shows that it was told what to find. The composer's own sentences hold none of it."""
_REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)|I (?:cannot|can't|won't) (?:help|assist|do|provide|determine|comply)"
    r"|as an? (?:AI|language model|assistant)|I do(?:n't| not) have (?:access|enough information|the ability))\b",
    re.IGNORECASE,
)
_FEWEST_FOR_LANGUAGE = 8
"""Words from which a language can be told; a shorter line is taken as it is."""
SURE = 0.9
"""Probability of the wanted language, among all, below which a text goes: sure enough not to lose slang."""


class Annotator(Protocol):
    """Whoever gives a scene a basic label: an appraiser, a language model."""

    name: str

    def annotate(self, evidence: Sequence[Evidence]) -> list[str | None]:
        """One basic label an item, None where it cannot tell."""
        ...


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """Which filters are on, and how strict.

    words: least and most words of an answer, a task (`default` for all others).
    language: two-letter code that other people's texts must be in; empty to let all pass.
    agreement: what the annotators' majority must share with the answer's label.
    blind: whether the label must be recovered from the cues that an explanation names.
    one_person: whether a face must move its mouth where it is heard to speak.
    near: similarity from which a row counts as a repetition of an earlier one; 0 to switch off.
    """

    words: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"explain": (40, 420), "default": (1, 160)})
    language: str = "en"
    agreement: Agreement = "sentiment"
    blind: bool = True
    one_person: bool = True
    near: float = 0.9


class Filters:
    """All filters that look at one row; `passed` are the names that a kept row may claim."""

    def __init__(
        self, options: FilterOptions, test_files: TestFiles | None = None, annotators: Sequence[Annotator] = ()
    ) -> None:
        self._options, self._test_files, self._annotators = options, test_files, annotators
        self.passed: tuple[str, ...] = ("form", "length", "refusal", "leak", "grounding")
        self.passed += tuple(
            name
            for name, on in (
                ("language", options.language),
                ("contamination", test_files is not None and test_files.n_files),
                ("one person", options.one_person),
                ("agreement", options.agreement != "off"),
                ("blind", options.blind),
            )
            if on
        )

    def why_not(self, task: str, draft: Draft) -> str:
        """The first filter that the row fails and why, `name: reason`; empty for a row to keep."""
        return next(filter(None, self._reasons(task, draft)), "")

    def _reasons(self, task: str, draft: Draft) -> Iterable[str]:
        answer = draft.answer[len(draft.opening) :]
        yield self._refusal(draft)
        yield "form: the teacher wrote no answer" if draft.answer.startswith("unwritten: ") else ""
        yield "form: the answer is empty" if not answer.strip() else ""
        yield self._length(task, draft.answer)
        yield self._leak(draft)
        yield self._language(draft)
        yield self._contaminated(draft)
        if draft.evidence is not None:
            yield self._one_person(draft.evidence)
            if task in ("explain", "label", "words"):
                yield self._agreement(draft, draft.evidence)
            if task == "explain":
                yield from self._explained(draft, draft.evidence)

    def _length(self, task: str, answer: str) -> str:
        least, most = self._options.words.get(task) or self._options.words.get("default", (1, 10_000))
        n = len(answer.split())
        return "" if least <= n <= most else f"length: {'short' if n < least else 'long'}"

    @staticmethod
    def _refusal(draft: Draft) -> str:
        """What a model says in place of an answer; a person who is sorry to hear something refuses nothing."""
        is_model = draft.writer.startswith("teacher")
        return "refusal: the writer refuses" if is_model and _REFUSAL.search(draft.answer) else ""

    @staticmethod
    def _leak(draft: Draft) -> str:
        """Text of a model that was told the label and says so; quotes and a corpus's own words are not its."""
        if draft.writer in ("corpus", "composer"):
            return ""
        said = re.sub(r'"[^"]*"', " ", draft.answer[len(draft.opening) :].partition("**Conclusion**")[0])
        return "leak: the text tells that it was told" if _LEAK.search(said) else ""

    def _language(self, draft: Draft) -> str:
        wanted = self._options.language
        if wanted and any(not is_in(wanted, text) for text in draft.foreign):
            return f"language: not {wanted}"
        return ""

    def _contaminated(self, draft: Draft) -> str:
        if self._test_files is None:
            return ""
        held = self._test_files.holds(draft.foreign, [p.sha256 for p in draft.parts if p.sha256])
        return f"contamination: {held} of the test files" if held else ""

    def _one_person(self, evidence: Evidence) -> str:
        sensed = evidence.scene.sensed
        if not self._options.one_person or not evidence.scene.is_one_person or not sensed.face or not sensed.voice:
            return ""
        return "" if mouth_moves(sensed.face, sensed.voice) else "one person: the mouth is still while somebody speaks"

    def _agreement(self, draft: Draft, evidence: Evidence) -> str:
        """The labels of the parts, where they agree, and every annotator against the answer's label."""
        if self._options.agreement == "off" or draft.label is None:
            return ""
        votes = [a.annotate([evidence])[0] for a in self._annotators]
        votes += [evidence.scene.label] if any(p.source != "drawn" for p in evidence.scene.parts) else []
        return vote(draft.label, [v for v in votes if v], self._options.agreement)

    def _explained(self, draft: Draft, evidence: Evidence) -> Iterable[str]:
        answer = parse_text(draft.answer)
        if not isinstance(answer, Explanation):
            yield f"form: {answer.reason.partition(':')[0]}"
            return
        # The first part, where it is the textualizer's own restatement, is held to the evidence by that module's tests.
        is_ours = answer.observations == tuple(restate(o) for o in evidence.observations.items)
        kept = tuple(c for c in answer.claims if c.section == "interpretation" or not is_ours)
        claims = check(replace(answer, claims=kept), evidence.observations, evidence.appraisal).claims
        yield (
            "grounding: a claim that the evidence does not carry"
            if any(c.verdict is not Verdict.SUPPORTED for c in claims)
            else ""
        )
        if self._options.blind and draft.label is not None:
            yield (
                "" if self._is_recovered(answer, evidence) else "blind: the label is not recovered from the cues cited"
            )

    @staticmethod
    def _is_recovered(answer: Explanation, evidence: Evidence) -> bool:
        """Whether the observations that the interpretation cites come to the conclusion's label by themselves.

        The reader sees neither the label nor the sentences: an interpretation that names its feeling without the cues
        that show it, or weighs others than those that decide, fails here.
        """
        cited, label = set(citations(answer.interpretation)), answer.conclusion.label
        kept = Observations(tuple(o for o in evidence.observations.items if o.id in cited))
        if all(o.is_missing or o.id in cited for o in evidence.observations.items) and evidence.label == label:
            return True  # everything is cited: the reader would read the whole evidence again
        said = evidence.scene.words if any(o.quote for o in kept.items) else None
        return appraise(kept, said).fused.top == label


def vote(label: str, votes: Sequence[str], agreement: Agreement) -> str:
    """Whether the majority of annotators goes along with a label: in its emotion, or at least in its sentiment."""
    if agreement == "off" or not votes:
        return ""
    counted = Counter(votes).most_common()
    top = {name for name, n in counted if n == counted[0][1]}
    if label in top:
        return ""
    lexicon = load_lexicon()
    signs = [lexicon.vad(name).valence for name in top]
    mine = lexicon.vad(label).valence
    if agreement == "emotion" and label != "neutral" and top != {"neutral"}:
        return "agreement: the annotators name another emotion"
    opposed = all(s * mine < 0 for s in signs)
    return "agreement: the annotators find another sentiment" if opposed else ""


@cache
def is_in(language: str, text: str) -> bool:
    """Whether a text is in a language, as far as that can be told; short texts pass."""
    if len(text.split()) < _FEWEST_FOR_LANGUAGE:
        return True
    found, probability = _identifier().classify(text)
    return bool(found == language or probability < SURE)


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise MissingDependency(
            "telling languages apart needs py3langid", "pip install 'affectgpt[data]', or set filters.language="
        ) from None
    return LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)
