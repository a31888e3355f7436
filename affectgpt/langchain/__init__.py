"""The agent inside LangChain: a tool that a model may call, and a Runnable for chains. It needs langchain-core alone.

    agent = AffectAgent(open_engine())
    tool = make_explain_tool(agent, root="clips")  # opens nothing outside this folder
    chain = ExplainRunnable(agent) | (lambda outcome: outcome.decision.label)

Importing this package raises MissingDependency where langchain-core is not installed.
"""

from __future__ import annotations

from affectgpt.errors import MissingDependency

try:
    import langchain_core as _langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingDependency("langchain-core is not installed", "pip install 'affectgpt[langchain]'") from error

from affectgpt.langchain.inputs import ExplainArgs, Stage, Step
from affectgpt.langchain.runnable import ExplainRunnable
from affectgpt.langchain.tool import brief, make_explain_tool

__all__ = ["ExplainArgs", "ExplainRunnable", "Stage", "Step", "brief", "make_explain_tool"]
