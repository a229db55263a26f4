# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows of routers and of Monarch fusions: time against the bytes of their tokens."""

import math

import torch

from gpu_check import products
from gpu_check.variants import Variant, expect_error, relative_error

TORCH = {"bf16": torch.bfloat16, "f32": torch.float32, "f16": torch.float16, "i32": torch.int32, "i8": torch.int8}
"""Types by the library's names."""
ROUTE_LIMIT = 1e-3


def monarch(x, right, left):
    """Monarch fusion of [T, N * d] as two bmm; right [k, q, p], left [l, s, r]."""
    k, q, p = right.shape
    u = torch.bmm(x.view(len(x), k, p).transpose(0, 1), right.transpose(1, 2)).transpose(0, 1).reshape(len(x), k * q)
    v = u.view(len(x), left.shape[2], left.shape[0]).permute(2, 0, 1)
    return torch.bmm(v, left.transpose(1, 2)).permute(1, 2, 0).reshape(len(x), -1)


def route_error(row, data, inputs, found):
    """Relative error of the gates at the checked tokens; groups must be those of the largest scores, or of such that are as large."""
    tokens = data.checked()
    scores = torch.softmax(inputs["x"][tokens].double() @ inputs["w"].double().t(), -1)
    index = found["y"][tokens].long()
    if not bool(((index >= 0) & (index < row.groups[0])).all()):
        raise AssertionError("y: not a group")
    shared, routed = row.groups[1], row.groups[2]
    best = torch.topk(scores[:, shared:], routed).values.sum(-1)
    chosen = scores.gather(1, index)[:, shared:].sum(-1)
    expect_error("y", relative_error(chosen, best), ROUTE_LIMIT)
    return relative_error(found["g"][tokens], scores.gather(1, index))


def fusion_error(data, inputs, y):
    """Relative error of a fusion's result at the checked tokens."""
    tokens = data.checked()
    x, right, left = (inputs[name].double() for name in ("x", "right", "left"))
    return relative_error(y[tokens], monarch(x[tokens], right, left))


def torch_route(row, data, given):
    """Logits, scores and the choice in torch, of f32 centroids."""

    def call(x, phi):
        return torch.topk(torch.softmax(torch.mm(x, phi), -1)[:, row.groups[1]:], row.groups[2])

    calls = [lambda x=each["x"], phi=each["w"].float().t().contiguous(): call(x, phi) for each in given]
    scores, chosen = calls[0]()
    shared = torch.arange(row.groups[1], device=data.device).expand(row.tokens, -1)
    index = torch.cat([shared, chosen + row.groups[1]], -1)
    gates = torch.softmax(given[0]["x"] @ given[0]["w"].float().t(), -1).gather(1, index)
    gates[:, row.groups[1]:] = scores
    error = route_error(row, data, given[0], {"y": index, "g": gates})
    expect_error("y", error, products.PEER_LIMIT)
    return Variant(calls, error)


def torch_fusion(row, data, given):
    """Both factors as bmm."""
    calls = [lambda each=each: monarch(each["x"], each["right"], each["left"]) for each in given]
    error = fusion_error(data, given[0], calls[0]())
    expect_error("y", error, products.PEER_LIMIT)
    return Variant(calls, error)


def made_for(row, data, info):
    """Inputs of a row's entry point by name."""
    inputs = {"indices": data.indices, "gates": data.gates, "x": data.normal(row.tokens, row.width)}
    if row.op == "route":
        inputs["x"] = inputs["x"].float()
    else:  # what a token does not have is zero
        has = torch.zeros(row.tokens, row.groups[0], device=data.device).scatter_(1, data.indices.long(), 1.0)
        inputs["x"] = (inputs["x"].view(row.tokens, row.groups[0], -1) * has[:, :, None]).to(torch.bfloat16).view(row.tokens, -1)
    return {tensor.name: inputs[tensor.name] if tensor.name in inputs else data.normal(*tensor.shape) / 16 for tensor in info.inputs}


def measure(bench, row):
    """The result of a row."""
    data, context = products.Data(row, bench.clock.device), bench.context(row)
    info = context.module.entry_points["main"]
    inputs = made_for(row, data, info)
    sizes = {tensor.name: (row.tokens, *tensor.shape[1:]) for tensor in info.outputs}
    moved = sum(math.prod(sizes[t.name]) * TORCH[t.dtype].itemsize for t in info.outputs)
    moved += sum(tensor.numel() * tensor.element_size() for tensor in inputs.values())
    calls, outputs, given = [], [], []
    for _ in range(bench.clock.copies(moved, 2 * moved)):
        given.append({name: tensor.clone() for name, tensor in inputs.items()})
        outputs.append({t.name: torch.empty(sizes[t.name], device=data.device, dtype=TORCH[t.dtype]) for t in info.outputs})
        calls.append(bench.bind(context, "main", given[-1], outputs[-1]))
    found = bench.repeat(calls, outputs)
    if row.op == "route":
        error, name, make = route_error(row, data, inputs, found), "torch mm, softmax, topk", torch_route
    else:
        error, name, make = fusion_error(data, inputs, found["y"]), "torch bmm, bmm", torch_fusion
    expect_error("y", error, products.LIMIT)
    variants, notes = {"mohd": Variant(calls, error)}, {}
    bench.peer(variants, notes, name, lambda: make(row, data, given))
    return bench.result(row, variants, notes, 0, moved)
