"""What somebody does on the page, counted against the limits of their key as at the API's doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException

from affectgpt.errors import InputError
from serve.api.callers import Gate
from serve.events import Attachment
from serve.web.consent import Person

__all__ = ["Meter", "OverLimit"]


class OverLimit(InputError):
    """A key may do no more for now."""


class Meter:
    """Counts at the gate, where every other request of a key is counted too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def turn(self, person: Person) -> None:
        """One request. Raises OverLimit."""
        if person.caller is not None:
            _spend(self._gate.spend_request, person.caller)

    def media(self, person: Person, attachment: Attachment) -> None:
        """Seconds of a file. Raises OverLimit."""
        if person.caller is not None:
            _spend(self._gate.spend_media, person.caller, attachment)


def _spend(spend: Callable[..., None], *what: Any) -> None:
    try:
        spend(*what)
    except HTTPException as error:
        raise OverLimit(str(error.detail)) from None
