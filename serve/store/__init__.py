"""Conversations, turns and feedback, kept in SQLite, in PostgreSQL, or in memory alone."""

from serve.store.records import (
    Answered,
    Asked,
    Conversation,
    ExportForm,
    Feedback,
    Found,
    KeptAttachment,
    NotKept,
    Page,
    Revision,
    Settings,
    State,
    Summary,
    Thumbs,
    Turn,
)
from serve.store.store import Retention, Store, open_store

__all__ = [
    "Answered",
    "Asked",
    "Conversation",
    "ExportForm",
    "Feedback",
    "Found",
    "KeptAttachment",
    "NotKept",
    "Page",
    "Retention",
    "Revision",
    "Settings",
    "State",
    "Store",
    "Summary",
    "Thumbs",
    "Turn",
    "open_store",
]
