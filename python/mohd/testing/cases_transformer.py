# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Entry points of the unrouted rest of a LLaMA block: embed, rms_norm, linear, add, silu, swiglu, rope, cache, attention, sample."""

import functools
import itertools

import numpy as np

from mohd import reference
from mohd.testing.arrays import normal, rounded, routing
from mohd.testing.cases_routing import SHAPES, routing_type
from mohd.testing.entry import Entry

ELEMENTS = ("f32", "bf16", "f16")
WIDTHS = (1, 7, 37, 64)


def with_bad_token(inputs, name="x"):
    """`special` of an entry point: one token is NaN, one has infinities of either sign, one is all zero."""

    def bad(rng):
        made = inputs(17, rng)
        made[name][3] = np.nan
        made[name][5, 0] = np.inf
        made[name][5, -1] = -np.inf
        made[name][6] = 0.0
        return made

    return {"bad_token": bad}


def elementwise(op, operands, width, element):
    """add, silu and swiglu."""
    type = f"tensor<?x{width}x{element}>"

    def inputs(tokens, rng):
        return {name: normal(rng, (tokens, width), element, 3.0) for name in operands}

    def ends(rng):
        made = inputs(len(values), rng)
        made[operands[0]][:] = np.array(values)[:, None]
        return made

    values = [-np.inf, np.inf, np.nan, 0.0, -0.0, -1e3, 1e3, -100.0, -88.0, 88.0, 2.0**-14]
    body = f"%y = mohd.{op} {', '.join('%' + name for name in operands)} : {type}"
    return Entry(
        f"{op}_{width}_{element}", dict.fromkeys(operands, type), body, {"y": type}, inputs,
        lambda **given: getattr(reference, op)(*given.values()), length=4,
        special={"ends": lambda rng: {k: rounded(v, element) for k, v in ends(rng).items()}})


def add_to_itself(width, element):
    """mohd.add of a value and itself; its kernel is none for a sum of two values."""
    type = f"tensor<?x{width}x{element}>"
    return Entry(f"add_to_itself_{width}_{element}", {"x": type}, f"%y = mohd.add %x, %x : {type}", {"y": type},
                 lambda tokens, rng: {"x": normal(rng, (tokens, width), element)}, lambda x: reference.add(x, x), length=1)


def embed(rows, width, element, table):
    """mohd.embed; the first and the last row are always asked for."""

    def inputs(tokens, rng):
        ids = rng.integers(0, rows, tokens).astype(np.int32)
        ids[:1], ids[-1:] = 0, rows - 1
        return {"ids": ids, "table": normal(rng, (rows, width), table)}

    body = f"%y = mohd.embed %ids, %table : tensor<?xi32>, tensor<{rows}x{width}x{table}> -> tensor<?x{width}x{element}>"
    return Entry(
        f"embed_{rows}_{width}_{element}_{table}", {"ids": "tensor<?xi32>", "table": f"tensor<{rows}x{width}x{table}>"}, body,
        {"y": f"tensor<?x{width}x{element}>"}, inputs, reference.embed, length=0)


def sample(width, spread):
    """mohd.sample; logits from a normal distribution of that spread, rounded to halves so that there are equal ones."""
    settings = {"temperature": (0.0, 0.5, 1.0, 3.0), "top_k": (0, 1, 2, 5, width, width + 1), "top_p": (1.0, 0.9, 0.5, 0.01, 0.0)}
    single = {"temperature": "f32", "top_k": "i32", "top_p": "f32", "draw": "f32"}

    def inputs(tokens, rng):
        made = {"logits": np.round(2 * normal(rng, (tokens, width), "f32", spread)) / 2}
        made |= {name: rng.choice(values, tokens).astype(np.int32 if name == "top_k" else np.float32) for name, values in settings.items()}
        return made | {"draw": rng.random(tokens, np.float32)}

    def bad(rng):
        made = inputs(16, rng)
        for row, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
            made["logits"][row] = value
        made["logits"][5, -1], made["logits"][6, 0], made["logits"][7, :-1] = np.nan, np.inf, -np.inf
        made["logits"][8, 1::2], made["logits"][9, ::2] = -np.inf, 0.0
        made["logits"][9, 1::2] = -0.0
        made["temperature"][10:13], made["top_p"][12:14] = (np.nan, -1.0, 1e-30), np.nan
        made["draw"][13:] = 0.0, 1.0, -1.0
        return made

    body = ("%y = mohd.sample %logits temperature %temperature top_k %top_k top_p %top_p draw %draw"
            f" : tensor<?x{width}xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<?xf32> -> tensor<?xi32>")
    return Entry(
        f"sample_{width}_{spread}", {"logits": f"tensor<?x{width}xf32>"} | {name: f"tensor<?x{element}>" for name, element in single.items()},
        body, {"y": "tensor<?xi32>"}, inputs, reference.sample, length=0, special={"bad": bad} if width > 1 else {})


def rms_norm(width, element, weight, epsilon):
    """mohd.rms_norm over all dims."""
    type = f"tensor<?x{width}x{element}>"

    def inputs(tokens, rng):
        return {"x": normal(rng, (tokens, width), element, 2.0), "w": normal(rng, (width,), weight)}

    body = f"%y = mohd.rms_norm %x, %w epsilon {epsilon:e} : {type}, tensor<{width}x{weight}>"
    return Entry(
        f"rms_norm_{width}_{element}_{weight}_{int(-np.log10(epsilon))}", {"x": type, "w": f"tensor<{width}x{weight}>"}, body,
        {"y": type}, inputs, lambda x, w: reference.rms_norm(x, w, epsilon), length=width, special=with_bad_token(inputs))


def active_norm(shape, element):
    """mohd.rms_norm over the token's active dims; dims of inactive groups must not count, whatever they hold."""
    n, shared, num_routed, width = shape
    dims, k, kind = n * width, shared + num_routed, routing_type(n, shared, num_routed)

    def inputs(tokens, rng):
        indices, gates = routing(rng, tokens, n, shared, num_routed)
        x = normal(rng, (tokens, dims), element)
        return {"x": x, "w": normal(rng, (dims,)), "indices": indices, "gates": gates}

    body = f"""
%r = mohd.make_routing %indices, %gates : tensor<?x{k}xi32>, tensor<?x{k}xf32> -> {kind}
%y = mohd.rms_norm %x, %w routing(%r) epsilon 1.0e-5 : tensor<?x{dims}x{element}>, tensor<{dims}xf32> routing {kind}
"""
    return Entry(
        f"active_norm_{n}_{shared}_{num_routed}_{width}_{element}",
        {"x": f"tensor<?x{dims}x{element}>", "w": f"tensor<{dims}xf32>", "indices": f"tensor<?x{k}xi32>",
         "gates": f"tensor<?x{k}xf32>"},
        body, {"y": f"tensor<?x{dims}x{element}>"}, inputs,
        lambda x, w, indices, gates: reference.rms_norm(x, w, 1e-5, indices, n), length=dims, special=with_bad_token(inputs))


def linear(rows, columns, element, weight, result):
    """mohd.linear."""

    def inputs(tokens, rng):
        return {"x": normal(rng, (tokens, rows), element), "w": normal(rng, (rows, columns), weight)}

    body = (f"%y = mohd.linear %x, %w : tensor<?x{rows}x{element}>, tensor<{rows}x{columns}x{weight}>"
            f" -> tensor<?x{columns}x{result}>")
    return Entry(
        f"linear_{rows}_{columns}_{element}_{weight}_{result}",
        {"x": f"tensor<?x{rows}x{element}>", "w": f"tensor<{rows}x{columns}x{weight}>"}, body,
        {"y": f"tensor<?x{columns}x{result}>"}, inputs, lambda x, w: reference.linear(x, w), length=rows, special=with_bad_token(inputs))


def rope(heads, head_dim, element, theta, largest=2047, inverse=False):
    """mohd.rope, or the rotation back."""
    width = heads * head_dim
    type = f"tensor<?x{width}x{element}>"

    def inputs(tokens, rng):
        position = rng.integers(0, largest + 1, tokens).astype(np.int32)
        position[:1], position[-1:] = 0, largest
        return {"x": normal(rng, (tokens, width), element), "position": position}

    body = f"%y = mohd.rope %x, %position head_dim {head_dim} theta {theta:e}{' inverse' if inverse else ''} : {type}, tensor<?xi32>"
    return Entry(
        f"rope_{heads}_{head_dim}_{element}_{int(theta)}_{largest}{'_inverse' if inverse else ''}", {"x": type, "position": "tensor<?xi32>"}, body, {"y": type},
        inputs, lambda x, position: reference.rope(x, -position if inverse else position, head_dim, theta), length=4, special=with_bad_token(inputs))


def places(rng, tokens, sequences, length, with_sequence):
    """Distinct places in a cache, first and last row among them; without `sequence` token t is in sequence t."""
    if not with_sequence:
        return {"position": rng.integers(0, length, tokens).astype(np.int32)}
    chosen = rng.permutation(sequences * length)[:tokens]
    return {"position": (chosen % length).astype(np.int32), "sequence": (chosen // length).astype(np.int32)}


def cache_sizes(tokens, with_sequence):
    """Numbers of sequences and positions with room for `tokens`; without `sequence` there is a sequence for each token."""
    return (3, 1 + (tokens + 2) // 3) if with_sequence else (tokens, 5)


def kv_cache_append(width, layer, with_sequence, element, row):
    """mohd.kv_cache_append: the whole cache is compared."""
    cache = f"tensor<2x?x?x{width}x{element}>"
    arguments = {"cache": cache, "rows": f"tensor<?x{width}x{row}>", "position": "tensor<?xi32>"}
    operands, types = "%cache, %rows, %position", f"{cache}, {arguments['rows']}, tensor<?xi32>"
    if with_sequence:
        arguments["sequence"] = "tensor<?xi32>"
        operands, types = operands + " in %sequence", types + ", tensor<?xi32>"

    def inputs(tokens, rng):
        sequences, length = cache_sizes(tokens, with_sequence)
        return {
            "cache": normal(rng, (2, sequences, length, width), element), "rows": normal(rng, (tokens, width), row),
            **places(rng, tokens, sequences, length, with_sequence),
        }

    def expected(cache, rows, position, sequence=None):
        return rounded(reference.kv_cache_append(cache, rows, position, sequence, layer), element)

    return Entry(
        f"kv_cache_append_{width}_{layer}_{'in' if with_sequence else 'own'}_{element}_{row}", arguments,
        f"%cache_after = mohd.kv_cache_append {operands} layer {layer} : {types}", {}, inputs, expected, length=0,
        special=with_bad_token(inputs, "rows"), mutable=("cache",))


def prompts(layer, inputs_at):
    """`special` of attention: tokens of a sequence together, and rows of the cache that only the tokens behind them may notice."""

    def prompt(*parts):
        """Inputs for parts (sequence, positions), one after the other."""
        sequence = np.concatenate([np.full(len(positions), sequence) for sequence, positions in parts])
        position = np.concatenate([positions for _, positions in parts])
        where = {"sequence": sequence.astype(np.int32), "position": position.astype(np.int32)}
        return functools.partial(inputs_at, where, 3, position.max() + 4)

    def bad_rows(rng):
        made = prompt((0, np.arange(70)), (2, np.arange(5, 75)), (1, np.arange(60)))(rng)
        made["k"][layer, 0, 20] = np.nan
        made["v"][layer, 0, 33] = np.nan
        made["v"][layer, 2, 20] = np.inf
        made["v"][layer, 2, 51] = -np.inf
        made["k"][layer, 1, 37] = np.inf
        made["q"][77] = np.nan
        return made

    def no_scores(rng):
        made = prompt((1, np.arange(60)), (0, np.arange(3)))(rng)
        made["q"] = np.abs(made["q"])
        made["k"][layer, 1, :50] = -np.inf  # so the last tokens have scores, but not in the first block
        made["k"][layer, 0, 0] = -np.inf
        return made

    return {
        "prompt_7": prompt((1, np.arange(7))), "prompt_33": prompt((0, np.arange(33))),
        "continued": prompt((2, np.arange(90, 160))), "one_late": prompt((0, np.array([100]))),
        "three_prompts": prompt((0, np.arange(40)), (2, np.arange(9, 39)), (1, np.array([63]))),
        "backwards": prompt((1, np.arange(99, -1, -1))), "far_apart": prompt((1, np.arange(0, 400, 9))),
        "interleaved": prompt(*((t % 3, np.array([t // 3])) for t in range(80))), "bad_rows": bad_rows, "no_scores": no_scores}


def attention_inputs(where, sequences, length, rng, width, kv_width, layer, element, cache_element):
    """Queries and caches for tokens at places `where`; rows that no token may see are NaN."""
    tokens = len(where["position"])
    sequence = where.get("sequence", np.arange(tokens))
    last = np.full(sequences, -1)
    np.maximum.at(last, sequence, where["position"])
    unseen = np.arange(length) > last[:, None]
    made = {"q": normal(rng, (tokens, width), element)}
    for name in "kv":
        made[name] = normal(rng, (2, sequences, length, kv_width), cache_element)
        made[name][1 - layer] = np.nan
        made[name][layer][unseen] = np.nan
    return {**made, **where}


def attention(heads, kv_heads, head_dim, layer, with_sequence, element="f32", cache_element="f32"):
    """mohd.attention; rows that no token may see are NaN."""
    width, kv_width = heads * head_dim, kv_heads * head_dim
    cache, query = f"tensor<2x?x?x{kv_width}x{cache_element}>", f"tensor<?x{width}x{element}>"
    arguments = {"q": query, "k": cache, "v": cache, "position": "tensor<?xi32>"}
    operands, types = "%q, %k, %v, %position", f"{query}, {cache}, {cache}, tensor<?xi32>"
    if with_sequence:
        arguments["sequence"] = "tensor<?xi32>"
        operands, types = operands + " in %sequence", types + ", tensor<?xi32>"

    inputs_at = functools.partial(attention_inputs, width=width, kv_width=kv_width, layer=layer, element=element, cache_element=cache_element)

    def inputs(tokens, rng):
        sequences, length = cache_sizes(tokens, with_sequence)
        return inputs_at(places(rng, tokens, sequences, length, with_sequence), sequences, length, rng)

    def peaked(rng):
        """Logits far beyond the range of exp."""
        made = inputs(17, rng)
        made["q"] = rounded(made["q"] * 200, element)
        return made

    def expected(q, k, v, position, sequence=None):
        return reference.attention(q, k, v, position, sequence, layer, head_dim)

    body = f"%y = mohd.attention {operands} layer {layer} head_dim {head_dim} : {types}"
    special = with_bad_token(inputs, "q")
    if element == "f32":
        special["peaked"] = peaked
    if with_sequence:
        special.update(prompts(layer, inputs_at))
    return Entry(
        f"attention_{heads}_{kv_heads}_{head_dim}_{layer}_{'in' if with_sequence else 'own'}_{element}_{cache_element}", arguments,
        body, {"y": query}, inputs, expected, length=head_dim * 8 + 64, special=special)


def norms():
    """Widths, element types, epsilons, and the active variant at the ugly shapes."""
    for width, element in itertools.product(WIDTHS, ELEMENTS):
        yield rms_norm(width, element, "f32", 1e-5)
    yield rms_norm(64, "bf16", "bf16", 1e-5)
    yield rms_norm(64, "f32", "f16", 1e-2)
    for shape in SHAPES:
        yield active_norm(shape, "f32")
    yield active_norm(SHAPES[0], "bf16")


def dense():
    """The element-wise ops, embed and linear."""
    yield add_to_itself(64, "f32")
    for op, operands in (("add", ("x", "z")), ("silu", ("x",)), ("swiglu", ("x", "z"))):
        for width, element in ((64, "f32"), (64, "bf16"), (64, "f16"), (1, "f32"), (37, "f32"), (7, "bf16")):
            yield elementwise(op, operands, width, element)
    yield elementwise("swiglu", ("x", "z"), 4133, "f32")  # rows in parts
    for rows, columns in ((1, 1), (7, 31), (64, 64), (37, 1), (1, 37), (128, 96)):
        yield linear(rows, columns, "f32", "f32", "f32")
    for element, weight, result in itertools.product(ELEMENTS, ELEMENTS, ("f32", "bf16")):
        yield linear(48, 40, element, weight, result)
    for element, table in itertools.product(ELEMENTS, ELEMENTS):
        yield embed(11, 24, element, table)
    yield embed(1, 1, "f32", "f32")
    yield embed(257, 7, "f32", "bf16")


def sequences():
    """RoPE, cache and attention: one head to grouped heads, with and without `sequence`, both layers."""
    for heads, head_dim, element, theta in ((1, 2, "f32", 1e4), (4, 8, "f32", 1e4), (3, 6, "f32", 5e5), (2, 64, "f32", 1e4),
                                            (4, 8, "bf16", 1e4), (4, 8, "f16", 1e4)):
        yield rope(heads, head_dim, element, theta)
    yield rope(2, 16, "f32", 1e4, largest=131071)
    yield rope(3, 6, "f32", 5e5, inverse=True)
    yield rope(4, 8, "bf16", 1e4, inverse=True)
    for layer, with_sequence in itertools.product((0, 1), (True, False)):
        yield kv_cache_append(7, layer, with_sequence, "f32", "f32")
        yield attention(4, 2, 8, layer, with_sequence)
    for element, row in (("bf16", "f32"), ("f16", "f32"), ("f32", "bf16"), ("bf16", "bf16")):
        yield kv_cache_append(16, 1, True, element, row)
        yield attention(2, 2, 8, 1, True, row, element)
    for heads, kv_heads, head_dim in ((1, 1, 2), (3, 1, 5), (2, 1, 6), (6, 3, 7), (4, 4, 16), (4, 1, 20), (8, 2, 32), (8, 1, 64), (32, 1, 8),
                                      (2, 1, 520)):
        yield attention(heads, kv_heads, head_dim, 0, True)


def groups():
    """Entry points by group."""
    samples = [sample(width, spread) for width, spread in ((1, 1), (7, 1), (64, 0), (257, 4), (300, 2), (515, 1))]
    return {"norm": list(norms()), "dense": list(dense()), "sequence": list(sequences()), "sample": samples}
