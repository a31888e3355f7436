"""Every task by its name: what makes one row of its kind."""

from __future__ import annotations

from collections.abc import Mapping

from instruction_data.drafts import Task
from instruction_data.tasks import asking, correcting, explaining, rating, talking

__all__ = ["TASKS"]

TASKS: Mapping[str, Task] = {
    "explain": explaining.explain,
    "label": explaining.label,
    "words": explaining.words,
    "describe": explaining.describe,
    "corrected": correcting.corrected,
    "yes-no": asking.yes_no,
    "numbers": asking.numbers,
    "ei-reg": rating.ei_reg,
    "ei-oc": rating.ei_oc,
    "v-reg": rating.v_reg,
    "v-oc": rating.v_oc,
    "vad": rating.vad,
    "e-c": rating.e_c,
    "cause": talking.cause,
    "reply": talking.reply,
    "strategy": talking.strategy,
}
