#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Interesting (exit status 1) as long as the module has an SpMM.
mohd-opt "$1" | grep -q 'mohd.spmm' && exit 1
exit 0
