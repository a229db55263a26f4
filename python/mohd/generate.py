# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A compiled language model with its key-value caches: `prefill` a batch of sequences, then `decode` step by step; or `stream` new tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator

import numpy as np

from mohd.binding import MohdError

if TYPE_CHECKING:
    from mohd.runtime import Context, Module


class Generator:
    """`sequences` sequences of at most `positions` tokens each, on a context of its own unless one is given (`threads`, `device`: see `Module.context`). Caches are where the context's kernels are."""

    def __init__(self, module: Module, sequences: int, positions: int, threads: int | None = None, device: str | None = None,
                 context: Context | None = None):
        if "decode" not in module.entry_points:
            raise MohdError("UNSUPPORTED", f"expects a bundle of a language model, got entry points {', '.join(module.entry_points)}")
        self.context = context or module.context(threads, device=device)
        cache = {tensor.name: tensor for tensor in module.entry_points["decode"].inputs}["k_cache"]
        shape = (int(cache.shape[0]), sequences, positions, int(cache.shape[3]))
        self.caches = {name: self.context.empty(shape, cache.dtype).write(np.zeros(shape, cache.type)) for name in ("k_cache", "v_cache")}
        self.length = np.zeros(sequences, np.int32)  # tokens of each sequence so far
        self._vocabulary = int(module.entry_points["decode"].outputs[0].shape[1])

    def prefill(self, tokens: Any, all_rows: bool = False) -> np.ndarray:
        """Starts every sequence with tokens [sequences, S]; logits [sequences, V] after them, or [sequences, S, V] of all."""
        tokens = np.asarray(tokens, np.int32)
        count, length = tokens.shape
        logits = self._prefill(list(tokens), all_rows)
        return logits.reshape(count, length, logits.shape[-1]) if all_rows else logits

    def _prefill(self, prompts, all_rows=False, logits=None):
        """The same of prompts whose lengths differ; logits [rows, V], into `logits` if that is given."""
        lengths = np.array([len(prompt) for prompt in prompts], np.int32)
        if (lengths == 0).any() and not all_rows:
            raise ValueError("expects at least one token in each sequence, got none")
        ends = np.cumsum(lengths, dtype=np.int32)
        sequence = np.repeat(np.arange(len(prompts), dtype=np.int32), lengths)
        place = np.arange(sequence.size, dtype=np.int32)
        inputs = {"tokens": np.concatenate([np.zeros(0, np.int32), *prompts]), "sequence": sequence,
                  "position": place - np.repeat(ends - lengths, lengths), "rows": place if all_rows else ends - 1}
        self.length[:] = lengths
        return self._run("prefill", inputs, logits)

    def decode(self, tokens: Any, logits: Any = None) -> Any:
        """Appends tokens [sequences], one to each sequence; logits [sequences, V] after them, into `logits` if that is given."""
        made = self._run("decode", {"tokens": np.asarray(tokens, np.int32), "position": self.length.copy()}, logits)
        self.length += 1
        return made

    def _run(self, entry, inputs, logits):
        outputs = None if logits is None else {"logits": logits}
        return self.context.run(entry, inputs | self.caches, outputs)["logits"]

    def sample(self, logits: Any, temperature: Any = 0.0, top_k: Any = 0, top_p: Any = 1.0, draw: Any = 0.0) -> np.ndarray:
        """Tokens [sequences] chosen from logits [sequences, V] (docs/semantics.md, sampling); each setting is a number or one for each sequence."""
        count = len(self.length)
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "draw": draw}
        inputs = {name: np.full(count, value, np.int32 if name == "top_k" else np.float32) for name, value in settings.items()}
        tokens = self.context.run("sample", inputs | {"logits": logits})["tokens"]
        if (tokens < 0).any():
            raise MohdError("FAILURE", f"sequence {int(np.argmin(tokens))} has logits that are not finite")
        return tokens

    def stream(self, prompts: list[Any], max_new_tokens: int, temperature: Any = 0.0, top_k: Any = 0, top_p: Any = 1.0, seed: int = 0) -> Iterator[np.ndarray]:
        """Starts the sequences with `prompts`, lists of ids, and yields `max_new_tokens` times the next token of each, [sequences].

        Temperature 0 takes the largest logit. The draws are NumPy's default generator's, from `seed`. Nothing but tokens leaves the context's device.
        """
        if len(prompts) != len(self.length):
            raise ValueError(f"expects {len(self.length)} prompts, got {len(prompts)}")
        random = np.random.default_rng(seed)
        logits = self.context.empty((len(prompts), self._vocabulary), "f32")
        tokens = None
        for _ in range(max_new_tokens):
            if tokens is None:
                self._prefill([np.asarray(prompt, np.int32) for prompt in prompts], logits=logits)
            else:
                self.decode(tokens, logits)
            tokens = self.sample(logits, temperature, top_k, top_p, random.random(len(prompts), np.float32))
            yield tokens


def stream(module, tokens, max_new_tokens, threads, device, settings):
    """`Module.stream`."""
    single = np.ndim(tokens[0]) == 0 if len(tokens) else True
    prompts = [tokens] if single else list(tokens)
    if max_new_tokens < 1 or not all(len(prompt) for prompt in prompts):
        raise ValueError(f"expects a token in each prompt and a new one, got prompts of {', '.join(str(len(p)) for p in prompts)} and {max_new_tokens} new ones")
    positions = max(map(len, prompts)) + max_new_tokens - 1
    most = (module.manifest["model"] or {}).get("max_positions", positions)
    if positions > most:
        raise ValueError(f"expects at most {most} positions, got {positions}: {positions - max_new_tokens + 1} tokens and {max_new_tokens} new ones")
    generator = Generator(module, len(prompts), positions, threads, device)

    def steps():
        for made in generator.stream(prompts, max_new_tokens, **settings):
            yield int(made[0]) if single else made

    return steps()
