# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m mohd.analyze`: the program is in command.py."""

import sys

from mohd.program import run

if __name__ == "__main__":
    sys.exit(run("mohd.analyze.command"))
