# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each rule on single files fires on the fault it is for and is quiet without it."""

import pytest
from house import source_rules

SPDX = "// " + source_rules.SPDX + "\n"
STYLE = {".clang-format": "BasedOnStyle: LLVM\n"}


def test_size(findings):
    assert findings(source_rules.size, {"lib/a.cpp": "\n" * 801, "lib/b.cpp": "\n" * 800, "test/c.mlir": "\n" * 401}) == [
        "lib/a.cpp:800: has 801 lines, more than 800; split it", "test/c.mlir:400: has 401 lines, more than 400; split it"]


def test_size_notes_name_long_functions(findings):
    long_function = "void f(int a,\n       int b) {\n" + "  if (a) {\n  }\n" * 35 + "}\n"
    short_function = "void g() {\n" + "  g();\n" * 20 + "}\n"
    assert findings(source_rules.size_notes, {"lib/a.cpp": "namespace x {\n" + long_function + short_function + "}\n"}) == [
        "lib/a.cpp:2: function of 72 lines, the aim is 60"]


def test_license(findings):
    files = {"lib/a.cpp": "int a;\n", "lib/b.cpp": SPDX, "scripts/c": "#!/bin/sh\n", "scripts/d": "#!/bin/sh\n#" + SPDX,
             "docs/e.md": "text\n", "python/f/__init__.py": ""}
    assert [line.split(":")[0] for line in findings(source_rules.license_header, files)] == ["lib/a.cpp", "scripts/c"]


def guard(name):
    return f"#ifndef {name}\n#define {name}\n#endif\n"


@pytest.mark.parametrize("path, name", [
    ("include/mohd/Model/Config.h", "MOHD_MODEL_CONFIG_H"),
    ("runtime/include/mohd/format/json.h", "MOHD_FORMAT_JSON_H"),
    ("runtime/src/format/bundle_header.h", "MOHD_SRC_FORMAT_BUNDLE_HEADER_H"),
    ("lib/Model/JsonHelpers.h", "MOHD_LIB_MODEL_JSONHELPERS_H"),
    ("include/mohd/Dialect/MoHD/IR/MoHDOps.td", "MOHD_DIALECT_MOHD_IR_MOHDOPS_TD"),
])
def test_guard(findings, path, name):
    assert findings(source_rules.include_guard, {path: guard(name)}) == []
    assert findings(source_rules.include_guard, {path: guard("MOHD_OLD_PLACE_H")}) == [
        f"{path}:1: guard MOHD_OLD_PLACE_H should be {name}"]
    assert findings(source_rules.include_guard, {path: "int a;\n"}) == [f"{path}:1: has no include guard {name}"]


def test_leftover(findings):
    mark = "TO" + "DO"
    text = f"a {mark}(#12): fine\nb {mark}: no number\nc {mark}(me): no number\n/ho" + "me/someone\ne ../sh" + "ared/x\nf my/home/x\n"
    assert [line.split(": ")[0] for line in findings(source_rules.leftover, {"docs/a.md": text})] == [
        "docs/a.md:2", "docs/a.md:3", "docs/a.md:4", "docs/a.md:5"]


def test_whitespace(findings, tmp_path):
    files = {"docs/a.md": "a \nb\tc\n1", "Makefile": "a:\n\tb\n", "docs/b.md": "fine\n"}
    assert findings(source_rules.whitespace, files) == [
        "docs/a.md:1: has blanks at the end of the line", "docs/a.md:2: has a tab", "docs/a.md:2: should end with one line feed"]
    findings(source_rules.whitespace, {}, fix=True)
    assert (tmp_path / "docs/a.md").read_text() == "a\nb\tc\n1\n"


def test_format(findings, tmp_path):
    files = {"lib/a.cpp": "int  a;\n", "lib/b.cpp": "int b;\n", **STYLE}
    assert findings(source_rules.clang_format, files) == ["lib/a.cpp:1: is not as clang-format 22 writes it (scripts/lint --fix)"]
    assert findings(source_rules.clang_format, {}, fix=True) == []
    assert (tmp_path / "lib/a.cpp").read_text() == "int a;\n"
    assert findings(source_rules.clang_format, {}) == []


def test_format_that_cannot_run_is_a_finding(findings):
    found = findings(source_rules.clang_format, {"lib/a.cpp": "int a;\n", ".clang-format": "NoSuchKey: 1\n"})
    assert len(found) == 1 and "clang-format failed" in found[0]
