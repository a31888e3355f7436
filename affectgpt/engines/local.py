"""The model in this process: transformers, with a LoRA adapter merged at load.

Greedy answers of one prompt at a time are drafted by prompt lookup: spans that the text repeats are proposed and
checked many at a time, and only what greedy decoding would have written is kept. Several prompts are written side by
side, padded on the left. In float32 both give the tokens of plain one-by-one greedy decoding (tested); in bfloat16
sums round differently with the shape of the work, so a near tie can fall the other way between the two, and a batch's
answers can depend on their neighbours: measure in float32.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from affectgpt.engines import adapter as adapters
from affectgpt.engines import embedded, models
from affectgpt.engines.engine import EngineOptions, cut_at_stop, stamp
from affectgpt.engines.splicing import SplicedIds, soft_rows, soft_tokenizer, spliced_ids
from affectgpt.errors import EngineError, ModelError, OptionError
from affectgpt.records import Completion, EmbeddedPrompt, Prompt, Sampling

__all__ = ["LocalEngine"]

LOOKUP_TOKENS = 5
LOOKUP_NGRAM = 3
"""Drafts of 5 tokens after a match of up to 3: the best of a 5 x 5 grid on an answer of the three-part form
(353 tokens in 205 passes). Longer drafts save few passes more and each costs more."""


class LocalEngine:
    """transformers in this process; see `EngineOptions`. Thread-safe: one generation at a time."""

    name = "local"
    takes_soft = True

    def __init__(self, options: EngineOptions, model: str | None = None, adapter: str = "default") -> None:
        import torch

        if options.threads:
            torch.set_num_threads(options.threads)
        base_name, place = models.resolve(model)
        folder = _adapter_folder(adapter, base_name, options.default_adapter)
        weights = models.load_model(place)
        adapter_id = "no adapter"
        if folder:
            weights, adapter_id = adapters.merge(weights, folder, base_name, models.config_file(place))
        dtype = options.dtype
        if dtype == "auto":
            dtype = "bfloat16" if models.has_native_bfloat16() else "float32"
        # Cast after the merge: adding a small update to bfloat16 weights would round most of it away.
        weights = weights.to(getattr(torch, dtype)).eval()
        name = f"{base_name}+{adapter_id} ({dtype})" if folder else f"{base_name} ({adapter_id}, {dtype})"
        self._take(weights, models.load_tokenizer(place), name, options.batch_size)
        self.base_names, self.base_config = (base_name,), models.config_file(place)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, name: str, batch_size: int = 8) -> Self:
        """An engine over a model that is loaded already, wherever its weights lie; `name` stamps its answers.

        The model is taken as it is (its mode, its type, an adapter beside it), but for the generation settings that
        came with it, which are dropped. `tokenizer` pads on the left, as that of `models.load_tokenizer` does.
        """
        engine = cls.__new__(cls)
        engine._take(model, tokenizer, name, batch_size)
        return engine

    def _take(self, model: Any, tokenizer: Any, name: str, batch_size: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._soft_tokenizer: Any = None
        self._ends = models.end_ids(model, tokenizer)
        # A finished row of a batch is filled up with padding.
        self._closing = {*self._ends, tokenizer.pad_token_id}
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self.model = name

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One answer a prompt, in order. Sampled answers are written one at a time, each from the same seed.

        Raises:
            OptionError: a prompt longer than the model's context, or soft tokens of another width than the model's.
            EngineError: the model failed.
        """
        ids = [self._encode(prompt) for prompt in prompts]
        size = self._batch_size if sampling.temperature == 0 else 1
        # Prompts of like length together: less padding to compute.
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        done: dict[int, Completion] = {}
        for at in range(0, len(order), size):
            batch = order[at : at + size]
            for i, written in zip(batch, self._write([ids[i] for i in batch], sampling), strict=True):
                done[i] = self._completion(prompts[i], len(ids[i]), written, sampling)
        return [done[i] for i in range(len(ids))]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """Pieces of one answer while it is written, then its Completion; closing the generator stops the model."""
        ids = self._encode(prompt)
        pieces: SimpleQueue[str | BaseException | list[int]] = SimpleQueue()
        closed = threading.Event()
        shown = 0

        def watch(rows: list[list[int]]) -> bool:
            nonlocal shown
            text = _settled(self._text(rows[0]), sampling.stop)
            if len(text) > shown:
                pieces.put(text[shown:])
                shown = len(text)
            return closed.is_set()

        def work() -> None:
            try:
                (written,) = self._write([ids], sampling, watch)
                pieces.put(cut_at_stop(self._text(written), sampling.stop)[0][shown:])
                pieces.put(written)
            except BaseException as e:  # noqa: BLE001 - raised again in the reader's thread
                pieces.put(e)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            if prompt.opening:
                yield prompt.opening
            while not isinstance(piece := pieces.get(), list):
                if isinstance(piece, BaseException):
                    raise piece
                if piece:
                    yield piece
            return self._completion(prompt, len(ids), piece, sampling)
        finally:
            closed.set()
            thread.join()

    def _encode(self, prompt: Prompt) -> SplicedIds:
        from jinja2 import TemplateError

        try:
            ids = self._splice(prompt)
            if prompt.opening:
                ids.ids.extend(self._tokenizer(prompt.opening, add_special_tokens=False)["input_ids"])
        except TemplateError as e:
            raise ModelError(f"the chat template of {self.model} refuses this prompt: {e}", "use another model") from e
        if len(ids) >= self._context:
            raise OptionError(
                f"the prompt has {len(ids)} tokens, and the context of {self.model} is {self._context}",
                "keep fewer observations, or name a model with a longer context",
            )
        return ids

    def _splice(self, prompt: Prompt) -> SplicedIds:
        if not isinstance(prompt, EmbeddedPrompt):
            return SplicedIds(models.chat_ids(self._tokenizer, prompt.messages))
        width = int(self._model.get_input_embeddings().weight.shape[-1])
        if prompt.width not in (None, width):
            raise OptionError(
                f"the soft tokens are {prompt.width} wide, and {self.model} takes {width}",
                "use the model that they were made for",
            )
        if self._soft_tokenizer is None:
            self._soft_tokenizer = soft_tokenizer(self._tokenizer)
        # An end token as filler: drafting stops at it, so no draft runs into soft tokens.
        return spliced_ids(self._soft_tokenizer, prompt, self._ends[0])

    @property
    def _context(self) -> int:
        return int(getattr(self._model.config, "max_position_embeddings", 0) or 1 << 30)

    def _write(
        self, rows: Sequence[SplicedIds], sampling: Sampling, watch: Callable[[list[list[int]]], bool] | None = None
    ) -> list[list[int]]:
        """New token ids of each row, up to and with the end token where it came."""
        import torch
        from transformers import StoppingCriteriaList

        width = max(map(len, rows))
        padded = [[self._tokenizer.pad_token_id] * (width - len(row)) + row.ids for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        settings = self._settings(sampling, len(rows), width)
        stopping = StoppingCriteriaList([_stopper(self._text, width, sampling.stop, watch)])
        place = self._model.device
        with self._lock, torch.inference_mode(), torch.random.fork_rng(), soft_rows(self._model, rows, width):
            torch.manual_seed(sampling.seed)
            try:
                out = self._model.generate(
                    torch.tensor(padded, device=place),
                    attention_mask=torch.tensor(mask, device=place),
                    generation_config=settings,
                    stopping_criteria=stopping,
                )
            except (RuntimeError, ValueError, IndexError) as e:
                raise EngineError(f"{self.model} failed while writing: {e}") from e
        return [self._until_end(row[width:].tolist()) for row in out]

    def _settings(self, sampling: Sampling, n_rows: int, width: int) -> Any:
        from transformers import GenerationConfig

        shape: dict[str, Any] = {}
        if sampling.temperature > 0:
            shape = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        elif n_rows == 1:
            shape = {"prompt_lookup_num_tokens": LOOKUP_TOKENS, "max_matching_ngram_size": LOOKUP_NGRAM}
        make: Any = GenerationConfig  # untyped upstream
        return make(
            max_new_tokens=min(sampling.max_tokens, self._context - width),
            eos_token_id=self._ends,
            pad_token_id=self._tokenizer.pad_token_id,
            **shape,
        )

    def _until_end(self, ids: list[int]) -> list[int]:
        at = next((i for i, token in enumerate(ids) if token in self._closing), len(ids))
        return ids[: at + 1]

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(self._until_end(ids), skip_special_tokens=True))

    def _completion(self, prompt: Prompt, n_prompt_tokens: int, ids: list[int], sampling: Sampling) -> Completion:
        text, is_stopped = cut_at_stop(self._text(ids), sampling.stop)
        has_ended = bool(ids) and ids[-1] in self._closing
        return stamp(
            self,
            prompt,
            prompt.opening + text,
            (n_prompt_tokens, len(ids) - has_ended),
            "stop" if has_ended or is_stopped else "length",
        )


def _stopper(
    decode: Callable[[list[int]], str], width: int, stop: Sequence[str], watch: Callable[[list[list[int]]], bool] | None
) -> Any:
    """A stopping criterion that sees stop strings anywhere in a row: drafting adds several tokens at once."""
    import torch
    from transformers import StoppingCriteria

    class Stopper(StoppingCriteria):  # type: ignore[misc, unused-ignore]
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            rows = [row[width:].tolist() for row in input_ids] if stop or watch else [[]] * len(input_ids)
            is_closed = watch(rows) if watch else False
            stopped = [is_closed or (bool(stop) and cut_at_stop(decode(row), stop)[1]) for row in rows]
            return torch.tensor(stopped, device=input_ids.device)

    return Stopper()


def _settled(text: str, stop: Sequence[str]) -> str:
    """The text that no later token can change: not half a character, not the beginning of a stop string."""
    text, is_stopped = cut_at_stop(text, stop)
    if is_stopped:
        return text
    held = max((n for mark in stop for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
    return text[: len(text) - held].rstrip("\ufffd")


def _adapter_folder(adapter: str, base_name: str, default: Path | None) -> Path | None:
    if adapter == "none":
        return None
    if adapter == "default":
        if default is not None:
            return default
        return adapters.shipped() if base_name == embedded.MODEL_ID else None
    return Path(adapter).expanduser()
