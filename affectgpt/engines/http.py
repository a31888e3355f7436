"""Any OpenAI-compatible server (vLLM, llama.cpp, Ollama, LM Studio, api.openai.com), through the `openai` client.

Keys: one given by option or AFFECTGPT_API_KEY goes to the server that was named with it. OPENAI_API_KEY, and whatever
else the `openai` client would read from the environment (organisation, project, custom headers), goes to
api.openai.com over https and to nobody else. Redirects are refused: they could carry a prompt elsewhere.

An answer's opening is gone on from where the server is a vLLM, which says so in its list of models; others are asked
for the JSON form instead.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from affectgpt.engines.chat_form import chat_request, is_about_format
from affectgpt.engines.engine import EngineOptions, check_soft, stamp
from affectgpt.errors import EngineBusy, EngineError, EngineUnreachable, OptionError
from affectgpt.records import Completion, Prompt, Sampling

__all__ = ["HttpEngine", "base_names", "open_http"]

OPENAI_HOST = "api.openai.com"
NO_KEY = "local"
"""Sent where no key is known: servers that want none ignore it, and the client refuses to send nothing."""

_SENT = {
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
}
"""The only headers that servers other than OpenAI's receive; `x-stainless-retry-count` and its like are dropped too."""

_FOR_NOW = (408, 409, 429)
"""Refusals that another try may turn (RFC 9110, 15.5.9 and 15.5.10; RFC 6585, 4); so may every 5xx."""

_BEYOND_OPENAI = ("continue_final_message", "add_generation_prompt")
_log = logging.getLogger(__name__)


def open_http(options: EngineOptions, base_url: str, model: str | None, env: Mapping[str, str]) -> HttpEngine:
    """An engine for the server at `base_url`; without `model`, the only one that the server lists.

    Raises:
        OptionError: not an http(s) URL, or no model named and the server lists none or several.
        EngineError, EngineUnreachable: the server could not be asked.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OptionError(f"{_shown(base_url)!r} is no base URL", "write it like http://localhost:8000/v1")
    engine = HttpEngine(options, base_url, model or "", _key(options, base_url, env))
    if not model:
        engine.model = engine.only_model()
    return engine


def _key(options: EngineOptions, base_url: str, env: Mapping[str, str]) -> str:
    parts = urlsplit(base_url)
    own = options.api_key or env.get("AFFECTGPT_API_KEY")
    if not own and parts.hostname == OPENAI_HOST and parts.scheme == "https":
        own = env.get("OPENAI_API_KEY")
    return own or NO_KEY


class HttpEngine:
    """Chat completions of one server; requests run side by side, answers keep the order. Thread-safe."""

    name = "http"

    def __init__(self, options: EngineOptions, base_url: str, model: str, api_key: str) -> None:
        import openai

        self.model = model
        self._options = options
        self._url = _shown(base_url)
        self._key = api_key
        self._is_openai = urlsplit(base_url).hostname == OPENAI_HOST
        self._takes_schema = True
        self._is_vllm: bool | None = None
        self._rows: dict[str, Any] = {}
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key,
            timeout=options.timeout_s,
            max_retries=options.n_retries,
            http_client=openai.DefaultHttpxClient(
                follow_redirects=False,
                event_hooks={"request": [self._strip]},
                # A proxy out of the environment cannot reach this machine's own loopback.
                trust_env=not _is_loopback(base_url),
            ),
        )

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One answer a prompt, in order. The first failure, by order, is raised, and waiting requests are dropped.

        Raises:
            EngineUnreachable: nothing answers. EngineBusy: it turns requests away, fails or is late, after all retries.
            EngineError: the server refused or answered nonsense. OptionError: soft tokens, and the server is no vLLM.
        """
        if not prompts:
            return []
        check_soft(self, prompts)
        if len(prompts) == 1:  # no thread for it: one that waits at a server would keep Python from ending
            return [self._answer(prompts[0], sampling)]
        pool = ThreadPoolExecutor(min(self._options.n_concurrent, len(prompts)), "affectgpt-http")
        try:
            return list(pool.map(lambda prompt: self._answer(prompt, sampling), prompts))
        finally:
            pool.shutdown(cancel_futures=True)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """Pieces of one answer as the server sends them; reasoning goes to the Completion that is returned."""
        import openai

        check_soft(self, [prompt])
        asked = self._asked(prompt, sampling)
        opening = _opening(asked, prompt)
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        text, thought, n_tokens, reason = "", "", (0, 0), "stop"
        try:
            with self._ask(asked) as events:
                if opening:
                    yield opening
                for event in events:
                    if event.usage:
                        n_tokens = event.usage.prompt_tokens, event.usage.completion_tokens
                    if not event.choices:
                        continue
                    delta, reason = event.choices[0].delta, event.choices[0].finish_reason or reason
                    thought += _thought(delta)
                    if piece := delta.content:
                        text += piece
                        yield piece
        except (openai.OpenAIError, ValueError) as e:
            raise self._error(e) from e
        return stamp(self, prompt, opening + text, n_tokens, reason, thought)

    def close(self) -> None:
        """Give the connections back; the engine answers nothing afterwards."""
        self._client.close()

    def only_model(self) -> str:
        """The one model that the server lists.

        Raises:
            OptionError: it lists none, or several.
        """
        names = self._models()
        if len(names) != 1:
            listed = ", ".join(names[:20]) or "none"
            raise OptionError(f"{self._url} lists {len(names)} models: {listed}", "name one with --model")
        return names[0]

    def _models(self) -> list[str]:
        import openai

        try:
            rows = self._client.models.list().data
            self._is_vllm = bool(rows) and all(getattr(row, "owned_by", None) == "vllm" for row in rows)
            self._rows = {str(row.id): row for row in rows}
            return [_plain(name) for name in self._rows]
        except (openai.OpenAIError, ValueError) as e:
            raise self._error(e) from e
        except (AttributeError, TypeError) as e:
            raise self._nonsense() from e

    @property
    def takes_soft(self) -> bool:
        """Whether the server is a vLLM, and not one that lists no models; one without the flag says so when asked."""
        return self._continues()

    @property
    def base_names(self) -> tuple[str, ...]:
        """Names of the base that the model is of: an adapter's parent, and where the server says it got it from.

        Raises:
            EngineError, EngineUnreachable: the server could not be asked.
        """
        if not self._rows:
            self._models()
        row = self._rows.get(self.model)
        return base_names(self._rows[parent] if (parent := getattr(row, "parent", None)) in self._rows else row)

    def _continues(self) -> bool:
        """Whether the server can go on from an answer's opening; a server that lists no models cannot."""
        if self._is_vllm is None:
            try:
                self._models()
            except EngineUnreachable:
                raise
            except EngineError:
                self._is_vllm = False
        return bool(self._is_vllm)

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Completion:
        import openai

        asked = self._asked(prompt, sampling)
        try:
            reply = self._ask(asked)
        except (openai.OpenAIError, ValueError) as e:
            raise self._error(e) from e
        try:
            return self._completion(prompt, reply, _opening(asked, prompt))
        except (AttributeError, IndexError, TypeError) as e:
            raise self._nonsense() from e

    def _ask(self, asked: dict[str, Any]) -> Any:
        """One request; a server that refuses structured output is asked again without, and never with it again."""
        import openai

        try:
            return self._client.chat.completions.create(**asked)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as e:
            if "response_format" not in asked or not is_about_format(str(e)):
                raise
            if self._takes_schema:
                _log.warning("%s takes no JSON schema; asking for the form in words only", self._url)
            self._takes_schema = False
            del asked["response_format"]
            return self._client.chat.completions.create(**asked)

    def _asked(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        asked = chat_request(
            self.model,
            prompt,
            sampling,
            continues=bool(prompt.opening) and self._continues(),
            takes_schema=self._takes_schema,
        )
        if self._is_openai:
            # Its own newer models refuse the older name; other servers may not know the newer one.
            asked["max_completion_tokens"] = asked.pop("max_tokens")
        if more := {name: asked.pop(name) for name in _BEYOND_OPENAI if name in asked}:
            asked["extra_body"] = more
        return asked

    def _completion(self, prompt: Prompt, reply: Any, opening: str) -> Completion:
        choice, usage = reply.choices[0], reply.usage
        message = choice.message
        return stamp(
            self,
            prompt,
            opening + (message.content or getattr(message, "refusal", None) or ""),
            (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0),
            choice.finish_reason or "stop",
            reasoning=_thought(message),
        )

    def _strip(self, request: Any) -> None:
        """Last look before the wire: our key, and outside OpenAI nothing else that the environment could have added."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        if not self._is_openai:
            for name in [name for name in request.headers if name.lower() not in _SENT]:
                del request.headers[name]

    def _error(self, e: Exception) -> EngineError:
        """The same failure in this package's words; the key never appears in them."""
        import openai

        if isinstance(e, openai.APITimeoutError) and "connect" not in type(e.__cause__).__name__.lower():
            return EngineBusy(f"{self._url} did not answer within {self._options.timeout_s:g} s", "raise --timeout")
        if isinstance(e, openai.APIConnectionError):
            return EngineUnreachable(f"nothing answers at {self._url}", "start the server, or correct --base-url")
        if isinstance(e, openai.APIStatusError):
            said = _plain(str(e.message))
            said = (said if self._key == NO_KEY else said.replace(self._key, "[key]"))[:300]
            return _refusal(e, f"{self._url} answered {e.status_code}: {said}", self._remedy(e.status_code))
        return self._nonsense()

    def _remedy(self, status: int) -> str:
        if status in (401, 403):
            return "give this server's key by --api-key or AFFECTGPT_API_KEY (OPENAI_API_KEY only goes to OpenAI)"
        if status == 404:
            return f"see that the base URL ends in /v1 and that the server has the model {self.model!r}"
        if status == 429 or status >= 500:
            return f"it still did after {self._options.n_retries} retries: try later, or look into the server's log"
        if 300 <= status < 400:
            return "redirects are not followed: name the server's final URL"
        return "the server refused the request: see --model and the prompt's length"

    def _nonsense(self) -> EngineError:
        return EngineError(f"{self._url} did not answer in the OpenAI form", "see that --base-url is the server's /v1")


def _refusal(e: Any, what: str, remedy: str) -> EngineError:
    """An answer that is an error: a busy server's, where a later try may succeed."""
    if e.status_code not in _FOR_NOW and e.status_code < 500:
        return EngineError(what, remedy)
    busy = EngineBusy(what, remedy)
    said = e.response.headers.get("retry-after", "")
    # RFC 9110, 10.2.3: seconds, or a date that needs a clock both sides agree on, which is not relied upon.
    busy.retry_after_s = float(said) if re.fullmatch(r"[0-9]{1,6}", said) else None
    return busy


def base_names(row: Any) -> tuple[str, ...]:
    """What a model of a server's list may be called: its name there, and the folder or hub id it is loaded from.

    `row` is a mapping, or has its fields as attributes.
    """
    told = [row.get(key) if isinstance(row, Mapping) else getattr(row, key, None) for key in ("id", "root")]
    names = [name for name in told if isinstance(name, str) and name]
    return tuple(dict.fromkeys([*names, *(PurePosixPath(name).name for name in names)]))


def _opening(asked: Mapping[str, Any], prompt: Prompt) -> str:
    """What the answer begins with and the server will not repeat."""
    return prompt.opening if "extra_body" in asked else ""


def _is_loopback(base_url: str) -> bool:
    parts = urlsplit(base_url)
    return parts.scheme == "http" and (parts.hostname or "").lower() in ("localhost", "127.0.0.1", "::1")


def _thought(message: Any) -> str:
    """What a message or a piece of one holds as reasoning, under either of its two names."""
    thought = getattr(message, "reasoning", None) or getattr(message, "reasoning_content", None)
    return thought if isinstance(thought, str) else ""


def _shown(url: str) -> str:
    """The URL without a user name, password or query, for messages."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the base URL"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _plain(text: str) -> str:
    """One line without control characters: a server's words reach the terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
