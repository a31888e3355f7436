"""Outputs of every form, where ledgers are tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch_rows import Opened

from affectgpt.batch.ledger import FileLedger, open_ledger

FORMS = {"jsonl": "rows.jsonl", "openai": "results.jsonl", "parquet": "rows"}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def out(tmp_path: Path, form: str) -> Path:
    return tmp_path / "out" / FORMS[form]


@pytest.fixture
def opened(out: Path, form: str) -> Opened:
    def open_(**options: Any) -> FileLedger:
        return open_ledger(out, form, **options)  # type: ignore[arg-type]

    return open_
