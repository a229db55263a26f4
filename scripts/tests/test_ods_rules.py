# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each rule on ops, constraints and passes fires on the fault it is for and is quiet without it."""

import pytest
from house import gendocs, ods_rules, tablegen
from house.tree import Tree

DIALECT = 'include "mlir/IR/OpBase.td"\ndef Toy_Dialect : Dialect { let name = "toy"; let cppNamespace = "::toy"; }\n'
GOOD_OP = DIALECT + """
def Toy_AddOp : Op<Toy_Dialect, "add_up"> {
  let summary = "the sum of two tensors";
  let description = [{
    Adds.

    Constraints:
    - (C1) as many rows.
    - (C2) as many columns.

    Example:
    ```mlir
    toy.add_up
    ```
  }];
  let arguments = (ins AnyTensor:$left, AnyTensor:$right /*add_up_c1, c2*/);
}
"""
GOOD_TESTS = {
    "test/Toy/ops.mlir": "// RUN: mohd-opt %s\ntoy.add_up %a\n",
    "test/Toy/invalid.mlir": "// RUN: mohd-opt %s\nfunc.func @add_up_c1_rows() {\n// add_up_c2\n",
}

GOOD_PASS = """include "mlir/Pass/PassBase.td"
def FoldPass : Pass<"mohd-fold-up", "func::FuncOp"> {
  let summary = "fold additions";
  let description = [{
    Folds additions, so that fewer remain.

    Runs: after import.
    Leaves alone: products.
    Statistics: folded additions.

    Before and after: see test/Docs/fold-up.mlir.
  }];
  let options = [Option<"limit", "limit", "int64_t", "8", "Largest number of folds.">];
  let statistics = [Statistic<"numFolded", "num-folded", "Additions folded">];
}
"""
PASS_TD = "include/mohd/Passes.td"
GOOD_PASS_TESTS = {"test/Docs/fold-up.mlir": "// RUN: mohd-opt %s --pass-pipeline='f(mohd-fold-up{limit=3})'\n"}


def op_files(text, **changes):
    return {"include/mohd/Toy.td": text, **GOOD_TESTS, **changes}


def test_op_is_quiet_on_a_good_op(findings):
    assert findings(ods_rules.op, op_files(GOOD_OP)) == []
    assert findings(ods_rules.constraint, op_files(GOOD_OP)) == []


@pytest.mark.parametrize("old, new, message", [
    ("the sum of two tensors", "add up", "needs a summary that says more than its name"),
    ("of two tensors", "of two tensors.", "has a summary that ends with a full stop"),
    ("Example:\n", "For instance:\n", "has no `Example:` with an ```mlir block in its description"),
    ('"add_up"', '"add_down"', "appears in no ops.mlir test"),
])
def test_op_fires(findings, old, new, message):
    assert old in GOOD_OP
    found = findings(ods_rules.op, op_files(GOOD_OP.replace(old, new)))
    assert len(found) == 1 and found[0].endswith(message) and found[0].startswith("include/mohd/Toy.td:4:")


def test_op_fires_without_description(findings):
    start, end = GOOD_OP.index("  let description"), GOOD_OP.index("  let arguments")
    found = findings(ods_rules.op, op_files(GOOD_OP[:start] + GOOD_OP[end:]))
    assert [line.split(": ", 1)[1] for line in found] == ["toy.add_up has no description"]


def test_op_may_point_to_another_example(findings):
    text = GOOD_OP[:GOOD_OP.index("    Example:")] + "    Example: see `toy.sub`.\n  }];\n" + GOOD_OP[GOOD_OP.index("  let arguments"):]
    assert findings(ods_rules.op, op_files(text)) == []


def test_constraint_fires_on_a_label_nobody_checks(findings):
    found = findings(ods_rules.constraint, op_files(GOOD_OP.replace("/*add_up_c1, c2*/", "/*add_up_c2*/")))
    assert found == ["include/mohd/Toy.td:4: no verifier and no type constraint carries the tag add_up_c1"]
    verifier = {"lib/Toy.cpp": "if (rows) // add_up_c1\n"}
    assert findings(ods_rules.constraint, op_files(GOOD_OP.replace("/*add_up_c1, c2*/", "/*add_up_c2*/"), **verifier)) == []


def test_constraint_fires_on_a_label_nobody_breaks(findings):
    invalid = {"test/Toy/invalid.mlir": "// RUN: mohd-opt %s\nfunc.func @add_up_c1_rows() {\n"}
    assert findings(ods_rules.constraint, op_files(GOOD_OP, **invalid)) == [
        "include/mohd/Toy.td:4: no case of an invalid.mlir is named or marked add_up_c2"]


def test_constraint_fires_on_a_gap_in_the_labels(findings):
    found = findings(ods_rules.constraint, op_files(GOOD_OP.replace("(C2)", "(C3)").replace("c1, c2", "c1, c3")))
    assert found[0].endswith("the labels are not C1, C2, … in order")


def test_pass_is_quiet_on_a_good_pass(findings):
    assert findings(ods_rules.pass_definition, {PASS_TD: GOOD_PASS, **GOOD_PASS_TESTS}) == []


@pytest.mark.parametrize("old, new, message", [
    ('"mohd-fold-up"', '"fold_up"', "fold_up should be named mohd-… or convert-…-to-…, without -pass"),
    ('"mohd-fold-up"', '"mohd-fold-up-pass"', "mohd-fold-up-pass should be named mohd-… or convert-…-to-…, without -pass"),
    ("fold additions", "fold additions.", "mohd-fold-up needs a summary, without a full stop"),
    ("Folds additions, so that fewer remain.", "", "mohd-fold-up has no description of what it does and why"),
    ("Runs: after", "It runs after", "mohd-fold-up has no `Runs:` part in its description"),
    ("Leaves alone: products", "Not products", "mohd-fold-up has no `Leaves alone:` part in its description"),
    ("Statistics: folded additions.", "", "mohd-fold-up has no `Statistics:` part in its description"),
    ("Before and after: see test/Docs/fold-up.mlir.", "",
     "mohd-fold-up has neither an ```mlir example nor a `Before and after: see test/Docs/…` line"),
    ("Docs/fold-up.mlir", "Docs/other.mlir", "mohd-fold-up names test/Docs/other.mlir, which does not exist"),
    ('"Largest number of folds."', '""', "mohd-fold-up option limit has no description"),
    ('"limit", "limit"', '"limit", "bound"', "mohd-fold-up option bound is in no test's RUN line"),
])
def test_pass_fires(findings, old, new, message):
    assert old in GOOD_PASS
    found = findings(ods_rules.pass_definition, {PASS_TD: GOOD_PASS.replace(old, new), **GOOD_PASS_TESTS})
    assert f"{PASS_TD}:2: {message}" in found


def test_pass_is_quiet_on_a_flag_with_dashes(findings):
    tests = {"test/Docs/fold-up.mlir": "// RUN: mohd-opt %s --mohd-fold-up=limit=3 | FileCheck %s\n"}
    assert findings(ods_rules.pass_definition, {PASS_TD: GOOD_PASS, **tests}) == []


def test_pass_fires_without_a_test(findings):
    tests = {"test/Docs/fold-up.mlir": "// RUN: mohd-opt %s --mohd-fold-upper\n"}
    assert f"{PASS_TD}:2: mohd-fold-up is in no test's RUN line" in findings(ods_rules.pass_definition, {PASS_TD: GOOD_PASS, **tests})


def test_a_file_that_does_not_parse_is_an_error(findings):
    with pytest.raises(RuntimeError, match="Toy.td: llvm-tblgen failed"):
        findings(ods_rules.op, {"include/mohd/Toy.td": "def {"})


def test_pages_hold_what_the_definitions_say(findings, tmp_path):
    findings(ods_rules.op, {"include/mohd/Toy.td": GOOD_OP, PASS_TD: GOOD_PASS})
    tree = Tree(tmp_path)
    pages = {path.name: text for path, text in gendocs.pages(tree).items()}
    assert sorted(pages) == ["passes.md", "toy-dialect.md"]
    assert "the sum of two tensors" in pages["toy-dialect.md"].lower() and "mohd-fold-up" in pages["passes.md"]
    assert tablegen.dialects(tree)["toy"]
