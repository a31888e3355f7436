"""The agent as a tool that a model may call. What it names is not trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool, ToolException

from affectgpt.agent import AffectAgent
from affectgpt.answers import HEADINGS, write_conclusion
from affectgpt.errors import AffectError, InputError, MediaNotFound, OptionError
from affectgpt.langchain.inputs import ExplainArgs, explain, invalid, read
from affectgpt.media import subtitle_path
from affectgpt.record_json import NOTICE, to_json
from affectgpt.records import Explanation, Outcome, UnparsedAnswer, Verdict

__all__ = ["brief", "make_explain_tool"]

N_LISTED = 20
"""File names told to a model that asked for one that is not there."""

DESCRIPTION = (
    "Explain what a person in a video, a sound, a photograph or a text seems to feel: what was observed in face, voice "
    "and words, each with an id such as [F1], an interpretation that cites the ids, and a conclusion. It describes how "
    "somebody seems, not what they feel. Give `path` for a file, `transcript` for words, or both."
)


def make_explain_tool(agent: AffectAgent, root: Path | str, *, name: str = "explain_clip") -> StructuredTool:
    """A tool by which a model has clips explained; a path comes from the model, so nothing outside `root` is opened.

    The model is given `brief`; the ToolMessage's artifact is the outcome as `affectgpt.record_json` writes it. What
    fails (no such file, a path that leads out, damaged media) is told to the model with its remedy, as a ToolMessage of
    status "error"; only faults of the program raise.

    Raises:
        OptionError: `root` is no folder.
    """
    folder = Path(root).resolve()
    if not folder.is_dir():
        raise OptionError(f"no folder at {root}", "give the folder that holds the clips")

    def explain_clip(**given: Any) -> tuple[str, dict[str, object]]:
        try:
            asked = read(given)
            path = None if asked.path is None else _inside(folder, str(asked.path))
            outcome = explain(agent, replace(asked, path=path))
        except AffectError as error:
            # Where the folder lies is nothing that a model needs.
            raise ToolException(str(error).replace(f"{folder}/", "")) from error
        return brief(outcome), to_json(outcome)

    return StructuredTool.from_function(
        explain_clip,
        name=name,
        description=DESCRIPTION,
        args_schema=ExplainArgs,
        infer_schema=False,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=invalid,
    )


def brief(outcome: Outcome) -> str:
    """An outcome in a few lines for a model: label, observations with their ids, interpretation, conclusion, notice."""
    decision, answer = outcome.decision, outcome.answer
    lines = [f"Label: {decision.label or 'cannot tell'}"]
    if decision.is_disputed:
        lines[0] += f" (the appraisers say {decision.appraisal}, the model {decision.llm}; the {decision.by} counts)"
    if outcome.appraisal is not None:
        lines += [f"Conflict: {conflict}" for conflict in outcome.appraisal.conflicts]
    lines += [f"{HEADINGS[0]}:", *(f"- {o.line}" for o in outcome.observations.items)]
    if isinstance(answer, Explanation):
        lines.append(f"{HEADINGS[1]}: {' '.join(answer.interpretation.split()) or 'none'}")
        checked = answer.grounding.claims if answer.grounding else ()
        lines += [f"Contradicted: {c.claim.text} ({c.reason})" for c in checked if c.verdict is Verdict.CONTRADICTED]
        lines.append(f"{HEADINGS[2]}: {'; '.join(write_conclusion(answer.conclusion).splitlines())}")
    elif isinstance(answer, UnparsedAnswer):
        lines.append(f"{HEADINGS[1]}: none, for the answer did not have the asked form ({answer.reason})")
    return "\n".join([*lines, NOTICE])


def _inside(root: Path, name: str) -> Path:
    """The file that a model named, links followed, if it lies in `root`, and so does the subtitle file beside it.

    Raises:
        InputError: it leads out, whether or not something lies there. MediaNotFound: no such file in `root`.
    """
    outside = InputError(f"{name!r} is outside the folder of clips", "name a file inside it, by its relative path")
    try:
        found = (root / name).resolve()
        if not found.is_relative_to(root):
            raise outside
        is_file = found.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, or links that go round in a circle
        is_file = False
    if not is_file:
        raise MediaNotFound(f"no file {name[:200]!r} in the folder of clips", f"there are: {_listed(root)}")
    if (words := subtitle_path(found)) is not None and not words.resolve().is_relative_to(root):
        raise outside
    return found


def _listed(root: Path) -> str:
    names = sorted(p.name for p in root.iterdir() if p.is_file() and not p.name.startswith("."))
    more = f" and {len(names) - N_LISTED} more" if len(names) > N_LISTED else ""
    return f"{', '.join(names[:N_LISTED])}{more}" if names else "no files in it"
