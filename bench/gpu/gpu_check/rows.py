# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows of the performance table: what is computed, of which sizes, and the module that computes it."""

import dataclasses
import math

ROUTED = ((16, 3, 1), (16, 6, 2))
"""A quarter and a half of the groups are active; (N, K_s, K_r)."""
DENSE = (1, 1, 0)
PRESET, TINY = "mohd-1130m-50", "tiny"
COMPILED = ", torch.compile"
"""The end of the names of rows with torch.compile."""
PTX = "ptx"


@dataclasses.dataclass(frozen=True)
class Product:
    """`op`: linear and spmm (D to E), sddmm (E to D); `groups` is (N, K_s, K_r)."""

    op: str
    width: int
    inner: int
    groups: tuple
    tokens: int
    routing: str = "uniform"
    peers: str = "all"  # or dense, or compile: with torch.compile, which takes long
    weights: str = "bf16"  # or int8
    target: str = ""  # ptx: the kernels that every GPU from sm_80 on runs

    @property
    def name(self):
        words = [self.op, f"{self.width}x{self.inner}", ",".join(map(str, self.groups)), *(["int8"] if self.weights == "int8" else []),
                 f"T={self.tokens}", *([] if self.routing == "uniform" else [self.routing]), *([self.target] if self.target else [])]
        return " ".join(words) + (COMPILED if self.peers == "compile" else "")

    @property
    def bundle(self):
        parts = (self.op, self.width, self.inner, *self.groups, *([self.weights] if self.weights != "bf16" else []), *([self.target] if self.target else []))
        return "_".join(map(str, parts))

    @property
    def options(self):
        """More of the compiler's."""
        return ["--quantize=int8"] if self.weights == "int8" else []

    @property
    def facts(self):
        """What a result says of the row."""
        return {"op": self.op, "D": self.width, "E": self.inner, "groups": list(self.groups), "tokens": self.tokens, "routing": self.routing,
                "weights": self.weights, "target": self.target}

    @property
    def ours(self):
        """Other products of ours to measure beside, by the names of their variants: the dense one, or, of int8 weights, that of bf16 ones."""
        if self.op == "linear":
            return {}
        if self.weights == "int8":
            return {"mohd bf16": dataclasses.replace(self, weights="bf16")}
        return {"mohd dense": Product("linear", *self.sides, DENSE, self.tokens)}

    @property
    def active(self):
        return self.groups[1] + self.groups[2]

    @property
    def group_width(self):
        return self.width // self.groups[0]

    @property
    def sides(self):
        """(columns of the input, columns of the result)."""
        return (self.inner, self.width) if self.op == "sddmm" else (self.width, self.inner)

    @property
    def weight_shape(self):
        """The weight in the op's own layout."""
        n, d = self.groups[0], self.group_width
        return {"linear": (self.width, self.inner), "spmm": (n, d, self.inner), "sddmm": (n, self.inner, d)}[self.op]

    @property
    def flops(self):
        """Two for each multiply-add that is wanted."""
        return 2 * self.tokens * self.active * self.group_width * self.inner

    def weight_bytes(self, groups):
        """Bytes of the weights of that many groups, and of their scales."""
        scales = 4 * groups * self.weight_shape[-1] if self.weights == "int8" else 0
        return (1 if self.weights == "int8" else 2) * math.prod(self.weight_shape) * groups // self.groups[0] + scales

    def routing_text(self):
        """(type of a routing, arguments, the op that makes %r)."""
        kind = f"!mohd.routing<{', '.join(map(str, self.groups))}>"
        sets, gates = f"tensor<?x{self.active}xi32>", f"tensor<?x{self.active}xf32>"
        return (kind, f'%i: {sets} {{mohd.name = "indices"}}, %g: {gates} {{mohd.name = "gates"}}',
                f"  %r = mohd.make_routing %i, %g : {sets}, {gates} -> {kind}\n")

    def text(self):
        """The module: the function `main`, its weight a `mohd.weight` so that it lies as the kernels want it."""
        kind, given, made = self.routing_text()
        x, y = (f"tensor<?x{side}xbf16>" for side in self.sides)
        weight = f"tensor<{'x'.join(map(str, self.weight_shape))}xbf16>"
        head = f'func.func @main(%x: {x} {{mohd.name = "x"}}'
        body = f'  %w = mohd.weight "w" : {weight}\n'
        if self.op == "linear":
            body += f"  %y = mohd.linear %x, %w : {x}, {weight} -> {y}\n"
        else:
            head += f", {given}"
            body += f"{made}  %y = mohd.{self.op} %x, %r, %w : {x}, {kind}, {weight}\n"
        return f'{head}) -> ({y} {{mohd.name = "y"}}) {{\n{body}  return %y : {y}\n}}\n'


@dataclasses.dataclass(frozen=True)
class Training(Product):
    """A product forward and, by its backward function, all of its gradients; the weight is an argument that lies as the forward kernel reads it."""

    @property
    def name(self):
        return f"train {super().name}"

    @property
    def bundle(self):
        return f"train_{super().bundle}"

    @property
    def facts(self):
        return super().facts | {"op": f"train {self.op}"}

    @property
    def ours(self):
        return {}

    @property
    def stored(self):
        """(shape of the weight, the op's dimensions out of its own)."""
        n, d = self.groups[0], self.group_width
        return {"spmm": ((self.inner, n, d), (1, 2, 0)), "sddmm": ((n, d, self.inner), (0, 2, 1))}[self.op]

    def text(self):
        kind, given, made = self.routing_text()
        x, y = (f"tensor<?x{side}xbf16>" for side in self.sides)
        shape, order = self.stored
        stored, weight = (f"tensor<{'x'.join(map(str, sizes))}xbf16>" for sizes in (shape, self.weight_shape))
        return (f'func.func @main(%x: {x} {{mohd.name = "x"}}, {given}, %v: {stored} {{mohd.name = "w"}}) -> ({y} {{mohd.name = "y"}})\n'
                f'    attributes {{mohd.backward = "backward"}} {{\n{made}'
                f"  %w = mohd.permute_weight %v [{', '.join(map(str, order))}] : {stored} -> {weight}\n"
                f"  %y = mohd.{self.op} %x, %r, %w : {x}, {kind}, {weight}\n  return %y : {y}\n}}\n")


@dataclasses.dataclass(frozen=True)
class FeedForward(Training):
    """A whole routed feed-forward sub-layer, forward and backward: norm, router, gate and up, swiglu, down, Monarch fusion, residual stream."""

    def tensors(self):
        """Types of the module's tensors by name."""
        n, d, k = self.groups[0], self.group_width, self.active
        up, x, a = f"tensor<{self.inner}x{n}x{d}xbf16>", f"tensor<?x{self.width}xbf16>", f"tensor<?x{self.inner}xbf16>"
        arguments = {"x": x, "norm": f"tensor<{self.width}xbf16>", "phi": f"tensor<{n}x{self.width}xbf16>", "gate": up, "up": up,
                     "down": f"tensor<{n}x{d}x{self.inner}xbf16>", "right": f"tensor<{n}x{d}x{d}xbf16>", "left": f"tensor<{d}x{n}x{n}xbf16>"}
        results = {"y": x, "a": a, "b": a, "active": f"tensor<?x{k * d}xbf16>", "i": f"tensor<?x{k}xi32>", "g": f"tensor<?x{k}xf32>", "s": f"tensor<?x{n}xf32>"}
        return arguments, results

    def text(self):
        """The module; what the backward function would compute again is returned."""
        n, d = self.groups[0], self.group_width
        kind, (arguments, results) = self.routing_text()[0], self.tensors()
        t = arguments | results
        spmm, sddmm = f"tensor<{n}x{d}x{self.inner}xbf16>", f"tensor<{n}x{self.inner}x{d}xbf16>"
        given = ", ".join(f'%{name}: {type} {{mohd.name = "{name}"}}' for name, type in arguments.items())
        made = ", ".join(f'{type} {{mohd.name = "{name}"{"" if name in "yi" else ", mohd.frozen"}}}' for name, type in results.items())
        return f"""func.func @main({given})
    -> ({made}) attributes {{mohd.backward = "backward"}} {{
  %n = mohd.rms_norm %x, %norm epsilon 1.0e-5 : {t["x"]}, {t["norm"]}
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all scaling sqrt_nk_over_mass : {t["x"]}, {t["phi"]} -> {kind}, {t["s"]}
  %i, %g = mohd.unpack_routing %r : {kind} -> {t["i"]}, {t["g"]}
  %p = mohd.permute_weight %gate [1, 2, 0] : {t["gate"]} -> {spmm}
  %a = mohd.spmm %n, %r, %p : {t["x"]}, {kind}, {spmm}
  %q = mohd.permute_weight %up [1, 2, 0] : {t["up"]} -> {spmm}
  %b = mohd.spmm %n, %r, %q : {t["x"]}, {kind}, {spmm}
  %z = mohd.swiglu %a, %b : {t["a"]}
  %w = mohd.permute_weight %down [0, 2, 1] : {t["down"]} -> {sddmm}
  %o = mohd.sddmm %z, %r, %w : {t["a"]}, {kind}, {sddmm}
  %active = mohd.gather_groups %o, %r : {t["x"]}, {kind} -> {t["active"]}
  %f = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r) : {t["x"]} right {t["right"]} left {t["left"]} routing {kind}
  %y = mohd.add %x, %f : {t["x"]}
  return %{", %".join(results)} : {", ".join(results.values())}
}}
"""


@dataclasses.dataclass(frozen=True)
class Around(Product):
    """What is around the products: `op` route or fusion, of D."""

    @property
    def ours(self):
        return {}

    @property
    def bundle(self):
        return "_".join(map(str, (self.op, self.width, *self.groups)))

    @property
    def name(self):
        return f"{self.op} {self.width} {','.join(map(str, self.groups))} T={self.tokens}"

    def text(self):
        """The module; weights have the layout of the op."""
        n, d = self.groups[0], self.group_width
        kind, given, made = self.routing_text()
        if self.op == "fusion":
            x, right, left = f"tensor<?x{self.width}xbf16>", f"tensor<{n}x{d}x{d}xbf16>", f"tensor<{d}x{n}x{n}xbf16>"
            return (f'func.func @main(%x: {x} {{mohd.name = "x"}}, {given}) -> ({x} {{mohd.name = "y"}}) {{\n{made}'
                    f'  %a = mohd.weight "right" : {right}\n  %b = mohd.weight "left" : {left}\n'
                    f"  %y = mohd.group_fusion %x kind monarch right(%a) left(%b) routing(%r) : {x} right {right} left {left} routing {kind}\n"
                    f"  return %y : {x}\n}}\n")
        stream, weight = f"tensor<?x{self.width}xf32>", f"tensor<{n}x{self.width}xbf16>"
        sets, gates = f"tensor<?x{self.active}xi32>", f"tensor<?x{self.active}xf32>"
        return (f'func.func @main(%x: {stream} {{mohd.name = "x"}}) -> ({sets} {{mohd.name = "y"}}, {gates} {{mohd.name = "g"}}) {{\n'
                f'  %w = mohd.weight "w" : {weight}\n'
                f"  %r, %s = mohd.route %x, %w gate softmax score softmax_all : {stream}, {weight} -> {kind}, tensor<?x{n}xf32>\n"
                f"  %i, %g = mohd.unpack_routing %r : {kind} -> {sets}, {gates}\n  return %i, %g : {sets}, {gates}\n}}\n")


@dataclasses.dataclass(frozen=True)
class Attention:
    """A prompt of `tokens` tokens, or with `cached` a token of each of `tokens` sequences that have as many in the cache."""

    heads: int
    kv_heads: int
    head_dim: int
    tokens: int
    cached: int = 0

    ours, options, target = {}, [], ""

    @property
    def name(self):
        what = f"decode T={self.tokens} cached {self.cached}" if self.cached else f"prefill T={self.tokens}"
        return f"attention {self.heads},{self.kv_heads},{self.head_dim} {what}"

    @property
    def bundle(self):
        return f"attention_{self.heads}_{self.kv_heads}_{self.head_dim}"

    @property
    def facts(self):
        return {"op": "attention", "heads": [self.heads, self.kv_heads, self.head_dim], "tokens": self.tokens, "cached": self.cached}

    def text(self):
        x, cache = f"tensor<?x{self.heads * self.head_dim}xbf16>", f"tensor<1x?x?x{self.kv_heads * self.head_dim}xbf16>"
        given = ", ".join(f'%{name}: {kind} {{mohd.name = "{name}"}}' for name, kind in (("q", x), ("k", cache), ("v", cache)))
        where = ", ".join(f'%{name}: tensor<?xi32> {{mohd.name = "{name}"}}' for name in ("position", "sequence"))
        return (f'func.func @main({given}, {where}) -> ({x} {{mohd.name = "y"}}) {{\n'
                f"  %y = mohd.attention %q, %k, %v, %position in %sequence layer 0 head_dim {self.head_dim}"
                f" : {x}, {cache}, {cache}, tensor<?xi32>, tensor<?xi32>\n  return %y : {x}\n}}\n")


@dataclasses.dataclass(frozen=True)
class Decode:
    """A step of a whole model of random weights, a token of each of `tokens` sequences."""

    preset: str
    tokens: int

    ours, options, target = {}, ["--weights-dtype=bf16"], ""
    groups = ROUTED[1]
    active = groups[1] + groups[2]

    @property
    def name(self):
        return f"decode {self.preset} T={self.tokens}"

    @property
    def bundle(self):
        return f"decode_{self.preset}"

    @property
    def facts(self):
        return {"op": "decode", "preset": self.preset, "tokens": self.tokens}


@dataclasses.dataclass(frozen=True)
class Load(Decode):
    """From the path of a model's bundle to the first logits in a context of its own."""

    @property
    def name(self):
        return f"load {self.preset}"

    @property
    def facts(self):
        return {"op": "load", "preset": self.preset, "tokens": self.tokens}


MAIN = (4096, 11008)
"""The shape that every question is asked of; the others come after."""
OTHERS = ((2048, 5632), (8192, 28672))
EDGES = ((16, 17), (128, 129), (256, 257), (1024, 1025), (8, 9))
"""Where one more token takes another kernel, tile or half of one. All tokens have the same groups: with their own, one more could need one more group."""
QUARTERS = ((8, 1, 1), (128, 24, 8), (32, 6, 2), (64, 12, 4))
"""A quarter of 8 to 128 groups; ROUTED has that of 16."""


def products(shape, tokens, **more):
    """Both products of a shape at both shares."""
    for groups in ROUTED:
        for op in ("spmm", "sddmm"):
            yield Product(op, *shape, groups, tokens, **more)


def both(groups, tokens, shape=MAIN, kind=Product, **more):
    """Both products of one routing."""
    return [kind(op, *shape, groups, tokens, **more) for op in ("spmm", "sddmm")]


def quick_rows():
    """One row of every kind at small sizes."""
    shape, quarter = (256, 320), ROUTED[0]
    yield from both(quarter, 40, shape)
    yield from both(quarter, 1, shape)
    yield from both(quarter, 40, (128, 160), Training)
    yield FeedForward("ffn", 128, 160, quarter, 20)
    yield Attention(4, 2, 32, 40)
    yield Attention(4, 2, 32, 2, cached=48)
    yield Decode(TINY, 1)
    yield Load(TINY, 1)
    yield from (Around("route", 256, 0, ROUTED[1], tokens) for tokens in (40, 8))
    yield Around("fusion", 256, 0, ROUTED[1], 40)
    yield from both(quarter, 1, shape, weights="int8", peers="dense")
    yield from both(quarter, 40, shape, routing="zipf", peers="dense")
    yield from (Product("spmm", *shape, quarter, tokens, "identical", "dense") for tokens in (16, 17))
    yield from (Product("spmm", *shape, groups, 1, peers="dense") for groups in QUARTERS[::2])
    yield Product("linear", *shape, DENSE, 40, target=PTX)


def full_rows():
    """All rows; what matters most is first, as time may end: a shape for every goal, then what makes the figures broader."""
    yield from products(MAIN, 8192)
    yield from products(MAIN, 1)
    yield from both(ROUTED[0], 8192, kind=Training)
    yield FeedForward("ffn", 2048, 5632, ROUTED[0], 8192)
    yield from (Decode(PRESET, tokens) for tokens in (1, 8))
    yield Load(PRESET, 1)
    yield from (Around("route", 2048, 0, ROUTED[1], tokens) for tokens in (8192, 16))
    yield Around("fusion", 2048, 0, ROUTED[1], 8192)
    yield from (row for routing in ("zipf", "identical", "disjoint") for row in both(ROUTED[0], 8192, routing=routing, peers="dense"))
    yield from (row for groups in QUARTERS[:2] for tokens in (1, 8192) for row in both(groups, tokens, peers="dense"))
    yield from (row for pair in EDGES[:3] for tokens in pair for row in both(ROUTED[0], tokens, routing="identical", peers="dense"))
    yield Attention(16, 16, 128, 4096)
    yield from (Attention(16, 16, 128, tokens, cached=4096) for tokens in (1, 32))
    yield from both(ROUTED[0], 1, weights="int8", peers="dense")
    yield from products(MAIN, 8)
    yield Product("linear", *MAIN, DENSE, 8192, target=PTX)
    for tokens in (8192, 1, 8):
        yield from (row for shape in OTHERS for row in products(shape, tokens))
    yield from both(ROUTED[0], 8192, OTHERS[0], Training)
    yield from both(ROUTED[0], 8, weights="int8", peers="dense")
    yield from (row for groups in QUARTERS[2:] for tokens in (1, 8192) for row in both(groups, tokens, peers="dense"))
    yield from (row for pair in EDGES[3:] for tokens in pair for row in both(ROUTED[0], tokens, routing="identical", peers="dense"))
    yield from (row for tokens in (64, 512) for row in products(MAIN, tokens))
    yield from (row for tokens in (1, 8192) for row in both(ROUTED[0], tokens, OTHERS[0], peers="compile"))


def every(quick):
    """All rows in order."""
    return list(quick_rows() if quick else full_rows())


def names(quick):
    """The names of all rows in order."""
    return [row.name for row in every(quick)]


def bundles(quick):
    """A row for each bundle that rows run."""
    return {each.bundle: each for row in every(quick) for each in (row, *row.ours.values())}.values()
