"""What soft tokens cost the language model's side, printed as one JSON document: `make bench-fusion` runs it.

The same conversations twice, through a vLLM that this starts and through the local engine: once in words alone, once
with one line of words sent as soft tokens, which are those words' own vectors. So both have the same tokens to read and
write the same answers, and only the way in differs. Rounds take turns, no prompt begins like another, and the first
round of each only warms up. Ratios of one run; progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import httpx
import numpy as np
from bench_serve import N_TOGETHER, WORDS, dtype, judged, processor

from affectgpt.engines.chat_form import chat_request
from affectgpt.engines.engine import Engine, EngineOptions, open_engine
from affectgpt.engines.http import HttpEngine
from affectgpt.engines.local import LocalEngine
from affectgpt.records import EmbeddedPrompt, Message, Prompt, Sampling, SoftPart, soft_marker
from serve.launching.command import LaunchOptions, command_for
from serve.launching.launch import ModelServer, progress_line

LEAST_RATIO = 0.95
"""Spliced prompts are to be read and answered within 5 % of words."""
SAID = " ".join(f"{word} and" for word in WORDS)
"""The line that is sent as soft tokens."""
AFTER = "A person smiles for two seconds, looks down, and then speaks quietly. What may this person feel, and why?"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=64, help="length of each answer")
    parser.add_argument("--rounds", type=int, default=5, help="batches of each kind; the first only warms up")
    parser.add_argument("--threads", type=int, help="of vLLM; all cores but one if left out")
    args = parser.parse_args()
    say, began = progress_line(), time.perf_counter()
    local = cast("LocalEngine", open_engine(EngineOptions(engine="local", batch_size=N_TOGETHER), {}))
    ids = local._tokenizer(SAID, add_special_tokens=False)["input_ids"]
    vectors = local._model.get_input_embeddings().weight[ids].detach().float().numpy().astype(np.float32)
    say("local engine", time.perf_counter() - began)
    sampling = Sampling(max_tokens=args.tokens)
    figures: dict[str, Any] = {"local": compared(lambda asked: of_engine(local, asked, sampling), args.rounds, vectors)}
    options = LaunchOptions(threads=args.threads)
    with ModelServer(command_for(options), tell=say) as server:
        say("vllm", time.perf_counter() - began)
        engine_options = replace(server.engine_options(server.adapters[0]), timeout_s=900.0)
        with closing(cast("HttpEngine", open_engine(engine_options, {}))) as engine:
            check_same_length(engine, vectors)
        figures["vllm"] = compared(lambda asked: of_vllm(server, asked, sampling), args.rounds, vectors)
    payload = len(json.dumps(chat_request("m", conversations(0, vectors)[0], sampling)))
    told = {
        "machine": {"cores": len(os.sched_getaffinity(0)), "processor": processor()},
        "dtype": dtype(),
        "n_together": N_TOGETHER,
        "n_tokens": args.tokens,
        "n_soft_tokens": len(vectors),
        "request_bytes": payload,
        **figures,
        "vllm_spliced_to_words": judged(figures["vllm"]["spliced_to_words"], LEAST_RATIO),
    }
    print(json.dumps(told, indent=2))


def conversations(number: int, vectors: np.ndarray | None) -> list[Prompt]:
    """Sixteen prompts of one length; no two begin alike, also not those of another number or of the other kind."""
    asked: list[Prompt] = []
    kind = "heard" if vectors is None else "given"
    for i, word in enumerate(WORDS):
        first = f"{word} {100 * number + i} was {kind}:"
        if vectors is None:
            asked.append(Prompt((Message("user", f"{first}\n{SAID}\n{AFTER}"),), "p", "1"))
            continue
        message = Message("user", f"{first}\n{soft_marker('voice')}\n{AFTER}")
        asked.append(EmbeddedPrompt((message,), "p", "1", parts=(SoftPart("voice", vectors),)))
    return asked


def check_same_length(engine: Engine, vectors: np.ndarray) -> None:
    """Both kinds must be as many tokens, or the comparison is of other work."""
    lengths = [
        engine.generate(conversations(999, kind)[:1], Sampling(max_tokens=1))[0].n_prompt_tokens
        for kind in (None, vectors)
    ]
    if lengths[0] != lengths[1]:
        raise SystemExit(f"prompts of {lengths[0]} tokens in words and {lengths[1]} spliced: nothing to compare")


def compared(run: Callable[[Sequence[Prompt]], int], n_rounds: int, vectors: np.ndarray) -> dict[str, Any]:
    """Tokens a second by kind, and the median of the ratios of neighbouring rounds."""
    rates: dict[str, list[float]] = {"words": [], "spliced": []}
    for number in range(n_rounds):
        for name, kind in (("words", None), ("spliced", vectors)):
            asked = conversations(number, kind)
            start = time.perf_counter()
            n_written = run(asked)
            rates[name].append(n_written / (time.perf_counter() - start))
    kept = {name: found[1:] or found for name, found in rates.items()}
    ratios = [spliced / words for spliced, words in zip(kept["spliced"], kept["words"], strict=True)]
    return {
        "tokens_per_s": {name: statistics.median(found) for name, found in kept.items()},
        "tokens_per_s_each_round": rates,
        "spliced_to_words": statistics.median(ratios),
    }


def of_engine(engine: Engine, asked: Sequence[Prompt], sampling: Sampling) -> int:
    """Tokens that the local engine writes to one batch."""
    return sum(answer.n_completion_tokens for answer in engine.generate(asked, sampling))


def of_vllm(server: ModelServer, asked: Sequence[Prompt], sampling: Sampling) -> int:
    """Tokens that vLLM writes to requests that are sent together, none ended before its length."""
    headers = {"Authorization": f"Bearer {server.key}"}
    limits = httpx.Limits(max_connections=len(asked))
    with (
        httpx.Client(headers=headers, timeout=900, limits=limits, trust_env=False) as client,
        ThreadPoolExecutor(len(asked)) as pool,
    ):

        def write(prompt: Prompt) -> int:
            body = {**chat_request(server.adapters[0], prompt, sampling), "ignore_eos": True}
            reply = client.post(f"{server.base_url}/chat/completions", json=body)
            reply.raise_for_status()
            return int(reply.json()["usage"]["completion_tokens"])

        return sum(pool.map(write, asked))


if __name__ == "__main__":
    main()
