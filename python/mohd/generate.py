# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A compiled language model with its key-value caches: `prefill` a batch of sequences, then `decode` step by step."""

import numpy as np

from mohd.runtime import zeros


class Generator:
    """`sequences` sequences of at most `positions` tokens each, on a context of its own unless one is given."""

    def __init__(self, module, sequences, positions, threads=0, device="cpu", context=None):
        self.context = context or module.context(threads, device=device)
        cache = {tensor.name: tensor for tensor in module.entry_points["decode"].inputs}["k_cache"]
        layers, width = cache.shape[0], cache.shape[3]
        self.caches = {name: zeros((layers, sequences, positions, width), cache.type) for name in ("k_cache", "v_cache")}
        self.length = np.zeros(sequences, np.int32)  # tokens of each sequence so far

    def prefill(self, tokens, all_rows=False):
        """Starts every sequence with tokens [sequences, S]; logits [sequences, V] after them, or [sequences, S, V] of all."""
        tokens = np.asarray(tokens, np.int32)
        count, length = tokens.shape
        place = np.arange(count * length, dtype=np.int32)
        if length == 0 and not all_rows:
            raise ValueError("expects at least one token in each sequence, got none")
        sequence, position = np.divmod(place, np.int32(max(length, 1)))
        rows = place if all_rows else place[length - 1 :: length]
        inputs = {"tokens": tokens.reshape(-1), "sequence": sequence, "position": position, "rows": rows}
        self.length[:] = length
        logits = self.context.run("prefill", inputs | self.caches)["logits"]
        return logits.reshape(count, length, logits.shape[-1]) if all_rows else logits

    def decode(self, tokens):
        """Appends tokens [sequences], one to each sequence; logits [sequences, V] after them."""
        inputs = {"tokens": np.asarray(tokens, np.int32), "position": self.length.copy()}
        logits = self.context.run("decode", inputs | self.caches)["logits"]
        self.length += 1
        return logits
