# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A projection to compute: sizes, random data, the exact result of some tokens, and weights in each form that somebody wants.

D is the width that is cut into N groups of d_e, E the other side, T the number of tokens, K the active groups of each.
"""

import dataclasses
import functools

import numpy as np

from mohd.arrays import empty
from mohd.testing.arrays import from_storage, to_storage

CHECKED = 6
"""Tokens whose results are compared with float64."""
TOLERANCE = {"f32": 1e-5, "bf16": 5e-3, "f16": 5e-3}
"""Relative error in the Frobenius norm that a result may have."""


def draw_routing(name, groups, tokens, seed):
    """Active sets [T, K], ascending. The distributions of `mohd-bench --routing`, drawn by NumPy."""
    n, shared, routed = groups
    rng, others = np.random.default_rng(seed), n - shared
    popularity = np.ones(others)
    if name == "zipf":
        popularity = rng.permutation(1 / np.arange(1, others + 1))
    if name == "disjoint":
        chosen = (np.arange(tokens)[:, None] * routed + np.arange(routed)) % others
    else:
        # The K_r largest of log(u)/p are a draw without replacement with probabilities p, one after the other.
        keys = np.log(rng.random((1 if name == "identical" else tokens, others))) / popularity
        chosen = np.broadcast_to(np.argsort(-keys, -1)[:, :routed], (tokens, routed))
    prefix = np.broadcast_to(np.arange(shared), (tokens, shared))
    return np.concatenate([prefix, np.sort(chosen, -1) + shared], -1).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Problem:
    """`op` is spmm (D to E), sddmm (E to D) or linear (D to E, no groups); `groups` is (N, K_s, K_r)."""

    op: str
    width: int
    inner: int
    tokens: int
    groups: tuple = (1, 1, 0)
    dtype: str = "f32"
    routing: str = "uniform"
    seed: int = 0
    threads: int = 1

    @property
    def n(self):
        return self.groups[0]

    @property
    def active(self):
        return self.groups[1] + self.groups[2]

    @property
    def group_width(self):
        return self.width // self.n

    @property
    def is_routed(self):
        return self.op != "linear"

    @property
    def sides(self):
        """(columns of the input, columns of the result)."""
        return (self.inner, self.width) if self.op == "sddmm" else (self.width, self.inner)

    @functools.cached_property
    def indices(self):
        return draw_routing(self.routing, self.groups, self.tokens, self.seed)

    @functools.cached_property
    def union(self):
        """The number of groups that any token uses."""
        return len(np.unique(self.indices))

    @property
    def coverage(self):
        return self.active / self.union

    @functools.cached_property
    def gates(self):
        rng = np.random.default_rng(self.seed + 1)
        gates = rng.uniform(-1, 1, (self.tokens, self.active)).astype(np.float32)
        return gates if self.is_routed else np.ones_like(gates)

    @functools.cached_property
    def x(self):
        """Input [T, D] or [T, E]."""
        made = empty((self.tokens, self.sides[0]), np.float32)
        made[...] = np.random.default_rng(self.seed + 2).uniform(-1, 1, made.shape)
        return made

    @functools.cached_property
    def weight(self):
        """f32, rounded to `dtype`: [N, d_e, E] of spmm, [N, E, d_e] of sddmm, [1, D, E] of linear; the op's own layout."""
        shape = (self.n, self.inner, self.group_width) if self.op == "sddmm" else (self.n, self.group_width, self.inner)
        drawn = np.random.default_rng(self.seed + 3).uniform(-1, 1, shape).astype(np.float32)
        return from_storage(to_storage(drawn, self.dtype), self.dtype).astype(np.float32)

    @property
    def flops(self):
        """Two for each multiply-add that is wanted."""
        return 2 * self.tokens * self.active * self.group_width * self.inner

    def weight_bytes(self, itemsize, dense=False):
        """Bytes of weights that a call reads: of the groups that any token uses, or of all."""
        return (self.n if dense else self.union) * self.group_width * self.inner * itemsize

    @functools.cached_property
    def checked(self):
        """Tokens to compare: the first, the last, and some in between."""
        return np.unique(np.linspace(0, self.tokens - 1, CHECKED).astype(int))

    @functools.cached_property
    def expected(self):
        """The exact rows of `checked`, float64."""
        rows = np.zeros((len(self.checked), self.sides[1]))
        for row, token in zip(rows, self.checked):
            x = self.x[token].astype(np.float64)
            for gate, group in zip(self.gates[token].astype(np.float64), self.indices[token]):
                part = slice(group * self.group_width, (group + 1) * self.group_width)
                block = self.weight[group].astype(np.float64)
                if self.op == "sddmm":
                    row[part] = x @ block
                else:
                    row += gate * x[part] @ block
        return rows

    @functools.cached_property
    def expected_dense(self):
        """The same of the dense product, without groups and gates."""
        return self.x[self.checked].astype(np.float64) @ self.rows_first().astype(np.float64)

    def error(self, result, dense=False):
        """The relative error of a result [T, columns] in its checked rows; `dense`: of the dense product."""
        rows = np.asarray(result)[self.checked].astype(np.float64)
        expected = self.expected_dense if dense else self.expected
        return float(np.linalg.norm(rows - expected) / np.linalg.norm(expected))

    def rows_first(self):
        """The dense weight [columns of the input, columns of the result], f32: `x @ w`."""
        if self.op == "sddmm":
            return np.ascontiguousarray(self.weight.transpose(1, 0, 2).reshape(self.inner, self.width))
        return self.weight.reshape(self.width, self.inner)

    def columns_first(self):
        """The dense weight [columns of the result, columns of the input], f32, as torch's Linear has it."""
        if self.op == "sddmm":
            return np.ascontiguousarray(self.weight.transpose(0, 2, 1).reshape(self.width, self.inner))
        return np.ascontiguousarray(self.weight.reshape(self.width, self.inner).T)
