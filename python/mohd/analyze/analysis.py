# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The analysis of a model folder: its tokens, and all quantities of docs/analysis.md as one object for JSON."""

import dataclasses
import math
import pathlib
import types

import numpy as np

from mohd.analyze.quantities import Activations, Routings, picture
from mohd.analyze.stream import SITES, Checkpoint, stream
from mohd.config import Config
from mohd.train.config import Data
from mohd.train.data import tokens_of

FORMAT = 1
"""Version of what `analyse` returns; a change that a reader must know makes a new one."""

FLOW_SITES = ("mlp_norm", "mlp_act")
"""Sites of the middle layer whose top dims are shown token by token."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What may be chosen. `sequence_length` None: 512, or as many positions as the model has; shares are from 0 to 1."""

    sequence_length: int | None = None
    max_tokens: int = 16384
    top: float = 0.1
    shared: float = 0.5
    specialised: float = 0.05
    seed: int = 0


UNSUPPORTED = ("rope_parameters", "partial_rotary_factor", "sliding_window", "quantization_config")
"""Keys of other models that change what is computed, and that `Config` does not know."""


def config_of(folder):
    """The Config of the model in `folder`; ValueError with the file's name where it cannot be read as one."""
    return Config.load(folder, UNSUPPORTED)


def encoded(tokenizer, path, limit):
    """Tokens of the UTF-8 text `path` by the file `tokenizer` of the package tokenizers, without special ones.

    No more is read than `limit` tokens may need.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ImportError(f"expects the package tokenizers to read {tokenizer}, got: {error}") from error
    try:
        with open(path, encoding="utf-8", newline="") as file:  # line ends as they are
            text = file.read(64 * limit)
    except UnicodeDecodeError as error:
        raise ValueError(f"expects UTF-8 text in {path}, got: {error}") from error
    try:
        return np.array(Tokenizer.from_file(str(tokenizer)).encode(text, add_special_tokens=False).ids, np.int64)
    except Exception as error:  # which is all that the package raises
        raise ValueError(f"expects a tokenizer in {tokenizer}, got: {error}") from error


def tokenizer_of(folder, text):
    """The path of the tokenizer of the model in `folder`, whose tokens are no bytes; ValueError if it has none to read `text` with."""
    tokenizer = pathlib.Path(folder) / "tokenizer.json"
    if not tokenizer.exists():
        raise ValueError(f"expects --tokens, tokenizer 'bytes' in config.json or a file tokenizer.json in {folder}, got --text {text}")
    return tokenizer


def read_tokens(folder, config, text, numbers, options):
    """Tokens [sequences, length] int64: of the file `text` by the model's tokenizer, or of the .npy file `numbers`."""
    path = text or numbers
    read = lambda kind: tokens_of(types.SimpleNamespace(data=Data(path=str(path), format=kind)))
    if numbers:
        flat = read("npy")
    elif config.tokenizer == "bytes":
        flat = read("bytes")
    else:
        flat = encoded(tokenizer_of(folder, path), path, options.max_tokens)
    flat = np.asarray(flat[: options.max_tokens], np.int64)
    if len(flat) == 0:
        raise ValueError(f"expects at least one token in {path}, got 0")
    wrong = flat[(flat < 0) | (flat >= config.vocab_size)]
    if len(wrong):
        raise ValueError(f"expects tokens from 0 to {config.vocab_size - 1} in {path}, the model's vocabulary, got {wrong[0]}")
    length = min(options.sequence_length or min(512, config.max_position_embeddings), len(flat))
    return flat[: len(flat) // length * length].reshape(-1, length)


def rounded(value, digits=6):
    """A JSON value with floats of so many significant digits, None for those that are not finite."""
    if isinstance(value, dict):
        return {key: rounded(part, digits) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part, digits) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def layers_of(checkpoint, tokens, options, progress):
    """(layers, flow): the quantities of each layer, and for FLOW_SITES of the middle one which top dims its first tokens have."""
    config, (count, length) = checkpoint.config, tokens.shape
    first = np.arange(count * length) % length == 0
    middle, layers, flow, done = config.num_hidden_layers // 2, [], {}, 0
    width = lambda site: config.intermediate_size if site == "mlp_act" else config.hidden_size
    for number, arrays, chosen in stream(checkpoint, tokens):
        if done == 0:
            sites = {site: Activations(width(site), options.top) for site in SITES}
            routers = {part: Routings(config.routing(part)) for part in chosen}
        for site, x in arrays.items():
            sites[site].add(x)
        for part, (indices, scores) in chosen.items():
            routers[part].add(indices, scores)
        done += len(arrays["resid_pre"])
        progress((number + done / tokens.size) / config.num_hidden_layers)
        if done < tokens.size:
            continue
        results = {site: found.result(first, options.seed, options.shared, options.specialised) for site, found in sites.items()}
        routing = {part: found.result(first, options.seed) for part, found in routers.items()}
        layers.append({"layer": number, "sites": results, "routing": routing})
        if number == middle:
            for site in FLOW_SITES:
                dims, active = picture(sites[site].arrays()[1], sites[site].uses, min(128, length))
                flow[site] = {"layer": number, "dims": dims, "active": active}
        done = 0
    return layers, flow


def analyse(folder, text=None, numbers=None, options=Options(), progress=lambda share: None):
    """The analysis of the model in `folder` on the tokens of `text` or `numbers` (a file of tokens), as an object for JSON.

    `progress` is told the share that is done. ValueError for wrong input, OSError where a file cannot be read, ImportError without a package that it needs.
    """
    config = config_of(folder)
    positions = config.max_position_embeddings
    if (options.sequence_length or 0) > positions:
        words = f"expects --sequence-length to be at most the model's max_position_embeddings {positions}"
        raise ValueError(f"{words}, got {options.sequence_length}")
    checkpoint = Checkpoint(pathlib.Path(folder), config)
    tokens = read_tokens(folder, config, text, numbers, options)
    layers, flow = layers_of(checkpoint, tokens, options, progress)
    name, (total, active), (count, length) = pathlib.Path(folder).resolve().name, config.parameters(), tokens.shape
    return rounded({
        "format": FORMAT,
        "model": {"name": name, "parameters": total, "activated_parameters": active, "config": config.to_dict()},
        "text": {"name": pathlib.Path(text or numbers).name, "tokens": count * length, "sequences": count, "sequence_length": length},
        "options": dataclasses.asdict(options), "layers": layers, "flow": flow,
    })
