"""Two runs of a suite compared by a judge: the predictor that asks one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affectgpt.corpora import Example
from affectgpt.errors import EngineError, EngineUnreachable, InputError, OptionError
from affectgpt.evaluation import pairs
from affectgpt.evaluation import samples as stored
from affectgpt.evaluation.asked import Asked
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.pairs import Asking, Compared, Pair
from affectgpt.evaluation.repliers import dialogue_lines
from affectgpt.evaluation.samples import Answer, Prediction
from affectgpt.prompting import PromptLibrary

__all__ = ["JudgeOptions", "Judged"]


@dataclass(frozen=True, slots=True)
class JudgeOptions(Asked):
    """Who judges, and whose texts: the samples of the tasks `ours` and `theirs`.

    runs: the folder that holds both tasks' folders; in a suite the one that it writes to, where none is named.
    prompt: a prompt of the library with places for evidence, first and second.
    """

    max_tokens: int = pairs.JUDGE_TOKENS
    ours: str = ""
    theirs: str = ""
    runs: str = ""
    prompt: str = "compare-replies"


class Judged:
    """Asks a judge, blind and in both orders, which of two runs' replies to an example is the better one."""

    def __init__(self, labels: LabelSet, options: JudgeOptions) -> None:
        if not options.runs or not options.ours or not options.theirs:
            raise OptionError("a judge of which runs?", "name two tasks, `ours:` and `theirs:`")
        self._ours, self._theirs = (_texts(Path(options.runs) / name) for name in (options.ours, options.theirs))
        self._asking = Asking(options.prompt, options.sampling, options.seed)
        self._prompts = PromptLibrary()
        self._judge = options.open()
        self.origin = f"{options.ours} against {options.theirs}"

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """All pairs at once; where the engine fails, half by half, down to the pair that it fails on."""
        shown = [e for e in examples if e.id in self._ours and e.id in self._theirs]
        found: dict[str, Answer] = {e.id: a for e, a in zip(shown, self._compare(shown), strict=True)} if shown else {}
        missing = InputError("not answered by both runs", "run both tasks over the same examples first")
        return [found.get(e.id, missing) for e in examples]

    def _compare(self, examples: Sequence[Example]) -> list[Answer]:
        asked = [Pair(e.id, dialogue_lines(e), self._ours[e.id], self._theirs[e.id]) for e in examples]
        try:
            return [_prediction(c) for c in pairs.compare(self._judge, asked, self._prompts, self._asking)]
        except EngineUnreachable:
            raise
        except EngineError as error:
            if len(examples) == 1:
                return [error]
            half = len(examples) // 2
            return [*self._compare(examples[:half]), *self._compare(examples[half:])]


def _texts(folder: Path) -> dict[str, str]:
    """The scored texts of a run by sample id."""
    path = folder / "samples.jsonl"
    if not path.is_file():
        raise InputError(f"no samples of a run in {folder}", "run that task first, or name its folder by `runs:`")
    found = {s.id: s.answer.text.strip() for s in stored.read_samples(path).values() if s.status == "scored"}
    return {name: text for name, text in found.items() if text}


def _prediction(c: Compared) -> Prediction:
    facts = {
        "pair": [c.ours_first, c.ours_second],
        "model": c.judge,
        "prompt": c.prompt_version,
        "raw": list(c.raw),
    }
    return Prediction(text=c.winner, facts=facts, unparsed="no verdict" if c.winner == "unread" else "")
