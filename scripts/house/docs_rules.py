# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rules on documentation: links lead somewhere, words are spelt, generated pages are fresh, tool options are tested."""

import re
import subprocess
import urllib.parse

from . import gendocs
from .lit_rules import run_lines
from .tree import Finding

LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
OPTION = re.compile(r"^\s+(-\w,)?(--[a-z][a-z0-9-]*)", re.MULTILINE)
IGNORED_WORDS = "scripts/codespell.txt"
NOT_SPELT = (".json", ".safetensors", ".npy", ".mohdb", ".bin")


def _prose(tree, path):
    """(line number, line) outside fenced blocks, inline code blanked."""
    fenced = False
    for number, line in tree.lines(path):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, re.sub(r"`[^`]*`", "``", line)


def _anchors(tree, path):
    """The anchors GitHub gives a page's headings."""
    headings = (re.sub(r"^#+\s+", "", line) for _, line in tree.lines(path) if re.match(r"#+\s", line))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def link(tree):
    """A relative link in a Markdown page names a file of the tree, and its anchor a heading there."""
    for path in tree.matching(".md"):
        for number, line in _prose(tree, path):
            for target in LINK.findall(line):
                if re.match(r"[a-z]+:", target):
                    continue
                name, _, anchor = urllib.parse.unquote(target).partition("#")
                page = tree.root / path.parent / name if name else tree.root / path
                if not page.exists():
                    yield Finding(path, number, "link", f"{target} does not exist")
                elif anchor and page.suffix == ".md" and anchor not in _anchors(tree, page.resolve().relative_to(tree.root)):
                    yield Finding(path, number, "link", f"{target}: the page has no such heading")


def spelling(tree):
    """codespell knows no better spelling of any word, those in TableGen strings included."""
    files = [str(path) for path in tree.files
             if tree.text(path) is not None and path.suffix not in NOT_SPELT and path.name != "LICENSE"]
    if not files:
        return
    command = ["codespell"]
    if (tree.root / IGNORED_WORDS).exists():
        command += ["--ignore-words", IGNORED_WORDS]
    run = subprocess.run(command + files, capture_output=True, text=True, cwd=tree.root)
    for line in run.stdout.splitlines():
        match = re.match(r"(?:\./)?(.*?):(\d+): (.*)", line)
        if match:
            yield Finding(match.group(1), int(match.group(2)), "spelling", match.group(3))


def generated(tree):
    """docs/generated is what scripts/gen_docs writes."""
    for path, text in gendocs.pages(tree).items():
        if not (tree.root / path).exists():
            yield Finding(path, 1, "generated", "is missing (scripts/gen_docs)")
        elif (tree.root / path).read_text() != text:
            yield Finding(path, 1, "generated", "is stale (scripts/gen_docs)")
    known = set(map(str, gendocs.pages(tree)))
    for path in tree.matching(".md", under="docs/generated"):
        if str(path) not in known and (path.name != "cli.md" or gendocs.tools(tree)):
            yield Finding(path, 1, "generated", "is generated from nothing any more; remove it")


def tool_option(tree):
    """Every option in a tool's --help is used by a test."""
    commands = "\n".join(command for path in tree.lit_tests() for _, command in run_lines(tree, path))
    for path in tree.matching(".py", ".cpp"):
        if "test" in str(path).lower():
            commands += tree.text(path)
    for tool in gendocs.tools(tree):
        # lines such as `  -o,--output FILE   where to write`
        for short, option in sorted(set(OPTION.findall(gendocs.help_text(tool))), key=lambda names: names[1]):
            spellings = "|".join(re.escape(name) for name in (short.rstrip(","), option) if name)
            if not re.search(rf"(?<![\w-])(?:{spellings})(?![\w-])", commands):
                yield Finding(f"tools/{tool.name}", 1, "tool-option", f"{option} is in no test")
