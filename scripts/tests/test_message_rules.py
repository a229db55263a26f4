# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The rule on error messages fires on the faults it is for and is quiet without them."""

import pytest
from house import message_rules

VERIFIER = "lib/Toy.cpp"
TEST = {"test/Toy/invalid.mlir": "// RUN: mohd-opt %s\n// expected-error @+1 {{expects 4 rows, got 5}}\n"}


def test_message_is_quiet(findings):
    code = 'return emitOpError("expects ") << n << " rows, got " << m; // rows; and\n'
    assert findings(message_rules.message, {VERIFIER: code, **TEST}) == []


def test_message_joins_adjacent_literals(findings):
    code = 'return emitError(loc, "expects 4 "\n    "rows, got ") << m;\n'
    assert findings(message_rules.message, {VERIFIER: code, **TEST}) == []


def test_message_is_quiet_on_names(findings):
    code = 'return emitOpError("K_r is 4 rows, got 5");\n'
    test = {"unittests/ToyTest.cpp": 'EXPECT_EQ(text, "K_r is 4 "\n  "rows, got 5");\n'}
    assert findings(message_rules.message, {VERIFIER: code, **test}) == []


@pytest.mark.parametrize("code, message", [
    ('op->emitOpError("Expects 4 rows, got 5");', '"Expects 4 rows, got 5" should start in lower case'),
    ('emitOpError("expects 4 rows, got ") << m << " columns.";', '" columns." should not end with a full stop'),
    ('emitError() << "expects 9 columns, got " << m;', 'no test expects "expects 9 columns, got"'),
])
def test_message_fires(findings, code, message):
    assert f"{VERIFIER}:1: {message}" in findings(message_rules.message, {VERIFIER: code, **TEST})
