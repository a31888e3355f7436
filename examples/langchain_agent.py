"""A language model that may look at clips: it calls a tool, and answers from what the tool says.

.venv/bin/python examples/langchain_agent.py "How does she seem in astronaut_smile.mp4?" --base-url URL --model NAME

The model is any that calls tools, behind any OpenAI-compatible server. Without --base-url nobody is asked: the program
calls the tool itself, as a model would, and prints what the model would be told. It needs langchain-core, and for an
agent langchain-openai and langgraph.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from affectgpt import AffectAgent, AffectError, open_engine
from affectgpt.langchain import make_explain_tool

CLIPS = Path(__file__).parent


def main() -> int:
    """Ask the question, print each step."""
    options = argparse.ArgumentParser()
    options.add_argument("question", nargs="?", default="How does the person in astronaut_smile.mp4 seem, and why?")
    options.add_argument("--base-url", help="a server whose model calls tools, with its /v1")
    options.add_argument("--model", default="default", help="its name for the model")
    given = options.parse_args()
    try:
        tool = make_explain_tool(AffectAgent(open_engine()), root=CLIPS)  # no path leads out of this folder
    except AffectError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if given.base_url:
        converse(tool, given.question, given.base_url, given.model)
    else:
        print(tool.invoke({"path": "astronaut_smile.mp4"}))
    return 0


def converse(tool: BaseTool, question: str, base_url: str, model: str) -> None:
    """One question to an agent of langgraph."""
    from langchain_openai import ChatOpenAI
    from langgraph.prebuilt import create_react_agent

    warnings.filterwarnings("ignore", "create_react_agent has been moved")  # to `langchain`, which is not needed here
    chat = ChatOpenAI(model=model, base_url=base_url, api_key=os.environ.get("AFFECTGPT_API_KEY", "none"))
    agent = create_react_agent(chat, [tool])
    for step in agent.stream({"messages": [("user", question)]}, stream_mode="updates"):
        for message in (message for node in step.values() for message in node["messages"]):
            for call in getattr(message, "tool_calls", ()):
                print(f"-> {call['name']} {call['args']}")
            if isinstance(message, ToolMessage) or message.content:
                print(message.text, end="\n\n")


if __name__ == "__main__":
    sys.exit(main())
