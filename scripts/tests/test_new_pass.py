# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""scripts/new_pass writes a declaration that TableGen accepts, a source, a test and the build's entry."""

import subprocess

import pytest
from conftest import SCRIPTS
from house import source_rules, tablegen
from house.tree import Tree

PASSES = "include/mohd/Dialect/MoHD/Transforms/Passes.td"
LISTING = "lib/Dialect/MoHD/Transforms/CMakeLists.txt"


@pytest.fixture
def tree(tmp_path):
    for name, text in ((PASSES, 'include "mlir/Pass/PassBase.td"\n'), (LISTING, "mohd_add_library(MohdTransforms Plan.cpp DEPENDS x)\n"),
                       (".clang-format", "BasedOnStyle: LLVM\nColumnLimit: 100\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def new_pass(tree, *arguments):
    return subprocess.run([SCRIPTS / "new_pass", "--root", tree, *arguments], capture_output=True, text=True)


def test_a_new_pass(tree):
    assert new_pass(tree, "FoldScaling", "fold scaling into the gates").returncode == 0
    (item,) = tablegen.passes(Tree(tree))
    assert (item.flag, item.summary) == ("mohd-fold-scaling", "fold scaling into the gates")
    assert (tree / LISTING).read_text() == "mohd_add_library(MohdTransforms FoldScaling.cpp Plan.cpp DEPENDS x)\n"
    assert "mohd-fold-scaling" in (tree / "test/Dialect/MoHD/Transforms/fold-scaling.mlir").read_text()
    assert list(source_rules.clang_format(Tree(tree))) == []
    assert "exists" in new_pass(tree, "FoldScaling", "again").stderr


@pytest.mark.parametrize("name", ["foldScaling", "FoldScalingPass", "fold-scaling"])
def test_names_are_checked(tree, name):
    assert new_pass(tree, name, "x").returncode == 2
