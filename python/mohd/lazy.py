# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Packages whose names come from modules that are imported when they are first needed.

`python -m mohd.train` imports the package mohd and the package mohd.train before a line of the program runs, so that these import nothing that takes long.
"""

import importlib


def lazily(package, module, names):
    """The `__getattr__` of `package` that gives `names` of `module`."""

    def get(name):
        if name not in names:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(module), name)

    return get
