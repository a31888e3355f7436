"""Instruction rows for the explain task: evidence, prompt and composed answer, each checked before it is kept.

python -m instruction_data.rows --goemotions FOLDER --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from affectgpt.answers import open_answer
from affectgpt.appraise.prototypes import appraise
from affectgpt.errors import AffectError
from affectgpt.grounding import check
from affectgpt.parsing import parse_text
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Explanation, Verdict
from affectgpt.textualize import restate
from instruction_data.composer import compose
from instruction_data.evidence import Quotes, draw, read_goemotions

__all__ = ["compose_rows", "main", "write_rows"]

RESTATED = 0.9
"""Share of rows whose key observations are given, as they are by default; in the others the model writes them."""


def compose_rows(n: int, seed: int, quotes: Quotes) -> Iterator[dict[str, object]]:
    """`n` rows in TRL's conversational prompt-completion form; the same seed gives the same rows.

    `opening` is how far the answer is given, as the agent gives it; what is given takes no loss.

    Raises:
        AffectError: the composer wrote an answer that does not parse, or a claim its evidence does not carry.
    """
    library = PromptLibrary()
    for i in range(n):
        rng = random.Random(f"{seed}/{i}")
        scene = draw(rng, quotes)
        appraisal = appraise(scene.observations, scene.words)
        answer = compose(scene.observations, appraisal, rng)
        parsed = parse_text(answer)
        if not isinstance(parsed, Explanation):
            raise AffectError(f"row {i} of seed {seed} does not parse: {parsed.reason}", "mend the composer")
        grounding = check(replace(parsed), scene.observations)
        if bad := [c for c in grounding.claims if c.verdict is not Verdict.SUPPORTED]:
            raise AffectError(f"row {i} of seed {seed}: {bad[0].reason}: {bad[0].claim.text}", "mend the composer")
        prompt = library.render("explain", scene.observations, appraisal)
        is_restated = rng.random() < RESTATED
        yield {
            "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "completion": [{"role": "assistant", "content": answer}],
            "opening": open_answer([restate(o) for o in scene.observations.items]) if is_restated else "",
            "prompt_id": prompt.prompt_id,
            "prompt_version": prompt.version,
        }


def write_rows(path: Path, rows: Iterator[dict[str, object]]) -> int:
    """Write rows as JSONL, whole or not at all; returns how many."""
    n = 0
    part = path.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            n += 1
    part.replace(path)
    return n


def main() -> None:
    """Command line: write train.jsonl from the corpus' train side and dev.jsonl from its dev side."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--goemotions", type=Path, required=True, help="folder with train.tsv, dev.tsv, labels.txt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--dev-rows", type=int, default=32)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    for split, n, seed in (("train", given.rows, given.seed), ("dev", given.dev_rows, given.seed + 1)):
        quotes = read_goemotions(given.goemotions / f"{split}.tsv")
        write_rows(given.out / f"{split}.jsonl", compose_rows(n, seed, quotes))


if __name__ == "__main__":
    main()
