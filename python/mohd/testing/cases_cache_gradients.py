# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Entry points of the gradients of attention and of KV caches."""

import functools
import itertools

import numpy as np

from mohd import reference_gradients
from mohd.testing.arrays import normal, rounded
from mohd.testing.cases_sparse import named
from mohd.testing.cases_transformer import attention_inputs, cache_sizes, places, prompts, with_bad_token
from mohd.testing.entry import Entry


def zero_cache(width, element):
    """mohd.zero_cache; what it is like holds nothing that counts."""
    type = f"tensor<2x?x?x{width}x{element}>"

    def inputs(tokens, rng):
        return {"like": np.full((2, *cache_sizes(tokens, True), width), np.nan)}

    return Entry(named("zero_cache", width, element), {"like": type}, f"%y = mohd.zero_cache %like : {type}", {"y": type}, inputs,
                 lambda like: np.zeros(like.shape), length=0)


def kv_cache_append_gradient(width, layer, with_sequence, element="f32", row="f32"):
    """mohd.kv_cache_append_gradient: the whole cache is compared."""
    cache, rows = f"tensor<2x?x?x{width}x{element}>", f"tensor<?x{width}x{row}>"
    arguments = {"grad": cache, "position": "tensor<?xi32>"} | ({"sequence": "tensor<?xi32>"} if with_sequence else {})
    operands = "%grad, %position in %sequence" if with_sequence else "%grad, %position"
    body = f"%grad_after, %y = mohd.kv_cache_append_gradient {operands} layer {layer} : {', '.join(arguments.values())} -> {rows}"

    def inputs(tokens, rng):
        sequences, length = cache_sizes(tokens, with_sequence)
        return {"grad": normal(rng, (2, sequences, length, width), element), **places(rng, tokens, sequences, length, with_sequence)}

    def expected(grad, position, sequence=None):
        return reference_gradients.kv_cache_append_gradient(grad, position, sequence, layer)[::-1]

    return Entry(named("kv_cache_append_gradient", width, layer, "in" if with_sequence else "own", element, row), arguments, body, {"y": rows},
                 inputs, expected, length=0, mutable=("grad",))


def attention_gradient(heads, kv_heads, head_dim, layer, with_sequence, element="f32", cache_element="f32", with_prompts=False):
    """mohd.attention_gradient and both of mohd.attention_cache_gradient, added to what is there; rows that no token may see are NaN."""
    width, kv_width = heads * head_dim, kv_heads * head_dim
    cache, query = f"tensor<2x?x?x{kv_width}x{cache_element}>", f"tensor<?x{width}x{element}>"
    statistics = f"tensor<?x{3 * heads}xf32>"
    ids = {"position": "tensor<?xi32>"} | ({"sequence": "tensor<?xi32>"} if with_sequence else {})
    place, types = "%position in %sequence" if with_sequence else "%position", ", ".join(ids.values())
    where = f"layer {layer} head_dim {head_dim}"
    body = f"%y, %s = mohd.attention_gradient %q, %k, %v, %g, {place} {where} : {query}, {cache}, {cache}, {types} -> {statistics}\n"
    for name, more in (("dk", ""), ("dv", " of_values")):
        body += (f"%{name}_after = mohd.attention_cache_gradient %{name}, %q, %k, %v, %g, %s, {place} {where}{more}"
                 f" : {cache}, {query}, {statistics}, {types}\n")

    def inputs_at(where, sequences, length, rng):
        made = attention_inputs(where, sequences, length, rng, width, kv_width, layer, element, cache_element)
        made["g"] = normal(rng, made["q"].shape, element)
        for name in ("dk", "dv"):
            made[name] = normal(rng, made["k"].shape, cache_element)
            made[name][1 - layer, :, :1] = np.nan
        return made

    def inputs(tokens, rng):
        sequences, length = cache_sizes(tokens, with_sequence)
        return inputs_at(places(rng, tokens, sequences, length, with_sequence), sequences, length, rng)

    def peaked(rng):
        """Scores beyond the range of exp."""
        made = inputs(17, rng)
        made["q"] = rounded(made["q"] * 60, element)
        return made

    def expected(q, k, v, g, dk, dv, position, sequence=None):
        rest = position, sequence, layer, head_dim
        y, s = reference_gradients.attention_gradient(q, k, v, g, *rest)
        added = functools.partial(reference_gradients.attention_cache_gradient, query=q, keys=k, values=v, grad=g, statistics=s)
        more = dict(zip(("position", "sequence", "layer", "head_dim"), rest))
        return y, s, added(dk, **more), added(dv, **more, of_values=True)

    special = {f"bad_{label}_of_{name}": make for name in ("q", "g") for label, make in with_bad_token(inputs, name).items()}
    if element == "f32":
        special["peaked"] = peaked
    if with_prompts:
        special.update(prompts(layer, inputs_at))
    return Entry(named("attention_gradient", heads, kv_heads, head_dim, layer, "in" if with_sequence else "own", element, cache_element),
                 {"q": query, "k": cache, "v": cache, "g": query, "dk": cache, "dv": cache, **ids}, body, {"y": query, "s": statistics}, inputs,
                 expected, length=head_dim * 32 + 512, special=special, mutable=("dk", "dv"))


def cache_gradients():
    """One head to grouped heads, with and without `sequence`, both layers, every type; heads wider than a GPU's warp keeps."""
    for width, element in ((64, "f32"), (7, "bf16"), (12, "f16")):
        yield zero_cache(width, element)
    for layer, with_sequence in itertools.product((0, 1), (True, False)):
        yield kv_cache_append_gradient(7, layer, with_sequence)
        yield attention_gradient(4, 2, 8, layer, with_sequence, with_prompts=layer == 0 and with_sequence)
    for element, row in (("bf16", "f32"), ("f16", "f32"), ("f32", "bf16"), ("bf16", "bf16")):
        yield kv_cache_append_gradient(16, 1, True, element, row)
        yield attention_gradient(2, 2, 8, 1, True, row, element)
    for heads, kv_heads, head_dim in ((1, 1, 2), (3, 1, 5), (6, 3, 7), (4, 1, 20), (2, 1, 68)):
        yield attention_gradient(heads, kv_heads, head_dim, 0, True)
    yield attention_gradient(2, 1, 260, 0, False)


def groups():
    """Entry points by group."""
    return {"cache_gradient": list(cache_gradients())}
