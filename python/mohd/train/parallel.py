# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs of several processes, which torchrun starts. One process, without torchrun, is the simple case of it."""

import contextlib
import os

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel


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


@contextlib.contextmanager
def processes(settings):
    """The context in which torchrun's processes know each other. After an error torchrun ends the others."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    dist.init_process_group("nccl" if device_of(settings.device).type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


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


def wrap(model, settings, device):
    """What to call for a forward pass of `model` whose backward pass averages gradients over the processes."""
    if not dist.is_initialized():
        return model
    if settings.parallel == "ddp":
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def synchronised(runner, last):
    """The context of a micro-batch; gradients are averaged after the `last` one of a step only."""
    if isinstance(runner, DistributedDataParallel) and not last:
        return runner.no_sync()
    if isinstance(runner, FSDPModule):
        runner.set_requires_gradient_sync(last)
    return contextlib.nullcontext()


def total(tensor):
    """The sum of a tensor over all processes."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def largest(number, device):
    """The largest of all processes' integers."""
    if not dist.is_initialized():
        return number
    tensor = torch.tensor(number, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def gathered(items):
    """The lists of all processes, one after the other."""
    if not dist.is_initialized():
        return items
    lists = [None] * dist.get_world_size()
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def whole(tensor):
    """A tensor that is perhaps in parts, as a plain one."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def gathered_weights(model):
    """The weights of `model` by name, whole, on the CPU; only the first process has them."""
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
