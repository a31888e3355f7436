"""Retrain the appraisers' heads: `python -m finetune.appraisers --shared DIR --out DIR`.

Writes the sets `default` and `permissive` under the folder given. One seed gives the same weights, byte for
byte, on one machine.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from affectgpt.appraise.heads import head_folder
from finetune import appraise_face, appraise_voice, appraise_words, empathy_heads, reader_heads

TRAINERS: Mapping[str, Callable[[Path, Path, int], object]] = {
    "words": appraise_words.train,
    "voice": appraise_voice.train,
    "face": appraise_face.train,
    "difference": reader_heads.train,
    "empathy": empathy_heads.train,
}
"""What is trained, in order: each takes the shared data's folder, the folder to write to and the seed."""


def main(argv: list[str] | None = None) -> None:
    """Train what is asked for and say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds text/, speech/ and faces/")
    parser.add_argument("--out", type=Path, default=head_folder().parent, help="default: where the package reads them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(TRAINERS), action="append", help="repeat for several; default: all")
    asked = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for name, train in TRAINERS.items():
        if asked.only is None or name in asked.only:
            start = time.monotonic()
            train(asked.shared, asked.out, asked.seed)
            print(f"{name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
