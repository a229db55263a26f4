// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --split-input-file --mohd-verify-phase=phase=import | FileCheck %s --check-prefix=IMPORT
// RUN: mohd-opt %s --split-input-file --mohd-verify-phase=phase=plan | FileCheck %s --check-prefix=PLAN

// What each phase leaves is accepted and not changed.
// IMPORT-LABEL: func.func @planned(
// IMPORT: mohd.weight
// IMPORT: mohd.spmm
// PLAN-LABEL: func.func @planned(
// PLAN: mohd.spmm
func.func @planned(%x: tensor<?x64xf32>, %r: !mohd.routing<4, 1, 1>) -> (tensor<?x32xf32>, tensor<4096xf32>) {
  %w = mohd.weight "w" : tensor<4x16x32xf32>
  %y = mohd.spmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<4, 1, 1>, tensor<4x16x32xf32>
  %splat = arith.constant dense<1.0> : tensor<4096xf32>
  return %y, %splat : tensor<?x32xf32>, tensor<4096xf32>
}
