# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows of a product, and of a whole feed-forward sub-layer, forward and backward: every gradient is compared with float64."""

import math

import torch

from gpu_check import products
from gpu_check.around import TORCH, monarch
from gpu_check.variants import Variant, copies, expect_error, relative_error

LIMIT = 1e-2
"""Gradients are products of what has been rounded once before."""
SUBLAYER_LIMIT = 2e-2


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


def both_ways(bench, context, inputs, forward, gradients):
    """A call of the function and then of its backward function, with the results that that one takes: {name: tensor} of each."""
    parts = [bench.bind(context, "main", inputs, forward), bench.bind(context, "backward", inputs | forward, gradients)]
    return lambda: [part() for part in parts]


def ours(bench, calls, outputs, exact, limit):
    """({result: error}, our variant) of calls whose results are `outputs`; those of `exact` are compared."""
    found = bench.repeat(calls, outputs)
    errors = {name: relative_error(found[name], value) for name, value in exact.items()}
    for name, error in errors.items():
        expect_error(name, error, limit)
    return errors, Variant(calls, max(errors.values()))


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
        calls.append(both_ways(bench, context, inputs, {"y": made["y"]}, {name: tensor for name, tensor in made.items() if name != "y"}))
        outputs.append(made)
    errors, variant = ours(bench, calls, outputs, exact, LIMIT)
    del exact
    variants, notes = {"mohd": variant}, {}
    bench.peer(variants, notes, "torch.mm", lambda: dense(bench, xs, dys, data.dense(w).contiguous()))
    bench.peer(variants, notes, "torch.mm of columns", lambda: dense(bench, xs, dys, data.dense(w).t().contiguous().t()))
    return bench.result(row, variants, notes, 3 * row.flops, moved, {"union": data.union, "coverage": row.active / data.union, "relative_errors": errors})


def sublayer(row, index, x, norm, phi, gate, up, down, right, left):
    """The sub-layer in torch, of the groups that ours chose."""
    n, d = row.groups[0], row.group_width
    h = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * norm
    gates = torch.softmax(h @ phi.t(), -1).gather(1, index)
    gates = gates * math.sqrt(n * row.active) / gates.sum(-1, keepdim=True)
    wide = torch.zeros(len(x), n, device=x.device, dtype=x.dtype).scatter(1, index, gates).repeat_interleave(d, 1)
    a, b = ((h * wide) @ w.reshape(row.inner, -1).t() for w in (gate, up))
    o = (torch.nn.functional.silu(a) * b) @ down.reshape(-1, row.inner).t() * (wide != 0)
    return x + monarch(o, right, left)


def gradients_of_sublayer(row, index, inputs, dy):
    """{result: value} in float64."""
    with torch.inference_mode(False), torch.enable_grad():
        leaves = {name: tensor.double().clone().requires_grad_() for name, tensor in inputs.items()}
        y = sublayer(row, index.clone(), **leaves)
        found = torch.autograd.grad(y, list(leaves.values()), dy.double().clone())
    return {"y": y.detach()} | {f"grad_{name}": gradient for name, gradient in zip(leaves, found)}


def dense_products(row, data, count, in_columns):
    """The nine products of a dense sub-layer alone, each weight [depth, columns] or as its transpose."""

    def weight(depth, columns):
        return data.normal(columns, depth).t() if in_columns else data.normal(depth, columns)

    def call(x, z, gate, up, down):  # tensors of equal shape stand for each other
        for w in (gate, up):
            torch.mm(x, w), torch.mm(z, w.t()), torch.mm(x.t(), z)
        torch.mm(z, down), torch.mm(x, down.t()), torch.mm(z.t(), x)

    given = [(data.normal(row.tokens, row.width), data.normal(row.tokens, row.inner), weight(row.width, row.inner), weight(row.width, row.inner),
              weight(row.inner, row.width)) for _ in range(count)]
    calls = [lambda each=each: call(*each) for each in given]
    calls[0]()
    return Variant(calls, None, True)


def measure_sublayer(bench, row):
    """The result of a row."""
    data, context = products.Data(row, bench.clock.device), bench.context(row)
    info = context.module.entry_points
    inputs = {"x": data.normal(row.tokens, row.width), "norm": 1 + data.normal(row.width) / 8}
    inputs |= {t.name: data.normal(*t.shape) * t.shape[-1] ** -0.5 for t in info["main"].inputs if t.name not in inputs}
    dy, made = data.normal(row.tokens, row.width), (*info["main"].outputs, *info["backward"].outputs)
    moved = 3 * sum(t.numel() * t.element_size() for name, t in inputs.items() if name != "x") + 4 * row.tokens * (2 * row.width + 5 * row.inner)
    count, calls, outputs = bench.clock.copies(moved, 4 * moved), [], []
    for _ in range(count):
        given = {name: tensor.clone() for name, tensor in inputs.items()} | {"grad_y": dy.clone()}
        outputs.append({t.name: torch.empty([{"T": row.tokens}.get(size, size) for size in t.shape], device=dy.device, dtype=TORCH[t.dtype]) for t in made})
        forward = {t.name: outputs[-1][t.name] for t in info["main"].outputs}
        calls.append(both_ways(bench, context, given, forward, {name: out for name, out in outputs[-1].items() if name not in forward}))
    index = bench.repeat(calls[:1], outputs[:1])["i"].long()
    errors, variant = ours(bench, calls, outputs, gradients_of_sublayer(row, index, inputs, dy), SUBLAYER_LIMIT)
    variants, notes = {"mohd": variant}, {}
    for name, in_columns in (("torch.mm of the dense products alone", False), ("torch.mm of columns of the dense products alone", True)):
        bench.peer(variants, notes, name, lambda in_columns=in_columns: dense_products(row, data, count, in_columns))
    return bench.result(row, variants, notes, 9 * row.flops, moved, {"relative_errors": errors})
