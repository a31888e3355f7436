"""Readers of labelled sets. Every reader gives a `Corpus`: one `Example` a row of the file, faulty rows included.

A row that cannot be used (an unknown label, a number that is none, a repeated id, a missing file) keeps its place and
says what is wrong in `fault`: evaluation counts it as asked and failed, training takes `Corpus.usable`.
"""

from affectgpt.corpora.example import Corpus, Example
from affectgpt.corpora.media_sets import RAVDESS, read_image_folder, read_mer_unibench, read_ravdess
from affectgpt.corpora.responses import read_empathic_reactions, read_replies
from affectgpt.corpora.support import STRATEGIES, read_esconv
from affectgpt.corpora.text import (
    GOEMOTIONS,
    MELD,
    read_emobank,
    read_emobank_difference,
    read_empathetic_dialogues,
    read_goemotions,
    read_jsonl,
    read_meld,
    read_reccon,
)

__all__ = [
    "GOEMOTIONS",
    "MELD",
    "RAVDESS",
    "STRATEGIES",
    "Corpus",
    "Example",
    "read_emobank",
    "read_emobank_difference",
    "read_empathetic_dialogues",
    "read_empathic_reactions",
    "read_esconv",
    "read_goemotions",
    "read_image_folder",
    "read_jsonl",
    "read_meld",
    "read_mer_unibench",
    "read_ravdess",
    "read_reccon",
    "read_replies",
]
