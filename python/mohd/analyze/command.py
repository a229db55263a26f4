# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tells how a model's tokens use its hidden dimensions and groups (docs/analysis.md).

    python -m mohd.analyze MODEL_DIR --text FILE [-o OUT]

Writes analysis.json, report.html and the report's figures into OUT, each file whole or not at all. Exit codes are those of docs/formats.md; after
Ctrl-C it is 130.
"""

import argparse
import contextlib
import json
import pathlib
import signal

from mohd.analyze.analysis import Options, analyse
from mohd.files import replace_file, replace_text
from mohd.program import exit_code
from mohd.progress import Bar


def share(text):
    """A share from the command line, above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expects a share above 0 and up to 1, got {text}")
    return value


def whole(least):
    """A reader of integers of at least `least`."""
    def read(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expects an integer of at least {least}, got {text}")
        return value

    read.__name__ = "integer"  # which argparse names in its message
    return read


def parse_args(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mohd.analyze", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", metavar="MODEL_DIR", help="config.json and safetensors, dense or MoHD, see docs/formats.md")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", metavar="FILE", help="text for the model's tokenizer: bytes, or its tokenizer.json")
    source.add_argument("--tokens", metavar="FILE", help="tokens instead: a .npy file of one-dimensional integers")
    parser.add_argument("-o", "--out", type=pathlib.Path, metavar="OUT", help="folder to write into (default: MODEL_DIR's name with -analysis)")
    parser.add_argument("--sequence-length", type=whole(1), metavar="N", help="tokens of a sequence (default 512, or the model's positions)")
    for option, kind, name, words in (
        ("--max-tokens", whole(1), "N", "most tokens to look at"),
        ("--top", share, "P", "share of dims that are a token's top dims"),
        ("--shared", share, "P", "share of tokens from which on a dim is shared"),
        ("--specialised", share, "P", "share of tokens below which a dim is specialised"),
        ("--seed", whole(0), "N", "seed of the shuffled control"),
    ):
        default = getattr(Options, option[2:].replace("-", "_"))
        parser.add_argument(option, type=kind, default=default, metavar=name, help=f"{words} (default %(default)s)")
    args = parser.parse_args(arguments)
    if args.specialised > args.shared:
        parser.error(f"expects --specialised to be at most --shared {args.shared:g}, got {args.specialised:g}")
    return args


def write(out, result):
    """Writes the result and its report into the folder `out`; figures of an earlier analysis that this one lacks go."""
    from mohd.analyze import plots, report  # after the computation, as matplotlib is for this alone

    figures = plots.draw(result)
    out.mkdir(parents=True, exist_ok=True)
    for name in plots.FIGURES.keys() - figures.keys():
        (out / f"{name}.png").unlink(missing_ok=True)
    for name, image in figures.items():
        replace_file(out / f"{name}.png", lambda path, image=image: path.write_bytes(image))
    replace_text(out / "report.html", report.page(result, figures))
    replace_text(out / "analysis.json", json.dumps(result, allow_nan=False, separators=(",", ":")) + "\n")


def check_packages():
    """ImportError that says what is missing, before anything is computed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(f"expects the package matplotlib (pip install 'mohd[analyze]'), got: {error}") from error


def run(arguments):
    """Analyses and writes."""
    args = parse_args(arguments)
    out = args.out or pathlib.Path(pathlib.Path(args.folder).resolve().name + "-analysis")
    options = Options(args.sequence_length, args.max_tokens, args.top, args.shared, args.specialised, args.seed)
    check_packages()
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"expects a folder or nothing at {out}, got a file")
    with contextlib.closing(Bar()) as bar:
        result = analyse(args.folder, args.text, args.tokens, options, bar)
    write(out, result)
    print(f"{result['text']['tokens']} tokens, {len(result['layers'])} layers; wrote {out}/report.html", flush=True)
    return 0


def main(arguments=None):
    """Analyses and writes; returns the exit code."""
    return exit_code(lambda: run(arguments), signal.SIGINT)
