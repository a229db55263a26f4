# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows of the performance table: what is computed, of which sizes, and the module that computes it."""

import dataclasses
import math

SHAPES = ((2048, 5632), (4096, 11008), (8192, 28672))
ROUTED = ((16, 6, 2), (16, 3, 1))
DENSE = (1, 1, 0)
PRESET, TINY = "mohd-1130m-50", "tiny"
COMPILED = ", torch.compile"
"""The end of the names of rows with torch.compile."""


@dataclasses.dataclass(frozen=True)
class Row:
    """`op`: linear and spmm (D to E), sddmm (E to D), route and fusion of D, decode of a preset; `groups` is (N, K_s, K_r)."""

    op: str
    width: int
    inner: int
    groups: tuple
    tokens: int
    routing: str = "uniform"
    preset: str = PRESET
    compiles: bool = False  # whether torch.compile takes part, which takes long

    @property
    def name(self):
        if self.op == "decode":
            return f"decode {self.preset} T={self.tokens}"
        routing = "" if self.routing == "uniform" else f" {self.routing}"
        end = COMPILED if self.compiles else ""
        return f"{self.op} {self.width}x{self.inner} {','.join(map(str, self.groups))} T={self.tokens}{routing}{end}"

    @property
    def bundle(self):
        return f"decode_{self.preset}" if self.op == "decode" else "_".join(map(str, (self.op, self.width, self.inner, *self.groups)))

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
        """The weight of a product in the op's own layout."""
        n, d = self.groups[0], self.group_width
        return {"linear": (self.width, self.inner), "spmm": (n, d, self.inner), "sddmm": (n, self.inner, d)}[self.op]

    @property
    def flops(self):
        """Two for each multiply-add of a product that is wanted."""
        return 2 * self.tokens * self.active * self.group_width * self.inner

    def text(self):
        """The module: the function `main`, its weights `mohd.weight` so that they lie as the kernels want them."""
        n, shared, routed = self.groups
        kind, sets, gates = f"!mohd.routing<{n}, {shared}, {routed}>", f"tensor<?x{self.active}xi32>", f"tensor<?x{self.active}xf32>"
        x, y = f"tensor<?x{self.sides[0]}xbf16>", f"tensor<?x{self.sides[1]}xbf16>"
        given = f'%i: {sets} {{mohd.name = "indices"}}, %g: {gates} {{mohd.name = "gates"}}'
        made = f"  %r = mohd.make_routing %i, %g : {sets}, {gates} -> {kind}\n"
        if self.op == "route":
            stream, weight = f"tensor<?x{self.width}xf32>", f"tensor<{n}x{self.width}xbf16>"
            return (f'func.func @main(%x: {stream} {{mohd.name = "x"}}) -> ({sets} {{mohd.name = "y"}}, {gates} {{mohd.name = "g"}}) {{\n'
                    f'  %w = mohd.weight "w" : {weight}\n'
                    f"  %r, %s = mohd.route %x, %w gate softmax score softmax_all : {stream}, {weight} -> {kind}, tensor<?x{n}xf32>\n"
                    f"  %i, %g = mohd.unpack_routing %r : {kind} -> {sets}, {gates}\n  return %i, %g : {sets}, {gates}\n}}\n")
        if self.op == "fusion":
            d, x = self.group_width, f"tensor<?x{self.width}xbf16>"
            right, left = f"tensor<{n}x{d}x{d}xbf16>", f"tensor<{d}x{n}x{n}xbf16>"
            return (f'func.func @main(%x: {x} {{mohd.name = "x"}}, {given}) -> ({x} {{mohd.name = "y"}}) {{\n{made}'
                    f'  %a = mohd.weight "right" : {right}\n  %b = mohd.weight "left" : {left}\n'
                    f"  %y = mohd.group_fusion %x kind monarch right(%a) left(%b) routing(%r) : {x} right {right} left {left} routing {kind}\n"
                    f"  return %y : {x}\n}}\n")
        weight = f"tensor<{'x'.join(map(str, self.weight_shape))}xbf16>"
        head = f'func.func @main(%x: {x} {{mohd.name = "x"}}'
        body = f'  %w = mohd.weight "w" : {weight}\n'
        if self.op == "linear":
            body += f"  %y = mohd.linear %x, %w : {x}, {weight} -> {y}\n"
        else:
            head += f", {given}"
            body += f"{made}  %y = mohd.{self.op} %x, %r, %w : {x}, {kind}, {weight}\n"
        return f'{head}) -> ({y} {{mohd.name = "y"}}) {{\n{body}  return %y : {y}\n}}\n'

    def weight_bytes(self, groups):
        """Bytes of the weights of that many groups."""
        return 2 * math.prod(self.weight_shape) * groups // self.groups[0]


def products(shapes, prefill, decode):
    """Prefill and decode of every product at every shape, from the first goals to the last."""
    for tokens in (prefill, *decode):
        for width, inner in shapes:
            for groups in (ROUTED[1], ROUTED[0], DENSE):
                for op in ("spmm", "sddmm") if groups != DENSE else ("linear",):
                    yield Row(op, width, inner, groups, tokens)


def every(quick):
    """All rows; what matters most is first, as time may end."""
    if quick:
        yield from products(((256, 320),), 200, (1, 8))
        yield Row("route", 256, 0, ROUTED[0], 200)
        yield Row("fusion", 256, 0, ROUTED[0], 200)
        yield Row("decode", 0, 0, ROUTED[0], 1, preset=TINY)
        return
    yield from products(SHAPES, 8192, (1, 8))
    yield from (Row("route", 2048, 0, ROUTED[0], tokens) for tokens in (8192, 16))
    yield Row("fusion", 2048, 0, ROUTED[0], 8192)
    yield from (Row("decode", 0, 0, ROUTED[0], tokens) for tokens in (1, 8))
    for routing in ("zipf", "identical", "disjoint"):
        yield from (Row(op, 4096, 11008, ROUTED[1], 8192, routing) for op in ("spmm", "sddmm"))
    yield from products(((4096, 11008),), 512, (64,))
    for tokens in (1, 8192):
        yield from (Row(op, 2048, 5632, ROUTED[1], tokens, compiles=True) for op in ("spmm", "sddmm"))


def names(quick):
    """Their names in order."""
    return [row.name for row in every(quick)]
