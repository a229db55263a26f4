# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Converts a dense LLaMA checkpoint to a MoHD model (docs/conversion.md).

    python -m mohd.convert DENSE_DIR --groups N --shared K_s --routed K_r -o MOHD_DIR [--text FILE] [--expand X] ...

Exit codes are those of docs/formats.md; after Ctrl-C or SIGTERM nothing is left behind, and they are 130 and 143.
"""

import argparse
import pathlib
import signal

import torch

from mohd.config import VALUES, Routing
from mohd.convert import Options, convert
from mohd.program import exit_code
from mohd.train.command import CODES
from mohd.train.command import main as train


def parse_args(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mohd.convert", description=__doc__.split("\n\n")[0])
    parser.add_argument("dense", metavar="DENSE_DIR", type=pathlib.Path, help="config.json and safetensors of a LLaMA model")
    parser.add_argument("-o", "--out", required=True, metavar="MOHD_DIR", type=pathlib.Path, help="folder to write, new or empty")
    parser.add_argument("--groups", required=True, type=int, metavar="N", help="groups of the hidden dims")
    parser.add_argument("--shared", required=True, type=int, metavar="K_s", help="groups that every token has")
    parser.add_argument("--routed", required=True, type=int, metavar="K_r", help="groups that a token chooses")
    parser.add_argument("--expand", type=int, default=1, choices=[1, 2, 3, 4], metavar="X", help="widen the hidden dims 2, 3 or 4 times")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", type=pathlib.Path, metavar="FILE", help="text to calibrate with, judge by and train on; read by the model's tokenizer")
    text.add_argument("--tokens", type=pathlib.Path, metavar="FILE.npy", help="the same as tokens")
    for name, default in (("gate", "softmax"), ("scaling", "k_over_mass"), ("fusion", "monarch")):
        parser.add_argument(f"--{name}", default=default, choices=VALUES[name], help=f"of the routing (default {default})")
    options = Options()
    for name, metavar, words in (
        ("spread", "S", "standard deviation of a token's router logits"), ("noise", "S", "share by which copies that are all read differ (--expand, K = N)"),
        ("calibrate", "TOKENS", "tokens to calibrate with"), ("evaluate", "SEQUENCES", "held-out sequences to judge by"),
        ("held_out", "SHARE", "share of the tokens, at the end, that is held out"), ("sequence_length", "TOKENS", "tokens of a sequence"),
        ("seed", "SEED", "of all that is random"), ("device", "NAME", "auto, cpu or cuda"), ("rate", "RATE", "peak learning rate of train.json"),
    ):
        default = getattr(options, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, metavar=metavar, help=f"{words} (default {default})")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="of the written weights (default: the dense model's; float32 with --expand)")
    parser.add_argument("--recover", type=int, default=0, metavar="STEPS", help="train the result so many steps")
    args = parser.parse_args(arguments)
    if args.recover and not (args.text or args.tokens):
        parser.error("expects --text or --tokens with --recover, got neither")
    if args.recover < 0:
        parser.error(f"expects --recover to be at least 0, got {args.recover}")
    return args


def run(args):
    """Converts."""
    routing = Routing(args.groups, args.shared, args.routed, gate=args.gate, scaling=args.scaling, fusion=args.fusion)
    names = ("expand", "spread", "noise", "calibrate", "evaluate", "held_out", "sequence_length", "seed", "device", "recover", "rate")
    options = Options(**{name: getattr(args, name) for name in names}, dtype=args.dtype and getattr(torch, args.dtype))
    convert(args.dense, args.out, routing, args.text, args.tokens, options)
    return 0


def main(arguments=None):
    """Converts, and trains if asked to; returns the exit code."""
    args = parse_args(arguments)
    code = exit_code(lambda: run(args), signal.SIGINT, signal.SIGTERM, codes=CODES)
    if code or not args.recover:
        return code
    return train(["--config", str(args.out / "train.json")])
