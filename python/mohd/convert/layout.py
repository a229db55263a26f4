# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where each dim of the converted residual stream comes from, and what that makes of every weight.

Shapes: D dims of the dense model, D' = x D of the converted one. Dim j holds scale[j] times dim source[j] of the dense
model. With scale[j]^2 = x / copies[j] the mean square over D' dims is that over D, so norms have their statistic.
docs/conversion.md derives the rest.
"""

import dataclasses

import numpy as np
import torch

from mohd.fields import MAX_SEED
from mohd.nn import MoHDAttention, MoHDMLP

PARTS = (MoHDAttention, MoHDMLP)
WRITERS = tuple(f"{part.output}.weight" for part in PARTS)
READERS = tuple(f"{name}.weight" for part in PARTS for name in part.inputs)


@dataclasses.dataclass(frozen=True)
class Layout:
    """`source` and `copies` are int64 [D']: dim j is one of copies[j] dims that come from dim source[j].

    `whole`: a projection reads one copy of each dim, which has the whole weight; else it reads all copies, which share it.
    """

    source: np.ndarray
    copies: np.ndarray
    expand: int = 1
    whole: bool = True

    @property
    def scale(self):
        """[D'] float64: what the residual stream's dims are multiplied by."""
        return np.sqrt(self.expand / self.copies)


def permuted(order):
    """The layout of a permutation: dim j comes from dim order[j]."""
    order = np.asarray(order, np.int64)
    return Layout(order, np.ones_like(order))


def replicated(order, expand):
    """All dims `expand` times, one copy after the other; projections read all of them."""
    source = np.tile(np.asarray(order, np.int64), expand)
    return Layout(source, np.full_like(source, expand), expand, whole=False)


def blocks_of(groups, shared, routed):
    """int64 [N]: the block of dims that each group holds: the shared ones once, the routed ones in turn, copy after copy."""
    return np.concatenate([np.arange(shared), shared + np.arange(groups - shared) % routed])


def upcycled(order, expand, groups, shared, routed):
    """The layout for N = x K groups of which K are active: a block of dims for each active group, the routed ones in copies."""
    block = blocks_of(groups, shared, routed)
    width = len(order) * expand // groups
    source = np.asarray(order, np.int64).reshape(-1, width)[block].reshape(-1)
    return Layout(source, np.repeat(np.bincount(block)[block], width), expand)


def generator(seed):
    """A source of random numbers; `seed` may be larger than what torch takes."""
    return torch.Generator().manual_seed(seed & MAX_SEED)


def split(weight, layout, noise, seed):
    """Shares of a weight [E, D'] for the copies of its columns: random around 1/x, those of a column adding up to 1; float64."""
    dims = weight.shape[1] // layout.expand
    draw = torch.randn(weight.shape[0], layout.expand, dims, generator=generator(seed), dtype=torch.float64)
    return ((1 + noise * (draw - draw.mean(1, keepdim=True))) / layout.expand).flatten(1)


def factor_of(name, gathered, layout, tied, noise, seed):
    """What the gathered tensor `name` is multiplied by, float64 and broadcast to its shape, or None for 1."""
    if layout.expand == 1:
        return None
    scale = torch.from_numpy(layout.scale)
    if name == "model.norm.weight" and tied:  # the head has the embedding's scale, and sums over all copies
        return torch.full_like(scale, 1 / layout.expand)
    if name.endswith("norm.weight"):
        return 1 / scale
    if name == "lm_head.weight":
        return torch.from_numpy(1 / layout.copies)
    if name.endswith(READERS):
        return None if layout.whole else split(gathered, layout, noise, seed)
    return scale[:, None] if name.endswith(WRITERS) else scale


def converted(tensors, layout, tied, noise=0.0, seed=0):
    """The dense model's tensors by name, laid out anew. Where no factor is needed they keep their type and bits, else they have at least float32.

    `noise` makes the copies of a weight that all are read differ by that share, so that training can tell them apart.
    """
    out, source = {}, torch.from_numpy(layout.source)
    for i, (name, tensor) in enumerate(sorted(tensors.items())):
        axis = 0 if tensor.ndim == 1 or name.endswith(WRITERS) else 1
        gathered = tensor.index_select(axis, source)
        factor = factor_of(name, gathered, layout, tied, noise, seed * len(tensors) + i)
        wide = torch.promote_types(tensor.dtype, torch.float32)
        out[name] = gathered if factor is None else (gathered.double() * factor).to(wide)
    return out
