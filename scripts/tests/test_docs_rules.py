# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each rule on documentation fires on the fault it is for and is quiet without it."""

from house import docs_rules, gendocs
from house.tree import Tree

TOOL = """#!/bin/sh
echo 'options:'
echo '  --input FILE   read it'
echo '  --in FILE      read it'
echo '  -o,--out FILE  write it'
"""


def test_link(findings):
    text = "[a](b.md) [c](b.md#one-two) [d](b.md#three) [e](none.md)\n`[f](none.md)`\n[g](https://example.org)\n```\n[h](none.md)\n```\n"
    assert findings(docs_rules.link, {"docs/a.md": text, "docs/b.md": "# One, two\n"}) == [
        "docs/a.md:1: b.md#three: the page has no such heading", "docs/a.md:1: none.md does not exist"]


def test_spelling(findings):
    wrong = "rec" + "ieve"
    files = {"include/a.td": f'let summary = "{wrong} sum";\n', "docs/b.md": "the sum\n"}
    assert findings(docs_rules.spelling, files) == [f"include/a.td:1: {wrong} ==> receive"]
    assert findings(docs_rules.spelling, {"scripts/codespell.txt": wrong + "\n"}) == []


def install_tool(tmp_path):
    tool = tmp_path / "build/bin/mohd-run"
    tool.parent.mkdir(parents=True)
    tool.write_text(TOOL)
    tool.chmod(0o755)
    gendocs.help_text.cache_clear()


def test_tool_option(findings, tmp_path):
    assert findings(docs_rules.tool_option, {}) == []
    install_tool(tmp_path)
    assert findings(docs_rules.tool_option, {"test/a.test": "RUN: mohd-run --input=%s\n"}) == [
        "tools/mohd-run:1: --in is in no test", "tools/mohd-run:1: --out is in no test"]
    assert findings(docs_rules.tool_option, {"test/b.test": "RUN: mohd-run --in %s -o %t\n"}) == []


def test_generated(findings, tmp_path):
    install_tool(tmp_path)
    assert findings(docs_rules.generated, {}) == ["docs/generated/cli.md:1: is missing (scripts/gen_docs)"]
    assert findings(docs_rules.generated, {"docs/generated/cli.md": "old\n"}) == [
        "docs/generated/cli.md:1: is stale (scripts/gen_docs)"]
    (page,) = (text for _, text in gendocs.pages(Tree(tmp_path)).items())
    assert findings(docs_rules.generated, {"docs/generated/cli.md": page}) == []
    assert findings(docs_rules.generated, {"docs/generated/old.md": "x\n"}) == [
        "docs/generated/old.md:1: is generated from nothing any more; remove it"]
