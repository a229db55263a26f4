# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tokens of a file and the batches that a step takes from them.

Batches are a function of seed and step alone, so that the position in the data is the step: each epoch cuts the
training part into sequences from an offset of its own and shuffles them.
"""

import pathlib

import numpy as np
import torch


def tokens_of(settings):
    """The tokens of settings.data.path as an array [count] that is mapped, not read."""
    path, kind = settings.data.path, settings.data.format
    if kind == "npy":
        try:
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        except (EOFError, ValueError) as error:
            raise ValueError(f"expects a .npy file of integers in {path}, got another or an empty one") from error
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise ValueError(f"expects one-dimensional integers in {path}, got {tokens.dtype} {list(tokens.shape)}")
        return tokens
    dtype = np.dtype({"bytes": "u1", "uint16": "<u2", "int32": "<i4"}[kind])
    size = pathlib.Path(path).stat().st_size
    if size == 0 or size % dtype.itemsize:
        raise ValueError(f"expects a positive multiple of {dtype.itemsize} bytes in {path}, got {size}")
    return np.memmap(path, dtype, "r")


class Batches:
    """The sequences of a run: `training` and `held_out`, as inputs and targets [B, S] of int64."""

    def __init__(self, settings):
        tokens = tokens_of(settings)
        cut = len(tokens) - int(len(tokens) * settings.data.held_out)
        self.train, self.rest = tokens[:cut], tokens[cut:]
        self.length, self.batch, self.seed = settings.sequence_length, settings.batch, settings.seed
        self.vocabulary = settings.model.vocab_size
        self.count = len(self.train) // self.length - 1  # sequences of an epoch, whatever its offset
        if self.count < 1:
            raise ValueError(
                f"expects at least {2 * self.length} tokens to train on in {settings.data.path}, got {len(self.train)}"
            )
        self.epoch = None

    def _begin_epoch(self, epoch):
        """Makes the order of an epoch, the offset first."""
        rng = np.random.default_rng([self.seed, epoch])
        self.epoch, self.offset, self.order = epoch, int(rng.integers(self.length)), rng.permutation(self.count)

    def _rows(self, tokens, starts):
        """Inputs and targets of the sequences that begin at `starts`."""
        rows = np.stack([np.asarray(tokens[start : start + self.length + 1], np.int64) for start in starts])
        if rows.min() < 0 or rows.max() >= self.vocabulary:
            bad = rows.max() if rows.max() >= self.vocabulary else rows.min()
            raise ValueError(f"expects tokens from 0 to {self.vocabulary - 1}, the model's vocabulary, got {bad}")
        rows = torch.from_numpy(rows)
        return rows[:, :-1], rows[:, 1:]

    def training(self, step, rows):
        """The sequences of `step` whose numbers in the batch are `rows`."""
        starts = []
        for row in rows:
            number = step * self.batch + row
            if number // self.count != self.epoch:
                self._begin_epoch(number // self.count)
            starts.append(self.offset + int(self.order[number % self.count]) * self.length)
        return self._rows(self.train, starts)

    def held_out(self, limit):
        """The first `limit` sequences of the held-out part, fewer if it has fewer."""
        count = min(limit, (len(self.rest) - 1) // self.length)
        if count < 1:
            raise ValueError(f"expects at least {self.length + 1} held-out tokens, got {len(self.rest)}")
        return self._rows(self.rest, range(0, count * self.length, self.length))
