# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The paper's first observation on the study's own models: how few dimensions carry a token, and which stay from token to token.

Each trained dense model of the main table beside the same model before training, on held-out text, by mohd.analyze.
"""

import statistics

import torch

from mohd.analyze.analysis import Options, analyse
from mohd.config import Config
from mohd.nn import MoHDForCausalLM
from mohd.nn.model import save_weights
from study import data, plan


def summary(analysis):
    """{site: means over the layers} of what the page shows."""
    found = {}
    for site in plan.SITES:
        layers = [layer["sites"][site] for layer in analysis["layers"]]
        mean = lambda get: statistics.mean(get(layer) for layer in layers)
        found[site] = {f"energy {share}": mean(lambda layer: layer["energy"][share]["mean"]) for share in ("50", "90", "99")}
        found[site] |= {f"overlap {kind}": mean(lambda layer: layer["overlap"][kind]["mean"]) for kind in ("consecutive", "shuffled")}
        found[site] |= {f"{kind} dims": mean(lambda layer: layer[kind]["count"] / layer["dims"]) for kind in ("shared", "specialised")}
    return found


def untrained(run, folder):
    """Writes the run's model as it was before training, of the seed that mohd.train gives it, into `folder`."""
    config = Config.from_dict(run.model)
    torch.manual_seed(run.seed)
    save_weights(config, MoHDForCausalLM(config).state_dict(), folder, torch.float32)


def make(row, scale, work):
    """What the row's result says beside its name; needs the row's trained model."""
    plan.expect_trained(row.run, work)
    folder = work / row.run.folder
    if row.settings["state"] == "untrained":
        folder = work / "untrained"
        untrained(row.run, folder)
    options = Options(sequence_length=scale.length, max_tokens=row.settings["sequences"] * scale.length)
    return {"state": row.settings["state"], "sites": summary(analyse(folder, text=data.held_out_file(work), options=options))}
