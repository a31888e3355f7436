"""A prompt as the JSON of a chat completion, as OpenAI-compatible servers take it.

Servers turn messages into one text by the model's chat template, and a turn's mark that stands in a message, such as
`<|im_end|>` in a hostile subtitle, would end the turn: such marks are broken by a space, as the local engine does.
Soft tokens go as parts of a message, which vLLM alone takes. It puts a line's end between parts, where its chat
template prints a message's content whole (`--chat-template-content-format string`, its own guess for such a template).
"""

from __future__ import annotations

import re
from typing import Any

from affectgpt.engines.splicing import tensor_base64
from affectgpt.records import EmbeddedPrompt, Message, Prompt, Sampling

__all__ = ["chat_request", "is_about_format", "unmarked"]

_MARK = re.compile(
    r"<(?=[|｜][^<>\n]{1,40}[|｜]>)"  # ChatML, Llama 3, Phi; DeepSeek
    r"|<(?=/?(?:s|bos|eos|start_of_turn|end_of_turn)>)"  # Llama 2, Gemma
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS)\])"  # Mistral
    r"|<(?=prompt_embeds>)"  # vLLM refuses a conversation that holds it
)
"""Where a mark begins that chat templates or servers use; this side does not know which model answers."""

_ABOUT_FORMAT = re.compile(r"response_format|json_schema|json schema|structured|guided|grammar", re.IGNORECASE)


def chat_request(
    model: str, prompt: Prompt, sampling: Sampling, *, continues: bool = False, takes_schema: bool = True
) -> dict[str, Any]:
    """The JSON of a chat completion. `continues`: the server goes on from an answer's opening, as vLLM does.

    Soft tokens become parts of a message, which vLLM alone takes: `check_soft` comes first.
    """
    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": _content(m, prompt)} for m in prompt.messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    if sampling.stop:
        asked["stop"] = list(sampling.stop)
    if prompt.opening and continues:
        asked["messages"].append({"role": "assistant", "content": unmarked(prompt.opening)})
        asked |= {"continue_final_message": True, "add_generation_prompt": False}
    elif prompt.schema and takes_schema:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", prompt.prompt_id)[:64] or "answer"
        schema = {"name": name, "schema": dict(prompt.schema), "strict": True}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    return asked


def _content(message: Message, prompt: Prompt) -> str | list[dict[str, str]]:
    """A message's text, or its text and soft tokens in parts where it holds some."""
    pieces = prompt.pieces(message) if isinstance(prompt, EmbeddedPrompt) else (message.content,)
    if all(isinstance(piece, str) for piece in pieces):
        return unmarked(message.content)
    return [
        {"type": "text", "text": unmarked(piece)}
        if isinstance(piece, str)
        else {"type": "prompt_embeds", "data": tensor_base64(piece.tokens)}
        for piece in pieces
    ]


def is_about_format(error: str) -> bool:
    """Whether a server's refusal is one of structured output."""
    return bool(_ABOUT_FORMAT.search(error))


def unmarked(text: str) -> str:
    """The text with every turn's mark broken by a space."""
    return _MARK.sub(r"\g<0> ", text)
