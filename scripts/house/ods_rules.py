# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rules on TableGen definitions: every op, pass, option and constraint is described, and a test knows it."""

import re

from . import tablegen
from .lit_rules import run_lines
from .tree import Finding

TAG = re.compile(r"\b([a-z][a-z0-9_]*?)_c(\d+)(?=\b|_)((?:\s*,\s*c\d+)*)")
FLAG = re.compile(r"(mohd-[a-z0-9-]+|convert-[a-z0-9]+-to-[a-z0-9-]+)(?<!-pass)")


def _tags(text):
    """The constraint labels `op_cN` in a text; `op_c1, c2` is two."""
    found = set()
    for op, first, more in TAG.findall(text):
        found.add(f"{op}_c{first}")
        found.update(f"{op}_{label}" for label in re.findall(r"c\d+", more))
    return found


def _tags_in(tree, paths):
    return set().union(*(_tags(tree.text(path)) for path in paths))


def _comments(text):
    return "\n".join(re.findall(r"//.*|/\*.*?\*/", text))


def op(tree):
    """An op has a summary that is not its name, a description with an example, and a round-trip test."""
    tests = "\n".join(tree.text(path) for path in tree.lit_tests() if path.name.endswith("ops.mlir"))
    for item in tablegen.ops(tree):
        def finding(message):
            return Finding(item.path, item.line, "op", f"{item.dialect}.{item.mnemonic} {message}")
        summary = item.summary.strip()
        if not summary or summary.replace(" ", "_").lower() == item.mnemonic.replace(".", "_").lower():
            yield finding("needs a summary that says more than its name")
        if summary.endswith("."):
            yield finding("has a summary that ends with a full stop")
        if not item.description.strip():
            yield finding("has no description")
        elif not re.search(r"Examples?:\s*```mlir|Example: see `\w+\.\w+`", item.description):
            yield finding("has no `Example:` with an ```mlir block in its description")
        if not re.search(rf"\b{re.escape(item.dialect)}\.{re.escape(item.mnemonic)}\b(?!\.)", tests):
            yield finding("appears in no ops.mlir test")


def constraint(tree):
    """A labelled constraint (CN) of an op `o` is checked where `o_cN` stands, and broken in an invalid.mlir."""
    checked = _tags_in(tree, tree.matching(".cpp", under="lib"))
    for path in tree.matching(".td", under="include"):
        checked |= _tags(_comments(tree.text(path)))
    broken = _tags_in(tree, [path for path in tree.lit_tests() if "invalid" in path.name])
    for item in tablegen.ops(tree):
        labels = re.findall(r"^\s*- \(C(\d+)\)", item.description, re.MULTILINE)
        if labels != [str(number) for number in range(1, len(labels) + 1)]:
            yield Finding(item.path, item.line, "constraint", f"{item.mnemonic}: the labels are not C1, C2, … in order")
        for number in labels:
            label = f"{item.mnemonic.replace('.', '_')}_c{number}"
            if label not in checked:
                yield Finding(item.path, item.line, "constraint", f"no verifier and no type constraint carries the tag {label}")
            if label not in broken:
                yield Finding(item.path, item.line, "constraint", f"no case of an invalid.mlir is named or marked {label}")


def pass_definition(tree):
    """A pass says what and why, when it runs, what it leaves alone, with an example; tests use it and its options."""
    commands = "\n".join(command for path in tree.lit_tests() for _, command in run_lines(tree, path))
    for item in tablegen.passes(tree):
        def finding(message):
            return Finding(item.path, item.line, "pass", f"{item.flag} {message}")
        text = item.description.strip()
        if not FLAG.fullmatch(item.flag):
            yield finding("should be named mohd-… or convert-…-to-…, without -pass")
        if not item.summary.strip() or item.summary.strip().endswith("."):
            yield finding("needs a summary, without a full stop")
        if not text or re.match(r"(Runs|Leaves alone|Statistics):", text):
            yield finding("has no description of what it does and why")
        for part in ("Runs:", "Leaves alone:") + (("Statistics:",) if item.statistics else ()):
            if not re.search(rf"^\s*{part}", text, re.MULTILINE):
                yield finding(f"has no `{part}` part in its description")
        shown = re.search(r"Before and after: see (test/Docs/[\w-]+\.mlir)", text)
        if shown and not (tree.root / shown.group(1)).exists():
            yield finding(f"names {shown.group(1)}, which does not exist")
        if not shown and "```mlir" not in text:
            yield finding("has neither an ```mlir example nor a `Before and after: see test/Docs/…` line")
        if not re.search(rf"(?<![\w-])-{{0,2}}{re.escape(item.flag)}(?![\w-])", commands):
            yield finding("is in no test's RUN line")
        for option in item.options:
            if not option.description.strip():
                yield finding(f"option {option.flag} has no description")
            if not re.search(rf"{re.escape(item.flag)}[^|]*\b{re.escape(option.flag)}=", commands):
                yield finding(f"option {option.flag} is in no test's RUN line")
