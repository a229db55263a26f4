# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A whole conversion: reads, orders the dims, builds, sets the routers, judges, and writes the folder (docs/conversion.md)."""

import dataclasses
import json
import math
import pathlib
import shutil

import numpy as np
import torch

from mohd.analyze.analysis import encoded, rounded, tokenizer_of
from mohd.analyze.stream import Checkpoint
from mohd.config import Routing
from mohd.convert import build, dense, layout, quality, routers
from mohd.fields import MAX_SEED
from mohd.files import replace_text, whole_folder
from mohd.nn.model import save_weights
from mohd.train import config as train_config
from mohd.train.data import Batches
from mohd.train.parallel import device_of

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "generation_config.json")
"""What goes with the model if the dense one has it."""

DEVICES = ("auto", "cpu", "cuda")


@dataclasses.dataclass(frozen=True)
class Options:
    """What may be chosen. `sequence_length` 0: 512 or the model's most positions; `dtype` None: the dense model's type, float32 with `expand`."""

    expand: int = 1
    spread: float = 0.1
    noise: float = 0.1
    calibrate: int = 16384
    evaluate: int = 32
    held_out: float = 0.05
    sequence_length: int = 0
    seed: int = 0
    device: str = "auto"
    recover: int = 0
    rate: float = 1e-3
    dtype: torch.dtype | None = None

    def __post_init__(self):
        for name, least in (("spread", 0), ("noise", 0), ("calibrate", 1)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"expects {name} to be a finite number of at least {least}, got {value}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"expects seed to be an integer from 0 to {MAX_SEED}, got {self.seed}")
        if self.device not in DEVICES:
            raise ValueError(f"expects device to be one of {', '.join(DEVICES)}, got {self.device}")


def data_of(checkpoint, text, tokens, folder):
    """The `data` section of a training configuration in `folder`, into which a text is encoded; None without text and tokens."""
    if tokens:
        return {"path": str(tokens.resolve()), "format": "npy"}
    if not text:
        return None
    if checkpoint.config.tokenizer == "bytes":
        return {"path": str(text.resolve()), "format": "bytes"}
    np.save(folder / "tokens.npy", encoded(tokenizer_of(checkpoint.folder, text), text, text.stat().st_size).astype(np.int32))
    return {"path": "tokens.npy", "format": "npy"}


def training_of(config, data, options, dtype):
    """The training configuration that goes on from the converted model in its folder."""
    steps = options.recover or 1000
    return {
        "model": config.to_dict(), "data": data | {"held_out": options.held_out}, "out": "recovered", "seed": options.seed,
        "sequence_length": options.sequence_length or min(512, config.max_position_embeddings), "batch": 8, "steps": steps,
        "optimizer": {"rate": options.rate}, "schedule": {"warmup": min(50, max(1, steps // 10))}, "evaluation": {"sequences": options.evaluate},
        "save_dtype": str(dtype).removeprefix("torch."), "device": options.device,
    }


def sequences_of(training, folder, count, device):
    """(calibration tokens [sequences, length], held-out (inputs, targets)) of the configuration `training` in `folder`, on `device`."""
    settings = train_config.from_dict(training, folder)
    batches = Batches(settings)
    wanted = min(batches.count, -(-count // settings.sequence_length))
    batches.batch = wanted  # one batch has them all
    calibration = batches.training(0, range(wanted))[0]
    return calibration, tuple(part.to(device) for part in batches.held_out(settings.evaluation.sequences))


@dataclasses.dataclass(frozen=True)
class Job:
    """A conversion with all it needs; `calibration` [sequences, length] and `held_out` (inputs, targets) are None without text."""

    checkpoint: Checkpoint
    tensors: dict
    routing: Routing
    options: Options
    device: torch.device
    dtype: torch.dtype
    calibration: torch.Tensor | None = None
    held_out: tuple | None = None

    def model(self, layout, routing, noise=0.0):
        """The model in `layout` with `routing`, its routers 0."""
        return build.model_of(self.checkpoint.config, self.tensors, layout, routing, noise, self.options.seed).to(self.device)


def set_routers(job, model, dense_model):
    """Sets the routers of `model` that have something to decide; returns a note on how. `dense_model` has the same dims; None in a wider model."""
    routing, options = job.routing, job.options
    calibration = None if job.calibration is None else job.calibration.to(job.device)
    if not routers.has_choice(routing):
        return "the routers decide nothing: all centroids are 0"
    if options.expand > 1:
        routers.scatter(model, calibration, routing.num_routed, options.spread, options.seed)
        return "the routers choose copies at random" + (", spread evenly over the tokens" if calibration is not None else "")
    if calibration is None:
        routers.scatter(model, None, 1, options.spread, options.seed)
        return "the routers choose groups at random, as there is no text to set them by"
    routers.fit(model, dense_model, calibration, options.spread)
    return "the routers are fitted to the groups' contributions"


def notes_of(job):
    """What a user should know of the choices made."""
    routing = job.routing
    if job.calibration is None:
        yield "no text: dims are ordered by the embedding table alone, and nothing is measured"
    if routers.has_choice(routing) and (routing.gate == "binary" or (routing.gate == "renormalized" and routing.num_routed == 1)):
        yield f"gate {routing.gate} with {routing.num_routed} routed groups gives the routers no gradient but that of the balance loss"


def exact_models(job, order):
    """Yields (name, model) from the dense model to the one with all groups active, each made when it is asked for."""
    x, n = job.options.expand, job.routing.num_groups
    yield "dense", job.model(layout.permuted(np.arange(len(order))), None)
    whole = build.layout_of(order, None, x)
    yield f"dense, dims reordered{f' and widened x{x}' * (x > 1)}", job.model(whole, None)
    yield f"MoHD, all {n} groups active", job.model(whole, build.everything(job.routing))


def converted(job, save, say):
    """Makes and judges all models, hands the converted one, as it is written, to `save`, and returns the record."""
    routing, options = job.routing, job.options
    order = build.order_by(job.checkpoint, None if job.calibration is None else job.calibration.numpy(), routing, options.expand)
    say(f"dims ordered by {'the embedding table' if job.calibration is None else f'{job.calibration.numel()} tokens'}")
    rows = [quality.row(name, model, job.held_out) for name, model in exact_models(job, order)]
    made = build.layout_of(order, routing, options.expand)
    model, twin = job.model(made, routing, options.noise), job.model(made, None) if options.expand == 1 else None
    notes = [set_routers(job, model, twin), *notes_of(job)]
    model = model.to(job.dtype).float()  # what is written is what is judged
    save(model)
    rows.append(quality.row(f"MoHD, {routing.num_shared} shared and {routing.num_routed} routed groups", model, job.held_out))
    judged = routers.judged(model, twin, job.held_out[0]) if twin and job.held_out and routers.has_choice(routing) else []
    return {
        "routing": dataclasses.asdict(routing), "options": vars(options) | {"dtype": options.dtype and str(options.dtype)},
        "source": made.source.tolist(), "scale": made.scale.tolist(), "quality": rows, "routers": judged, "notes": notes,
        "calibration_tokens": 0 if job.calibration is None else job.calibration.numel(),
    }


def write(folder, model, job, kept):
    """Writes the model and what goes with it into `folder`."""
    save_weights(model.config, model.state_dict(), folder, job.dtype)
    values = json.loads((folder / "config.json").read_text())
    replace_text(folder / "config.json", json.dumps(values | kept, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        if (job.checkpoint.folder / name).is_file():
            shutil.copyfile(job.checkpoint.folder / name, folder / name)


def convert(folder, out, routing, text=None, tokens=None, options=Options(), say=print):
    """Converts the dense model in `folder` to `routing` and writes the folder `out`; returns the record that is conversion.json.

    `text` is a file that the model's tokenizer reads, `tokens` a .npy file of tokens; without both, weights alone decide. `say` is told how it goes.
    ValueError with the reason for what cannot be converted; OSError for files; ImportError without the package tokenizers where it is needed.
    """
    folder, out = pathlib.Path(folder), pathlib.Path(out)
    with whole_folder(out) as work:
        checkpoint, tensors, kept = dense.read(folder)
        build.check(checkpoint.config, routing, options.expand)
        dtype = options.dtype or (dense.common_type(tensors) if options.expand == 1 else torch.float32)
        job = Job(checkpoint, tensors, routing, options, device_of(options.device), dtype)
        data = data_of(checkpoint, text and pathlib.Path(text), tokens and pathlib.Path(tokens), work)
        if data:
            training = training_of(checkpoint.config, data, options, dtype)
            calibration, held_out = sequences_of(training, work, options.calibrate, job.device)
            job = dataclasses.replace(job, calibration=calibration, held_out=held_out)
            replace_text(work / "train.json", json.dumps(training | {"model": ".", "weights": "."}, indent=2) + "\n")
        record = converted(job, lambda model: write(work, model, job, kept), say)
        record["dense"], record["text"] = str(folder), str(text or tokens or "") or None
        replace_text(work / "conversion.json", json.dumps(rounded(record, 9)) + "\n")
    for line in (*quality.table(record["quality"]), *(f"note: {note}" for note in record["notes"])):
        say(line)
    say(f"wrote {out}" + (f"; to train it: python -m mohd.train --config {out / 'train.json'}" if data and not options.recover else ""))
    return record
