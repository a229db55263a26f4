# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the dims of a dense model do, seen on tokens or, without any, on its embedding table: `Use`, from which their order follows.

A dim is active for a token if it has one of the largest energies of a sub-layer's normed input. Shapes: T tokens, D dims.
"""

import dataclasses

import numpy as np

from mohd.analyze.quantities import blocks, top_dims
from mohd.analyze.stream import stream

SITES = ("attn_norm", "mlp_norm")
"""Where the stream has the normed inputs of a layer's sub-layers."""

TIE = 1e-3
"""What a dim's share of the energy counts beside how often it is active: it orders dims that are so equally often."""


@dataclasses.dataclass
class Use:
    """`activity` [D]: how often a dim is active; `affinity` [D, D]: the covariances of being active, means over sub-layers."""

    activity: np.ndarray
    affinity: np.ndarray


def shares(energy):
    """Rows of energy [T, n] over their sum, 0 where that is 0."""
    total = energy.sum(-1, keepdims=True)
    return energy / np.where(total > 0, total, 1)


class Together:
    """Counts the tokens of one sub-layer that have a dim, and those that have two dims, among their `top` largest energies."""

    def __init__(self, width, top):
        self.top, self.tokens = top, 0
        self.uses, self.pairs, self.energy = np.zeros(width), np.zeros((width, width)), np.zeros(width)

    def add(self, rows):
        """Takes rows [T, D]."""
        for part in blocks(*rows.shape):
            energy = shares(np.square(rows[part], dtype=np.float64))
            active = top_dims(energy, -np.sort(-energy, axis=1)[:, : self.top]).astype(np.float32)
            self.tokens += len(active)
            self.uses += active.sum(0, dtype=np.float64)
            self.pairs += active.T @ active
            self.energy += energy.sum(0)

    def use(self):
        """The Use of this sub-layer's dims."""
        share = self.uses / self.tokens
        return Use(share + TIE * self.energy / self.tokens, self.pairs / self.tokens - np.outer(share, share))


def observed(checkpoint, tokens, top):
    """The Use of a dense checkpoint's dims over tokens [sequences, length], the mean over all sub-layers."""
    width, parts = checkpoint.config.hidden_size, len(SITES) * checkpoint.config.num_hidden_layers
    mean, here, seen = Use(np.zeros(width), np.zeros((width, width))), None, {}

    def finish():
        for found in (counts.use() for counts in seen.values()):
            mean.activity += found.activity / parts
            mean.affinity += found.affinity / parts

    for number, arrays, _ in stream(checkpoint, tokens):
        if number != here:
            finish()
            here, seen = number, {site: Together(width, top) for site in SITES}
        for site, counts in seen.items():
            counts.add(arrays[site])
    finish()
    return mean


def estimated(checkpoint, top):
    """The same without tokens: of the rows of the embedding table, which are the residual stream's first values, each row once."""
    counts = Together(checkpoint.config.hidden_size, top)
    vocabulary = np.arange(checkpoint.config.vocab_size)
    for part in blocks(len(vocabulary), checkpoint.config.hidden_size):
        counts.add(checkpoint.rows("model.embed_tokens.weight", vocabulary[part]).numpy())
    return counts.use()
