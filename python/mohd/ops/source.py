# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The operations of `mohd.ops` as functions of the mohd dialect, from which their kernels are compiled.

A `Spec` says what a function is made for: everything but the number of tokens. Its name is a function of its contents, so that a bundle
needs no list of what is in it. Weights are arguments in PyTorch's layouts ([out, in]), viewed with their groups as a dimension.
"""

import dataclasses
import hashlib

from mohd.config import Routing

NUMBER = "%.17e"
"""How a float is written, so that it is read as it was."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """An operation for one class of shapes.

    `op` is a key of BUILDERS, `element` the type of tokens and weights ("f32", "bf16", "f16"), `sizes` widths by the op's order,
    `routing` what the tokens' groups follow, `extra` what else the op has.
    """

    op: str
    element: str
    sizes: tuple[int, ...]
    routing: Routing | None = None
    extra: tuple = ()

    @property
    def name(self) -> str:
        """The function's name; the backward one has `_backward` behind it."""
        return f"{self.op}_{hashlib.sha256(repr(self).encode()).hexdigest()[:16]}"


class Function:
    """The text of a function while it is put together."""

    def __init__(self, spec: Spec):
        self.spec, self.arguments, self.lines, self.results, self.types = spec, [], [], [], {}

    def argument(self, name: str, type: str, frozen: bool = False) -> str:
        """Adds an argument; `frozen` ones have no gradient."""
        self.arguments.append(f'%{name}: {type} {{mohd.name = "{name}"{", mohd.frozen" * frozen}}}')
        self.types[f"%{name}"] = type
        return f"%{name}"

    def tokens(self, name: str, width: int, element: str | None = None, frozen: bool = False) -> str:
        """An argument [tokens, width]."""
        return self.argument(name, f"tensor<?x{width}x{element or self.spec.element}>", frozen)

    def weight(self, name: str, *shape: int) -> str:
        """An argument of a weight's shape."""
        return self.argument(name, f"tensor<{'x'.join(map(str, shape))}x{self.spec.element}>")

    def op(self, name: str, text: str, type: str) -> str:
        """Adds the line `%name = text`, whose result has `type`."""
        self.lines.append(f"%{name} = {text}")
        self.types[f"%{name}"] = type
        return f"%{name}"

    def result(self, name: str, value: str, frozen: bool = False) -> None:
        """Returns a value; a `frozen` one is for the backward function alone."""
        self.results.append((name, value, frozen))

    def permuted(self, weight: str, order: tuple[int, int, int]) -> str:
        """A weight of rank 3 with its dimensions in another order."""
        shape = self.types[weight].removeprefix("tensor<").rsplit("x", 1)[0].split("x")
        type = f"tensor<{'x'.join(shape[i] for i in order)}x{self.spec.element}>"
        return self.op(f"{weight[1:]}_p", f"mohd.permute_weight {weight} {list(order)} : {self.types[weight]} -> {type}", type)

    def given_routing(self, gates: str | None = None) -> str:
        """The routing of arguments `indices` and `gates`, or of `indices` with gates that nothing reads (argument `ones`)."""
        k, kind = self.spec.routing.num_active, self.routing_type
        indices = self.argument("indices", f"tensor<?x{k}xi32>")
        gates = gates or self.tokens("ones", k, "f32", frozen=True)
        return self.op("r", f"mohd.make_routing {indices}, {gates} : tensor<?x{k}xi32>, tensor<?x{k}xf32> -> {kind}", kind)

    @property
    def routing_type(self) -> str:
        """The type of the routing."""
        r = self.spec.routing
        return f"!mohd.routing<{r.num_groups}, {r.num_shared}, {r.num_routed}>"

    def text(self) -> str:
        """The function."""
        results = ", ".join(f'{self.types[value]} {{mohd.name = "{name}"{", mohd.frozen" * frozen}}}' for name, value, frozen in self.results)
        values, types = ", ".join(v for _, v, _ in self.results), ", ".join(self.types[v] for _, v, _ in self.results)
        body = "\n".join(f"  {line}" for line in [*self.lines, f"return {values} : {types}"])
        name = self.spec.name
        return (f"// {self.spec}\nfunc.func @{name}({', '.join(self.arguments)}) -> ({results}) "
                f'attributes {{mohd.backward = "{name}_backward"}} {{\n{body}\n}}\n')


def _route(f: Function, normed: str, width: int) -> None:
    """Makes the routing %r of normed tokens by the argument `centroids`, its parts %i and %g, and the scores %s."""
    r, kind = f.spec.routing, f.routing_type
    n, k = r.num_groups, r.num_active
    operands, types = normed, f.types[normed]
    if r.needs_scores:
        centroids = f.weight("centroids", n, width)
        operands, types = f"{normed}, {centroids}", f"{types}, {f.types[centroids]}"
    scaling = "" if r.scaling == "none" else f" scaling {r.scaling}"
    f.lines.append(f"%r, %s = mohd.route {operands} gate {r.gate} score {r.score}{scaling} : {types} -> {kind}, tensor<?x{n}xf32>")
    f.lines.append(f"%i, %g = mohd.unpack_routing %r : {kind} -> tensor<?x{k}xi32>, tensor<?x{k}xf32>")
    f.types.update({"%r": kind, "%s": f"tensor<?x{n}xf32>", "%i": f"tensor<?x{k}xi32>", "%g": f"tensor<?x{k}xf32>"})


def _return_routing(f: Function) -> None:
    for name, value in (("indices", "%i"), ("gates", "%g"), ("scores", "%s")):
        f.result(name, value)


def _norm(f: Function, name: str, x: str, weight: str, eps: float, routed: bool = False) -> str:
    """The norm of x over all dims or, if it is `routed`, over the active ones."""
    routing, kind = (" routing(%r)", f" routing {f.routing_type}") if routed else ("", "")
    return f.op(name, f"mohd.rms_norm {x}, {weight}{routing} epsilon {NUMBER % eps} : {f.types[x]}, {f.types[weight]}{kind}", f.types[x])


def _spmm(f: Function, name: str, x: str, weight: str) -> str:
    """The product of gated tokens with a weight [E, N, d_e]."""
    columns = f.types[weight].removeprefix("tensor<").split("x")[0]
    w = f.permuted(weight, (1, 2, 0))
    return f.op(name, f"mohd.spmm {x}, %r, {w} : {f.types[x]}, {f.routing_type}, {f.types[w]}", f"tensor<?x{columns}x{f.spec.element}>")


def _sddmm(f: Function, z: str, weight: str, width: int) -> str:
    """The product of tokens with a weight [N, d_e, E] in active groups."""
    w = f.permuted(weight, (0, 2, 1))
    return f.op("o", f"mohd.sddmm {z}, %r, {w} : {f.types[z]}, {f.routing_type}, {f.types[w]}", f"tensor<?x{width}x{f.spec.element}>")


def _fusion(f: Function, kind: str, o: str, right: str | None, left: str | None, bias: str | None, routed: bool) -> str:
    """A group fusion."""
    given = {"right": right, "left": left, "bias": bias, "routing": "%r" if routed else None}
    given = {name: value for name, value in given.items() if value}
    operands = "".join(f" {name}({value})" for name, value in given.items())
    types = "".join(f" {name} {f.routing_type if name == 'routing' else f.types[value]}" for name, value in given.items())
    return f.op("f", f"mohd.group_fusion {o} kind {kind}{operands} : {f.types[o]}{types}", f.types[o])


def _fusion_weights(f: Function, kind: str, n: int, width: int) -> tuple[str | None, str | None]:
    """The arguments `right` and `left` of a fusion's kind."""
    right = f.weight("right", n, width, width) if kind != "none" else None
    return right, f.weight("left", width, n, n) if kind == "monarch" else None


def _build_route(f: Function) -> None:
    (width,) = f.spec.sizes
    _route(f, f.tokens("x", width), width)
    _return_routing(f)


def _build_spmm(f: Function) -> None:
    width, columns = f.spec.sizes
    n, k = f.spec.routing.num_groups, f.spec.routing.num_active
    x = f.tokens("x", width)
    f.given_routing(f.tokens("gates", k, "f32"))
    f.result("y", _spmm(f, "y", x, f.weight("weight", columns, n, width // n)))


def _build_sddmm(f: Function) -> None:
    columns, width = f.spec.sizes
    n = f.spec.routing.num_groups
    z = f.tokens("z", columns)
    f.given_routing()
    f.result("o", _sddmm(f, z, f.weight("weight", n, width // n, columns), width))


def _build_group_fusion(f: Function) -> None:
    (width,) = f.spec.sizes
    kind, has_bias, n = f.spec.extra
    o = f.tokens("o", width)
    if f.spec.routing:
        f.given_routing()
    right, left = _fusion_weights(f, kind, n, width // n)
    bias = f.weight("bias", width) if has_bias else None
    f.result("y", _fusion(f, kind, o, right, left, bias, bool(f.spec.routing)))


def _build_balance_loss(f: Function) -> None:
    r = f.spec.routing
    scores = f.tokens("scores", r.num_groups, "f32")
    f.given_routing()
    text = (f"mohd.balance_loss {scores}, %r kind {r.balance} coefficient {NUMBER % r.balance_coefficient} "
            f": {f.types[scores]}, {f.routing_type} -> tensor<f32>")
    f.result("loss", f.op("loss", text, "tensor<f32>"))


def _build_routed_projections(f: Function) -> None:
    width, *columns = f.spec.sizes
    (eps,), n = f.spec.extra, f.spec.routing.num_groups
    x, weight = f.tokens("x", width), f.weight("norm_weight", width)
    normed = _norm(f, "n", x, weight, eps)
    _route(f, normed, width)
    if f.spec.routing.norm_stat == "active":
        normed = _norm(f, "m", x, f.weight("active_norm_weight", width), eps, routed=True)
    for i, number in enumerate(columns):
        f.result(f"y{i}", _spmm(f, f"y{i}", normed, f.weight(f"weight{i}", number, n, width // n)))
    _return_routing(f)


def _build_routed_output(f: Function) -> None:
    columns, width = f.spec.sizes
    n, kind = f.spec.routing.num_groups, f.spec.routing.fusion
    residual, z = f.tokens("residual", width, frozen=True), f.tokens("z", columns)
    f.given_routing()
    o = _sddmm(f, z, f.weight("weight", n, width // n, columns), width)
    fused = o
    if kind != "none":
        right, left = _fusion_weights(f, kind, n, width // n)
        fused = _fusion(f, kind, o, right, left, None, True)
    f.result("y", f.op("y", f"mohd.add {residual}, {fused} : {f.types[residual]}", f.types[residual]))
    if kind != "none":
        r = f.spec.routing
        type = f"tensor<?x{r.num_active * width // n}x{f.spec.element}>"
        f.result("active", f.op("active", f"mohd.gather_groups {o}, %r : {f.types[o]}, {f.routing_type} -> {type}", type), frozen=True)


def _build_rms_norm(f: Function) -> None:
    (width,), (eps,) = f.spec.sizes, f.spec.extra
    x, weight = f.tokens("x", width), f.weight("weight", width)
    if f.spec.routing:
        f.given_routing()
    f.result("y", _norm(f, "y", x, weight, eps, routed=bool(f.spec.routing)))


def _build_swiglu(f: Function) -> None:
    (columns,) = f.spec.sizes
    gate, up = f.tokens("gate", columns), f.tokens("up", columns)
    f.result("z", f.op("z", f"mohd.swiglu {gate}, {up} : {f.types[gate]}", f.types[gate]))


BUILDERS = {
    "route": _build_route, "spmm": _build_spmm, "sddmm": _build_sddmm, "group_fusion": _build_group_fusion,
    "balance_loss": _build_balance_loss, "routed_projections": _build_routed_projections,
    "routed_output": _build_routed_output, "rms_norm": _build_rms_norm, "swiglu": _build_swiglu,
}


def text_of(spec: Spec) -> str:
    """The function of one spec, in the mohd dialect."""
    f = Function(spec)
    BUILDERS[spec.op](f)
    return f.text()


def module_text(specs) -> str:
    """A module with the functions of all specs."""
    return "\n".join(text_of(spec) for spec in sorted(set(specs), key=lambda spec: spec.name))
