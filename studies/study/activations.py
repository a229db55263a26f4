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

SITES = ("resid_pre", "attn_norm", "attn_out", "mlp_norm", "mlp_act", "mlp_out")
"""The sites that the page shows, by the names of docs/analysis.md."""

SEQUENCES = 64
"""Sequences of held-out text that are analysed."""

MODELS = ("dense", "dense x4")


def _runs(scale):
    return [run for run in plan.main(scale) if run.name in MODELS]


def digest(scale):
    """A name for everything that is analysed."""
    return plan.digest_of([run.digest for run in _runs(scale)], SITES, SEQUENCES, 2)


def summary(analysis):
    """{site: means over the layers} of what the page shows."""
    found = {}
    for site in SITES:
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


def make(scale, work, say):
    """The activations table; needs the models of the main table."""
    held_out = data.held_out_file(work)
    options = Options(sequence_length=scale.length, max_tokens=SEQUENCES * scale.length)
    rows = []
    for run in _runs(scale):
        plan.expect_trained(run, work)
        say(f"activations: {run.name}, seed {run.seed}")
        before = work / "untrained"
        untrained(run, before)
        for state, folder in (("trained", work / run.folder), ("untrained", before)):
            rows.append({"name": run.name, "seed": run.seed, "state": state, "sites": summary(analyse(folder, text=held_out, options=options))})
    return {"rows": rows}
