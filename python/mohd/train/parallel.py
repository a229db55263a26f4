# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a training run needs to know of other processes. One process, without torchrun, is the simple case of it."""

import contextlib
import os

import torch
import torch.distributed as dist


def world():
    """(rank, number of processes)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_first():
    """Whether this process writes what is written once."""
    return world()[0] == 0


def barrier():
    """Waits for all processes."""
    if dist.is_initialized():
        dist.barrier()


class DeviceError(RuntimeError):
    """The device that the configuration wants is not there."""


def device_of(name):
    """The device that the key `device` means for this process."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError("expects a GPU with device cuda, got none")
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        return device
    return torch.device(name)


def wrap(model, settings, device):
    """What to call for a forward pass of `model` whose backward pass averages gradients over the processes."""
    return model


def synchronised(runner, last):
    """The context of a micro-batch; gradients are averaged after the `last` one of a step only."""
    return contextlib.nullcontext()


def total(tensor):
    """The sum of a tensor over all processes."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def any_of(number):
    """The largest of all processes' numbers."""
    if not dist.is_initialized():
        return number
    return max(gathered([number]))


def gathered(items):
    """The lists of all processes, one after the other."""
    if not dist.is_initialized():
        return items
    lists = [None] * dist.get_world_size()
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def whole(tensor):
    """A tensor that is perhaps distributed, as a plain one."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def gathered_weights(model):
    """The weights of `model` by name, whole, on the CPU; only the first process has all of them."""
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}


def processes(settings):
    """The context in which torchrun's processes know each other."""
    return contextlib.nullcontext()
