# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows of attention over a cache: a prompt, or a token of each of many sequences."""

import torch

from gpu_check import products
from gpu_check.variants import Variant, copies, expect_error, relative_error


def expected(row, q, k, v, token):
    """The exact result of one token: [heads * head_dim]."""
    length, sequence = (row.cached, token) if row.cached else (token + 1, 0)
    of_heads = row.heads // row.kv_heads
    keys, values = (cache[0, sequence, :length].double().view(length, row.kv_heads, -1).repeat_interleave(of_heads, 1) for cache in (k, v))
    scores = torch.einsum("hd,shd->hs", q[token].double().view(row.heads, -1), keys) * row.head_dim**-0.5
    return torch.einsum("hs,shd->hd", torch.softmax(scores, -1), values).reshape(-1)


def sdpa(row, qs, ks, vs):
    """Calls of torch's attention, everything in its order of dimensions beforehand."""

    def heads(tensor, sequences, count):
        return tensor.view(sequences, -1, count, row.head_dim).transpose(1, 2).contiguous()

    shares_keys = {"enable_gqa": True} if row.heads != row.kv_heads else {}

    def call(q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=not row.cached, **shares_keys)

    sequences = row.tokens if row.cached else 1
    given = [(heads(q, sequences, row.heads), heads(k, sequences, row.kv_heads), heads(v, sequences, row.kv_heads)) for q, k, v in zip(qs, ks, vs)]
    return [lambda each=each: call(*each) for each in given]


def measure(bench, row):
    """The result of a row."""
    device = bench.clock.device
    generator = torch.Generator(device).manual_seed(1)
    sequences, length = (row.tokens, row.cached) if row.cached else (1, row.tokens)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device=device, dtype=torch.bfloat16)

    q, (k, v) = normal(row.tokens, row.heads * row.head_dim), (normal(1, sequences, length, row.kv_heads * row.head_dim) for _ in range(2))
    counted = torch.arange(row.tokens, device=device, dtype=torch.int32)
    where = {"position": torch.full_like(counted, length - 1) if row.cached else counted, "sequence": counted if row.cached else torch.zeros_like(counted)}
    pairs = row.tokens * row.cached if row.cached else row.tokens * (row.tokens + 1) // 2
    moved = 2 * (2 * q.numel() + k.numel() + v.numel())
    count = bench.clock.copies(moved, 2 * moved)
    context, (qs, ks, vs) = bench.context(row), (copies(tensor, count) for tensor in (q, k, v))
    outputs = [{"y": torch.empty_like(q)} for _ in range(count)]
    calls = [bench.bind(context, "main", {"q": q, "k": k, "v": v, **where}, out) for q, k, v, out in zip(qs, ks, vs, outputs)]
    tokens = torch.linspace(0, row.tokens - 1, min(products.CHECKED, row.tokens)).long().unique().tolist()
    exact = torch.stack([expected(row, q, k, v, token) for token in tokens])
    error = relative_error(bench.repeat(calls, outputs)["y"][tokens], exact)
    expect_error("y", error, products.LIMIT)
    variants, notes = {"mohd": Variant(calls, error)}, {}

    def peer():
        calls = sdpa(row, qs, ks, vs)
        error = relative_error(calls[0]().transpose(1, 2).reshape(row.tokens, -1)[tokens], exact)
        expect_error("y", error, products.PEER_LIMIT)
        return Variant(calls, error)

    bench.peer(variants, notes, "torch scaled_dot_product_attention", peer)
    return bench.result(row, variants, notes, 4 * row.heads * row.head_dim * pairs, moved)
