"""Who understands a turn and chooses how it is answered: one companion a persona, all of whom share one who hears."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial

from affectgpt.dialogue import (
    Asked,
    Budgets,
    Companion,
    CompanionOptions,
    Parts,
    Prepared,
    load_persona,
    persona_names,
)
from affectgpt.dialogue.hearing import EncoderHearing
from affectgpt.errors import OptionError
from affectgpt.safety import Screen
from serve.settings import ServeSettings

__all__ = ["Companions", "persona_choices"]


class Companions:
    """A companion for each persona that the server offers; they are made when they are first asked for.

    All that they compute happens in one thread: torch keeps buffers for every thread that ever computed (see
    `serve.appraising`), and a turn takes some tens of milliseconds.
    """

    def __init__(self, settings: ServeSettings, parts: Parts | None = None) -> None:
        """Raise OptionError where the settings name no persona."""
        self.own = load_persona(settings.persona).id
        self._files = {self.own: settings.persona}
        self._options = CompanionOptions(
            permissive=settings.permissive, budgets=Budgets(dialogue_tokens=settings.context_tokens)
        )
        given = parts or Parts()
        hearing = given.hearing or EncoderHearing(settings.permissive)
        self._parts = replace(given, hearing=hearing, screen=given.screen or Screen())
        self._made: dict[str, Companion] = {}
        self._making = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="companion")

    def of(self, persona: str = "") -> Companion:
        """The companion of this persona; without a name, the server's own.

        Raises:
            OptionError: no persona that this server offers. A client's name is never taken for a file.
        """
        name = persona or self.own
        if name not in self._files and name not in persona_names():
            offered = ", ".join(sorted({self.own, *persona_names()}))
            raise OptionError(f"no persona {name[:40]!r}", f"this server has {offered}")
        with self._making:
            if name not in self._made:
                options = replace(self._options, persona=self._files.get(name, name))
                self._made[name] = Companion(options, self._parts)
            return self._made[name]

    async def prepare(self, persona: str, asked: Asked) -> Prepared:
        """Everything of a turn but its reply.

        Raises:
            OptionError: no such persona. ModelError, MissingDependency: heads or encoder.
        """
        # In the context of the request, by which whatever it asks for is told apart.
        work = partial(copy_context().run, self.of(persona).prepare, asked)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def warm(self) -> None:
        """Hear a sentence, so that the first turn does not wait for heads and encoder."""
        self._thread.submit(self.of().prepare, Asked("I am glad that you are here.")).result()

    def close(self) -> None:
        """Drop what waits, and end the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def persona_choices(settings: ServeSettings) -> tuple[str, ...]:
    """The personas that people may choose of, the server's own first. Raises OptionError where that one is none."""
    own = load_persona(settings.persona).id
    return (own, *(name for name in persona_names() if name != own))
