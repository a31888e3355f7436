"""Where items come from: folders and patterns of media, lists of many forms, here or wherever fsspec reaches."""

from __future__ import annotations

from affectgpt.batch.sources.opening import SourceForm, SourceOptions, open_source

__all__ = ["SourceForm", "SourceOptions", "open_source"]
