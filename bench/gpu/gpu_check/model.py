# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows of whole models with random weights: a step of decode, and the time from a bundle to its first logits."""

import time

import torch

import mohd
from gpu_check import correctness
from gpu_check.around import TORCH
from gpu_check.variants import Variant, expect_error, relative_error

CACHED = 512
"""Tokens in the cache of a row of decode, which has room for twice as many."""
LOADS = 7


def made_for(row, info, device):
    """(inputs of decode by name, bytes that a step reads)."""
    generator, inputs, moved = torch.Generator(device).manual_seed(1), {}, 0
    for tensor in info.inputs:
        shape = [{"T": row.tokens, "S": 2 * CACHED}.get(size, size) for size in tensor.shape]
        if tensor.dtype == "i32":
            inputs[tensor.name] = torch.full(shape, CACHED if tensor.name == "position" else 1, device=device, dtype=torch.int32)
            continue
        made = torch.randn(*shape, generator=generator, device=device, dtype=TORCH[tensor.dtype])
        if "norm" in tensor.name:
            made.fill_(1.0)
        elif tensor.mutable:
            moved += made.numel() * made.element_size() // 2  # the tokens that are there
        else:
            made *= shape[-1] ** -0.5
            share = (row.active / row.groups[0] if len(shape) == 3 and row.tokens == 1 else 1.0) * (0 if "embed" in tensor.name else 1)
            moved += int(made.numel() * made.element_size() * share)
        inputs[tensor.name] = made
    return inputs, moved


def dense_products(inputs, tokens):
    """A call of torch.mm for every projection of the model as if it were dense, on the same weights."""
    weights = []
    for name, tensor in inputs.items():
        if name.endswith("proj.weight"):
            is_output = "down_proj" in name or "o_proj" in name  # [N, d_e, depth], else [columns, N, d_e]
            weights.append(tensor.view(-1, tensor.shape[-1]) if is_output else tensor.view(tensor.shape[0], -1))
        elif "lm_head" in name:
            weights.append(tensor.view(tensor.shape[0], -1))
    given = {w.shape[1]: torch.randn(tokens, w.shape[1], device=w.device, dtype=w.dtype) for w in weights}

    def call():
        for w in weights:
            torch.mm(given[w.shape[1]], w.t())

    call()
    return Variant([call])


def logits_of(bench, context, entry, inputs):
    """(a call of an entry point, its logits)."""
    count = torch.arange(len(inputs["tokens"]), device=bench.clock.device, dtype=torch.int32)
    out = next(tensor for tensor in context.module.entry_points[entry].outputs if tensor.name == "logits")
    logits = torch.empty(len(count), out.shape[1], device=count.device, dtype=TORCH[out.dtype])
    return bench.bind(context, entry, {"sequence": count, "rows": count, **inputs}, {"logits": logits}), logits


def decode(bench, row):
    """The result of a row; logits are compared with those of prefill, which has other launches."""
    context = bench.context(row)
    inputs, moved = made_for(row, context.module.entry_points["decode"], bench.clock.device)
    call, logits = logits_of(bench, context, "decode", inputs)
    found = bench.repeat([call], [{"logits": logits}])["logits"]
    other, expected = logits_of(bench, context, "prefill", inputs)
    other()
    bench.clock.wait()
    error = relative_error(found, expected.double())
    expect_error("logits", error, correctness.MODEL_LIMITS["bf16"])
    variants, notes = {"mohd": Variant([call], error)}, {}
    bench.peer(variants, notes, "torch.mm of the dense products alone", lambda: dense_products(inputs, row.tokens))
    layers = 1 + max(int(name.split(".")[2]) for name in inputs if name.startswith("model.layers."))
    launches = correctness.launches_of(context.module.manifest, context.target, "decode", {"tokens": (row.tokens,), "position": (row.tokens,)})
    more = {"layers": layers, "launches": len(launches), "launches_per_layer": len(launches) / layers}
    return bench.result(row, variants, notes, 0, moved, more)


def load(bench, row):
    """The result of a row: each sample opens the bundle anew; the weights are on the device and the file is in memory."""
    made, _ = made_for(row, bench.context(row).module.entry_points["decode"], bench.clock.device)
    samples, found = [], []
    with bench.bundle(row) as path:
        for _ in range(LOADS):
            start = time.perf_counter()
            context = mohd.load(path, flags=mohd.Module.DEFER_CPU).context(device=bench.device)
            call, logits = logits_of(bench, context, "decode", made)
            call()
            bench.clock.wait()
            samples.append(time.perf_counter() - start)
            found.append(logits)
    if not torch.isfinite(found[0]).all() or any(not torch.equal(found[0], logits) for logits in found[1:]):
        raise AssertionError("logits: not finite, or not the same each time")
    timed = {"mohd": {"how": "clock", "calls": 1, "copies": 1, "samples_s": samples}}
    return bench.report(row, {"mohd": Variant([])}, timed, {}, 0, 0, {})
