# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs of the study, in a process of their own: each line of standard input is a run as JSON, its result a line of standard output.

    python -m study.train FOLDER     FOLDER has the data and gets the runs' files
"""

import json
import pathlib
import sys
import time

import torch

from mohd.train import config
from mohd.train.loop import NonFinite, Trainer, cross_entropy
from study import data
from study.moe import MoEForCausalLM
from study.plan import TRIPLES, Run

def settings_of(run, folder, tables):
    """The settings of mohd.train for a run whose files are in `folder`."""
    if run.task == "text":
        source = {"path": str(data.text_file(folder)), "format": "bytes"}
    else:
        source = {"path": str(data.tables_file(folder, *tables, TRIPLES)), "format": "npy"}
    return config.from_dict(run.settings | {"model": run.model, "data": source, "out": str(folder / run.folder), "seed": run.seed, "threads": 1})


def model_of(run, settings):
    """The mixture of experts of a run, or None for a model that the settings say."""
    if run.experts is None:
        return None
    torch.manual_seed(run.seed)
    return MoEForCausalLM(settings.model, **run.experts).train()


@torch.no_grad()
def evaluate(model, batches, answers_from=None):
    """(loss in nats, accuracy) over the held-out (inputs, targets), of all targets or of those from token `answers_from` on."""
    loss = right = count = 0
    for inputs, targets in zip(*(part.split(8) for part in batches)):
        logits = model(inputs)
        of = targets >= (answers_from or 0)
        loss += cross_entropy(logits[of][None], targets[of][None], "sum").item()
        right += (logits.argmax(-1) == targets)[of].sum().item()
        count += of.sum().item()
    return loss / count, right / count


def result_of(run, folder, tables):
    """Trains a run; returns what its result file says of it. One whose loss is not finite any more has no loss and accuracy, and says so in `diverged`."""
    settings = settings_of(run, folder, tables)
    pathlib.Path(settings.out).mkdir(parents=True, exist_ok=True)
    model = model_of(run, settings)
    trainer = Trainer(settings, model)
    trainer.resume()
    begun, loss, accuracy, diverged = time.monotonic(), None, None, None
    try:
        if trainer.run() is None:
            raise KeyboardInterrupt
        loss, accuracy = evaluate(trainer.model, trainer.held_out, None if run.task == "text" else sum(tables))
    except NonFinite as error:  # a result, too
        diverged = str(error)
    total, activated = model.count() if model else settings.model.parameters()
    (pathlib.Path(settings.out) / "ops.mohdb").unlink(missing_ok=True)
    return {
        "name": run.name, "seed": run.seed, "digest": run.digest, "model": run.model, "experts": run.experts, "settings": run.settings,
        "parameters": total, "activated": activated, "tokens": settings.steps * settings.batch * settings.sequence_length, "loss": loss,
        "accuracy": accuracy, "diverged": diverged, "data": data.digest(pathlib.Path(settings.data.path)), "seconds": time.monotonic() - begun,
    }


def main():
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # what the trainer prints is no part of the result
    for line in sys.stdin:
        order = json.loads(line)
        result = result_of(Run(**order["run"]), pathlib.Path(sys.argv[1]), order["tables"])
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
