# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles a model folder, runs it, and compares its logits with PyTorch's in float32.

    python -m mohd.compare MODEL_DIR [--text FILE] [--tokens N] [--weights-dtype f32|bf16|f16] [--quantize int8]

Each sequence goes through `prefill`, its last steps through `decode`; then 200 tokens are generated greedily on both
sides. Exit code 0 if everything agrees, 1 if not.

Where two groups' router logits are equal to rounding, both choices are right and lead to other logits from there on.
Rows from the first such near tie of a sequence on are shown but not judged.

With `--quantize int8` the error is what quantisation costs against the model as it is, tokens that choose other groups
included. The greedy tokens are shown but not judged then, nor are they for 16-bit weights.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
import torch

import mohd
from mohd import Generator, MohdError
from mohd.config import Config
from mohd.nn import MoHDForCausalLM, functional

LENGTH = 512  # most tokens of one sequence
STEPS = 32  # decode steps at the end of each sequence
PROMPT = 64  # tokens before the greedy part
NEAR_TIE = 16 * np.finfo(np.float32).eps  # of the largest logit: what float32 sums in another order may differ by
LIMITS = {"f32": 1e-4, "bf16": 2e-2, "f16": 2e-2}
QUANTIZED_LIMIT = 5e-2  # of int8, whatever the other weights are


def tokens_of(config, text, count, seed):
    """About `count` tokens as [sequences, length]: bytes of `text`, or random ones."""
    length = min(LENGTH, config.max_position_embeddings, count)
    sequences = -(-count // length)
    length = count // sequences
    count = sequences * length
    if text is None:
        flat = np.random.default_rng(seed).integers(0, config.vocab_size, count)
    else:
        if config.tokenizer != "bytes":
            raise ValueError("expects a model with tokenizer 'bytes' with --text")
        data = pathlib.Path(text).read_bytes()[:count]
        if len(data) < count:
            raise ValueError(f"expects at least {count} bytes in {text}, got {len(data)}")
        flat = np.frombuffer(data, np.uint8)
    return flat.reshape(sequences, length).astype(np.int32)


def compiled_logits(generator, tokens):
    """Logits [sequences, length, V] of the compiled model: prefill, then the last steps one by one."""
    first = max(1, tokens.shape[1] - STEPS)
    parts = [generator.prefill(tokens[:, :first], all_rows=True)]
    parts += [generator.decode(tokens[:, i])[:, None] for i in range(first, tokens.shape[1])]
    return np.concatenate(parts, 1)


def near_ties(part, x, norm):
    """Where [T] the last chosen and the first refused group of a sub-layer are equal to rounding.

    x [T, D] is the sub-layer's input and `norm` its norm.
    """
    routing = part.routing
    if routing is None or routing.num_active == routing.num_groups or routing.num_routed == 0:
        return False
    logits = functional.router_logits(norm(x), part.centroids)
    order = logits[..., routing.num_shared :].sort(-1, descending=True).values
    margin = order[..., routing.num_routed - 1] - order[..., routing.num_routed]
    return (margin <= NEAR_TIE * logits.abs().max()).numpy()


def reference_logits(model, tokens):
    """PyTorch's logits [sequences, length, V], and the rows [sequences, length] before the first near tie."""
    ties = np.zeros(tokens.shape, bool)

    def look(part, inputs):
        ties.reshape(-1)[:] |= near_ties(part, *inputs[:2])

    hooks = [part.register_forward_pre_hook(look) for part in model.sub_layers()]
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens).long()).numpy()
    for hook in hooks:
        hook.remove()
    return logits, ~np.logical_or.accumulate(ties, 1)


def compiled_greedy(generator, prompt, count):
    """`count` tokens after `prompt` [length] by the compiled model."""
    logits, out = generator.prefill(prompt[None]), []
    for _ in range(count):
        out.append(int(logits[0].argmax()))
        logits = generator.decode(np.array(out[-1:], np.int32))
    return out


def reference_greedy(model, prompt, count):
    """The same by PyTorch."""
    cache, tokens, out = model.new_cache(), torch.from_numpy(prompt).long()[None], []
    with torch.no_grad():
        for _ in range(count):
            out.append(int(model(tokens, cache)[0, -1].argmax()))
            tokens = torch.tensor([out[-1:]])
    return out


def row_of(name, got, expected):
    """One line of the table and the relative Frobenius error of logits [rows, V]."""
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    same = (got.argmax(-1) == expected.argmax(-1)).sum()
    largest, count = np.abs(got - expected).max(), len(got)
    return f"{name:8} {count:6} {error:14.3e} {largest:14.3e}   {same:6} of {count}", error


def compare(bundle, folder, tokens, limit, greedy_required):
    """Prints the table; returns whether the compiled model agrees."""
    model = MoHDForCausalLM.from_pretrained(folder)
    config = model.config
    total, active = config.parameters()
    print(f"model    {folder} ({total / 1e6:.2f}M parameters, {active / 1e6:.2f}M activated)")
    print(f"tokens   {tokens.shape[0]} sequences of {tokens.shape[1]}")
    positions = min(config.max_position_embeddings, max(tokens.shape[1], PROMPT + 200))
    module = mohd.load(bundle)
    got = compiled_logits(Generator(module, tokens.shape[0], positions), tokens)
    expected, clear = reference_logits(model, tokens)
    print(f"rows     {clear.size}, of them {clear.size - clear.sum()} from a near tie of the router on, not judged")
    print("part       rows  relative error  max abs error   same argmax")
    good = np.isfinite(got).all() and clear.mean() >= 0.1
    decoded = np.arange(tokens.shape[1]) >= max(1, tokens.shape[1] - STEPS)
    for name, rows in (("prefill", clear & ~decoded), ("decode", clear & decoded)):
        if rows.any():
            line, error = row_of(name, got[rows], expected[rows])
            print(line)
            good &= error <= limit
    if not clear.all():
        everything = np.ones_like(clear)
        print(row_of("all rows", got[everything], expected[everything])[0] + " (not judged)")
    prompt = tokens[0, : min(PROMPT, positions // 2)]
    count = min(200, positions - len(prompt))
    ours = compiled_greedy(Generator(module, 1, positions), prompt, count)
    theirs = reference_greedy(model, prompt, count)
    same = next((i for i in range(count) if ours[i] != theirs[i]), count)
    print(f"greedy   {same} of {count} tokens identical")
    good &= same == count or not greedy_required
    print(f"{'PASS' if good else 'FAIL'}: relative error at most {limit:g}" + (", greedy tokens identical" * greedy_required))
    return good


def parse_args(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mohd.compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", metavar="MODEL_DIR", help="config.json and safetensors, see docs/formats.md")
    parser.add_argument("--text", help="file whose bytes are the tokens (default: random tokens)")
    parser.add_argument("--tokens", type=int, default=1000, help="number of tokens to compare (default 1000)")
    parser.add_argument("--weights-dtype", choices=LIMITS, default="f32", help="storage type of the compiled weights")
    parser.add_argument("--quantize", choices=["int8"], help="quantise the weights of projections")
    parser.add_argument("--target", default="cpu:native", help="target of mohd-compile")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random tokens")
    args = parser.parse_args(arguments)
    if args.tokens < 1:
        parser.error(f"expects --tokens to be at least 1, got {args.tokens}")
    return args


def main(arguments=None):
    """Compiles and compares; returns the exit code."""
    args = parse_args(arguments)
    try:
        tokens = tokens_of(Config.load(args.folder), args.text, args.tokens, args.seed)
        with tempfile.TemporaryDirectory() as work:
            bundle = pathlib.Path(work) / "model.mohdb"
            mohd.compile(args.folder, args.target, bundle, weights_dtype=args.weights_dtype, quantize=args.quantize)
            limit = QUANTIZED_LIMIT if args.quantize else LIMITS[args.weights_dtype]
            good = compare(bundle, args.folder, tokens, limit, args.weights_dtype == "f32" and not args.quantize)
    except (MohdError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
