"""What the OpenAPI page shows of requests and answers that are read by hand: schemas and examples."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CHAT_REQUEST", "CHAT_RESPONSE", "EXPLAIN_REQUEST", "EXPLAIN_RESPONSE", "SPEECH_REQUEST"]

_TEXT: Final = {"type": "string"}
_PARTS: Final = {
    "text only": {
        "value": {
            "model": "affectgpt",
            "messages": [{"role": "user", "content": "I got the job, and I cannot stop smiling!"}],
        }
    },
    "a clip": {
        "value": {
            "model": "affectgpt",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What do you make of this?"},
                        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAAIGZ0eXBpc29t…"}},
                    ],
                }
            ],
        }
    },
    "a later turn, that goes on from an earlier one": {
        "value": {
            "model": "affectgpt",
            "persona": "warm",
            "messages": [
                {"role": "user", "content": "I got the job, and I cannot stop smiling!"},
                {
                    "role": "assistant",
                    "content": "That sounds like wonderful news. What are you looking forward to most?",
                    "dialogue": {
                        "persona": "warm",
                        "strategy": "Questions",
                        "own": {"valence": 0.62, "arousal": 0.31, "dominance": 0.08},
                    },
                },
                {"role": "user", "content": "The people. And a little afraid of the first day."},
            ],
        }
    },
    "a voice, with the outcome as JSON": {
        "value": {
            "model": "affectgpt",
            "affect": True,
            "transcript": "I am fine, really.",
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": "UklGR…", "format": "wav"}}],
                }
            ],
        }
    },
}

CHAT_REQUEST: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["model", "messages"],
                "properties": {
                    "model": _TEXT,
                    "messages": {"type": "array", "items": {"type": "object"}},
                    "stream": {"type": "boolean"},
                    "stream_options": {"type": "object"},
                    "max_tokens": {"type": "integer"},
                    "temperature": {"type": "number"},
                    "affect": {"type": "boolean", "description": "add the whole outcome to the answer"},
                    "explain": {"type": "boolean", "description": "false: the reply alone"},
                    "transcript": {**_TEXT, "description": "the words of the clip"},
                    "modalities": {"description": "face, voice, speech: a list, or with commas"},
                    "subject": {"type": "integer", "description": "the person to describe, from 0"},
                    "setting": {"enum": ["workplace", "education"], "description": "face and voice are refused"},
                    "locale": {**_TEXT, "description": "BCP 47: whose help lines are shown"},
                    "path": {"enum": ["text", "fused"], "description": "fused: face and voice as soft tokens too"},
                    "persona": {**_TEXT, "description": "who replies: warm, calm, lively, or the server's own"},
                },
            },
            "examples": _PARTS,
        }
    },
}

CHAT_RESPONSE: Final[dict[str, Any]] = {
    "description": "A chat completion, or its chunks as server-sent events.",
    "content": {
        "application/json": {
            "example": {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "model": "affectgpt",
                "ai_generated": True,
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": "That sounds like wonderful news. What are you looking forward to most?",
                            "reasoning": '**Key observations**\n- The words are "I got the job" [S1].\n…',
                            "dialogue": {
                                "persona": "warm",
                                "strategy": "Questions",
                                "own": {"valence": 0.62, "arousal": 0.31, "dominance": 0.08},
                            },
                        },
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 312, "completion_tokens": 150, "total_tokens": 462},
            }
        },
        "text/event-stream": {},
    },
}

EXPLAIN_REQUEST: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "a clip, a picture, a sound, a text"},
                    "transcript": {**_TEXT, "description": "the words, where the file brings none"},
                    "modalities": {**_TEXT, "example": "face,voice,speech"},
                    "subject": {"type": "integer", "description": "the person to describe, from 0"},
                    "setting": {"enum": ["workplace", "education"]},
                    "locale": {**_TEXT, "example": "en-GB"},
                    "path": {"enum": ["text", "fused"], "description": "fused: face and voice as soft tokens too"},
                },
            }
        }
    },
}

EXPLAIN_RESPONSE: Final[dict[str, Any]] = {
    "description": "Events, or with `Accept: application/json` what `done` holds.",
    "content": {
        "text/event-stream": {
            "example": 'event: stage\ndata: {"name": "face", "share": 0.4}\n\n'
            'event: observation\ndata: {"id": "F1", "cue": "AU12", "text": "the lip corners are pulled up"}\n\n'
            'event: token\ndata: {"text": "**Key observations**\\n"}\n\n'
            'event: done\ndata: {"ai_generated": true, "outcome": {"decision": {"label": "happy"}}}\n\n'
        },
        "application/json": {
            "example": {"ai_generated": True, "reasoning": "…", "outcome": {"decision": {"label": "happy"}}}
        },
    },
}

SPEECH_REQUEST: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "model": _TEXT,
                    "response_format": {"enum": ["json", "text", "verbose_json"]},
                },
            }
        }
    },
}
