# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Using a bundle from Python, with NumPy alone: continues a prompt greedily with a byte-level model.

    PYTHONPATH=python python3 examples/embed/generate.py build/demo.mohdb "The function returns" 64
"""

import sys

import mohd


def main(bundle, prompt, steps):
    data = list(prompt.encode())
    generator = mohd.Generator(mohd.load(bundle), sequences=1, positions=len(data) + int(steps))
    logits = generator.prefill([data])
    for step in range(int(steps)):
        token = int(logits[0].argmax())
        sys.stdout.buffer.write(bytes([token]))
        if step + 1 < int(steps):
            logits = generator.decode([token])
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
