# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The operations of `mohd.ops` as operators of PyTorch, `torch.ops.mohd.*`.

An `Operator` gets a kernel for CPUs and for CUDA, a fake kernel, and a gradient, which is an operator of its own (`*_backward`). A call runs the compiled function
of the operator's `Spec` or, where there is none (other types, sizes that were not compiled), its plain PyTorch form of `mohd.nn.functional`.
Tensors are flat: T tokens in the first dimension of all but weights. Optional tensors and outputs that there are not are empty.
"""

import dataclasses
import functools
import typing

import torch

from mohd.config import Routing
from mohd.nn import functional
from mohd.ops import kernels
from mohd.ops.source import Spec

WEIGHTS = {"norm_weight", "centroids", "weight", "weight0", "weight1", "weight2", "right", "left", "bias"}
"""Names of tensors without tokens."""

AGAIN = {"active_norm_weight": "norm_weight"}
"""Arguments of functions that are one of the operator's tensors once more: of one that is no matrix a function gives each use a gradient of its own."""

FIXED = {"indices": torch.int32, "gates": torch.float32, "scores": torch.float32}
"""Types of tensors that do not have that of tokens and weights."""

PLAIN = (torch.Tensor, torch.nn.Parameter)
"""Tensors that are what they seem."""

ROUTING = "int num_groups, int num_shared, int num_routed, str gate, str scaling, str score, str fusion, str balance, float balance_coefficient, str axis, str norm_stat"
"""The schema of a routing: the fields of `Routing` in order."""

_library = torch.library.Library("mohd", "DEF")


@functools.cache
def routing_of(attributes: tuple) -> Routing:
    """The routing whose fields are `attributes`."""
    return Routing(*attributes)


def attributes_of(routing: Routing) -> tuple:
    """The fields of a routing."""
    r = routing
    return (r.num_groups, r.num_shared, r.num_routed, r.gate, r.scaling, r.score, r.fusion, r.balance, r.balance_coefficient, r.axis, r.norm_stat)


class Form(typing.NamedTuple):
    """What an operator does for one class of shapes; None stands for a function that there is not.

    `*_inputs`: for each input of the function which of the operator's tensors it is, -1 for gates of 1. `forward_outputs`: for each output of the operator which of
    the function's it is, -1 for one that there is not. `backward_outputs`: for each wanted gradient the function's outputs that add up to it.
    """

    spec: Spec | None
    forward: kernels.Function | None
    forward_inputs: list[int]
    forward_outputs: list[int]
    backward: kernels.Function | None
    backward_inputs: list[int]
    backward_outputs: list[list[int]]


def _places(wanted, names):
    """Where each of the wanted names is, -1 for one that is not there."""
    return [names.index(name) if name in names else -1 for name in wanted]


def _original(name):
    """The operator's name of a function's argument."""
    return AGAIN.get(name, name)


@dataclasses.dataclass
class Operator:
    """An operator. `tensors` and `outputs` are names, those of optional tensors with a `?`; `attributes` is the rest of the schema.

    `spec(element, tensors, attributes)`: what the kernels are made for; None if there are none for these attributes. `shapes(tensors, attributes)`: the shape of
    each output, None for one that there is not; raises ValueError for shapes that do not fit. `reference(tensors, attributes)`: the outputs in plain
    PyTorch, differentiable, None for one that there is not. `saved`: outputs that the gradient needs. `hidden`: those that nothing else reads, which have no
    gradient. `passed`: an input whose gradient is that of output 0.
    """

    name: str
    tensors: tuple[str, ...]
    attributes: str
    outputs: tuple[str, ...]
    spec: typing.Callable
    shapes: typing.Callable
    reference: typing.Callable
    saved: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    passed: str | None = None

    def __post_init__(self):
        self.names = [name.rstrip("?") for name in self.tensors]
        self.graded = [i for i, name in enumerate(self.outputs) if name not in ("indices", *self.hidden)]  # outputs that have a gradient
        self.wanted = [i for i, name in enumerate(self.names) if name not in ("indices", self.passed)]  # inputs that get one
        self.saves = [self.outputs.index(name) for name in self.saved]
        self.forms: dict = {}
        attributes = f", {self.attributes}" if self.attributes else ""
        inputs = ", ".join(f"Tensor{'?' * name.endswith('?')} {name.rstrip('?')}" for name in self.tensors)
        grads = ", ".join(f"Tensor grad_{self.outputs[i]}" for i in self.graded)
        saved = "".join(f", Tensor saved_{name}" for name in self.saved)
        tensors = lambda count: f"({', '.join(['Tensor'] * count)})" if count > 1 else "Tensor"
        _library.define(f"{self.name}({inputs}{attributes}) -> {tensors(len(self.outputs))}")
        _library.define(f"{self.name}_backward({grads}, {inputs}{saved}{attributes}) -> {tensors(len(self.wanted))}")
        for key in ("CPU", "CUDA"):
            _library.impl(self.name, self.forward, key)
            _library.impl(f"{self.name}_backward", self.backward, key)
        torch.library.register_fake(f"mohd::{self.name}", self.fake, lib=_library)
        torch.library.register_fake(f"mohd::{self.name}_backward", self.fake_backward, lib=_library)
        torch.library.register_autograd(f"mohd::{self.name}", self.gradient, setup_context=self.keep, lib=_library)
        self.call = getattr(torch.ops.mohd, self.name).default
        self.call_backward = getattr(torch.ops.mohd, f"{self.name}_backward").default

    # What there is for given shapes

    def form(self, tensors, attributes):
        """The Form for these tensors, and T. Raises ValueError if shapes do not fit."""
        tokens, key = None, [attributes]
        for name, tensor in zip(self.names, tensors):
            if tensor is None:
                key.append(None)
                continue
            shape = tensor.shape
            if name in WEIGHTS:
                key.append((tensor.dtype, shape))
            elif tokens is None:
                tokens = shape[0]
                key.append((tensor.dtype, shape[1:]))
            elif shape[0] != tokens:
                raise ValueError(f"mohd::{self.name} expects '{name}' to have {tokens} tokens, got {shape[0]}")
            else:
                key.append((tensor.dtype, shape[1:]))
        try:
            found = self.forms.get(key := tuple(key))
        except TypeError:  # symbolic sizes while a graph is traced: it is made for these, but for the number of tokens
            key = tuple((part[0], tuple(map(int, part[1]))) if torch.is_tensor(tensor) else part for part, tensor in zip(key, (None, *tensors)))
            found = self.forms.get(key)
        if found is None or kernels.version() != found[0]:
            self.shapes(tensors, attributes)
            spec = self._spec(tensors, attributes)
            found = self.forms[key] = kernels.version(), self._form(spec)
        return found[1], tokens

    def _form(self, spec):
        """The Form of a spec."""
        forward, backward = (spec and kernels.find(spec, back) for back in (False, True))
        given = [f"grad_{self.outputs[i]}" for i in self.graded] + self.names + list(self.saved)  # what the gradient is given
        graded = [_original(name.removeprefix("grad_")) for name in backward.outputs] if backward else []
        return Form(
            spec, forward, _places(map(_original, forward.inputs), self.names) if forward else [], _places(self.outputs, forward.outputs) if forward else [],
            backward, _places(map(_original, backward.inputs), given) if backward else [],
            [[place for place, name in enumerate(graded) if name == self.names[i]] for i in self.wanted],
        )

    def _run(self, function, tokens, places, tensors):
        """Runs a function on the tensors at `places`."""
        inputs = [tensors[i] if i >= 0 else kernels.ones(tokens, self._indices(tensors)) for i in places]
        return function.run(tokens, inputs)

    def _indices(self, tensors):
        """The indices among an operator's tensors, or those of its gradient."""
        return next(tensor for tensor in tensors if tensor is not None and tensor.dtype == torch.int32)

    def __call__(self, *arguments):
        """The operator; without PyTorch's dispatcher where that would only bring us back here."""
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() or torch._C._functorch.peek_interpreter_stack() is not None:
            return self.call(*arguments)
        needs_grad = torch.is_grad_enabled()
        for value in arguments[: len(self.names)]:
            if value is not None and (type(value) not in PLAIN or (needs_grad and value.requires_grad) or not (value.is_cpu or value.is_cuda)):
                return self.call(*arguments)
        return self.forward(*arguments)

    def _spec(self, tensors, attributes):
        """The Spec of a call, None for types that there are no kernels for."""
        types = {tensor.dtype for name, tensor in zip(self.names, tensors) if tensor is not None and name not in FIXED} or {torch.float32}
        fixed = all(tensor.dtype == FIXED[name] for name, tensor in zip(self.names, tensors) if tensor is not None and name in FIXED)
        if len(types) > 1 or not fixed or not types <= kernels.ELEMENTS.keys():
            return None
        return self.spec(kernels.ELEMENTS[types.pop()], tensors, attributes)

    # Kernels

    def forward(self, *arguments):
        """The operator on CPUs and on CUDA."""
        tensors, attributes = arguments[: len(self.names)], arguments[len(self.names) :]
        form, tokens = self.form(tensors, attributes)
        if form.forward is None:
            made = [self._absent(tensors) if value is None else value.contiguous() for value in self._plain(tensors, attributes)]
        else:
            results = self._run(form.forward, tokens, form.forward_inputs, tensors)
            made = [results[i] if i >= 0 else self._absent(tensors) for i in form.forward_outputs]
        return tuple(made) if len(made) > 1 else made[0]

    def backward(self, *arguments):
        """The operator's gradient on CPUs and on CUDA; only for what was compiled."""
        grads, rest = arguments[: len(self.graded)], arguments[len(self.graded) :]
        tensors, rest = rest[: len(self.names)], rest[len(self.names) :]
        saved, attributes = rest[: len(self.saved)], rest[len(self.saved) :]
        form, tokens = self.form(tensors, attributes)
        if form.backward is None:
            raise RuntimeError(f"mohd::{self.name}_backward expects shapes that were compiled, got {form.spec}")
        made = self._run(form.backward, tokens, form.backward_inputs, (*grads, *tensors, *saved))
        results = []
        for i, places in zip(self.wanted, form.backward_outputs):
            if places:
                total = made[places[0]]
                for place in places[1:]:
                    total += made[place]
                results.append(total.view(tensors[i].shape))
            else:
                results.append(self._absent(tensors) if tensors[i] is None else tensors[i].new_zeros(tensors[i].shape))
        return tuple(results) if len(results) > 1 else results[0]

    def _absent(self, tensors):
        """What stands for an output that there is not."""
        return tensors[0].new_empty(0)

    def _plain(self, tensors, attributes):
        """The outputs in plain PyTorch, of the types that compiled ones have, None for one that there is not."""
        element = tensors[self._typed()].dtype
        with functional.plain(tensors[0]):
            made = self.reference(tensors, attributes)
        return [None if value is None else value.to(self._dtype(name, element)) for name, value in zip(self.outputs, made)]

    def fake(self, *arguments):
        """Tensors without data of the outputs' shapes."""
        tensors, attributes = arguments[: len(self.names)], arguments[len(self.names) :]
        element = tensors[self._typed()].dtype
        made = [self._absent(tensors) if shape is None else tensors[0].new_empty(shape, dtype=self._dtype(name, element))
                for name, shape in zip(self.outputs, self.shapes(tensors, attributes))]
        return tuple(made) if len(made) > 1 else made[0]

    def _typed(self):
        """The number of a tensor that has the type of tokens and weights."""
        return next((i for i, name in enumerate(self.names) if name not in FIXED), 0)

    def _dtype(self, name, element):
        """The type of an output; gates and scores are float64 for inputs of that."""
        fixed = FIXED.get(name, element)
        return element if fixed == torch.float32 and element == torch.float64 else fixed

    def fake_backward(self, *arguments):
        """Tensors without data of the gradients' shapes."""
        tensors = arguments[len(self.graded) : len(self.graded) + len(self.names)]
        made = [self._absent(tensors) if tensors[i] is None else tensors[i].new_empty(tensors[i].shape) for i in self.wanted]
        return tuple(made) if len(made) > 1 else made[0]

    # Gradients

    def keep(self, ctx, inputs, output):
        """Saves what the gradient needs: the inputs, and the outputs that are not computed again."""
        outputs = output if isinstance(output, tuple) else (output,)
        count = len(self.names)
        ctx.save_for_backward(*inputs[:count], *(outputs[i] for i in self.saves))
        ctx.mark_non_differentiable(*(outputs[self.outputs.index(name)] for name in self.hidden))
        ctx.attributes = inputs[count:]

    def gradient(self, ctx, *grads):
        """The gradients of the inputs."""
        kept = ctx.saved_tensors  # once, for activation checkpointing
        tensors, saved = kept[: len(self.names)], kept[len(self.names) :]
        form, _ = self.form(tensors, ctx.attributes)
        grads = [grads[i] for i in self.graded]
        found: list = [None] * len(self.names)
        if form.backward is not None:
            grads = [self._zeros(i, tensors, ctx.attributes) if grad is None else grad for i, grad in zip(self.graded, grads)]
            made = self.call_backward(*grads, *tensors, *saved, *ctx.attributes)
            for i, grad in zip(self.wanted, made if isinstance(made, tuple) else (made,)):
                found[i] = grad if tensors[i] is not None else None
            if self.passed:
                found[self.names.index(self.passed)] = grads[0]
        else:
            found = self._reference_gradient(tensors, ctx.attributes, grads)
        needed = [grad if need else None for grad, need in zip(found, ctx.needs_input_grad)]
        return *needed, *[None] * len(ctx.attributes)

    def _zeros(self, i, tensors, attributes):
        """The gradient of an output that nothing depends on."""
        shape = self.shapes(tensors, attributes)[i]
        dtype = self._dtype(self.outputs[i], tensors[self._typed()].dtype)
        return self._absent(tensors) if shape is None else tensors[0].new_zeros(shape, dtype=dtype)

    def _reference_gradient(self, tensors, attributes, grads):
        """The gradients by PyTorch, of the plain form."""
        floats = [i for i, tensor in enumerate(tensors) if tensor is not None and tensor.is_floating_point()]
        inputs = list(tensors)
        with torch.enable_grad():
            for i in floats:
                inputs[i] = tensors[i].detach().requires_grad_()
            made = self._plain(inputs, attributes)
            made = [made[i] for i in self.graded]
            pairs = [(value, grad) for value, grad in zip(made, grads) if value is not None and grad is not None and value.requires_grad]
            found: list = [None] * len(tensors)
            if pairs:
                values, given = zip(*pairs)
                computed = torch.autograd.grad(values, [inputs[i] for i in floats], given, allow_unused=True)
                for i, grad in zip(floats, computed):
                    found[i] = torch.zeros_like(tensors[i]) if grad is None else grad
        return found
