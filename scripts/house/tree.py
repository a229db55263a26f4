# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The files a rule looks at, read once, and what a rule reports."""

import collections
import functools
import pathlib
import subprocess

Finding = collections.namedtuple("Finding", "path line rule message")

CPP_SUFFIXES = (".cpp", ".h", ".c")


class Tree:
    """A checkout: the files git knows or would add, or every file where there is no repository."""

    def __init__(self, root, build=None):
        self.root = pathlib.Path(root).resolve()
        self.build = pathlib.Path(build).resolve() if build else self.root / "build"

    @functools.cached_property
    def files(self):
        """Paths relative to the root, sorted."""
        if (self.root / ".git").exists():
            listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                     cwd=self.root, check=True, capture_output=True, text=True).stdout
            paths = (pathlib.PurePosixPath(name) for name in listing.split("\0") if name)
        else:
            paths = (pathlib.PurePosixPath(path.relative_to(self.root)) for path in self.root.rglob("*"))
        return sorted({path for path in paths if (self.root / path).is_file()})

    def matching(self, *suffixes, under=""):
        """Files with one of the suffixes beneath a folder."""
        return [path for path in self.files if path.suffix in suffixes and path.is_relative_to(under)]

    def lit_tests(self):
        """Test files that lit runs."""
        return [path for path in self.matching(".mlir", ".test", under="test") if "Inputs" not in path.parts]

    @functools.lru_cache(maxsize=None)
    def text(self, path):
        """A file's text, or None for a binary one."""
        data = (self.root / path).read_bytes()
        try:
            return None if b"\0" in data else data.decode()
        except UnicodeDecodeError:
            return None

    def lines(self, path):
        """(line number, line) pairs of a text file."""
        return enumerate((self.text(path) or "").split("\n"), 1)

    def line_of(self, path, needle):
        """The number of the first line that contains a string, 1 if none does."""
        return next((number for number, line in self.lines(path) if needle in line), 1)
