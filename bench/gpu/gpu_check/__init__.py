# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What bench/gpu/check carries to a machine with a GPU: the cases, how they are checked and measured, and the peers."""
