"""Tiny trainings: random-weight models of each preset's architecture, and rows over made-up evidence."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from affectgpt.answers import labels, open_answer, write_answer
from affectgpt.engines import embedded
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Conclusion, Modality, Observation, Observations
from affectgpt.textualize import restate
from finetune.config import Recipe, load_recipe

FACE = {
    "happy": ("AU12", "lip corner puller"),
    "sad": ("AU15", "lip corner depressor"),
    "angry": ("AU4", "brow lowerer"),
}


def scene(rng: random.Random) -> tuple[Observations, str]:
    """One unit of a face, marked, and words; the label is the unit's."""
    label = rng.choice(sorted(FACE))
    cue, name = FACE[label]
    face = Observation(
        "F1", Modality.FACE, cue, f"{name} ({cue}) marked, 3.0 of 5, 0.0–1.0 s, over the population's neutral, "
        "confidence 0.90", 0.0, 1.0, 3.0, "C", confidence=0.9,
    )  # fmt: skip
    said = " ".join(rng.choices(["well", "so", "here", "we", "are", "again"], k=rng.randint(1, 9)))
    words = Observation("S1", Modality.SPEECH, "quote", f'said "{said}", given', quote=said)
    return Observations((face, words)), label


def row(number: int, seed: int = 0, *, opened: bool = True) -> dict[str, Any]:
    """One row of the three-part form, as instruction_data writes rows."""
    seen, label = scene(random.Random(f"{seed}/{number}"))
    assert label in labels()
    prompt = PromptLibrary().render("explain", seen)
    said = [restate(o) for o in seen.items]
    told = Conclusion((label,), label, 0.1, 0.2, 0.0, 0.5)
    answer = write_answer(said, "The face speaks clearly [F1]. The words are plain [S1].", told)
    return {
        "id": f"explain/train/{number:06d}",
        "task": "explain",
        "split": "train",
        "messages": [*({"role": m.role, "content": m.content} for m in prompt.messages),
                     {"role": "assistant", "content": answer}],
        "opening": open_answer(said) if opened else "",
        "images": [], "videos": [], "audios": [],
        "provenance": {"prompt_id": prompt.prompt_id, "prompt_version": prompt.version, "sources": []},
    }  # fmt: skip


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    return path


def write_data(folder: Path, n: int = 12, n_dev: int = 4) -> Path:
    """A data folder: train.jsonl and dev.jsonl, of other seeds."""
    write_rows(folder / "train.jsonl", [row(i, 0, opened=i % 3 > 0) for i in range(n)])
    write_rows(folder / "dev.jsonl", [row(i, 1) for i in range(n_dev)])
    return folder


def tiny_model(folder: Path, kind: str = "llama") -> Path:
    """A model folder: two layers of 64, random weights, the embedded model's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    base = embedded.folder()
    config = AutoConfig.for_model(
        kind,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=49152,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, folder / name)
    return folder


def tiny_recipe(tmp: Path, kind: str = "llama", preset: str = "smollm2-135m", *overrides: str) -> Recipe:
    """A preset cut down to a tiny model and two steps."""
    if not (tmp / kind).is_dir():
        tiny_model(tmp / kind, kind)
    if not (tmp / "data").is_dir():
        write_data(tmp / "data")
    small = [f"model={tmp / kind}", f"data={tmp / 'data'}", f"out={tmp / 'run'}", "max_steps=2", "warmup_steps=0",
             "eval_steps=2", "save_steps=2", "log_steps=1", "n_answers=0", "early_stop=0", "dtype=float32",
             "max_length=1024"]  # fmt: skip
    return load_recipe(preset, [*small, *overrides])
