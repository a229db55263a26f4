# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checkpoints: folders `step-N` that appear whole, each with what a run needs to go on bit for bit.

A checkpoint holds the weights and the optimizer's state in the format of torch.distributed.checkpoint, each process
having written its part, and `state.json`. Any number of processes can load it.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import warnings

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from mohd.files import replace_text, sync
from mohd.train import parallel

STATE = "state.json"


def _dcp(call, *arguments, **keywords):
    """`call` of torch.distributed.checkpoint, which warns where it finds only one process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return call(*arguments, **keywords)


def steps(folder):
    """The steps of the whole checkpoints in `folder`, ascending."""
    names = (re.fullmatch(r"step-(\d+)", path.name) for path in pathlib.Path(folder).glob("step-*"))
    return sorted(int(name.group(1)) for name in names if name)


def path_of(folder, step):
    """The checkpoint of `step` in `folder`."""
    return pathlib.Path(folder) / f"step-{step:08d}"


def _random_state(device):
    """The state of torch's generators, as text."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}


def _set_random_state(states, device):
    decoded = {name: torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8) for name, text in states.items()}
    torch.set_rng_state(decoded["cpu"])
    if device.type == "cuda" and "cuda" in decoded:
        torch.cuda.set_rng_state(decoded["cuda"], device)


def save(folder, step, model, optimizer, device, run, keep):
    """Writes the checkpoint of `step` with the record `run` of the run, then removes all but the last `keep`."""
    folder = pathlib.Path(folder)
    final, temporary = path_of(folder, step), folder / f".{path_of(folder, step).name}.tmp"
    if parallel.is_first():
        for leftover in folder.glob(".step-*.tmp"):
            shutil.rmtree(leftover)
        temporary.mkdir(parents=True)
    parallel.barrier()
    weights, states = get_state_dict(model, optimizer)
    _dcp(dcp.save, {"model": weights, "optimizer": states}, checkpoint_id=str(temporary))  # has its files reach the disk
    parallel.barrier()
    if parallel.is_first():
        replace_text(temporary / STATE, json.dumps({"step": step, "random": _random_state(device), "run": run}))
        os.rename(temporary, final)
        sync(folder)
        for old in steps(folder)[:-keep]:
            shutil.rmtree(path_of(folder, old))
    parallel.barrier()


def state_of(folder, step):
    """The record in the checkpoint of `step`: `step`, `random`, `run`."""
    return json.loads((path_of(folder, step) / STATE).read_text())


def load(folder, step, model, optimizer, device):
    """Gives the model, the optimizer and torch's generators the state of `step`."""
    weights, states = get_state_dict(model, optimizer)
    parts = {"model": weights, "optimizer": states}
    _dcp(dcp.load, parts, checkpoint_id=str(path_of(folder, step)))
    options = StateDictOptions(strict=True)
    set_state_dict(model, optimizer, model_state_dict=parts["model"], optim_state_dict=parts["optimizer"], options=options)
    _set_random_state(state_of(folder, step)["random"], device)


def load_weights(folder, step, model):
    """Gives `model`, in one process, the weights of `step`."""
    weights = model.state_dict()
    _dcp(dcp.load, {"model": weights}, checkpoint_id=str(path_of(folder, step)))
