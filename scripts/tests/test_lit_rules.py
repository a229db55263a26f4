# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each rule on lit tests fires on the fault it is for and is quiet without it."""

from house import lit_rules


def test_filecheck_fires_without_filecheck(findings):
    found = findings(lit_rules.filecheck, {"test/a.mlir": "// RUN: mohd-opt %s\n// CHECK: x\n// CHECK-NEXT: y\n"})
    assert found == ["test/a.mlir:2: no RUN line gives the prefix CHECK to FileCheck, so this is never checked"]


def test_filecheck_fires_on_a_prefix_no_run_line_names(findings):
    text = "// RUN: mohd-opt %s | FileCheck %s --check-prefixes=ONE,TWO\n// ONE: x\n// TWO-NOT: y\n// THREE-LABEL: z\n"
    assert findings(lit_rules.filecheck, {"test/a.mlir": text}) == [
        "test/a.mlir:4: no RUN line gives the prefix THREE to FileCheck, so this is never checked"]


def test_filecheck_follows_continued_lines(findings):
    text = "// RUN: mohd-opt %s \\\n// RUN:   | FileCheck %s --check-prefix SUM\n// SUM-LABEL: @f\n"
    assert findings(lit_rules.filecheck, {"test/a.mlir": text}) == []


def test_filecheck_is_quiet_on_words_and_inputs(findings):
    files = {"test/a.mlir": "// RUN: mohd-opt %s | FileCheck %s\n// NOTE: none\n// CHECK: a: b\n// REQUIRES: nvptx\n",
             "test/Inputs/b.mlir": "// CHECK: never run\n"}
    assert findings(lit_rules.filecheck, files) == []


def test_lit_test_fires(findings):
    mark = "FIX" + "ME"
    text = f"// {mark} later\nfunc.func @f() {{\n  return\n}}\nfunc.func @f() {{\n  return\n}}\n"
    assert findings(lit_rules.lit_test, {"test/a.mlir": text}) == [
        "test/a.mlir:1: has no RUN line",
        "test/a.mlir:1: has a leftover mark; finish it or open an issue",
        "test/a.mlir:5: @f is on line 2 too; name each case"]


def test_lit_test_is_quiet(findings):
    text = "// RUN: mohd-opt %s\nfunc.func @f() {\n  return\n}\nfunc.func private @g()\n// -----\nfunc.func private @g()\n"
    assert findings(lit_rules.lit_test, {"test/a.mlir": text}) == []
