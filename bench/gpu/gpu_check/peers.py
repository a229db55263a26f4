# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What other software offers for a routed product on a GPU, in torch: every peer may be absent or fail, and is then noted.

The lists of tokens of each group are made ahead of time and cost the peers nothing; the compiled op makes its own in every call.
"""

import functools

import torch


class Lists:
    """Pairs of token and slot in the order of their groups, as the peers want them."""

    def __init__(self, data):
        row, flat = data.row, data.indices.reshape(-1).long()
        n = row.groups[0]
        order = torch.argsort(flat, stable=True)
        self.groups, self.tokens = flat[order], order // row.active
        self.slots = order  # token * K + slot
        self.counts = torch.bincount(flat, minlength=n)
        self.ends = self.counts.cumsum(0).to(torch.int32)
        self.grouped_rows = self.tokens * n + self.groups  # of [T * N, d_e]
        self.gates = data.gates.reshape(-1)[order]
        self.input_rows = self.grouped_rows if row.op == "spmm" else self.tokens
        # For bmm: every group padded to as many rows as the longest list; row `last` of a padded result is thrown away.
        most, begins = int(self.counts.max()), self.ends.long() - self.counts
        place = begins[:, None] + torch.arange(most, device=flat.device)
        self.pad = torch.where(torch.arange(most, device=flat.device) < self.counts[:, None], place, 0)
        self.is_pad = torch.arange(most, device=flat.device) >= self.counts[:, None]


def _input(row, x):
    """x as rows that lists name: [T * N, d_e] of spmm, [T, E] of sddmm."""
    return x.view(-1, row.group_width) if row.op == "spmm" else x


def _result(data, lists, part):
    """The result [T, columns] from each pair's part of it."""
    row = data.row
    if row.op == "spmm":
        y = torch.zeros(row.tokens, row.inner, device=part.device, dtype=torch.float32)
        return y.index_add_(0, lists.tokens, part.float() * lists.gates[:, None]).to(part.dtype)
    y = torch.zeros(row.tokens * row.groups[0], row.group_width, device=part.device, dtype=part.dtype)
    return y.index_copy_(0, lists.grouped_rows, part).view(row.tokens, -1)


def grouped_mm(data, lists, x, w):
    """torch._grouped_mm of gathered rows."""
    function = getattr(torch, "_grouped_mm", None) or torch.nn.functional.grouped_mm
    part = function(_input(data.row, x).index_select(0, lists.input_rows), w, offs=lists.ends)
    return _result(data, lists, part)


def padded_bmm(data, lists, x, w):
    """index_select of the tokens of each group, padded, and one bmm."""
    row = data.row
    rows = lists.input_rows[lists.pad]
    part = torch.bmm(_input(row, x).index_select(0, rows.reshape(-1)).view(*rows.shape, -1), w)
    if row.op == "spmm":
        gates = torch.where(lists.is_pad, 0.0, lists.gates[lists.pad])
        y = torch.zeros(row.tokens, row.inner, device=x.device, dtype=torch.float32)
        y.index_add_(0, lists.tokens[lists.pad].reshape(-1), (part.float() * gates[..., None]).view(-1, row.inner))
        return y.to(x.dtype)
    last = row.tokens * row.groups[0]
    y = torch.zeros(last + 1, row.group_width, device=x.device, dtype=x.dtype)
    y.index_copy_(0, torch.where(lists.is_pad, last, lists.grouped_rows[lists.pad]).reshape(-1), part.view(-1, row.group_width))
    return y[:last].view(row.tokens, -1)


def gathered_weights(data, lists, x, w):
    """index_select of the weights of each token, and one bmm: for few tokens."""
    row, groups = data.row, data.indices.reshape(-1).long()
    k, d = row.active, row.group_width
    w = w.index_select(0, groups)
    if row.op == "spmm":
        part = x.view(row.tokens, row.groups[0], d).gather(1, data.indices.long()[:, :, None].expand(-1, -1, d))
        part = (part * data.gates[..., None]).to(x.dtype)
        return torch.bmm(part.view(row.tokens, 1, k * d), w.view(row.tokens, k * d, -1))[:, 0]
    part = torch.bmm(x.repeat_interleave(k, 0)[:, None], w)[:, 0]
    y = torch.zeros(row.tokens * row.groups[0], d, device=x.device, dtype=x.dtype)
    return y.index_copy_(0, (torch.arange(row.tokens, device=x.device)[:, None] * row.groups[0] + data.indices.long()).reshape(-1), part).view(row.tokens, -1)


FORMS = {
    "op": lambda data, w: w,
    "columns": lambda data, w: w.transpose(-1, -2).contiguous().transpose(-1, -2),
    "dense": lambda data, w: data.dense(w).contiguous(),
    "dense columns": lambda data, w: data.dense(w).t().contiguous().t(),
}
"""How a peer wants the weight; the arguments are a Data and a weight in the op's layout."""


def _mm(data, lists, x, w):
    return torch.mm(x, w)


def _compiled(function):
    return torch.compile(function, mode="max-autotune-no-cudagraphs", dynamic=False)


def variants(data):
    """{name: (form of the weight, whether dense, function(data, lists, x, w))}."""
    row = data.row
    found = {"torch.mm": ("dense", True, _mm), "torch.mm of columns": ("dense columns", True, _mm)}
    if row.peers == "compile":
        found["torch.compile dense"] = ("dense columns", True, _compiled(_mm))
    if row.op == "linear" or row.peers == "dense":
        return found
    found["torch._grouped_mm"] = ("columns", False, grouped_mm)
    found["index_select + bmm"] = ("op", False, padded_bmm)
    if row.tokens <= 8:
        found["index_select of weights"] = ("op", False, gathered_weights)
    if row.peers == "compile":
        found["torch.compile routed"] = ("op", False, _compiled(gathered_weights if row.tokens <= 8 else padded_bmm))
    found["Triton gathered GEMM"] = ("op", False, functools.partial(_triton, "gathered_gemm"))
    if row.tokens <= 8:
        found["Triton masked GEMV"] = ("op", False, functools.partial(_triton, "masked_gemv"))
    return found


def _triton(name, data, lists, x, w):
    from gpu_check import triton_kernels

    return getattr(triton_kernels, name)(data, lists, x, w)
