# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How the programs of this package end: with an exit code of docs/formats.md and, after an error or a signal, one line. From the first import on."""

import contextlib
import importlib
import os
import signal
import sys

CODES = {ImportError: 1, ValueError: 3, MemoryError: 6, OSError: 7}
"""Exit codes of errors that have a cause outside the program."""


class Stopped(BaseException):
    """The signal whose number is args[0] asks the program to end."""


def stop(number, frame):
    """Raises Stopped."""
    raise Stopped(number)


def end(number, frame):
    """Ends the process at once: an exception in the midst of an import may be lost, and there is nothing to tidy up yet."""
    os.write(sys.stderr.fileno(), b"interrupted\n")
    os._exit(128 + number)


@contextlib.contextmanager
def handled(handler, *signals):
    """In here `handler` has the signals."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, outer in before.items():
            signal.signal(number, outer)


def exit_code(work, *signals, codes=CODES):
    """What `work()` returns; or the exit code of one of the `signals`, or of an error of `codes`, that ends it, which a line on stderr tells."""
    try:
        with handled(stop, *signals):
            return work()
    except Stopped as stopped:
        print("interrupted", file=sys.stderr, flush=True)
        return 128 + stopped.args[0]
    except tuple(codes) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return next(code for kind, code in codes.items() if isinstance(error, kind))


def run(module):
    """Imports `module` and returns what its main() does. An import may take seconds, and Ctrl-C ends that, too, with a line."""
    with handled(end, signal.SIGINT):
        main = importlib.import_module(module).main
    return main()
