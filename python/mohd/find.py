# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where the compiler and the runtime library are.

In this order: MOHD_COMPILE and MOHD_RUNTIME (paths of the two files), the build folder MOHD_BUILD, the folder of this
package (library) or PATH (compiler), and `build` in the checkout that this package lies in.
"""

import os
import pathlib
import shutil

PACKAGE = pathlib.Path(__file__).resolve().parent


def _first(paths):
    """The first path that is a file, or None."""
    return next((pathlib.Path(path) for path in paths if path and pathlib.Path(path).is_file()), None)


def _in_build(name):
    """`name` in MOHD_BUILD, or None."""
    build = os.environ.get("MOHD_BUILD")
    return build and pathlib.Path(build) / name


def compiler():
    """The path of mohd-compile, or None."""
    if os.environ.get("MOHD_COMPILE"):
        return _first([os.environ["MOHD_COMPILE"]])
    name = "bin/mohd-compile"
    return _first([_in_build(name), shutil.which("mohd-compile"), PACKAGE.parent.parent / "build" / name])


def runtime():
    """The path of libmohd_rt.so, or None."""
    if os.environ.get("MOHD_RUNTIME"):
        return _first([os.environ["MOHD_RUNTIME"]])
    name = "libmohd_rt.so"
    return _first([_in_build(f"lib/{name}"), PACKAGE / name, PACKAGE.parent.parent / "build/lib" / name])
