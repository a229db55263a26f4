# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The operations of a routed sub-layer, compiled: `mohd.nn.functional`'s functions with the kernels of this compiler.

    with mohd.ops.recording() as specs:
        model(tokens)                       # runs in plain PyTorch and notes what it needs
    mohd.ops.compile(specs, "ops.mohdb")    # once; mohd.ops.load("ops.mohdb") in other processes

`mohd.nn.compile` does that for a model. Nothing compiles inside a forward pass: a size that no kernel was compiled for runs in plain PyTorch, with one warning. All are
differentiable operators `torch.ops.mohd.*` with fake kernels, for `torch.compile`. Tokens are converted to the type of weights that they are multiplied with and, under
autocast, both to its type; norms and routers are not, and sums are in float32. Shapes: T tokens, D routed width in N groups of d_e, K active groups, E inner width.
"""

import dataclasses

import torch

from mohd.config import Routing
from mohd.nn import functional
from mohd.ops.kernels import compile, load, recording
from mohd.ops.library import ROUTING, Operator, attributes_of, routing_of
from mohd.ops.source import Spec

__all__ = ["balance_loss", "compile", "group_fusion", "load", "recording", "rms_norm", "route", "routed_output", "routed_projections", "sddmm", "spmm", "swiglu"]

MOST_PROJECTIONS = 3


def _bare(num_groups, num_active):
    """A routing of which only the numbers count: all its groups are chosen."""
    return Routing(num_groups, 0, num_active)


def _expect(condition, name, expected, got):
    if not condition:
        raise ValueError(f"{name} expects {expected}, got {got}")


def _groups(name, width, num_groups):
    _expect(num_groups > 0 and width % num_groups == 0, name, f"a width that is a multiple of {num_groups} groups", width)


def _route_shapes(tensors, attributes):
    x, centroids = tensors
    r = routing_of(attributes)
    _expect(x.dim() == 2, "mohd::route", "x [T, D]", list(x.shape))
    expected = (r.num_groups, x.shape[1])
    _expect(centroids is None or tuple(centroids.shape) == expected, "mohd::route", f"centroids {list(expected)}", centroids is not None and list(centroids.shape))
    _expect(centroids is not None or not r.needs_scores, "mohd::route", "centroids, as the routing depends on scores", "none")
    return (x.shape[0], r.num_active), (x.shape[0], r.num_groups), (x.shape[0], r.num_active)


def _floats_first(indices, gates, scores):
    """The order of an operator's outputs."""
    return gates, scores, indices


def _route_spec(element, tensors, attributes):
    x, centroids = tensors
    if centroids is None:
        return None  # constants
    return Spec("route", element, (x.shape[1],), _routing_alone(attributes))


_ROUTE = Operator(
    "route", ("x", "centroids?"), ROUTING, ("gates", "scores", "indices"),
    spec=_route_spec,
    shapes=_route_shapes,
    reference=lambda tensors, attributes: _floats_first(*functional.route(*tensors, routing_of(attributes))),
    saved=("gates", "scores", "indices"),
)


def _routing_alone(attributes):
    """The routing without what a router does not depend on."""
    r = routing_of(attributes)
    return Routing(r.num_groups, r.num_shared, r.num_routed, r.gate, r.scaling, r.score)


def _spmm_shapes(tensors, attributes):
    x, indices, gates, weight = tensors
    name = "mohd::spmm"
    _expect(x.dim() == 2 and weight.dim() == 2 and weight.shape[1] == x.shape[1], name, f"weight [E, {x.shape[-1]}]", list(weight.shape))
    _groups(name, x.shape[1], attributes[0])
    _expect(gates.shape == indices.shape and indices.shape[1] <= attributes[0], name, f"gates {list(indices.shape)}", list(gates.shape))
    return ((x.shape[0], weight.shape[0]),)


_SPMM = Operator(
    "spmm", ("x", "indices", "gates", "weight"), "int num_groups", ("y",),
    spec=lambda element, t, a: Spec("spmm", element, (t[0].shape[1], t[3].shape[0]), _bare(a[0], t[1].shape[1])),
    shapes=_spmm_shapes,
    reference=lambda tensors, attributes: (functional.spmm(*tensors, *attributes),),
)


def _sddmm_shapes(tensors, attributes):
    z, indices, weight = tensors
    name = "mohd::sddmm"
    _expect(z.dim() == 2 and weight.dim() == 2 and weight.shape[1] == z.shape[1], name, f"weight [D, {z.shape[-1]}]", list(weight.shape))
    _groups(name, weight.shape[0], attributes[0])
    return ((z.shape[0], weight.shape[0]),)


_SDDMM = Operator(
    "sddmm", ("z", "indices", "weight"), "int num_groups", ("o",),
    spec=lambda element, t, a: Spec("sddmm", element, (t[0].shape[1], t[2].shape[0]), _bare(a[0], t[1].shape[1])),
    shapes=_sddmm_shapes,
    reference=lambda tensors, attributes: (functional.sddmm(*tensors, *attributes),),
)


def _fusion_shapes(tensors, attributes):
    o, right, left, bias, indices = tensors
    (kind,) = attributes
    name = "mohd::group_fusion"
    _expect((right is not None) == (kind != "none") and (left is not None) == (kind == "monarch"), name,
            "right for kinds other than none, and left for monarch", kind)
    if right is not None:
        n, width, _ = right.shape
        _expect(tuple(right.shape) == (n, width, width) and n * width == o.shape[1], name, f"right [N, d_e, d_e] with N * d_e = {o.shape[1]}", list(right.shape))
        _expect(left is None or tuple(left.shape) == (width, n, n), name, f"left {[width, n, n]}", left is not None and list(left.shape))
    _expect(bias is None or (kind == "block_diagonal" and tuple(bias.shape) == (o.shape[1],)), name, f"bias [{o.shape[1]}] with block_diagonal only",
            bias is not None and list(bias.shape))
    return (tuple(o.shape),)


def _fusion_spec(element, tensors, attributes):
    o, right, _, bias, indices = tensors
    if right is None:
        return None
    routing = _bare(right.shape[0], indices.shape[1]) if indices is not None else None
    return Spec("group_fusion", element, (o.shape[1],), routing, (*attributes, bias is not None, right.shape[0]))


_FUSION = Operator(
    "group_fusion", ("o", "right?", "left?", "bias?", "indices?"), "str kind", ("y",),
    spec=_fusion_spec, shapes=_fusion_shapes,
    reference=lambda t, attributes: (functional.group_fusion(t[0], *attributes, *t[1:]).clone(),),
)

_BALANCE = Operator(
    "balance_loss", ("scores", "indices"), ROUTING, ("loss",),
    spec=lambda element, tensors, attributes: Spec("balance_loss", "f32", (), _balance_alone(attributes)),
    shapes=lambda tensors, attributes: ((),),
    reference=lambda tensors, attributes: (functional.balance_loss(*tensors, routing_of(attributes)),),
)


def _balance_alone(attributes):
    """The routing without what a balance loss does not depend on."""
    r = routing_of(attributes)
    return Routing(r.num_groups, r.num_shared, r.num_routed, balance=r.balance, balance_coefficient=r.balance_coefficient)


def _projection_shapes(tensors, attributes):
    x, norm_weight, centroids, *weights = tensors
    name, routing = "mohd::routed_projections", routing_of(attributes[1:])
    _expect(x.dim() == 2 and tuple(norm_weight.shape) == (x.shape[1],), name, f"norm_weight [{x.shape[-1]}]", list(norm_weight.shape))
    _groups(name, x.shape[1], routing.num_groups)
    for weight in weights:
        _expect(weight is None or (weight.dim() == 2 and weight.shape[1] == x.shape[1]), name, f"weights [E, {x.shape[1]}]", weight is not None and list(weight.shape))
    products = [None if weight is None else (x.shape[0], weight.shape[0]) for weight in weights]
    return *products, *_route_shapes((x, centroids), attributes[1:])


def _projection_spec(element, tensors, attributes):
    x, _, _, *weights = tensors
    eps, norm_stat = attributes[0], routing_of(attributes[1:]).norm_stat
    sizes = (x.shape[1], *(weight.shape[0] for weight in weights if weight is not None))
    return Spec("routed_projections", element, sizes, dataclasses.replace(_routing_alone(attributes[1:]), norm_stat=norm_stat), (eps,))


def _projection_reference(tensors, attributes):
    x, norm_weight, centroids, *weights = tensors
    present = [weight for weight in weights if weight is not None]
    made, *routing = functional.routed_projections(x, norm_weight, attributes[0], centroids, present, routing_of(attributes[1:]))
    return *made, *[None] * (len(weights) - len(present)), *_floats_first(*routing)


_PROJECTIONS = Operator(
    "routed_projections", ("x", "norm_weight", "centroids?", "weight0", "weight1?", "weight2?"), f"float eps, {ROUTING}",
    ("y0", "y1", "y2", "gates", "scores", "indices"),
    spec=_projection_spec, shapes=_projection_shapes, reference=_projection_reference, saved=("gates", "scores", "indices"),
)


def _output_shapes(tensors, attributes):
    residual, z, indices, weight, right, left = tensors
    kind = routing_of(attributes).fusion
    _sddmm_shapes((z, indices, weight), attributes)
    _expect(residual.shape == (z.shape[0], weight.shape[0]), "mohd::routed_output", f"residual {[z.shape[0], weight.shape[0]]}", list(residual.shape))
    _fusion_shapes((residual, right, left, None, None), (kind,))
    active = (z.shape[0], indices.shape[1] * (weight.shape[0] // attributes[0]))
    return tuple(residual.shape), active if kind != "none" else None


def _output_reference(tensors, attributes):
    residual, z, indices, weight, right, left = tensors
    routing = routing_of(attributes)
    o = functional.sddmm(z, indices, weight, routing.num_groups)
    y = residual + functional.group_fusion(o, routing.fusion, right, left, indices=indices)
    if routing.fusion == "none":
        return y, None
    groups = o.detach().unflatten(1, (routing.num_groups, -1))
    return y, groups.take_along_dim(indices.long()[:, :, None], 1).flatten(1)


def _output_spec(element, t, attributes):
    r = routing_of(attributes)
    return Spec("routed_output", element, (t[1].shape[1], t[3].shape[0]), Routing(r.num_groups, r.num_shared, r.num_routed, fusion=r.fusion))


_OUTPUT = Operator(
    "routed_output", ("residual", "z", "indices", "weight", "right?", "left?"), ROUTING, ("y", "active"),
    spec=_output_spec, shapes=_output_shapes, reference=_output_reference, saved=("active",), hidden=("active",), passed="residual",
)



def _norm_shapes(tensors, attributes):
    x, weight, indices = tensors
    _expect(x.dim() == 2 and tuple(weight.shape) == (x.shape[1],), "mohd::rms_norm", f"weight [{x.shape[-1]}]", list(weight.shape))
    if indices is not None:
        _groups("mohd::rms_norm", x.shape[1], attributes[1])
    return (tuple(x.shape),)


def _norm_spec(element, tensors, attributes):
    x, _, indices = tensors
    eps, num_groups = attributes
    return Spec("rms_norm", element, (x.shape[1],), _bare(num_groups, indices.shape[1]) if indices is not None else None, (eps,))


def _norm_reference(tensors, attributes):
    x, weight, indices = tensors
    eps, num_groups = attributes
    return (functional.rms_norm(x, weight, eps, None if indices is None else functional.active_mask(indices, num_groups, x.shape[1] // num_groups)),)


_NORM = Operator(
    "rms_norm", ("x", "weight", "indices?"), "float eps, int num_groups", ("y",),
    spec=_norm_spec, shapes=_norm_shapes, reference=_norm_reference,
)

_SWIGLU = Operator(
    "swiglu", ("gate", "up"), "", ("z",),
    spec=lambda element, tensors, attributes: Spec("swiglu", element, (tensors[0].shape[1],)),
    shapes=lambda tensors, attributes: (tuple(tensors[0].shape),),
    reference=lambda tensors, attributes: (functional.swiglu(*tensors),),
)


def _multiplied(weight):
    """A weight in the type of its products: its own or, under autocast, autocast's; None for None."""
    if weight is None:
        return None
    device = weight.device.type
    if device not in ("cpu", "cuda") or not torch.is_autocast_enabled(device) or weight.dtype == torch.float64:  # which autocast leaves as it is
        return weight
    return weight.to(torch.get_autocast_dtype(device))


def rms_norm(x, weight, eps):
    """x [T, D] / rms(x) * weight [D]: [T, D]."""
    return _NORM(x.to(weight.dtype), weight, None, eps, 1)


def route(normed, centroids, routing):
    """(indices int32 [T, K], gates float32 [T, K] with the scaling in them, scores float32 [T, N]) of normed [T, D]; centroids [N, D] or None."""
    if centroids is not None:
        normed = normed.to(centroids.dtype)
    gates, scores, indices = _ROUTE(normed, centroids, *attributes_of(routing))
    return indices, gates, scores


def spmm(x, indices, gates, weight, num_groups):
    """The gated active groups of x [T, D] times weight [E, D]: [T, E]."""
    weight = _multiplied(weight)
    return _SPMM(x.to(weight.dtype), indices, gates, weight, num_groups)


def sddmm(z, indices, weight, num_groups):
    """z [T, E] times weight [D, E] in active groups, 0 in the others: [T, D]."""
    weight = _multiplied(weight)
    return _SDDMM(z.to(weight.dtype), indices, weight, num_groups)


def group_fusion(o, kind, right=None, left=None, bias=None, indices=None):
    """Mixes o [T, D] within each group by right [N, d_e, d_e], then across groups by left [d_e, N, N], adds bias [D].

    `kind` is `monarch` (right and left), `block_diagonal` (right) or `none`. With `indices` [T, K] groups that are not in it count as 0.
    """
    if kind == "none":
        return o
    right, left, bias = (_multiplied(weight) for weight in (right, left, bias))
    return _FUSION(o if right is None else o.to(right.dtype), right, left, bias, indices, kind)


def balance_loss(scores, indices, routing):
    """The balance loss, a scalar, of one router's scores [T, N] and indices [T, K]; no gradient through the counts."""
    return _BALANCE(scores, indices, *attributes_of(routing))


def routed_projections(x, norm_weight, eps, centroids, weights, routing):
    """Norm, router and contraction-side projections of a sub-layer's input x [T, D] by one to three `weights`, each [E_i, D].

    Returns (the tuple of [T, E_i], indices, gates, scores). One operator if all weights have one type; else, as of float32 weights under autocast, norm and router
    are computed in the type of theirs, and each product in its own.
    """
    _expect(1 <= len(weights) <= MOST_PROJECTIONS, "routed_projections", f"1 to {MOST_PROJECTIONS} weights", len(weights))
    weights = [_multiplied(weight) for weight in weights]
    if any(weight.dtype != norm_weight.dtype for weight in weights):
        normed = rms_norm(x, norm_weight, eps)
        indices, gates, scores = route(normed, centroids, routing)
        if routing.norm_stat == "active":
            normed = _NORM(x.to(norm_weight.dtype), norm_weight, indices, eps, routing.num_groups)
        rounded = {dtype: normed.to(dtype) for dtype in {weight.dtype for weight in weights}}  # one for all products, as it is kept for their gradients
        return tuple(spmm(rounded[weight.dtype], indices, gates, weight, routing.num_groups) for weight in weights), indices, gates, scores
    absent = [None] * (MOST_PROJECTIONS - len(weights))
    made = _PROJECTIONS(x.to(norm_weight.dtype), norm_weight, centroids, *weights, *absent, eps, *attributes_of(routing))
    gates, scores, indices = made[MOST_PROJECTIONS:]
    return made[: len(weights)], indices, gates, scores


def routed_output(residual, z, indices, weight, right, left, routing):
    """residual [T, D] plus the fused output-side projection of z [T, E] by weight [D, E]; [T, D].

    One operator if the residual stream has the weights' type; else, as a float32 one under autocast, it keeps its own, and product and fusion have theirs.
    """
    weight = _multiplied(weight)
    if residual.dtype != weight.dtype:
        o = sddmm(z, indices, weight, routing.num_groups)
        return residual + group_fusion(o, routing.fusion, right, left, indices=indices)
    right, left = _multiplied(right), _multiplied(left)
    return _OUTPUT(residual, z.to(weight.dtype), indices, weight, right, left, *attributes_of(routing))[0]


def swiglu(gate, up):
    """silu(gate) * up, both [T, E]."""
    return _SWIGLU(gate, up)
