"""Any order of keeping, redoing, closing and dying gives what a plain dict would hold, in every form."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyarrow.parquet
import pytest
from batch_rows import failed_row, row
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from affectgpt.batch.ledger import FileLedger, open_ledger
from affectgpt.batch.records import Row
from affectgpt.batch.row_json import dump_row

ids = st.integers(0, 6)


class LedgerMachine(RuleBasedStateMachine):
    """`kept` is the model: the last row of each id that was acknowledged, but for a failure after an answer."""

    form: str
    name: str

    @initialize(journal_rows=st.integers(1, 5))
    def begin(self, journal_rows: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.journal_rows = journal_rows
        self.kept: dict[str, Row] = {}
        self.version = 0
        self.open()

    def open(self) -> None:
        out = Path(self.folder.name) / self.name
        self.ledger: FileLedger = open_ledger(out, self.form, journal_rows=self.journal_rows)  # type: ignore[arg-type]

    def part(self) -> Path:
        return next(Path(self.folder.name).rglob("*.part"))

    @rule(numbers=st.lists(ids, max_size=4), fails=st.booleans())
    def keep(self, numbers: list[int], fails: bool) -> None:
        self.version += 1
        rows = [failed_row(f"a{n}", n) if fails else row(f"a{n}", n, self.version) for n in numbers]
        self.ledger.append(rows)
        # What was answered is never lost to a failure.
        self.kept |= {r.id: r for r in rows if not (fails and r.id in self.kept and self.kept[r.id].status == "ok")}

    @rule()
    def finish(self) -> None:
        self.ledger.close()
        assert sorted(self.finished()) == sorted(self.kept)
        self.open()

    def finished(self) -> list[str]:
        """The ids in the output, as anybody reads it."""
        out = Path(self.folder.name) / self.name
        if out.is_file():
            return [
                json.loads(text)["id" if self.form == "jsonl" else "custom_id"]
                for text in out.read_bytes().splitlines()
            ]
        return [id for path in out.glob("*.parquet") for id in pyarrow.parquet.read_table(path)["id"].to_pylist()]

    @rule()
    def break_off(self) -> None:
        self.ledger.close(complete=False)
        self.open()

    @rule(cut=st.floats(0, 0.999), hole=st.booleans())
    def die_while_writing(self, cut: float, hole: bool) -> None:
        """What an unacknowledged row leaves: its beginning, or a hole of its size."""
        self.ledger.close(complete=False)
        line = dump_row(row("never", 99))
        with self.part().open("ab") as file:
            file.write(b"\0" * len(line) if hole else line[: int(cut * len(line))])
        self.open()

    @rule()
    def die_while_sealing(self) -> None:
        """The shelf has the rows already, and the journal still has them too."""
        self.ledger.close(complete=False)
        part = self.part()
        waiting = part.read_bytes()
        self.open()
        self.ledger.close()
        if waiting:
            part.write_bytes(waiting)
        self.open()

    @invariant()
    def holds_what_was_kept(self) -> None:
        listed = list(self.ledger.rows())
        assert {r.id: r for r in listed} == self.kept
        assert len(listed) == len(self.kept)
        assert self.ledger.n_ok == sum(r.status == "ok" for r in listed)
        assert self.ledger.n_failed == len(listed) - self.ledger.n_ok
        for r in listed:
            done = self.ledger.done(r.id)
            assert done is not None
            assert (done.status, done.fingerprints, done.media_stamp) == (r.status, r.fingerprints, r.media_stamp)
        assert self.ledger.done("never") is None

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


@pytest.mark.parametrize(
    ("form", "n_examples"),
    [("jsonl", 25), ("openai", 15), pytest.param("parquet", 25, marks=pytest.mark.slow)],
)
def test_a_ledger_is_a_dict_that_outlives_everything(form: str, n_examples: int) -> None:
    names = {"jsonl": "rows.jsonl", "openai": "results.jsonl", "parquet": "rows"}
    machine = type("Machine", (LedgerMachine,), {"form": form, "name": names[form]})
    run_state_machine_as_test(machine, settings=settings(max_examples=n_examples, stateful_step_count=14))  # type: ignore[no-untyped-call]
