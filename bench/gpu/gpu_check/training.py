# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows of a product forward and backward: every gradient is compared with float64."""

import torch

from gpu_check import products
from gpu_check.variants import Variant, copies, expect_error, relative_error

LIMIT = 1e-2
"""Gradients are products of what has been rounded once before."""


def expected(data, w, x, dy):
    """{result: value} in float64 of a weight in the op's layout, in the layouts of the results."""
    row, n, d = data.row, data.row.groups[0], data.row.group_width
    index, w, x, dy = data.indices.long(), data.dense(w).double(), x.double(), dy.double()
    gates = torch.zeros(row.tokens, n, device=x.device, dtype=torch.float64).scatter_(1, index, data.gates.double())
    if row.op == "sddmm":
        mask = (gates != 0).repeat_interleave(d, 1)
        dy = dy * mask
        return {"y": (x @ w) * mask, "grad_x": dy @ w.t(), "grad_w": (dy.t() @ x).view(n, d, row.inner)}
    wide = gates.repeat_interleave(d, 1)
    dh = dy @ w.t()
    of_gates = (dh * x).view(row.tokens, n, d).sum(-1).gather(1, index)
    return {"y": (x * wide) @ w, "grad_x": dh * wide, "grad_gates": of_gates, "grad_w": (dy.t() @ (x * wide)).view(row.inner, n, d)}


def dense(bench, xs, dys, w):
    """torch.mm three times: the result and both gradients."""

    def call(x, dy):
        return torch.mm(x, w), torch.mm(dy, w.t()), torch.mm(x.t(), dy)

    exact = (xs[0].double() @ w.double(), dys[0].double() @ w.double().t(), xs[0].double().t() @ dys[0].double())
    error = max(relative_error(found, value) for found, value in zip(call(xs[0], dys[0]), exact))
    expect_error("results", error, products.PEER_LIMIT)
    return Variant([lambda x=x, dy=dy: call(x, dy) for x, dy in zip(xs, dys)], error, True)


def measure(bench, row):
    """The result of a row."""
    data, context = products.Data(row, bench.clock.device), bench.context(row)
    w = data.normal(*row.weight_shape)
    x, dy = data.normal(row.tokens, row.sides[0]), data.normal(row.tokens, row.sides[1])
    shape, order = row.stored
    stored = w.permute(tuple(order.index(i) for i in range(3))).contiguous().view(shape)
    moved = 3 * row.weight_bytes(data.union) + 4 * row.tokens * sum(row.sides)
    count = bench.clock.copies(moved, 4 * moved)
    xs, dys, exact = copies(x, count), copies(dy, count), expected(data, w, x, dy)
    calls, outputs = [], []
    for x, dy in zip(xs, dys):
        inputs = {"x": x, "indices": data.indices, "gates": data.gates, "w": stored, "grad_y": dy}
        made = {name: torch.empty(value.shape, device=x.device, dtype=torch.float32 if name == "grad_gates" else x.dtype) for name, value in exact.items()}
        parts = [bench.bind(context, "main", inputs, {"y": made["y"]}),
                 bench.bind(context, "backward", inputs, {name: tensor for name, tensor in made.items() if name != "y"})]
        calls.append(lambda parts=parts: [part() for part in parts])
        outputs.append(made)
    errors = {name: relative_error(found, exact[name]) for name, found in bench.repeat(calls, outputs).items()}
    for name, error in errors.items():
        expect_error(name, error, LIMIT)
    del exact
    variants, notes = {"mohd": Variant(calls, max(errors.values()))}, {}
    bench.peer(variants, notes, "torch.mm", lambda: dense(bench, xs, dys, data.dense(w).contiguous()))
    bench.peer(variants, notes, "torch.mm of columns", lambda: dense(bench, xs, dys, data.dense(w).t().contiguous().t()))
    return bench.result(row, variants, notes, 3 * row.flops, moved, {"union": data.union, "coverage": row.active / data.union, "relative_errors": errors})
