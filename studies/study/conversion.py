# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The dense models of the main table converted by mohd.convert to the variants, and trained on for a while; and trained on without being converted."""

import os
import shutil

import torch

from mohd.config import Config, Routing
from mohd.convert import Options, convert
from mohd.train import config
from mohd.train.loop import Trainer
from study import data, plan, train

VARIANTS = {name: plan.GROUPS[name] for name in ("50 %", "75 %", "x2", "x4")}
"""What the dense models become: factor of the width, (N, K_s, K_r)."""

RATE = 1e-3
"""Peak learning rate of the recovery, mohd.convert's default."""


def _runs(scale):
    return [run for run in plan.main(scale) if run.name == "dense"]


def digest(scale):
    """A name for everything that is converted."""
    return plan.digest_of([run.digest for run in _runs(scale)], VARIANTS, RATE, scale.recovery_steps, scale.sequences)


def trained_on(folder, model, scale, source, seed):
    """The held-out loss after scale.recovery_steps steps from the weights in `folder`, whose config.json `model` is."""
    steps = scale.recovery_steps
    settings = config.from_dict({
        "model": model, "weights": str(folder), "data": {"path": str(source)}, "out": str(folder / "recovered"), "seed": seed, "sequence_length": scale.length,
        "batch": scale.batch, "steps": steps, "optimizer": {"rate": RATE}, "schedule": {"warmup": max(1, steps // 10)}, "evaluation": {"sequences": scale.sequences},
        "backend": scale.backend if "mohd" in model else "reference",
    })
    (folder / "recovered").mkdir(exist_ok=True)
    trainer = Trainer(settings)
    for _ in range(steps):
        trainer.train_step()
    return train.evaluate(trainer.model, trainer.held_out)[0]


def converted(run, name, scale, work):
    """A row: the model of `run` as `name`."""
    factor, groups = VARIANTS[name]
    folder, source = work / "converted", data.text_file(work)
    shutil.rmtree(folder, ignore_errors=True)
    options = Options(expand=factor, evaluate=scale.sequences, sequence_length=scale.length, seed=run.seed, dtype=torch.float32)
    record = convert(work / run.folder, folder, Routing(*groups, scaling="k_over_mass"), source, options=options, say=lambda text: None)
    dense, _, whole, made = (row["loss"] for row in record["quality"])
    model = Config.load(folder).to_dict()
    loss = {"dense": dense, "all groups": whole, "converted": made, "recovered": trained_on(folder, model, scale, source, run.seed)}
    return {"name": name, "seed": run.seed, "model": model, "activated": Config.load(folder).parameters()[1], "loss": loss}


def continued(run, scale, work):
    """A row: the dense model of `run`, trained on as long."""
    folder = work / "converted"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work / run.folder, folder)
    loss = trained_on(folder, run.model, scale, data.text_file(work), run.seed)
    return {"name": "dense, trained on", "seed": run.seed, "model": run.model, "activated": Config.load(folder).parameters()[1], "loss": {"recovered": loss}}


def make(scale, work, say):
    """The conversion table; needs the dense models of the main table."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = []
    for run in _runs(scale):
        plan.expect_trained(run, work)
        say(f"conversion: dense, seed {run.seed}, trained on")
        rows.append(continued(run, scale, work))
        for name in VARIANTS:
            say(f"conversion: dense to {name}, seed {run.seed}")
            rows.append(converted(run, name, scale, work))
    return {"recovery_steps": scale.recovery_steps, "rows": rows}
