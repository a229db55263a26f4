# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Trains a model as a configuration file says (docs/training.md).

    python -m mohd.train --config FILE [--out FOLDER] [--resume] [--export FOLDER]
    torchrun --nproc-per-node N -m mohd.train --config FILE ...

Exit codes are those of docs/formats.md; after Ctrl-C or SIGTERM a checkpoint is written and they are 130 and 143.
"""

import argparse
import dataclasses
import pathlib
import signal

import torch

from mohd import program
from mohd.train import checkpoint, config, parallel
from mohd.train.loop import NonFinite, Trainer, model_of

CODES = program.CODES | {NonFinite: 1, parallel.DeviceError: 5, torch.OutOfMemoryError: 6}
"""Exit codes of errors that have a cause outside the program."""


def parse_args(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mohd.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", required=True, type=pathlib.Path, metavar="FILE", help="the run as JSON, see docs/training.md")
    parser.add_argument("--out", metavar="FOLDER", help="where to write, instead of the configuration's `out`")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the output folder, if there is one")
    parser.add_argument("--export", metavar="FOLDER", help="train nothing; write the last checkpoint's model there")
    return parser.parse_args(arguments)


def export(settings, folder):
    """Writes the model of the last checkpoint into `folder`."""
    checkpoints = pathlib.Path(settings.out) / "checkpoints"
    steps = checkpoint.steps(checkpoints)
    if not steps:
        raise FileNotFoundError(f"expects a checkpoint in {checkpoints}, got none")
    model = model_of(settings)
    checkpoint.load_weights(checkpoints, steps[-1], model)
    model.save_pretrained(folder, getattr(torch, settings.save_dtype))


def train(settings, resume):
    """Runs the training; returns the exit code."""
    out = pathlib.Path(settings.out)
    if not resume and checkpoint.steps(out / "checkpoints"):
        raise ValueError(f"expects --resume or an output folder without checkpoints, got {out}")
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(settings)
    if resume:
        trainer.resume()
    if parallel.is_first():
        total, active = settings.model.parameters()
        print(f"{total} parameters, {active} activated; {len(trainer.batches.train)} tokens; from step {trainer.step}", flush=True)

    def stop(number, frame):
        trainer.stop = number
        signal.signal(number, signal.SIG_DFL)  # a second one does not wait for the end of the step

    with program.handled(stop, signal.SIGINT, signal.SIGTERM):
        loss = trainer.run()
    if parallel.is_first():
        print(f"held-out loss {loss:.4f}; wrote {out}" if loss is not None else f"stopped at step {trainer.step}", flush=True)
    return 0 if loss is not None else 128 + parallel.largest(trainer.stop, trainer.device)


def run(arguments):
    """Trains or exports."""
    args = parse_args(arguments)
    settings = config.load(args.config)
    if args.out:
        settings = dataclasses.replace(settings, out=args.out)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if args.export:
        export(settings, args.export)
        return 0
    with parallel.processes(settings):
        return train(settings, args.resume)


def main(arguments=None):
    """Reads the command line and trains or exports; returns the exit code."""
    return program.exit_code(lambda: run(arguments), signal.SIGINT, codes=CODES)
