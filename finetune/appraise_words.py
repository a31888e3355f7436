"""Make the words appraiser's two sets: tune the sentence encoder, then fit every head on the tuned vectors.

One encoder serves both sets: it is tuned on corpora whose licences allow any use. The default set has more heads, and
its reading over basic8 knows dialogues and told situations too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise import low_rank, words
from affectgpt.appraise.encoder import SHA256, Encoder, find_encoder
from affectgpt.engines.models import has_native_bfloat16
from finetune.cards import making
from finetune.cause_words import train_cause
from finetune.fitting import Fit, threads
from finetune.tune_encoder import N_THREADS, Tuning, losses, tune
from finetune.unlisted_words import train_unlisted
from finetune.word_corpora import LABEL_SETS, LICENCES, Parts, read_parts, tasks
from finetune.word_heads import Made, fit_basic, fit_dialogue, fit_dimensions, fit_situations, fit_tags

__all__ = ["PASSES", "Vectors", "fit_heads", "train"]

PASSES = {"GoEmotions": 1, "EmoBank": 2}
"""How often the encoder sees each corpus's texts."""

Floats = NDArray[np.float32]


class Vectors:
    """Sentence vectors of one encoder, each text embedded once.

    In bfloat16 where the processor has it, whose rounding the heads do not notice.
    """

    def __init__(self, update: low_rank.LowRankUpdate | None) -> None:
        self.encoder = Encoder(find_encoder(), _dtype(), update)
        self._place: dict[str, int] = {}
        self._rows: list[Floats] = []

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Rows (B, 384 x layers)."""
        new = sorted(set(texts) - set(self._place))
        if new:
            self._place.update((t, len(self._rows) + k) for k, t in enumerate(new))
            with threads(N_THREADS):
                self._rows.extend(self.encoder.features(new, words.LAYERS))
        return np.stack([self._rows[self._place[t]] for t in texts])


def train(shared: Path, out: Path, seed: int = 0) -> None:
    """Tune and fit everything from the corpora under `shared`/text, and write both sets under `out`.

    Raises:
        InputError: a corpus is not there.
    """
    with threads(1):
        _train(shared, out, seed)


def _train(shared: Path, out: Path, seed: int) -> None:
    corpora, about = read_parts(shared / "text", seed), making(seed)
    out.mkdir(parents=True, exist_ok=True)
    tuned = tune(tasks(corpora, PASSES), Tuning(seed=seed), out / "words_encoder.checkpoint")
    card = {
        "data": list(PASSES),
        "licence": {name: LICENCES[name] for name in PASSES},
        "split": "training sides; loss on a tenth of each that it was not tuned on, beside the best constant answer's",
        "metrics": losses(tuned, tasks(corpora, dict.fromkeys(PASSES, 1), "held"), Tuning()),
        "base": SHA256["model.safetensors"],
        "rank": Tuning().rank,
    }
    default, permissive = out / "default", out / "permissive"
    updates = [low_rank.save_update(folder, tuned.tensors, card | about) for folder in (default, permissive)]
    fit_heads(corpora, shared / "text" / "reccon", updates[0], Made((default, permissive), about, Vectors(updates[0])))


def fit_heads(corpora: Mapping[str, Parts], reccon: Path, update: low_rank.LowRankUpdate, made: Made) -> None:
    """Fit the heads of both sets; `made` names the default set's folder first."""
    named = {"encoder": "all-MiniLM-L6-v2", "update": update.card["sha256"], "layers": list(words.LAYERS)}
    both, default = replace(made, encoder=named), replace(made, encoder=named, folders=made.folders[:1])
    tagged = fit_tags(corpora["GoEmotions"], both)
    fit_dimensions(corpora["EmoBank"], tagged, both)
    fit_basic({"GoEmotions": corpora["GoEmotions"]}, tagged, replace(both, folders=made.folders[1:]))
    fit_basic({name: parts for name, parts in corpora.items() if name in LABEL_SETS}, tagged, default)
    fit_dialogue(corpora["MELD"], tagged, default)
    fit_situations(corpora["EmpatheticDialogues"], tagged, default)
    found, card = train_cause(reccon, made.making["seed"], Encoder(find_encoder(), _dtype(), update).words)
    default.save("words_cause", found, ["RECCON"], card | {"classes": ["cause"], "kind": "sigmoid"})
    # Heads of unlisted words read the encoder as published.
    for name, (weights, card) in train_unlisted(made.making["seed"]).items():
        made.save(name, Fit(weights), ["lexicon"], card)


def _dtype() -> str:
    return "bfloat16" if has_native_bfloat16() else "float32"
