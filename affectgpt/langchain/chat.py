"""The served model as a LangChain chat model that keeps the three parts. It needs langchain-openai besides.

`ChatOpenAI` itself speaks to the gateway as well, but drops every field that OpenAI does not know.

    chat = ChatAffectGPT(base_url="http://127.0.0.1:8000/v1", extra_body={"affect": True})
    answer = chat.invoke("I got the job!")
    answer.text                                     # the reply
    answer.additional_kwargs["reasoning_content"]   # key observations, interpretation, conclusion
    answer.response_metadata["affect"]              # the outcome, as affectgpt.record_json writes it
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field, SecretStr

from affectgpt.errors import MissingDependency

try:
    from langchain_openai import ChatOpenAI
except ModuleNotFoundError as error:
    raise MissingDependency("langchain-openai is not installed", "pip install langchain-openai") from error

if TYPE_CHECKING:
    import openai
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

__all__ = ["ChatAffectGPT"]

MODEL: Final = "affectgpt"
BASE_URL: Final = "http://127.0.0.1:8000/v1"

_EXTRAS: Final = ("affect", "card", "uploads", "ai_generated")
"""What the gateway says of an answer beside OpenAI's own fields."""
_THOUGHTS: Final = ("reasoning_content", "reasoning")


def _own_key() -> SecretStr:
    # OPENAI_API_KEY is for OpenAI alone; a gateway without keys takes any.
    return SecretStr(os.environ.get("AFFECTGPT_API_KEY") or "none")


class ChatAffectGPT(ChatOpenAI):
    """`ChatOpenAI` for `affectgpt serve`. Everything that it takes is taken here.

    The three parts stand in `additional_kwargs["reasoning_content"]`, and as a reasoning block in `content_blocks`;
    what else the gateway says (`affect` where asked for, `card`, `uploads`, `ai_generated`) in `response_metadata`. An
    answer that stands among the messages of a later turn takes its `additional_kwargs["dialogue"]` along (persona,
    strategy, own emotion), so that the conversation goes on from it. The key is `api_key`, else AFFECTGPT_API_KEY.
    """

    model_name: str = Field(default=MODEL, alias="model")
    openai_api_base: str | None = Field(default=BASE_URL, alias="base_url")
    openai_api_key: SecretStr | Callable[[], str] | Callable[[], Awaitable[str]] | None = Field(
        default_factory=_own_key, alias="api_key"
    )

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        for message, row in zip(self._convert_input(input_).to_messages(), payload.get("messages") or (), strict=False):
            if held := message.additional_kwargs.get("dialogue"):
                row["dialogue"] = held
        return payload

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        document = response if isinstance(response, dict) else response.model_dump(warnings=False)
        for generation, choice in zip(result.generations, document.get("choices") or (), strict=False):
            _keep(generation.message, document, choice.get("message") or {})
        return result

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        if made is None or not chunk.get("choices"):
            return made
        choice = chunk["choices"][0]
        # Chunks are added up, texts in them too: what several of them say is taken once, from the last. An answer of
        # another model, which the gateway hands on, has its card in the first.
        is_alone = chunk.get("model") != MODEL and "card" in chunk
        said = chunk if choice.get("finish_reason") else {"card": chunk["card"]} if is_alone else {}
        _keep(made.message, said, choice.get("delta") or {})
        return made


def _keep(message: BaseMessage, document: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Into `message` what its parent class left out."""
    thought = next((told[name] for name in _THOUGHTS if isinstance(told.get(name), str)), "")
    if thought:
        message.additional_kwargs["reasoning_content"] = thought
    if isinstance(told.get("dialogue"), dict):
        message.additional_kwargs["dialogue"] = told["dialogue"]
    # Under the name of OpenAI, LangChain's `content_blocks` would leave the thought out again.
    message.response_metadata["model_provider"] = MODEL
    message.response_metadata |= {name: document[name] for name in _EXTRAS if document.get(name) is not None}
