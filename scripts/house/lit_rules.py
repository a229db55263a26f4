# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rules on lit tests: a check that nothing runs is worse than none."""

import re

from .tree import Finding

DIRECTIVE = re.compile(r"(?://|#|;).*?\b([A-Z][A-Z0-9_-]*?)(?:-(?:LABEL|NEXT|SAME|NOT|DAG|EMPTY|COUNT-\d+))?(?:\{LITERAL\})?:")
SUFFIXED = re.compile(r"-(?:LABEL|NEXT|SAME|NOT|DAG|EMPTY|COUNT-\d+)(?:\{LITERAL\})?:")
RUN = re.compile(r"RUN:(.*)$")
FUNCTION = re.compile(r"^\s*(?:func\.func|llvm\.func)\s+(?:public\s+)?@([\w$.-]+)\(")


def run_lines(tree, path):
    """(line number, command) of a test, with continued lines joined."""
    commands, open_command = [], None
    for number, line in tree.lines(path):
        match = RUN.search(line)
        if not match:
            continue
        text = match.group(1).strip()
        if open_command:
            number, text = open_command[0], open_command[1] + " " + text
        if text.endswith("\\"):
            open_command = (number, text[:-1])
        else:
            commands.append((number, text))
            open_command = None
    return commands


def _prefixes(commands):
    """The check prefixes that the commands give to FileCheck."""
    prefixes = set()
    for _, command in commands:
        for part in re.split(r"\||&&|;", command):
            if "FileCheck" not in part:
                continue
            named = re.findall(r"--?check-prefix(?:es)?[= ]([\w,-]+)", part)
            prefixes.update(name for group in named for name in group.split(",")) if named else prefixes.add("CHECK")
    return prefixes


def filecheck(tree):
    """A file with check lines gives their prefix to FileCheck."""
    for path in tree.lit_tests():
        prefixes = _prefixes(run_lines(tree, path))
        reported = set()
        for number, line in tree.lines(path):
            match = DIRECTIVE.search(line)
            if not match or match.group(1) in ("RUN", "REQUIRES", "UNSUPPORTED", "XFAIL", "NOTE"):
                continue
            prefix = match.group(1)
            is_check = "CHECK" in prefix or SUFFIXED.search(line)
            if is_check and prefix not in prefixes and prefix not in reported:
                reported.add(prefix)
                yield Finding(path, number, "filecheck", f"no RUN line gives the prefix {prefix} to FileCheck, so this is never checked")


def lit_test(tree):
    """A test has a RUN line, no leftovers, and function names that are unique in the file."""
    for path in tree.lit_tests():
        if not run_lines(tree, path):
            yield Finding(path, 1, "lit-test", "has no RUN line")
        names = {}
        for number, line in tree.lines(path):
            if re.search(r"\bFIX" r"ME\b|\bX" r"XX\b", line):
                yield Finding(path, number, "lit-test", "has a leftover mark; finish it or open an issue")
            match = FUNCTION.match(line)
            if match and match.group(1) in names:
                yield Finding(path, number, "lit-test", f"@{match.group(1)} is on line {names[match.group(1)]} too; name each case")
            elif match:
                names[match.group(1)] = number
