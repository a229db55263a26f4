# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Peers in Triton: a GEMM over gathered rows in the manner of ScatterMoE, and a product with a vector of few groups in the manner of TEAL."""

import torch
import triton
import triton.language as tl

ROWS = 128


@triton.jit
def _gathered_gemm(x, w, y, gates, input_rows, output_rows, tile_group, tile_begin, tile_end, depth, columns,
                   ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr):
    """A tile of pairs of one group: y[output_rows] = gates * x[input_rows] . w[group]; w: [N, depth, columns]."""
    tile, block = tl.program_id(1), tl.program_id(0)
    group = tl.load(tile_group + tile).to(tl.int64)
    pair = tl.load(tile_begin + tile) + tl.arange(0, ROWS)
    is_pair = pair < tl.load(tile_end + tile)
    source = tl.load(input_rows + pair, mask=is_pair, other=0)
    target = tl.load(output_rows + pair, mask=is_pair, other=0)
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    k = tl.arange(0, DEPTH)
    a = x + source[:, None] * depth + k[None, :]
    b = w + group * depth * columns + k[:, None] * columns + column[None, :]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for begin in range(0, depth, DEPTH):
        left = tl.load(a, mask=is_pair[:, None] & (begin + k < depth)[None, :], other=0.0)
        right = tl.load(b, mask=(begin + k < depth)[:, None] & (column < columns)[None, :], other=0.0)
        total += tl.dot(left, right)
        a += DEPTH
        b += DEPTH * columns
    total *= tl.load(gates + pair, mask=is_pair, other=0.0)[:, None]
    tl.store(y + target[:, None] * columns + column[None, :], total.to(y.dtype.element_ty), mask=is_pair[:, None] & (column < columns)[None, :])


def _tiles(lists):
    """Group, first and last pair of each tile of rows; made once for a routing."""
    if not hasattr(lists, "tiles"):
        made, begin = [], 0
        for group, count in enumerate(lists.counts.tolist()):
            made += [(group, begin + at, begin + count) for at in range(0, count, ROWS)]
            begin += count
        lists.tiles = [part.contiguous() for part in torch.tensor(made, dtype=torch.int32, device=lists.tokens.device).t()]
    return lists.tiles


def gathered_gemm(data, lists, x, w):
    """spmm scatters to [T * K, E] and adds up the slots, sddmm to the result."""
    row, (n, depth, columns) = data.row, w.shape
    is_spmm, tiles = row.op == "spmm", _tiles(lists)
    if is_spmm:
        y = torch.empty(row.tokens * row.active, columns, device=x.device, dtype=x.dtype)
    else:
        y = torch.zeros(row.tokens * n, columns, device=x.device, dtype=x.dtype)
        if not hasattr(lists, "ones"):
            lists.ones = torch.ones_like(lists.gates)
    width = 128 if columns >= 128 else triton.next_power_of_2(columns)
    _gathered_gemm[(triton.cdiv(columns, width), len(tiles[0]))](
        x, w, y, lists.gates if is_spmm else lists.ones, lists.input_rows, lists.slots if is_spmm else lists.grouped_rows, *tiles, depth, columns,
        ROWS=ROWS, COLUMNS=width, DEPTH=64 if depth >= 64 else 16, num_warps=8, num_stages=3)
    return y.view(row.tokens, row.active, columns).sum(1) if is_spmm else y.view(row.tokens, -1)


@triton.jit
def _masked_gemv(x, w, y, indices, gates, active, depth, columns, x_stride, y_stride, x_group, y_group, part,
                 DEPTH: tl.constexpr, COLUMNS: tl.constexpr):
    """Adds a slot's share, over `part` of the depth, to COLUMNS of a token's result; w: [N, depth, columns]."""
    slot, token = tl.program_id(2) % active, tl.program_id(2) // active
    group = tl.load(indices + token * active + slot).to(tl.int64)
    gate = tl.load(gates + token * active + slot)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.program_id(1) * part
    last = tl.minimum(first + part, depth)
    total = tl.zeros((COLUMNS,), dtype=tl.float32)
    for begin in range(first, last, DEPTH):
        k = begin + tl.arange(0, DEPTH)
        left = tl.load(x + token * x_stride + group * x_group + k, mask=k < last, other=0.0).to(tl.float32)
        right = tl.load(w + (group * depth + k[:, None]) * columns + column[None, :], mask=(k < last)[:, None] & (column < columns)[None, :], other=0.0)
        total += tl.sum(left[:, None] * right.to(tl.float32), 0)
    tl.atomic_add(y + token * y_stride + group * y_group + column, total * gate, mask=column < columns)


def masked_gemv(data, lists, x, w):
    """Sums by atomics in f32, as TEAL's split of the depth does."""
    row, (_, depth, columns) = data.row, w.shape
    is_spmm, width = row.op == "spmm", row.group_width
    y = torch.zeros(row.tokens, row.sides[1], device=x.device, dtype=torch.float32)
    if not is_spmm and not hasattr(lists, "all_ones"):
        lists.all_ones = torch.ones_like(data.gates)
    part = depth if is_spmm else triton.cdiv(depth, 16)
    _masked_gemv[(triton.cdiv(columns, 64), triton.cdiv(depth, part), row.tokens * row.active)](
        x, w, y, data.indices, data.gates if is_spmm else lists.all_ones, row.active, depth, columns, row.sides[0], row.sides[1],
        width if is_spmm else 0, 0 if is_spmm else width, part, DEPTH=64, COLUMNS=64, num_warps=4)
    return y.to(x.dtype)
