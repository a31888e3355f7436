"""What people are told before anything is read of them, at the page and at the terminal, and which notice it was.

EU AI Act (Regulation (EU) 2024/1689), Art. 50(1) and (3): people are told that they talk to an AI and that emotions are
recognised, at the latest at the first exposure.
"""

from __future__ import annotations

import hashlib

from serve.web.texts import table

__all__ = ["CONSENT_SECONDS", "consent_version", "notice_lines", "terminal_notice"]

CONSENT_SECONDS = 180 * 86_400
"""After half a year one is asked again."""


def notice_lines(*, minutes: int, retains: bool, kept: str) -> list[str]:
    """What the page's notice says, paragraph by paragraph; `kept` names the text on how long conversations stay."""
    texts = table("consent")
    media = texts["media_retained"] if retains else texts["media"].format(minutes=minutes)
    return [texts["ai"], texts["consent_ask"], media, kept, texts["cookie"], texts["use"], texts["crisis"]]


def terminal_notice(*, server: str, remembered: str) -> list[str]:
    """What the terminal's notice says: `server` is the host that what is written goes to, empty where it stays here.

    `remembered` is the file that will remember that one agreed.
    """
    texts, own = table("consent"), table("terminal")
    media = own["sent"].format(server=server) if server else own["stays"]
    remembering = own["remembered"].format(path=remembered)
    return [texts["ai"], texts["consent_ask"], media, own["unkept"], remembering, texts["use"], texts["crisis"]]


def consent_version(lines: list[str]) -> str:
    """Names what was agreed to: another notice has another version, and is asked anew."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
