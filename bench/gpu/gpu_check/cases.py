# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Entry points whose results are compared with float64: sizes that reach every kernel for GPUs, then the matrix of `mohd.testing`."""

import dataclasses

from mohd import testing
from mohd.testing.cases_blocks import ffn
from mohd.testing.cases_routing import route
from mohd.testing.cases_sparse import fusion, routed
from mohd.testing.cases_tiles import followed
from mohd.testing.cases_transformer import attention, linear

TOKENS = (1, 3, 9, 16, 17, 129, 700, 6001)
"""From the kernel for few tokens to the largest tiles."""
WIDE = (300, 3201)
"""With columns in multiples of 256: for the tiles of 256 columns."""
FEW = (1, 3, 9, 17, 70)
SPECIAL = 200


def sized(case, quick, tokens=TOKENS):
    """The entry point `case` for these token counts; quick: a few small ones, and no special inputs."""
    return dataclasses.replace(case, tokens=FEW, special={}) if quick else dataclasses.replace(case, tokens=tokens)


def products(quick):
    """spmm and sddmm of every pair of types that has a kernel of its own, and of several numbers of groups."""
    inner = 96 if quick else 640
    for op in ("spmm", "sddmm"):
        for element, weight in (("bf16", "bf16"), ("f32", "f32"), ("f32", "bf16"), ("f16", "f16"))[: 2 if quick else None]:
            yield sized(routed(op, (16, 6, 2, 32), inner, element, weight, special_tokens=SPECIAL), quick)
        if not quick:
            for shape in ((16, 3, 1, 32), (8, 2, 1, 64), (64, 24, 8, 16), (128, 16, 0, 8)):
                yield sized(routed(op, shape, inner, "bf16", "bf16", special_tokens=SPECIAL), quick)
            wide = routed(op, (16, 6, 2, 16), 1536, "bf16", "bf16") if op == "spmm" else routed(op, (16, 6, 2, 128), 256, "bf16", "bf16")
            yield dataclasses.replace(wide, tokens=WIDE, special={})
            yield sized(routed(op, (7, 2, 3, 13), 37, "f32", "bf16", special_tokens=SPECIAL), quick)


def epilogues(quick):
    """Products followed by a residual stream or a gate."""
    depth, columns = (64, 96) if quick else (512, 640)
    for op in ("add", "swiglu"):
        if quick and op == "swiglu":
            yield sized(followed(op, routed("spmm", (16, 6, 2, 32), columns, "f32", "bf16")), quick)
            return
        yield sized(followed(op, linear(depth, columns, "f32", "bf16", "f32")), quick)
        yield sized(followed(op, routed("spmm", (16, 6, 2, 32), columns, "f32", "bf16", special_tokens=SPECIAL)), quick)
        yield sized(followed(op, routed("sddmm", (16, 6, 2, 32), columns, "f32", "bf16", special_tokens=SPECIAL)), quick)


def dense(quick):
    """linear in every kernel: tensor units, scalar, and few columns."""
    depth, columns = (64, 96) if quick else (512, 640)
    types = (("bf16", "bf16", "bf16"), ("f32", "f32", "f32"), ("f32", "bf16", "f32"), ("f16", "f16", "f16"))
    for element, weight, result in types[: 2 if quick else None]:
        yield sized(linear(depth, columns, element, weight, result), quick)
    if not quick:
        yield sized(linear(256, 1536, "bf16", "bf16", "bf16"), quick, WIDE)
        yield sized(linear(2048, 16, "f32", "bf16", "f32"), quick)
        yield sized(linear(72, 37, "bf16", "bf16", "f32"), quick)


def fusions(quick):
    """Fusions with routing, dense, with bias, and with the residual stream."""
    right, left = (16, 32, 32), (32, 16, 16)
    for element in ("bf16",) if quick else ("bf16", "f32"):
        yield sized(fusion("monarch", right, left, routed_groups=(6, 2), element=element, weight="bf16", special_tokens=SPECIAL), quick)
    yield sized(followed("add", fusion("monarch", right, left, routed_groups=(6, 2), weight="bf16")), quick)
    if not quick:
        yield sized(fusion("monarch", right, left, element="bf16", weight="bf16"), quick)
        yield sized(fusion("monarch", (16, 128, 128), (128, 16, 16), routed_groups=(3, 1), weight="bf16"), quick, (1, 17, 300))
        yield sized(fusion("block_diagonal", (16, 32, 32), bias=True, routed_groups=(6, 2), weight="bf16"), quick)


def attentions(quick):
    """Decode (a token for each sequence) and prefill; the special inputs have the prompts."""
    shapes = ((4, 2, 64),) if quick else ((8, 2, 64), (4, 4, 128), (4, 2, 32))
    for heads, kv_heads, head_dim in shapes:
        for with_sequence in (True, False):
            case = attention(heads, kv_heads, head_dim, 0, with_sequence, "f32", "bf16")
            yield dataclasses.replace(case, tokens=(1, 17) if quick else (1, 3, 17, 65, 130), special=prompt_of(case) if quick else case.special)
    if not quick:
        yield attention(4, 2, 64, 1, True, "bf16", "bf16")
        yield attention(4, 2, 64, 0, True, "f32", "f32")
        yield attention(2, 2, 128, 0, True, "f16", "f16")


def prompt_of(case):
    """One prompt out of the special inputs of attention."""
    return {label: make for label, make in case.special.items() if label == "three_prompts"}


def blocks(quick):
    """Routers, and whole sub-layers: norm, route, order, products, fusion and residual together."""
    yield sized(route((16, 6, 2, 32), "softmax", "softmax_all"), quick)
    for fused in ("monarch",) if quick else ("monarch", "none"):
        yield sized(ffn((16, 6, 2, 16), 64 if quick else 256, "softmax", "sqrt_nk_over_mass", fused, weight="bf16"), quick, (1, 16, 17, 129, 700))
    if not quick:
        yield sized(ffn((16, 3, 1, 16), 256, "shared_one", "sqrt_n_over_k", "monarch", norm_stat="active", weight="bf16"), quick, (1, 17, 300))


KINDS = {"products": products, "epilogues": epilogues, "dense": dense, "fusions": fusions, "attentions": attentions, "blocks": blocks}


def groups(quick):
    """{name of a bundle: its entry points}, the most telling first."""
    found = {f"gpu_{name}": list(make(quick)) for name, make in KINDS.items()}
    matrix = {} if quick else testing.groups()
    return found | {f"matrix_{name}": entries for name, entries in matrix.items()}
