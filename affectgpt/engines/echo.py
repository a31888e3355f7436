"""The shipped fake: it answers at once, without a model, with nothing but the observations it was shown."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

from affectgpt.engines.engine import cut_at_stop, stamp
from affectgpt.records import Completion, EmbeddedPrompt, Prompt, Sampling

__all__ = ["EchoEngine"]

_OBSERVATION = re.compile(r"^\s*(?:[-*] )?\[([A-Z]\d+)\]\s*(.+?)\s*$", re.MULTILINE)
_PIECE = re.compile(r"\S+\s*|\s+")


class EchoEngine:
    """Copies each `[F1] …` line of the last user message into the three-part answer and concludes "cannot tell".

    Deterministic, no feeling is ever claimed: for tests, for trying the pipeline, and for machines without a model.
    With `scripted`, it gives those texts instead, one a prompt, in turn and round again. Tokens are counted as words;
    soft tokens are counted, each as one, and not read.
    """

    name = "echo"
    takes_soft = True

    def __init__(self, scripted: Sequence[str] | None = None) -> None:
        if scripted is not None and not scripted:
            raise ValueError("a scripted echo needs at least one text")
        self.model = "echo-scripted" if scripted else "echo-1"
        self._scripted = tuple(scripted or ())
        self._n_answered = 0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One answer a prompt, in order; cut after `max_tokens` words with finish_reason "length"."""
        return [self._answer(prompt, sampling) for prompt in prompts]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """The same answer, word by word."""
        completion = self._answer(prompt, sampling)
        yield from _PIECE.findall(completion.text)
        return completion

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Completion:
        text = self._next_scripted() if self._scripted else _compose(prompt)
        text, _ = cut_at_stop(text, sampling.stop)
        words = [m.end() for m in re.finditer(r"\S+", text)]
        is_cut = len(words) > sampling.max_tokens
        return stamp(
            self,
            prompt,
            text[: words[sampling.max_tokens - 1]] if is_cut else text,
            (_n_tokens(prompt), min(len(words), sampling.max_tokens)),
            "length" if is_cut else "stop",
        )

    def _next_scripted(self) -> str:
        text = self._scripted[self._n_answered % len(self._scripted)]
        self._n_answered += 1
        return text


def _n_tokens(prompt: Prompt) -> int:
    n_words = sum(len(m.content.split()) for m in prompt.messages)
    if not isinstance(prompt, EmbeddedPrompt):
        return n_words
    return n_words - len(prompt.parts) + prompt.n_soft  # a marker has no blank in it


def _compose(prompt: Prompt) -> str:
    asked = next((m.content for m in reversed(prompt.messages) if m.role == "user"), "")
    observed = dict(_OBSERVATION.findall(asked))
    lines = [f"- {text} [{id_}]" for id_, text in observed.items()] or ["- Nothing was observed."]
    return "\n".join(
        [
            "**Key observations**",
            *lines,
            "**Interpretation**",
            "The echo engine repeats what was observed and does not interpret it.",
            "**Conclusion**",
            "Emotions: cannot tell",
            "Label: cannot tell",
            "Valence: 0.0",
            "Arousal: 0.0",
            "Dominance: 0.0",
            "Confidence: 0.0",
        ]
    )
