# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows of linear, spmm and sddmm, with weights of bf16 and int8."""

import torch

from gpu_check import peers
from gpu_check.variants import Variant, copies, expect_error, relative_error

CHECKED = 6
"""Tokens whose results are compared with float64."""
LIMIT, PEER_LIMIT = 5e-3, 2e-2


class Data:
    """Input, routing and weight of a row, drawn from its seed."""

    def __init__(self, row, device):
        self.row, self.device = row, device
        self.generator = torch.Generator(device).manual_seed(1)
        self.indices, self.gates = self.routing(), torch.rand(row.tokens, row.active, generator=self.generator, device=device) + 0.5
        self.union = len(torch.unique(self.indices))

    def normal(self, *shape):
        """Normal numbers in bf16."""
        return torch.randn(*shape, generator=self.generator, device=self.device, dtype=torch.bfloat16)

    def routing(self):
        """Active sets [T, K], ascending, i32."""
        n, shared, routed = self.row.groups
        others, tokens = n - shared, self.row.tokens
        if routed == 0:
            chosen = torch.empty(tokens, 0, device=self.device, dtype=torch.int64)
        elif self.row.routing == "disjoint":
            chosen = (torch.arange(tokens, device=self.device)[:, None] * routed + torch.arange(routed, device=self.device)) % others
        else:
            popularity = 1 / torch.arange(1, others + 1, device=self.device) if self.row.routing == "zipf" else torch.ones(others, device=self.device)
            drawn = torch.rand(1 if self.row.routing == "identical" else tokens, others, generator=self.generator, device=self.device)
            chosen = (drawn.clamp_min(1e-30).log() / popularity).argsort(-1, descending=True)[:, :routed].expand(tokens, routed)
        prefix = torch.arange(shared, device=self.device).expand(tokens, shared)
        return torch.cat([prefix, chosen.sort(-1).values + shared], 1).to(torch.int32).contiguous()

    def dense(self, w):
        """The weight [columns of the input, columns of the result]."""
        if self.row.op == "sddmm":
            return w.permute(1, 0, 2).reshape(self.row.inner, self.row.width)
        return w.reshape(self.row.width, self.row.inner)

    def checked(self):
        """The tokens that are compared."""
        return torch.linspace(0, self.row.tokens - 1, min(CHECKED, self.row.tokens)).long().unique().to(self.device)

    def expected(self, x, w, op):
        """The exact rows of `checked` of the row's product, or with `op` linear of the dense one."""
        if op == "linear":
            return x[self.checked()].double() @ self.dense(w).double()
        row, d, found = self.row, self.row.group_width, []
        for token in self.checked().tolist():
            given, out = x[token].double(), torch.zeros(row.sides[1], device=self.device, dtype=torch.float64)
            for slot, group in enumerate(self.indices[token].tolist()):
                if op == "spmm":
                    out += self.gates[token, slot].double() * (given[group * d: (group + 1) * d] @ w[group].double())
                else:
                    out[group * d: (group + 1) * d] = given @ w[group].double()
            found.append(out)
        return torch.stack(found)

    def error(self, result, expected):
        """Relative error of the checked rows of a result."""
        return relative_error(result[self.checked()], expected)


def quantize(w):
    """(int8 values, f32 scales of each group and column) of a weight [G, R, C] or [R, C]."""
    scales = w.float().abs().amax(-2, keepdim=True) / 127
    return (w.float() / scales).round().to(torch.int8), scales


def arrange(tensor, layout, shape):
    """A weight as the kernels read it."""
    expanded, permutation = layout
    tensor = tensor.reshape(expanded) if expanded else tensor
    return (tensor.permute(permutation) if permutation else tensor).contiguous().view(shape)


def own(bench, row, data, w, xs):
    """The variant of ours that `row` says, on the data of another row of the same sides."""
    context, layouts = bench.context(row), bench.layouts[row.bundle]
    shapes = {tensor.name: tensor.shape for tensor in context.module.entry_points["main"].inputs}
    weights, exact = {"w": data.dense(w) if row.op == "linear" else w}, w
    if row.weights == "int8":
        values, scales = quantize(w)
        weights, exact = {"w": values, "w.scales": scales.squeeze(-2)}, values * scales
    arranged = {"w": arrange(weights["w"], layouts["w"], shapes["w"])}
    if row.weights == "int8":
        arranged["w.scales"] = weights["w.scales"].contiguous().view(shapes["w.scales"])
    calls, outputs = [], []
    for x in xs:
        ours = {name: tensor.clone() for name, tensor in arranged.items()}
        outputs.append({"y": torch.empty(row.tokens, row.sides[1], device=x.device, dtype=x.dtype)})
        calls.append(bench.bind(context, "main", {"x": x, "indices": data.indices, "gates": data.gates, **ours}, outputs[-1]))
    error = data.error(bench.repeat(calls, outputs)["y"], data.expected(xs[0], exact, row.op))
    expect_error("y", error, LIMIT)
    return Variant(calls, error, row.op == "linear")


def peer(bench, data, w, xs, how, forms, lists):
    """A peer's variant; forms of the weight are kept for the next one."""
    form, is_dense, function = how
    if form not in forms:
        forms[form] = copies(peers.FORMS[form](data, w), len(xs))
    calls = [lambda x=x, v=v: function(data, lists, x, v) for x, v in zip(xs, forms[form])]
    error = data.error(calls[0](), data.expected(xs[0], w, "linear" if is_dense else data.row.op))
    bench.clock.wait()
    expect_error("y", error, PEER_LIMIT)
    return Variant(calls, error, is_dense)


def measure(bench, row):
    """The result of a row."""
    data = Data(row, bench.clock.device)
    w, x = data.normal(*row.weight_shape), data.normal(row.tokens, row.sides[0])
    moved = row.weight_bytes(data.union) + 2 * row.tokens * sum(row.sides)
    xs = copies(x, bench.clock.copies(moved, 8 * row.weight_bytes(row.groups[0])))
    variants, notes, forms = {name: own(bench, each, data, w, xs) for name, each in {"mohd": row, **row.ours}.items()}, {}, {}
    lists = peers.Lists(data) if row.op != "linear" else None
    for name, how in peers.variants(data).items():
        bench.peer(variants, notes, name, lambda how=how: peer(bench, data, w, xs, how, forms, lists))
    more = {"union": data.union, "coverage": row.active / data.union, "weight_bytes": row.weight_bytes(data.union)}
    return bench.result(row, variants, notes, row.flops, moved, more)
