# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs mohd-compile as a child process, so that no LLVM is ever loaded into this one."""

import os
import subprocess

from mohd import find
from mohd.runtime import MohdError

STATUS_OF_EXIT = {2: "INVALID_ARGUMENT", 3: "MALFORMED", 4: "INCOMPATIBLE", 5: "DEVICE", 6: "OUT_OF_MEMORY", 7: "IO"}
"""Exit codes of docs/formats.md as statuses; any other is INTERNAL, but 1 is FAILURE."""


def compile(model, output, target="cpu:native", weights_dtype=None, quantize=None, options=()):
    """Compiles the model folder or .mlir file `model` into the bundle `output` and returns its path.

    `target`, `weights_dtype` ("f32", "bf16", "f16") and `quantize` ("int8") are mohd-compile's options, `options` more
    of them. Raises MohdError with the compiler's message.
    """
    program = find.compiler()
    if program is None:
        raise MohdError("NOT_FOUND", "no mohd-compile: build the project or set MOHD_COMPILE to its path")
    command = [program, model, f"--target={target}", "-o", output, *options]
    if weights_dtype:
        command.append(f"--weights-dtype={weights_dtype}")
    if quantize:
        command.append(f"--quantize={quantize}")
    done = subprocess.run([os.fspath(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        status = STATUS_OF_EXIT.get(done.returncode, "FAILURE" if done.returncode == 1 else "INTERNAL")
        raise MohdError(status, done.stderr.strip().removeprefix("error: ") or f"mohd-compile ended with {done.returncode}")
    return output
