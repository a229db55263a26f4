# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rules on source files one by one: size, header, guard, format, leftovers."""

import re
import subprocess

from .tree import CPP_SUFFIXES, Finding

HARD_LIMITS = {".cpp": 800, ".c": 800, ".h": 800, ".td": 700, ".mlir": 400, ".py": 800}
AIMS = {".cpp": 600, ".c": 600, ".h": 600, ".td": 500, ".mlir": 150, ".py": 600}
FUNCTION_AIM = 60
SPDX = "SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception"
SPDX_SUFFIXES = CPP_SUFFIXES + (".td", ".py", ".cmake", ".in", ".sh", ".S", ".cu")
CLANG_FORMAT = "/usr/lib/llvm-22/bin/clang-format"
OPEN_MARK = "TO" + "DO"
LOCAL_PATHS = re.compile(r"(?<![\w.])/home" r"/\w|(?<![\w.])/root" r"/|(?<![\w.])/Users" r"/\w|\.\./shared" r"\b|(?<![\w.])/work" r"/")


def size(tree):
    """No file above the hard limit of its kind."""
    for path in tree.matching(*HARD_LIMITS):
        lines = tree.text(path).count("\n")
        limit = HARD_LIMITS[path.suffix]
        if lines > limit:
            yield Finding(path, limit, "size", f"has {lines} lines, more than {limit}; split it")


def size_notes(tree):
    """What is larger than the aims of CONTRIBUTING.md: notes, not findings."""
    for path in tree.matching(*AIMS):
        lines = tree.text(path).count("\n")
        if lines > AIMS[path.suffix]:
            yield Finding(path, 1, "note", f"has {lines} lines, the aim is {AIMS[path.suffix]}")
        if path.suffix in (".cpp", ".c"):
            yield from _long_functions(tree, path)


def _long_functions(tree, path):
    start = head = None
    for number, line in tree.lines(path):
        if start:
            if line in (start[1], start[1] + ";"):
                if number - start[0] > FUNCTION_AIM:
                    yield Finding(path, start[0], "note", f"function of {number - start[0]} lines, the aim is {FUNCTION_AIM}")
                start = None
            elif line.startswith("}"):  # the end of what it is in: its own was on a longer line
                start = None
            continue
        first = re.match(r"( {0,2})[A-Za-z_~]", line)
        if first:  # of a signature, whose brace may come some lines later
            head = None if re.match(r" *(namespace|class|struct|enum|extern|union)\b", line) else (number, first.group(1) + "}")
        if head and line.endswith("{"):
            start, head = None if line.endswith("= {") else head, None


def license_header(tree):
    """Every source file names its licence in its first three lines."""
    for path in tree.files:
        text = tree.text(path)
        if text is None:
            continue
        is_script = text.startswith("#!")
        if path.suffix in SPDX_SUFFIXES or path.name in ("CMakeLists.txt", "Makefile") or is_script:
            if SPDX not in "\n".join(text.split("\n")[:3]) and text.strip():
                yield Finding(path, 1, "license", f"the first lines lack `{SPDX}`")


def include_guard(tree):
    """A header's guard is its path: MOHD_, then the path below include/mohd, runtime or the root, then _H or _TD."""
    for path in tree.matching(".h", ".td"):
        match = re.search(r"^#ifndef (\w+)\n#define (\w+)", tree.text(path), re.MULTILINE)
        relative = re.sub(r"^(runtime/)?(include/(mohd/)?)?", "", str(path))
        expected = "MOHD_" + re.sub(r"\W", "_", relative).upper()
        if path.suffix == ".td" and path.name == "Passes.td" and not match:
            continue  # never included by another file
        if not match or match.group(1) != match.group(2):
            yield Finding(path, 1, "guard", f"has no include guard {expected}")
        elif match.group(1) != expected:
            yield Finding(path, tree.line_of(path, match.group(1)), "guard", f"guard {match.group(1)} should be {expected}")


def leftover(tree):
    """What is left to do has an issue's number; no path of somebody's machine is in the tree."""
    for path in tree.files:
        for number, line in tree.lines(path):
            if re.search(rf"\b{OPEN_MARK}\b(?!\(#\d+\))", line):
                yield Finding(path, number, "leftover", f"a {OPEN_MARK} needs an issue's number: {OPEN_MARK}(#12)")
            if LOCAL_PATHS.search(line):
                yield Finding(path, number, "leftover", "names a path of one machine")


def whitespace(tree, fix=False):
    """No trailing blanks, no tabs outside Makefiles, a line feed at the end."""
    for path in tree.files:
        text = tree.text(path)
        if not text or path.name in ("LICENSE",) or path.suffix == ".patch":
            continue
        tabs_are_fine = path.name == "Makefile" or path.suffix in (".txt", ".mk")
        wanted = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).rstrip("\n") + "\n"
        if fix and wanted != text:
            (tree.root / path).write_text(wanted)
            continue
        for number, line in tree.lines(path):
            if line != line.rstrip(" \t"):
                yield Finding(path, number, "whitespace", "has blanks at the end of the line")
            if "\t" in line and not tabs_are_fine:
                yield Finding(path, number, "whitespace", "has a tab")
        if not text.endswith("\n") or text.endswith("\n\n"):
            yield Finding(path, text.count("\n"), "whitespace", "should end with one line feed")


def clang_format(tree, fix=False):
    """C and C++ files are as clang-format 22 writes them."""
    files = [str(tree.root / path) for path in tree.matching(*CPP_SUFFIXES)]
    if not files:
        return
    action = ["-i"] if fix else ["--dry-run"]
    run = subprocess.run([CLANG_FORMAT, "--style=file", *action, *files], capture_output=True, text=True, cwd=tree.root)
    seen = set()
    for name, line in re.findall(r"^(.*?):(\d+):\d+: warning: code should be clang-formatted", run.stderr, re.MULTILINE):
        if name not in seen:
            seen.add(name)
            path = next(path for path in tree.files if str(tree.root / path) == name)
            yield Finding(path, int(line), "format", "is not as clang-format 22 writes it (scripts/lint --fix)")
    if run.returncode != 0 and not seen:
        yield Finding(".clang-format", 1, "format", f"clang-format failed: {run.stderr.strip()}")
