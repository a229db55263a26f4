# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MoHD: compile and run Mixture-of-Hidden-Dimensions transformers. Importing this package imports no torch."""
