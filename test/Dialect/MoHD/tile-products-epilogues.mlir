// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-tile-products --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-tile-products --mohd-tile-products --cse | FileCheck %s

// The product that makes the right side of a SwiGLU computes it.
// CHECK-LABEL: func.func @feed_forward(
// CHECK:         %[[GATE:.*]] = mohd.tiled_spmm %[[P:[^ ]*]], %{{[^ ]*}} common 1
// CHECK:         %[[Z:.*]] = mohd.tiled_spmm %[[P]], %{{[^ ]*}} gate(%[[GATE]]) common 1
// CHECK-NOT:     mohd.swiglu
// CHECK:         return %[[Z]]
func.func @feed_forward(%x: tensor<?x64xf32>, %g: tensor<64x96xf32>, %u: tensor<64x96xf32>) -> tensor<?x96xf32> {
  %up = mohd.linear %x, %u : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  %gate = mohd.linear %x, %g : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  %z = mohd.swiglu %gate, %up : tensor<?x96xf32>
  return %z : tensor<?x96xf32>
}

// The left side cannot, nor what something else needs too, nor what is rounded in between.
// CHECK-LABEL: func.func @kept(
// CHECK:         mohd.swiglu %{{.*}}, %{{.*}} : tensor<?x96xf32>
// CHECK:         mohd.swiglu %{{.*}}, %{{.*}} : tensor<?x96xf32>
// CHECK:         mohd.swiglu %{{.*}}, %{{.*}} : tensor<?x96xbf16>
// CHECK:         mohd.add %{{.*}}, %{{.*}} : tensor<?x96xbf16>
// CHECK:         return
func.func @kept(%x: tensor<?x64xf32>, %h: tensor<?x96xf32>, %k: tensor<?x96xbf16>, %w: tensor<64x96xf32>)
    -> (tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xbf16>, tensor<?x96xbf16>) {
  %a = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  %left = mohd.swiglu %a, %h : tensor<?x96xf32>
  %twice = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  %right = mohd.swiglu %h, %twice : tensor<?x96xf32>
  %narrow = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xbf16>
  %rounded = mohd.swiglu %k, %narrow : tensor<?x96xbf16>
  %other = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xbf16>
  %sum = mohd.add %k, %other : tensor<?x96xbf16>
  return %left, %right, %twice, %rounded, %sum : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xbf16>, tensor<?x96xbf16>
}

// The residual stream goes into the product, whichever side of the sum it is on; one that has an epilogue takes no other.
// CHECK-LABEL: func.func @residuals(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x64xf32>
// CHECK:         %[[A:.*]] = mohd.tiled_spmm %{{.*}}, %{{.*}} residual(%[[X]]) common 1
// CHECK:         %[[B:.*]] = mohd.tiled_sddmm %[[X]], %{{.*}} table(%{{.*}}) residual(%[[A]]) common 1
// CHECK:         %[[C:.*]] = mohd.tiled_spmm %{{.*}}, %{{.*}} gate(%[[X]]) common 1
// CHECK:         %[[D:.*]] = mohd.add %[[B]], %[[C]]
// CHECK:         return %[[D]]
func.func @residuals(%x: tensor<?x64xf32>, %r: !mohd.routing<4, 1, 2>, %w: tensor<64x64xf32>, %v: tensor<4x64x16xf32>) -> tensor<?x64xf32> {
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %a = mohd.add %x, %y : tensor<?x64xf32>
  %z = mohd.sddmm %x, %r, %v : tensor<?x64xf32>, !mohd.routing<4, 1, 2>, tensor<4x64x16xf32>
  %b = mohd.add %z, %a : tensor<?x64xf32>
  %up = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %c = mohd.swiglu %x, %up : tensor<?x64xf32>
  %d = mohd.add %b, %c : tensor<?x64xf32>
  return %d : tensor<?x64xf32>
}

// A SwiGLU of a SwiGLU: only the inner one is computed by the product. A product with a residual takes no gate.
// CHECK-LABEL: func.func @nested(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x64xf32>, %[[G:[^:]*]]: tensor<?x64xf32>, %[[H:[^:]*]]: tensor<?x64xf32>
// CHECK:         %[[A:.*]] = mohd.tiled_spmm %{{.*}}, %{{.*}} gate(%[[G]]) common 1
// CHECK:         %[[B:.*]] = mohd.swiglu %[[H]], %[[A]]
// CHECK:         %[[S:.*]] = mohd.tiled_spmm %{{.*}}, %{{.*}} residual(%[[X]]) common 1
// CHECK:         %[[C:.*]] = mohd.swiglu %[[H]], %[[S]]
// CHECK:         return %[[B]], %[[C]]
func.func @nested(%x: tensor<?x64xf32>, %g: tensor<?x64xf32>, %h: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %a = mohd.swiglu %g, %y : tensor<?x64xf32>
  %b = mohd.swiglu %h, %a : tensor<?x64xf32>
  %z = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %s = mohd.add %x, %z : tensor<?x64xf32>
  %c = mohd.swiglu %h, %s : tensor<?x64xf32>
  return %b, %c : tensor<?x64xf32>, tensor<?x64xf32>
}
