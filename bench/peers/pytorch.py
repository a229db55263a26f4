# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""torch on the CPU: eager (MKL for f32), oneDNN on weights packed ahead of time, and torch.compile."""

import functools

import numpy as np
import torch
from torch.nn import functional

MOST_GATHERED = 8
"""Tokens up to which the weights of each token are gathered."""


def describe():
    """Version of torch and of what it calls."""
    lines = [line.strip(" -") for line in torch.__config__.show().split("\n")]
    libraries = [line.split(" (")[0] for line in lines if "MKL-DNN" in line or "Math Kernel" in line]
    return ", ".join([f"torch {torch.__version__}", *libraries])


def set_threads(count):
    """Sets the number of threads of eager, oneDNN and compiled code."""
    torch.set_num_threads(count)


@functools.lru_cache(maxsize=2)
def _inputs(p):
    """Input, indices and gates of a problem as tensors."""
    return torch.from_numpy(p.x), torch.from_numpy(p.indices.astype(np.int64)), torch.from_numpy(p.gates)


def _by_group(indices, shared, n):
    """(group, tokens, slots) of each routed group that has tokens."""
    routed = indices.shape[1] - shared
    flat = indices[:, shared:].reshape(-1)
    order = torch.argsort(flat, stable=True)
    ends = torch.searchsorted(flat[order], torch.arange(shared, n + 1)).tolist()
    for group in range(shared, n):
        places = order[ends[group - shared] : ends[group - shared + 1]]
        if len(places):
            yield group, places // routed, shared + places % routed


def spmm_groups(p, w):
    """The shared groups as one product, then each routed group's tokens; w: [D, E]."""
    x, indices, gates = _inputs(p)
    width, shared = p.group_width, p.groups[1]
    if shared:
        y = (x[:, : shared * width].view(p.tokens, shared, width) * gates[:, :shared, None]).view(p.tokens, -1) @ w[: shared * width]
    else:
        y = torch.zeros(p.tokens, p.inner)
    for group, tokens, slots in _by_group(indices, shared, p.n) if p.groups[2] else ():
        part = x[tokens, group * width : (group + 1) * width] * gates[tokens, slots, None]
        y.index_add_(0, tokens, part @ w[group * width : (group + 1) * width])
    return y


def sddmm_groups(p, w):
    """The same on the output side; w: [D, E]."""
    x, indices, _ = _inputs(p)
    width, shared = p.group_width, p.groups[1]
    y = torch.zeros(p.tokens, p.width)
    if shared:
        y[:, : shared * width] = functional.linear(x, w[: shared * width])
    for group, tokens, _ in _by_group(indices, shared, p.n) if p.groups[2] else ():
        part = slice(group * width, (group + 1) * width)
        y[tokens, part] = functional.linear(x[tokens], w[part])
    return y


def _gather_spmm(x, indices, gates, w):
    """Each token's weights gathered; w: [N, d_e, E]. For torch.compile, which fuses the gather with the sum."""
    n, width, _ = w.shape
    part = x.view(len(x), n, width).gather(1, indices[:, :, None].expand(-1, -1, width)) * gates[..., None]
    return torch.einsum("tkd,tkdi->ti", part, w[indices])


def _gather_sddmm(x, indices, gates, w):
    """The same on the output side; w: [N, d_e, E]."""
    n, width, _ = w.shape
    part = torch.einsum("ti,tkdi->tkd", x, w[indices])
    y = x.new_zeros(len(x), n, width)
    return y.scatter(1, indices[:, :, None].expand(-1, -1, width), part).view(len(x), n * width)


def _linear(x, w):
    return functional.linear(x, w)


@functools.cache
def _compiled(function):
    return torch.compile(function, dynamic=False)


def _gathered(function, p, w):
    return function(*_inputs(p), w.view(p.n, p.group_width, -1))


def has_bf16():
    """Whether oneDNN computes in bf16 on this machine: it needs AVX-512 or newer."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def packed(p, w, dtype=torch.float32):
    """A dense weight [columns of the result, columns of the input] as oneDNN packs it for T tokens."""
    return torch.ops.mkldnn._reorder_linear_weight(torch.from_numpy(w).to(dtype), p.tokens)


def _onednn(x, w):
    return torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")


def variants(p, compiles):
    """{name: (form of the weight, whether it reads all of it, function of problem and weight)}; see openblas.variants."""
    x, _, _ = _inputs(p)
    found = {
        "torch dense": ("columns", True, lambda p, w: functional.linear(x, torch.from_numpy(w))),
        "onednn dense": ("packed", True, lambda p, w: _onednn(x, w)),
    }
    if p.dtype == "bf16" and has_bf16():
        narrow = x.to(torch.bfloat16)
        found["onednn dense bf16"] = ("packed bf16", True, lambda p, w: _onednn(narrow, w))
    if compiles:
        dense = _compiled(_linear)
        found["torch.compile dense"] = ("columns", True, lambda p, w: dense(x, torch.from_numpy(w)))
    if not p.is_routed:
        return found
    form, groups, gather = (("rows", spmm_groups, _gather_spmm) if p.op == "spmm" else ("columns", sddmm_groups, _gather_sddmm))
    found["torch groups"] = (form, False, lambda p, w: groups(p, torch.from_numpy(w)))
    if p.tokens <= MOST_GATHERED:
        found["torch gather"] = (form, False, lambda p, w: _gathered(gather, p, torch.from_numpy(w)))
        if compiles:
            compiled = _compiled(gather)
            found["torch.compile gather"] = (form, False, lambda p, w: _gathered(compiled, p, torch.from_numpy(w)))
    return found
