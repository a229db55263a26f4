# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where numbers that are not finite come from."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

PLAIN = (torch.Tensor, torch.nn.Parameter)
"""Tensors that can be looked into; others, such as a sharded weight, have gone through these before they are used."""

MOVES = {"aten::_to_copy", "aten::_unsafe_view", "aten::clone", "aten::contiguous", "aten::copy_", "aten::cat"}
"""Operators that are no cause: what they give was not finite before."""


def _bad(values):
    """The tensors among `values`, which may be in lists, that have a NaN or an infinity; those with a NaN first."""
    tensors = [tensor for value in values for tensor in (value if isinstance(value, (list, tuple)) else (value,))]
    tensors = [tensor for tensor in tensors if type(tensor) in PLAIN and tensor.is_floating_point() and not tensor.isfinite().all()]
    return sorted(tensors, key=lambda tensor: not tensor.isnan().any())


class _Origins(TorchDispatchMode):
    """Follows tensors that are not finite to the operator that first made them so.

    Infinities that end at an operator with a finite result, as those of an attention's mask do, are on no way back from a result.
    """

    def __init__(self):
        super().__init__()
        self.modules = [""]  # those that run, the innermost last
        self.origins = {}  # of a tensor's id: (the tensor, so that its id stays its own; module and operator)

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        causes = _bad([*arguments, *options.values()])
        results = function(*arguments, **options)
        schema = function._schema
        views = any(value.alias_info and not value.alias_info.is_write for value in schema.returns)
        known = [self.origins[id(cause)][1] for cause in causes if id(cause) in self.origins]
        origin = known[0] if known else (self.modules[-1], schema.name)
        made = results if isinstance(results, (list, tuple)) else (results,)
        for tensor in made:
            self.origins.pop(id(tensor), None)
        if "empty" not in schema.name and (known or not causes or not (views or schema.name in MOVES)):
            self.origins.update((id(tensor), (tensor, origin)) for tensor in _bad(made))
        return results


def origin(model, forward):
    """(module, operator) of the first output inside `model` that is not finite and spoils that of a module when `forward` runs, or None."""
    found, hooks, origins = [], [], _Origins()

    def enter(name):
        return lambda module, inputs: origins.modules.append(name)

    def leave(name):
        def hook(module, inputs, output):
            origins.modules.pop()
            for tensor in _bad(output if isinstance(output, tuple) else (output,)):
                found.append(origins.origins.get(id(tensor), (None, (name, "its weights")))[1])
        return hook

    for name, module in model.named_modules():
        hooks += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave(name))]
    try:
        with torch.no_grad(), origins:
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None
