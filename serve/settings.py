"""What the server is told: flags before AFFECTGPT_SERVE_… variables before defaults.

Each field is an option of `affectgpt serve` and a variable: `AFFECTGPT_SERVE_PORT=9000`, lists as JSON.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from affectgpt.errors import OptionError
from affectgpt.readers import Setting

__all__ = ["ServeSettings", "is_loopback", "read_settings"]

MB = 1_000_000


class ServeSettings(BaseSettings):
    """Everything about a gateway but its parts. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="AFFECTGPT_SERVE_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on; one that is not loopback wants keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    engine: Literal["auto", "local", "http", "echo"] = Field(
        "auto", description="auto: a server where one is named or launched, else the model in this process."
    )
    base_url: str | None = Field(None, description="An OpenAI-compatible server that answers, with its /v1.")
    api_key: SecretStr | None = Field(None, description="That server's key.")
    launch: bool = Field(False, description="Start a vLLM server, and stop it at the end.")
    model: str | None = Field(None, description="Writes the replies: a folder, a hub id, or the server's name for it.")
    adapter: str = Field(
        "default",
        description="Writes the explanations: an adapter's folder here, or the server's name for one. default: the "
        "shipped one where it fits; none: the bare model.",
    )
    fusion: Path | None = Field(
        None, description="Adapters that show face and voice to the model as soft tokens, where a client asks for it."
    )
    persona: str = Field("warm", description="How replies are spoken: a shipped persona, or a YAML file like theirs.")
    context: Setting | None = Field(
        None, description="A place where face and voice must not be read for emotion (EU AI Act, Art. 5(1)(f))."
    )
    permissive: bool = Field(False, description="Only appraisers trained on data under permissive licences.")
    whisper: str | None = Field(None, description="A whisper model that recognises words.")
    retain: bool = Field(False, description="Keep uploads after they were answered, until ttl_s is over.")
    ttl_s: float = Field(3600.0, gt=0, description="Seconds after which whatever was uploaded is deleted.")
    local_only: bool = Field(False, description="Refuse every setting by which something could leave this machine.")
    database: str | None = Field(
        None,
        description="Where conversations are kept: a SQLAlchemy URL, or `memory`.",
    )
    history_days: float | None = Field(None, gt=0, description="Days after which conversations go; none: never.")
    allow_host: tuple[str, ...] = Field((), description="Hosts that media may be fetched from; without, none.")
    keys: Path | None = Field(None, description="The file of hashed API keys that callers must have.")
    page: bool = Field(True, description="Serve the chat page.")
    locale: str = Field("en", description="Whose help lines are shown where a request names no locale.")
    log_level: Literal["info", "warning", "error"] = Field(
        "info", description="info: a line a turn and a request; ids, times and counts, never what was said."
    )

    max_inline_bytes: int = Field(64 * MB, gt=0, description="Largest JSON request, with its media in base64.")
    max_upload_bytes: int = Field(512 * MB, gt=0, description="Largest uploaded file.")
    max_duration_s: float = Field(600.0, gt=0, description="Longest clip.")
    max_pixels: int = Field(40_000_000, gt=0, description="Most pixels in a picture.")
    reply_tokens: int = Field(256, gt=0, description="Longest reply where the request names none.")
    context_tokens: int = Field(768, ge=0, description="Tokens of earlier turns that a reply is written with.")
    answer_tokens: int = Field(640, gt=0, description="Longest explanation.")
    n_turns: int = Field(64, gt=0, description="Turns at once; one more is answered 429.")
    n_workers: int = Field(2, gt=0, description="Processes that decode and read media.")
    queue_length: int = Field(16, ge=0, description="Clips that may wait for a process; one more is answered 429.")
    worker_memory_bytes: int = Field(4_000 * MB, gt=0, description="Memory of one such process.")
    worker_seconds: float = Field(600.0, gt=0, description="Longest time that one clip may take.")
    cache_bytes: int = Field(1_000 * MB, ge=0, description="Readings kept on disk, by the media's hash; 0: none.")
    timeout_s: float = Field(120.0, gt=0, description="Longest wait for a word of the server that answers.")

    def check(self) -> ServeSettings:
        """These settings, if they agree with each other. Raises OptionError."""
        if not is_loopback(self.host) and self.keys is None:
            raise OptionError(
                f"{self.host} can be reached from other machines and no keys are set",
                "make a key and name its file with --keys, or listen on 127.0.0.1",
            )
        if self.launch and self.base_url:
            raise OptionError("--launch and --base-url together", "start a server here, or name one that runs")
        if self.engine in ("local", "echo") and (self.launch or self.base_url):
            raise OptionError(f"the {self.engine} engine needs no server", "drop --launch and --base-url")
        if self.engine == "http" and not (self.launch or self.base_url):
            raise OptionError("the http engine has no server", "give --base-url with its /v1, or --launch")
        if self.base_url is not None:
            self._check_url(self.base_url)
        if self.local_only and self.allow_host:
            raise OptionError("--local-only and --allow-host together", "fetching media leaves this machine")
        self._check_database()
        return self

    def _check_database(self) -> None:
        host = urlsplit(self.database or "").hostname
        if self.local_only and host and not is_loopback(host):
            raise OptionError(f"--local-only, and the database lies at {host}", "use one on this machine")

    def _check_url(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError("--base-url is no http(s) URL", "write it like http://127.0.0.1:8001/v1")
        if self.local_only and not is_loopback(parts.hostname):
            raise OptionError(f"--local-only, and the model runs at {parts.hostname}", "use a server on this machine")


def read_settings(**flags: object) -> ServeSettings:
    """Settings from flags (None: not given), then the environment, then defaults, checked.

    Raises:
        OptionError: a value out of range or of the wrong kind, or values that contradict each other.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = ServeSettings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        where = f"--{name.replace('_', '-')}" if name in given else f"AFFECTGPT_SERVE_{name.upper()}"
        raise OptionError(f"{where}: {first['msg'].lower()}", "see `affectgpt serve --help`") from None
    except ValueError as error:  # a list in the environment that is no JSON
        raise OptionError(f"the environment's AFFECTGPT_SERVE_ variables: {error}", "write lists as JSON") from None
    return settings.check()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
