// RUN: mohd-reduce %s -reduction-tree='traversal-mode=0 test=%S/Inputs/has-spmm.sh' | FileCheck %s

// What the test script does not need is gone; the SpMM it asks for is still there.
// CHECK-NOT: @unrelated
// CHECK:     mohd.spmm
// CHECK-NOT: @unrelated
func.func @unrelated(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
func.func @interesting(%x: tensor<?x8xf32>, %r: !mohd.routing<4, 1, 2>, %w: tensor<4x2x6xf32>) -> tensor<?x6xf32> {
  %y = mohd.spmm %x, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 2>, tensor<4x2x6xf32>
  return %y : tensor<?x6xf32>
}
func.func @unrelated_too(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
