"""The report of an examination as Markdown: figures beside their aims, by vocabulary, and what no number shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["page"]

MOST_FAULTS = 25
"""Faults of one kind that the page lists; report.json holds all."""
_TITLES = {"adapter": "adapter", "untuned": "untuned", "composer": "composer alone", "copier": "copier"}

Figure = Mapping[str, Any]


def page(report: Mapping[str, Any]) -> str:
    """The whole page."""
    return "\n".join(_lines(report)) + "\n"


def _lines(r: Mapping[str, Any]) -> Iterator[str]:
    asked = ", ".join(f"{_TITLES[who]} {n}" for who, n in r["asked"].items())
    yield f"# {r['adapter']} on {r['rows']} rows"
    yield ""
    yield (
        f"Greedy, {r['dtype']}, at most {r['answer_tokens']} tokens; base {r['base_model']}. Rows answered: {asked}. "
        "95 % intervals over rows drawn again (exact binomial where every row or none is right)."
    )
    yield ""
    yield from _table(r["figures"]["all"])
    yield ""
    yield _flips_told(r["flips"])
    yield ""
    yield "## By vocabulary (the adapter's answers)"
    yield ""
    yield from _by_vocabulary(r["figures"])
    yield ""
    yield "## Blind comparison with the composer"
    yield ""
    yield from _pairs_told(r["pairs"])
    yield ""
    yield "## What went wrong"
    yield ""
    for kind, listed in r["faults"].items():
        yield f"- {kind}: {len(listed)}"
        yield from (f"  - {_flat(text)}" for text in listed[:MOST_FAULTS])
    yield ""
    yield f"## {len(r['interpretations'])} interpretations, unpicked: the first rows of the file"
    yield ""
    for i, told in enumerate(r["interpretations"], 1):
        other = "" if told["label"] == told["gold"] else f", the appraisal: {told['gold'] or 'cannot tell'}"
        wording = ", second vocabulary" if told["wording"] else ""
        yield f"{i}. {_flat(told['text'])} *{told['label'] or 'cannot tell'}{other}{wording}*"


def _table(who: Mapping[str, Sequence[Figure]]) -> Iterator[str]:
    names = list(who)
    yield f"| figure | aim | {' | '.join(_TITLES[n] for n in names)} |"
    yield f"|---|---|{'---|' * len(names)}"
    rows: dict[str, dict[str, Figure]] = {}
    for name in names:
        for figure in who[name]:
            rows.setdefault(figure["name"], {})[name] = figure
    for title, of in rows.items():
        first = next(iter(of.values()))
        yield f"| {title} | {_aim(first)} | {' | '.join(_cell(of.get(n), n == 'adapter') for n in names)} |"


def _by_vocabulary(figures: Mapping[str, Mapping[str, Sequence[Figure]]]) -> Iterator[str]:
    kinds = [k for k in ("first", "second") if k in figures]
    yield f"| figure | aim | {' | '.join(f'{k} vocabulary' for k in kinds)} |"
    yield f"|---|---|{'---|' * len(kinds)}"
    listed = {k: {f["name"]: f for f in figures[k]["adapter"]} for k in kinds}
    for name, figure in listed[kinds[0]].items():
        yield f"| {name} | {_aim(figure)} | {' | '.join(_cell(listed[k].get(name), True) for k in kinds)} |"


def _aim(figure: Figure) -> str:
    if figure["aim"] is None or figure["name"].startswith("distinct-2"):
        return "" if figure["aim"] is None else "the composer's"
    return f"{'≥' if figure['at_least'] else '≤'} {100 * figure['aim']:g} %"


def _cell(figure: Figure | None, is_marked: bool) -> str:
    """`98.9 % [98.1, 99.5] (531 rows)`, in bold where the aim is met."""
    if figure is None or figure["value"] is None:
        return "–"
    if figure["name"].startswith("distinct-2"):
        value = f"{figure['value']:.3f}"
        spread = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    else:
        value = f"{100 * figure['value']:.1f} %"
        spread = "" if figure["low"] is None else f" [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"
    counts = f", {figure['counts']}" if figure["counts"] else f", {figure['n']} rows"
    bold = "**" if is_marked and figure["met"] else ""
    return f"{bold}{value}{bold}{spread}{counts}"


def _flips_told(f: Mapping[str, int]) -> str:
    return (
        f"Flips: of {f['rows']} explanations {f['rows'] - f['not rebuilt']} could be appraised again to the same "
        "prompt; "
        f"in {f['with a decisive cue']} of them one cue, taken away or turned round, brings another label; "
        f"{f['asked']} were asked. The composer writes from the appraisal and follows by construction: it is not asked."
    )


def _pairs_told(p: Mapping[str, Any] | None) -> Iterator[str]:
    if p is None:
        yield "**Not run: no judge was at hand.** Name one with `judge_url=` and `judge_model=`."
        return
    value, low, high = p["ours_preferred"]
    yield (
        f"Judge {p['judge']}, prompt {p['prompt']}, {p['pairs']} pairs, each in both orders: the adapter's preferred "
        f"{p['ours']} times, the composer's {p['theirs']}, undecided {p['equal']} (the same text {p['same_text']}), "
        f"unread {p['unread']}. The adapter's share {value:.3f} [{low:.3f}, {high:.3f}]."
    )
    told = [(name, p[key]) for name, key in (
        ("The two orders agree on", "agreement"), ("kappa", "kappa"), ("the first place got", "first_place")
    )]  # fmt: skip
    yield "; ".join(f"{name} {value:.2f}" for name, value in told if value is not None) + "."


def _flat(text: str) -> str:
    return " ".join(text.split())
