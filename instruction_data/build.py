"""From a recipe to a folder of rows: tries in order, filters, repetitions, a journal, and only then the files.

A try depends on the recipe's seed and its own number alone, so that the same recipe gives the same rows, on however
many processes, killed and resumed or not.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from affectgpt.appraise.prototypes import appraise
from affectgpt.errors import OptionError
from affectgpt.records import Appraisal, InstructionExample, Message, Provenance, Source
from affectgpt.records.instruction import Split
from instruction_data.annotating import PanelAnnotator, open_annotator, open_entry
from instruction_data.card import COUNTS, read_counts, write_card
from instruction_data.drafts import Draft, Workbench
from instruction_data.filters import Filters
from instruction_data.journal import Journal, Try
from instruction_data.material import Material, Origin, gather, source_of
from instruction_data.near import Repeats
from instruction_data.recipe import Recipe
from instruction_data.row_json import dump_row, find_fault
from instruction_data.scenes import Stage, StagedScene
from instruction_data.splits import Splitter, TestFiles
from instruction_data.store import replacing, write_json
from instruction_data.tasks import TASKS
from instruction_data.tracks import Senser
from instruction_data.writers import ComposerWriter, TeacherWriter, Writer

__all__ = ["Progress", "build"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

CHUNK = 32
"""Tries a process makes at a time; a teacher is asked for as many side by side as its engine allows."""
REDRAWN = 8
"""Draws for one try where the material gives nothing for its task."""
MOST_TRIES = 40
"""Tries for each row wanted, after which a recipe is refused: its filters or its material do not give that many."""


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """What one process makes tries with."""

    recipe: Recipe
    split: Split
    workbench: Workbench
    filters: Filters
    writer: Writer


def build(
    recipe: Recipe,
    told: Progress = lambda stage, done, wanted: None,
    fresh: bool = False,
    senser: Senser | None = None,
) -> Path:
    """Build every split into `recipe.out`, going on with a build that was stopped; returns the folder.

    Raises:
        OptionError: a recipe that its material cannot fill, or a folder with another recipe's rows.
        InputError: a source that cannot be read. EngineUnreachable: a teacher's server is down.
    """
    journals = recipe.out / ".build"
    fingerprint = recipe.fingerprint()
    _claim(recipe, fingerprint, fresh)
    if (recipe.out / COUNTS).is_file() and not journals.is_dir():
        return recipe.out
    start = time.monotonic()
    told("reading the sources", 0, len(recipe.sources))
    origins = [_origin(recipe, i) for i in range(len(recipe.sources))]
    materials = gather(origins, Splitter(recipe.splits, recipe.seed), recipe.tracks, senser, told)
    filters = Filters(
        recipe.filters,
        TestFiles(Path(recipe.test_files)) if recipe.test_files else None,
        [open_annotator(a) for a in recipe.annotators],
    )
    writer = _open_writer(recipe)
    repeats = Repeats(recipe.filters.near)
    dropped: dict[str, dict[str, int]] = {}
    for split, wanted in recipe.rows.items():
        material = materials.get(split, Material(split))
        workbench = Workbench(
            material,
            Stage(material, recipe.scenes, recipe.reworded.get(split, 0.0), recipe.varied.get(split, 0.0)),
            _appraiser(recipe),
            restated=recipe.restated,
            in_turn=recipe.in_turn.get(split, 0.0),
        )
        with Journal(journals / f"{split}.jsonl", fingerprint) as journal:
            bench = _Bench(recipe, split, workbench, filters, writer)
            _fill(bench, journal, repeats, wanted, told)
            with replacing(recipe.out / f"{split}.jsonl") as file:
                file.writelines(f"{line}\n" for line, _ in journal.kept())
            dropped[split] = {"tried": journal.n_tried, **dict(journal.dropped.most_common())}
    _finish(recipe, fingerprint, dropped, materials, time.monotonic() - start)
    shutil.rmtree(journals)
    return recipe.out


def _claim(recipe: Recipe, fingerprint: str, fresh: bool) -> None:
    """Make sure that the folder is empty, or this recipe's. Raises OptionError for another's rows."""
    out = recipe.out
    if fresh:
        for old in (out / ".build", *(out / f"{s}.jsonl" for s in ("train", "dev", "test")), out / COUNTS):
            if old.is_dir():
                shutil.rmtree(old)
            old.unlink(missing_ok=True)
    built = read_counts(out).get("fingerprint") if (out / COUNTS).is_file() else None
    if built not in (None, fingerprint):
        raise OptionError(f"{out} holds the rows of another recipe", "name another `out`, or build with --fresh")
    out.mkdir(parents=True, exist_ok=True)


def _origin(recipe: Recipe, i: int) -> Origin:
    entry = recipe.sources[i]
    labels = recipe.data / entry.labels if entry.labels else None
    return Origin(entry.set, recipe.data / entry.path, labels, entry.licence)


def _appraiser(recipe: Recipe) -> Callable[[StagedScene], Appraisal]:
    if recipe.appraiser == "panel":
        panel = PanelAnnotator()
        return panel.appraise
    return lambda scene: appraise(scene.observations, scene.words)


def _open_writer(recipe: Recipe) -> Writer:
    if recipe.writer.kind == "composer":
        return ComposerWriter()
    return TeacherWriter(open_entry(recipe.writer.engine), recipe.writer.is_told)


def _fill(bench: _Bench, journal: Journal, repeats: Repeats, wanted: int, told: Progress) -> None:
    """Add tries until enough rows are kept. What repeats an earlier row is dropped here, in order."""
    for _, text in journal.kept():
        repeats.why_not(text)
    if journal.n_kept >= wanted:
        return
    made = _tries(bench, journal.n_tried)
    for tries in made:
        checked: list[Try] = []
        for t in tries:
            repeated = "" if t.dropped else repeats.why_not(t.text)
            checked.append(replace(t, line="", text="", dropped=repeated) if repeated else t)
            if journal.n_kept + sum(not c.dropped for c in checked) >= wanted:
                break
        journal.add(checked)
        told(f"making {bench.split} rows", journal.n_kept, wanted)
        if journal.n_kept >= wanted:
            break
        if journal.n_tried > MOST_TRIES * (wanted + CHUNK):
            reason = journal.dropped.most_common(1)[0][0] if journal.dropped else "nothing"
            raise OptionError(
                f"only {journal.n_kept} of {wanted} {bench.split} rows in {journal.n_tried} tries",
                f"most were dropped by {reason!r}: loosen it, or add sources",
            )
    made.close()


def _tries(bench: _Bench, first: int) -> Generator[list[Try], None, None]:
    """Chunks of tries in order, from this process or from several. A few chunks are made ahead, never all."""
    starts = iter(range(first, 10**12, CHUNK))
    n_workers = _n_workers(bench.recipe)
    if n_workers == 1:
        for start in starts:
            yield _make(bench, start)
        return
    _SHARED[:] = [bench]  # what the forked processes find
    with ProcessPoolExecutor(n_workers, multiprocessing.get_context("fork")) as pool:
        waiting: list[Future[list[Try]]] = [pool.submit(_make_shared, next(starts)) for _ in range(3 * n_workers)]
        try:
            while True:
                yield waiting.pop(0).result()
                waiting.append(pool.submit(_make_shared, next(starts)))
        finally:
            pool.shutdown(cancel_futures=True)


_SHARED: list[_Bench] = []


def _make_shared(start: int) -> list[Try]:
    return _make(_SHARED[0], start)


def _n_workers(recipe: Recipe) -> int:
    """Processes: one where a model writes or annotates, or where processes cannot share memory by forking."""
    is_asking = recipe.writer.kind == "teacher" or bool(recipe.annotators)
    if is_asking or "fork" not in multiprocessing.get_all_start_methods():
        return 1
    return recipe.workers or min(8, os.cpu_count() or 1)


def _make(bench: _Bench, start: int) -> list[Try]:
    """One chunk of tries: drafted, written and filtered."""
    drafted = [_draft(bench, k) for k in range(start, start + CHUNK)]
    unwritten = [(i, d, rng) for i, (_, d, rng) in enumerate(drafted) if d is not None and not d.answer and d.evidence]
    written = bench.writer.write([d.evidence for _, d, _ in unwritten if d.evidence], [rng for *_, rng in unwritten])
    for (i, d, rng), answer in zip(unwritten, written, strict=True):
        given = d.opening if answer.startswith(d.opening) else ""
        full = replace(d, answer=answer, opening=given, writer=bench.writer.name, writer_version=bench.writer.version)
        drafted[i] = (drafted[i][0], full, rng)
    return [_judged(bench, start + i, task, d) for i, (task, d, _) in enumerate(drafted)]


def _draft(bench: _Bench, k: int) -> tuple[str, Draft | None, random.Random]:
    rng = random.Random(f"{bench.recipe.seed}/{bench.split}/{k}")
    task = rng.choices(list(bench.recipe.tasks), weights=list(bench.recipe.tasks.values()))[0]
    # A scene without a face has nothing to describe: another is drawn, so that the mix stays what the recipe says.
    made = (TASKS[task](rng, bench.workbench) for _ in range(REDRAWN))
    return task, next((draft for draft in made if draft is not None), None), rng


def _judged(bench: _Bench, k: int, task: str, draft: Draft | None) -> Try:
    if draft is None:
        return Try(k, task, dropped="material: nothing to make it from")
    if reason := bench.filters.why_not(task, draft):
        return Try(k, task, dropped=reason)
    example = _example(bench, k, task, draft)
    if fault := find_fault(example):
        return Try(k, task, dropped=f"form: {fault}")
    return Try(
        k,
        task,
        dump_row(example),
        text="\n".join((*(m.content for m in draft.prompt.messages if m.role != "system"), draft.answer)),
    )


def _example(bench: _Bench, k: int, task: str, draft: Draft) -> InstructionExample:
    shown = tuple(o.id for o in draft.evidence.observations.items) if draft.evidence else ()
    provenance = Provenance(
        sources=tuple(_source(bench.recipe, name) for name in dict.fromkeys(p.source for p in draft.parts)),
        observations=shown,
        prompt_id=draft.prompt.prompt_id,
        prompt_version=draft.prompt.version,
        writer=draft.writer,
        writer_version=draft.writer_version,
        filters=(*bench.filters.passed, "duplicate"),
        media_sha256=tuple(dict.fromkeys(p.sha256 for p in draft.parts if p.sha256)),
        speaker=draft.speaker,
        dialogue=draft.dialogue,
        wording=draft.evidence.scene.wording if draft.evidence else "",
    )
    messages = (*draft.prompt.messages, Message("assistant", draft.answer))
    return InstructionExample(
        f"{task}/{bench.split}/{k:06d}", task, bench.split, messages, draft.opening, provenance=provenance
    )


def _source(recipe: Recipe, name: str) -> Source:
    """A set and its licence; of one's own recordings, the one that the recipe gives."""
    given = next((s.licence for s in recipe.sources if s.set == name and s.licence), "")
    return Source(name, given) if given else source_of(name)


def _finish(
    recipe: Recipe,
    fingerprint: str,
    dropped: dict[str, dict[str, int]],
    materials: dict[Split, Material],
    took_s: float,
) -> None:
    """The resolved recipe, the counts and the card beside the rows."""
    with replacing(recipe.out / "recipe.yaml") as file:
        yaml.safe_dump(recipe.plain(), file, sort_keys=False, allow_unicode=True)
    left_out = next((dict(m.left_out) for m in materials.values()), {})
    counts = {"fingerprint": fingerprint, "dropped": dropped, "left_out": left_out, "seconds": round(took_s, 1)}
    write_json(recipe.out / COUNTS, counts)
    write_card(recipe.out)
