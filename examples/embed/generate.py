# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Using a bundle from Python, with NumPy alone: continues a prompt greedily with a byte-level model.

    PYTHONPATH=python python3 examples/embed/generate.py build/demo.mohdb "The function returns" 64
"""

import sys

import mohd


def main(bundle, prompt, steps):
    for token in mohd.load(bundle).stream(list(prompt.encode()), int(steps)):
        sys.stdout.buffer.write(bytes([token]))
        sys.stdout.buffer.flush()
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
