"""Rows as a batch result file of OpenAI's form: a line a request, found by its `custom_id`.

    custom_id   the row's id
    affectgpt   what the form has no place for: number, status, fingerprints, media_stamp, media, error, extra
    id          batch_req_…
    response    status_code 200, request_id, and as body a chat completion whose `affect` is the whole outcome; null
                where the row failed
    error       null, or code (the error's class) and message

The form: https://platform.openai.com/docs/api-reference/batch/request-output
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from affectgpt.batch.index import digest_of
from affectgpt.batch.records import Done, Row
from affectgpt.batch.row_json import from_json, read_head, to_json

__all__ = ["OpenAIResults"]

_HEAD_END: Final = b', "media": '
_OWN: Final = ("number", "status", "fingerprints", "media_stamp", "media", "error", "extra")


class OpenAIResults:
    """A `LineForm`."""

    def dump(self, row: Row) -> bytes:
        """See `LineForm.dump`."""
        document = to_json(row)
        own = {key: document[key] for key in _OWN}
        token = digest_of(row.id).hex()
        error = document["error"]
        line = {
            "custom_id": document["id"],
            "affectgpt": own,
            "id": f"batch_req_{token}",
            "response": None if row.status == "failed" else _response(row, document, token),
            "error": None if error is None else {"code": error["type"], "message": error["message"]},
        }
        return json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    def load(self, line: bytes) -> Row:
        """See `LineForm.load`."""
        try:
            document = json.loads(line)
            response = document["response"]
            outcome = (response["body"]["affect"] if response else None) or {}
            told = {"explanation" if key == "answer" else key: value for key, value in outcome.items()}
            return from_json({"id": document["custom_id"], "schema_version": None, **document["affectgpt"], **told})
        except (KeyError, TypeError, AttributeError, RecursionError) as fault:
            raise ValueError(f"no result of a batch ({fault!r})") from None

    def head(self, line: bytes) -> tuple[str, Done]:
        """See `LineForm.head`."""
        end = line.find(_HEAD_END)  # see row_json: this is a key, and the first one of its name is ours
        try:
            head = json.loads(line[:end] + b"}}" if end > 0 else line)
            return read_head(json.dumps({"id": head["custom_id"], **head["affectgpt"]}).encode())
        except (KeyError, TypeError, RecursionError) as fault:
            raise ValueError(f"no result of a batch ({fault!r})") from None


def _response(row: Row, document: dict[str, Any], token: str) -> dict[str, Any]:
    completion, answer = document["completion"] or {}, document["explanation"] or {}
    n_prompt, n_written = completion.get("n_prompt_tokens", 0), completion.get("n_completion_tokens", 0)
    body = {
        "id": f"chatcmpl-{token}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": completion.get("model", ""),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.get("raw"), "refusal": None},
                "logprobs": None,
                "finish_reason": completion.get("finish_reason", "stop"),
            }
        ],
        "usage": {"prompt_tokens": n_prompt, "completion_tokens": n_written, "total_tokens": n_prompt + n_written},
        "affect": row.outcome,
    }
    return {"status_code": 200, "request_id": token, "body": body}
