"""`affectgpt explain` and `affectgpt observe`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from affectgpt.cli.flags import AnswerFlags, OutputFlags, PathFlags, SenseFlags, takes
from affectgpt.cli.plain import plain
from affectgpt.cli.progress import open_display
from affectgpt.errors import OptionError

if TYPE_CHECKING:
    from affectgpt.agent import AffectAgent, Progress
    from affectgpt.readers import AgentOptions
    from affectgpt.records import Outcome

__all__ = ["check_report", "explain", "observe"]


@takes(SenseFlags, AnswerFlags, PathFlags, OutputFlags)
def explain(sense: SenseFlags, answer: AnswerFlags, way: PathFlags, output: OutputFlags) -> None:
    """Explain what a person seems to feel in a clip, and point every claim back at what was observed."""
    from affectgpt.agent import AffectAgent

    options, fusion = sense.options(answer), way.folder()
    check_report(output.report, sense.path)
    AffectAgent(None, options).check(sense.path)  # a wrong path should not wait for a model to load
    with open_display(silent=output.quiet) as progress:
        agent = _open_agent(options, answer, fusion, progress)
        outcome = _run(agent, sense.path, output, progress)
    _print(outcome, output)


@takes(SenseFlags, OutputFlags)
def observe(sense: SenseFlags, output: OutputFlags) -> None:
    """Tell what is seen, heard and said in a clip. No language model is asked."""
    from affectgpt.agent import AffectAgent

    check_report(output.report, sense.path)
    with open_display(silent=output.quiet) as progress:
        outcome = _run(AffectAgent(None, sense.options()), sense.path, output, progress)
    _print(outcome, output)


def _open_agent(options: AgentOptions, answer: AnswerFlags, fusion: Path | None, progress: Progress) -> AffectAgent:
    from affectgpt.agent import AffectAgent, Parts
    from affectgpt.engines.engine import open_engine
    from affectgpt.fusion.soft_reader import lora_folder
    from affectgpt.readers import open_soft_reader

    progress("model", None)
    if fusion is None:
        agent = AffectAgent(open_engine(answer.engine_options()), options)
    else:
        engine = open_engine(replace(answer.engine_options(), default_adapter=lora_folder(fusion)))
        soft = open_soft_reader(fusion, engine)
        agent = AffectAgent(engine, replace(options, encoders=soft.encoders), parts=Parts(soft=soft))
    progress("model", 1.0)
    return agent


def _run(agent: AffectAgent, path: Path | None, output: OutputFlags, progress: Progress) -> Outcome:
    """Sense, conclude and write the page; printing comes after, when the bars have left the terminal."""
    senses = agent.sense(path, progress)
    outcome = agent.conclude(senses, progress)
    if output.report:
        from affectgpt import report

        progress("report", None)
        report.write(output.report, outcome, senses)
        progress("report", 1.0)
    return outcome


def _print(outcome: Outcome, output: OutputFlags) -> None:
    if output.json:
        from affectgpt.record_json import dumps

        typer.echo(dumps(outcome))
    else:
        from affectgpt.cli.screen import show

        show(outcome)
    if output.report:
        typer.echo(f"page written to {plain(str(output.report))}", err=True)


def check_report(report: Path | None, clip: Path | None) -> None:
    """Say now, not after minutes of work, that the page could not be written."""
    if report is None:
        return
    if report.is_dir():
        raise OptionError(f"--report {report} is a folder", "name a file, for example report.html")
    if clip is not None and report.exists() and clip.exists() and report.samefile(clip):
        raise OptionError(f"--report {report} is the clip itself", "name another file")
    if not report.absolute().parent.is_dir() or not os.access(report.absolute().parent, os.W_OK):
        raise OptionError(f"--report {report} cannot be written there", "name a folder that exists and can be written")
