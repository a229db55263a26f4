# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How good a model is on held-out tokens, and a table of several."""

import torch

from mohd.train.loop import cross_entropy

SEQUENCES = 4
"""Sequences that go through a model together."""


@torch.no_grad()
def loss_of(model, inputs, targets):
    """Mean loss in nats per token of inputs and targets [sequences, length]."""
    total = sum(float(cross_entropy(model(i), t, "sum")) for i, t in zip(inputs.split(SEQUENCES), targets.split(SEQUENCES)))
    return total / targets.numel()


def row(name, model, held_out):
    """A model's record: its name, held-out loss (None without tokens) and sizes."""
    total, active = model.config.parameters()
    return {"model": name, "loss": held_out and loss_of(model, *held_out), "parameters": total, "activated_parameters": active}


def table(rows):
    """The lines of a table of records."""
    width = max(len(row["model"]) for row in rows)
    yield f"{'model':{width}}     loss    parameters     activated"
    for row in rows:
        loss = f"{row['loss']:8.4f}" if row["loss"] is not None else "       -"
        yield f"{row['model']:{width}} {loss} {row['parameters']:13,} {row['activated_parameters']:13,}"
