# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The dense models of the main table converted by mohd.convert to the variants, and trained on for a while; and trained on without being converted."""

import os
import shutil

import torch

from mohd.config import Config, Routing
from mohd.convert import Options, convert
from mohd.train import config
from mohd.train.loop import Trainer
from study import data, plan


def trained_on(folder, model, row, scale, source):
    """The held-out loss after the row's steps from the weights in `folder`, whose config.json `model` is."""
    steps = row.settings["steps"]
    settings = config.from_dict({
        "model": model, "weights": str(folder), "data": {"path": str(source)}, "out": str(folder / "recovered"), "seed": row.settings["seed"],
        "sequence_length": scale.length, "batch": scale.batch, "steps": steps, "optimizer": {"rate": row.settings["rate"]},
        "schedule": {"warmup": max(1, steps // 10)}, "evaluation": {"sequences": scale.sequences}, "backend": scale.backend if "mohd" in model else "reference",
    })
    (folder / "recovered").mkdir(exist_ok=True)
    trainer = Trainer(settings)
    for _ in range(steps):
        trainer.train_step()
    return trainer.evaluate()


def converted(row, scale, work, folder, source):
    """Converts the row's dense model into `folder`; the losses of the stages."""
    options = Options(expand=row.settings["expand"], evaluate=scale.sequences, sequence_length=scale.length, seed=row.run.seed, dtype=torch.float32)
    routing = Routing(*row.settings["groups"], scaling="k_over_mass")
    record = convert(work / row.run.folder, folder, routing, source, options=options, say=lambda text: None)
    dense, _, whole, made = (stage["loss"] for stage in record["quality"])
    return {"dense": dense, "all groups": whole, "converted": made}


def make(row, scale, work):
    """What the row's result says beside its name; needs the row's trained model."""
    plan.expect_trained(row.run, work)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    folder, source = work / "converted", data.text_file(work)
    shutil.rmtree(folder, ignore_errors=True)
    if "groups" in row.settings:
        loss = converted(row, scale, work, folder, source)
    else:
        loss = {}
        shutil.copytree(work / row.run.folder, folder)
    made = Config.load(folder)
    loss["recovered"] = trained_on(folder, made.to_dict(), row, scale, source)
    return {"model": made.to_dict(), "activated": made.parameters()[1], "loss": loss}
