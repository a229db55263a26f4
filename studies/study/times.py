# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times of the main table's models: a step of training, a prompt, a token. Models are measured in turn; all threads of the machine."""

import dataclasses
import os
import statistics
import time

import numpy as np
import torch

import mohd
from mohd.train.loop import Trainer
from study import plan, train

REPETITIONS = {"full": 9, "small": 3, "test": 1}
"""Rounds beside one that is not counted."""


def _scale_name(scale):
    return next(name for name, value in plan.SCALES.items() if value == scale)


def digest(scale):
    """A name for everything that is measured."""
    runs = [run.digest for run in plan.main(scale) if run.seed == 0]
    return plan.digest_of(runs, REPETITIONS[_scale_name(scale)])


def in_turn(actions, rounds):
    """{name: medians and samples in seconds} of {name: action}, each called once in a round; the first round is not counted."""
    samples = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            begun = time.perf_counter()
            action()
            if number:
                samples[name].append(time.perf_counter() - begun)
    return {name: {"median_s": statistics.median(times), "samples_s": times} for name, times in samples.items()}


def trainer_of(run, work, scale, threads):
    """A trainer that has done nothing yet."""
    folder = work / "times"
    settings = dataclasses.replace(train.settings_of(run, work, scale.tables), out=str(folder / run.folder), threads=threads)
    return Trainer(settings, train.model_of(run, settings))


def inference_of(run, work):
    """A generator for one sequence, of random weights; compiled for this machine."""
    target = work / "times" / f"{run.folder}.mohdb"
    target.parent.mkdir(exist_ok=True)
    module = mohd.load(mohd.compile(run.model, out=target, random_weights=0))
    return mohd.Generator(module, sequences=1, positions=run.model["max_position_embeddings"])


def make(scale, work, say):
    """The times table."""
    rounds, threads = REPETITIONS[_scale_name(scale)], len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    runs = [run for run in plan.main(scale) if run.seed == 0]
    say("times: compile")
    trainers = {run.name: trainer_of(run, work, scale, threads) for run in runs}
    say("times: steps of training")
    steps = in_turn({name: trainer.train_step for name, trainer in trainers.items()}, rounds)
    trainers.clear()
    say("times: inference")
    generators = {run.name: inference_of(run, work) for run in runs if run.experts is None}
    prompt = np.random.default_rng(0).integers(256, size=scale.length // 2)
    prefill = in_turn({name: lambda g=g: g.prefill([prompt]) for name, g in generators.items()}, rounds * 3)

    def decode(generator):
        generator.prefill([prompt[:1]])
        for token in prompt[: scale.length // 4]:
            generator.decode([token])

    decoded = in_turn({name: lambda g=g: decode(g) for name, g in generators.items()}, rounds)
    return {"threads": threads, "tokens_of_step": scale.batch * scale.length, "tokens_of_prompt": len(prompt), "tokens_decoded": scale.length // 4,
            "step": steps, "prefill": prefill, "decode": decoded}
