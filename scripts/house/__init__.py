# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What scripts/lint and scripts/gen_docs share: the tree's files, TableGen records, and the house rules themselves."""
