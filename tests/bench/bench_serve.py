"""Serving speed, printed as one JSON document: `make bench-serve`. Ratios of one run; progress to stderr.

The embedded model and the shipped adapter, sixteen conversations at once, each answer cut at the same number of tokens
and none ended before: transformers with peft writes them as one padded batch, vLLM as sixteen requests. Both compute in
the same type. No prompt begins like another, so that nothing is found in a cache; what the cache finds where prompts do
begin alike is measured apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from affectgpt.engines import models
from affectgpt.engines.engine import open_engine
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Message, Prompt, Sampling
from serve.launching.command import LaunchOptions, command_for
from serve.launching.launch import ModelServer, progress_line

N_TOGETHER = 16
WORDS = (
    "lamp", "river", "stone", "cloud", "apple", "train", "paper", "glass",
    "bread", "chair", "horse", "grass", "plate", "shirt", "night", "music",
)  # fmt: skip
LEAST_RATIO = 2.0
LEAST_HITS = 0.9

PEFT = """
import json, sys, time, warnings
import torch
from peft import PeftModel
from affectgpt.engines import adapter, models
from affectgpt.records import Message
asked = json.loads(sys.stdin.read())
warnings.filterwarnings("ignore")
torch.set_num_threads(asked["threads"])
place = models.resolve(None)[1]
tokenizer = models.load_tokenizer(place)
model = PeftModel.from_pretrained(models.load_model(place), str(adapter.shipped()))
if asked["merged"]:
    model = model.merge_and_unload()
model = model.to(getattr(torch, asked["dtype"])).eval()
rates = []
for round_ in asked["rounds"]:
    ids = [models.chat_ids(tokenizer, [Message("user", text)]) for text in round_]
    width = max(map(len, ids))
    padded = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(input_ids=padded, attention_mask=mask, do_sample=False,
            pad_token_id=tokenizer.pad_token_id, min_new_tokens=asked["n_tokens"], max_new_tokens=asked["n_tokens"])
    n_written = (out.shape[1] - width) * len(ids)
    assert n_written == asked["n_tokens"] * len(ids)
    rates.append(n_written / (time.perf_counter() - start))
print(json.dumps(rates))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128, help="length of each answer")
    parser.add_argument("--rounds", type=int, default=3, help="batches; the first only warms up")
    parser.add_argument("--threads", type=int, help="of vLLM; all cores but one if left out")
    args = parser.parse_args()
    say = progress_line()
    began = time.perf_counter()
    rates: dict[str, list[float]] = {}
    for name, merged in (("peft", False), ("transformers_merged", True)):
        say(f"{name}, {N_TOGETHER} in one batch", time.perf_counter() - began)
        rates[name] = of_peft(args.tokens, args.rounds, merged=merged)
    hits: dict[str, Any] = {}
    for name, merge in (("vllm", False), ("vllm_merged", True)):
        options = LaunchOptions(merge=merge, threads=args.threads)
        with ModelServer(command_for(options), tell=say) as server:
            say(f"{name}, {N_TOGETHER} at once", time.perf_counter() - began)
            rates[name] = of_vllm(server, server.adapters[0], args.tokens, args.rounds)
            if server.base:
                rates["vllm_base_of_the_same_server"] = of_vllm(server, server.base, args.tokens, args.rounds)
                say("prefix cache", time.perf_counter() - began)
                hits = prefix_hits(server)
    typical = {name: statistics.median(found[1:] or found) for name, found in rates.items()}
    figures = {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": processor(),
            "python": platform.python_version(),
        },
        "dtype": dtype(),
        "n_together": N_TOGETHER,
        "n_tokens": args.tokens,
        "tokens_per_s": typical,
        "tokens_per_s_each_round": rates,
        "vllm_to_peft": judged(typical["vllm"] / typical["peft"], LEAST_RATIO),
        "vllm_merged_to_peft": typical["vllm_merged"] / typical["peft"],
        "vllm_merged_to_transformers_merged": typical["vllm_merged"] / typical["transformers_merged"],
        "vllm_merged_to_unmerged": typical["vllm_merged"] / typical["vllm"],
        **hits,
    }
    print(json.dumps(figures, indent=2))


def texts(number: int) -> list[str]:
    """Sixteen questions of one length in words, no two of which begin alike, also not those of another number."""
    return [
        f"{word} {100 * number + i}: a person smiles for two seconds, looks down, and then speaks quietly and slowly "
        "about a journey that was long and a friend who did not come. What may this person feel, and why?"
        for i, word in enumerate(WORDS)
    ]


def of_peft(n_tokens: int, n_rounds: int, *, merged: bool) -> list[float]:
    """Tokens a second of one padded batch, round by round, in a process of its own with every core."""
    asked = {
        "threads": len(os.sched_getaffinity(0)),
        "merged": merged,
        "dtype": dtype(),
        "n_tokens": n_tokens,
        "rounds": [texts(i) for i in range(n_rounds)],
    }
    run = subprocess.run([sys.executable, "-c", PEFT], input=json.dumps(asked), capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return [float(rate) for rate in json.loads(run.stdout.splitlines()[-1])]


def of_vllm(server: ModelServer, model: str | None, n_tokens: int, n_rounds: int) -> list[float]:
    """Tokens a second of sixteen requests that are sent together, round by round."""
    limits = httpx.Limits(max_connections=N_TOGETHER)
    headers = {"Authorization": f"Bearer {server.key}"}
    client = httpx.Client(headers=headers, timeout=900, limits=limits, trust_env=False)

    def write(text: str) -> int:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0}
        body |= {"max_tokens": n_tokens, "ignore_eos": True}
        reply = client.post(f"{server.base_url}/chat/completions", json=body)
        reply.raise_for_status()
        return int(reply.json()["usage"]["completion_tokens"])

    rates = []
    # Numbers that no other model of this server was asked with: an adapter has a cache of its own, the base too.
    with client, ThreadPoolExecutor(N_TOGETHER) as pool:
        for i in range(n_rounds):
            start = time.perf_counter()
            n_written = sum(pool.map(write, texts(i)))
            assert n_written == n_tokens * N_TOGETHER
            rates.append(n_written / (time.perf_counter() - start))
    return rates


def prefix_hits(server: ModelServer) -> Mapping[str, Any]:
    """Share of prompt tokens found in the cache: the explain prompt's system message again, and a talk that goes on."""
    system = PromptLibrary().get("explain").system
    engine = open_engine(server.engine_options())
    asked = [Prompt((Message("system", system), Message("user", f"{i} [f1] lips part")), "p", "1") for i in range(17)]
    talk = [Message("system", system)]
    for i in range(8):
        talk += [Message("user", f"Turn {i}: " + texts(0)[i]), Message("assistant", "I hear you. " * 12)]
    turns = [Prompt((*talk[: 2 * i + 2],), "p", "1") for i in range(8)]

    def share(run: Callable[[], object]) -> float:
        before = counters(server)
        run()
        after = counters(server)
        return (after[0] - before[0]) / (after[1] - before[1])

    engine.generate(asked[:1], Sampling(max_tokens=1))
    again = share(lambda: engine.generate(asked[1:], Sampling(max_tokens=1)))
    going_on = share(lambda: [engine.generate([turn], Sampling(max_tokens=1)) for turn in turns])
    return {"prefix_hits_of_a_repeated_prompt": judged(again, LEAST_HITS), "prefix_hits_of_a_talk": going_on}


def counters(server: ModelServer) -> tuple[float, float]:
    """Prompt tokens found in the cache and looked up, since the start."""
    root, headers = server.base_url.removesuffix("/v1"), {"Authorization": f"Bearer {server.key}"}
    text = httpx.get(f"{root}/metrics", headers=headers, trust_env=False).text
    hits, queries = (
        sum(float(x) for x in re.findall(rf"^vllm:prefix_cache_{what}_total\S* (\S+)$", text, re.MULTILINE))
        for what in ("hits", "queries")
    )
    return hits, queries


def dtype() -> str:
    """What both sides compute in."""
    return "bfloat16" if models.has_native_bfloat16() else "float32"


def judged(found: float, least: float) -> dict[str, Any]:
    """A figure beside its target."""
    return {"value": found, "at_least": least, "holds": found >= least}


def processor() -> str:
    """Its name, where Linux tells it."""
    told = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    return told[1] if told else platform.machine()


if __name__ == "__main__":
    main()
