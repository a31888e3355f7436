"""Every shared clip through `explain`, one after another: `make bench-clips`, JSON on stdout.

What it counts: answers that parse, claims that what they cite supports, and for acted clips whether a unit of the
acted emotion's prototype is among the face observations. Claims are counted twice: in the first answer, which is what
the model can do, and in the answer that is shown after sentences were asked again or withdrawn, which is what a reader
gets. `--markdown` prints the table that EXPERIMENTS.md shows.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

from affectgpt.agent import AffectAgent
from affectgpt.emotions import load_lexicon
from affectgpt.engines.engine import EngineOptions, open_engine
from affectgpt.errors import AffectError
from affectgpt.readers import AgentOptions
from affectgpt.records import Explanation, Grounding, Modality, Outcome, Verdict

REPO = Path(__file__).resolve().parents[2]
EXPECTED = {"happy": {"AU12"}, "surprised": {"AU1", "AU2", "AU5"}, "angry": {"AU4", "AU7"}}


def row_of(path: Path, emotion: str, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """What one clip gave."""
    answer, seen = outcome.answer, outcome.observations
    face = [o.cue for o in seen.of(Modality.FACE) if not o.is_missing]
    row: dict[str, Any] = {
        "clip": path.name,
        "acted": emotion or None,
        "seconds": round(seconds, 1),
        "face": face,
        "voice": [f"{o.cue} {o.level}" for o in seen.of(Modality.VOICE) if not o.is_missing],
        "missing": [o.text for o in seen.items if o.is_missing],
        "transcript": outcome.transcript.source.value if outcome.transcript else None,
        "expected_unit_seen": bool(EXPECTED[emotion] & set(face)) if emotion in EXPECTED else None,
        "appraised": outcome.appraisal.fused.top if outcome.appraisal else None,
    }
    if not isinstance(answer, Explanation):
        return row | {"answer": "none asked" if answer is None else f"unparsed: {answer.reason}", "faults": []}
    assert answer.grounding is not None
    told = answer.revision
    first = told.first if told else answer.grounding
    return row | {
        "answer": "parsed",
        "label": answer.conclusion.label,
        "first": count(first),
        "shown": count(answer.grounding),
        "faults": [f"{c.reason}: {c.claim.text}" for c in first.claims if c.verdict is not Verdict.SUPPORTED],
        "asked_again": told.n_asked if told else 0,
        "withdrawn": [f"{c.reason}: {c.claim.text}" for c in told.withdrawn] if told else [],
        "seconds_asking_again": round(outcome.timings_s.get("revise", 0.0), 1),
    }


def count(grounding: Grounding) -> dict[str, int]:
    """Claims by verdict, and those of the model's own sentences."""
    own = [c.verdict is Verdict.SUPPORTED for c in grounding.claims if c.claim.section == "interpretation"]
    counts = {v.value: grounding.count(v) for v in Verdict}
    return {**counts, "all": len(grounding.claims), "own": len(own), "own_supported": sum(own)}


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares over all clips that a model was asked about."""
    asked = [r for r in rows if r["answer"] not in ("none asked",) and not r["answer"].startswith("failed")]
    parsed = [r for r in asked if r["answer"] == "parsed"]
    acted = [r for r in rows if r["acted"]]
    expected = [r["expected_unit_seen"] for r in rows if r.get("expected_unit_seen") is not None]
    return {
        "clips": len(rows),
        "asked": len(asked),
        "failed": len(rows) - len(asked) - sum(r["answer"] == "none asked" for r in rows),
        "parsed": len(parsed),
        "parse_rate": round(len(parsed) / len(asked), 3) if asked else None,
        "first": total([r["first"] for r in parsed]),
        "shown": total([r["shown"] for r in parsed]),
        "answers_asked_again": sum(r["asked_again"] > 0 for r in parsed),
        "times_asked_again": sum(r["asked_again"] for r in parsed),
        "withdrawn": sum(len(r["withdrawn"]) for r in parsed),
        "longest_asking_again_s": max((r["seconds_asking_again"] for r in parsed), default=0.0),
        "label_is_the_appraisals": sum(r["label"] == r["appraised"] for r in parsed),
        "acted_emotion_appraised": f"{sum(map(_is_right, acted))} of {len(acted)}",
        "expected_unit_seen": f"{sum(expected)} of {len(expected)}",
    }


def total(counts: list[dict[str, int]]) -> dict[str, Any]:
    """The sum over answers, with the shares of claims and of the model's own sentences that are supported."""
    added: dict[str, Any] = {name: sum(c[name] for c in counts) for name in counts[0]} if counts else {}
    for name, share, n in (("supported", "rate", "all"), ("own_supported", "own_rate", "own")):
        if added.get(n):
            added[share] = round(added[name] / added[n], 3)
    return added


def _is_right(row: dict[str, Any]) -> bool:
    """Whether the appraisal's label is the acted emotion, through the lexicon: `contempt` is `contemptuous`."""
    return bool(row.get("appraised")) and load_lexicon().to_set(row["acted"], "basic8") == row["appraised"]


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for people."""
    lines = [
        "| clip | acted | face units, ranked | voice | words | label | claims ok at first | as shown | withdrawn |",
        "|" + "---|" * 9,
    ]
    for r in rows:
        said = r.get("label") or ("cannot tell" if r["answer"] == "parsed" else r["answer"])
        units = " ".join(u.removeprefix("AU") for u in r.get("face", ())) or "–"
        ok = [f"{c['supported']}/{c['all']}" if (c := r.get(name)) else "–" for name in ("first", "shown")]
        cells = (r["clip"].rsplit(".", 1)[0], r["acted"] or "", units, str(len(r.get("voice", ())) or "–"))
        cells += (r.get("transcript") or "–", said, *ok, str(len(r.get("withdrawn", ())) or "–"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run over the clips named in labels.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=REPO.parent / "shared" / "data" / "clips")
    parser.add_argument("--engine", default="local")
    parser.add_argument("--adapter", default="default")
    parser.add_argument("--revisions", type=int, default=AgentOptions().revisions)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--answers", type=Path, help="write the raw answers here, one after another")
    given = parser.parse_args()
    options = AgentOptions(revisions=given.revisions)
    agent = AffectAgent(open_engine(EngineOptions(engine=given.engine, adapter=given.adapter)), options)
    rows, texts = [], []
    for line in csv.DictReader((given.clips / "labels.csv").open(encoding="utf-8")):
        path, start = given.clips / line["file"], time.perf_counter()
        try:
            outcome = agent.explain(path)
        except AffectError as error:
            rows.append({"clip": path.name, "acted": line["emotion"], "answer": f"failed: {error}"})
            continue
        rows.append(row_of(path, line["emotion"], outcome, time.perf_counter() - start))
        shown = "\n".join(o.line for o in outcome.observations.items)
        texts.append(
            f"## {line['file']}\n\n{shown}\n\n{outcome.completion.text if outcome.completion else '(not asked)'}\n"
        )
        print(f"{path.name}: {rows[-1]['answer']}", file=sys.stderr)
    if given.answers:
        given.answers.write_text("\n".join(texts), encoding="utf-8")
    print(markdown(rows) if given.markdown else json.dumps({"summary": summarise(rows), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
