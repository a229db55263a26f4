# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""TableGen records of the tree's .td files, as llvm-tblgen itself sees them."""

import collections
import json
import re
import subprocess

LLVM = "/usr/lib/llvm-22"
Op = collections.namedtuple("Op", "path line record dialect mnemonic summary description")
PassDef = collections.namedtuple("PassDef", "path line flag summary description options statistics")
Option = collections.namedtuple("Option", "flag description")


def include_flags(tree):
    """-I flags for the project's and MLIR's .td files; the build may hold generated ones."""
    return ["-I", str(tree.root / "include"), "-I", LLVM + "/include"]


def root_files(tree):
    """The .td files that no other .td file of the tree includes."""
    files = tree.matching(".td", under="include")
    included = {name for path in files for name in re.findall(r'^include "(.*)"', tree.text(path), re.MULTILINE)}
    return [path for path in files if str(path.relative_to("include")) not in included]


def dump(tree, path):
    """All records that a file and what it includes define, by name."""
    command = [LLVM + "/bin/llvm-tblgen", "--dump-json", *include_flags(tree), str(tree.root / path)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"{path}: llvm-tblgen failed: {run.stderr.strip()}")
    return json.loads(run.stdout)


def _locate(tree, record):
    """Where in the tree a record is defined; None if it is MLIR's. TableGen gives the base name of the file only."""
    name, line = record["!locs"][0].rsplit(":", 1)
    for path in tree.matching(".td", under="include"):
        if path.name != name:
            continue
        lines = tree.text(path).split("\n")
        if int(line) <= len(lines) and record["!name"] in lines[int(line) - 1]:
            return path, int(line)
    return None


def _collect(tree, superclass, make):
    found = {}
    for root in root_files(tree):
        records = dump(tree, root)
        for name in records["!instanceof"].get(superclass, []):
            place = _locate(tree, records[name])
            if place and (superclass, name) not in found:
                found[superclass, name] = make(records, records[name], *place)
    return sorted(found.values())


def ops(tree):
    """Every op the tree defines."""
    def make(records, record, path, line):
        dialect = records[record["opDialect"]["def"]]["name"]
        return Op(path, line, record["!name"], dialect, record["opName"], record["summary"] or "", record["description"] or "")
    return _collect(tree, "Op", make)


def passes(tree):
    """Every pass the tree defines."""
    def make(records, record, path, line):
        options = [Option(records[item["def"]]["argument"], records[item["def"]]["description"]) for item in record["options"]]
        return PassDef(path, line, record["argument"], record["summary"] or "", record["description"] or "", options,
                       len(record["statistics"]))
    return _collect(tree, "PassBase", make)


def dialects(tree):
    """{dialect name: root file that defines all of it}."""
    found = {}
    for root in root_files(tree):
        records = dump(tree, root)
        for name in records["!instanceof"].get("Dialect", []):
            if _locate(tree, records[name]):
                found.setdefault(records[name]["name"], []).append(root)
    return found
