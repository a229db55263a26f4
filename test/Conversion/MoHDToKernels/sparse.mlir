// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// The active groups come from the indices, each input element is multiplied by its gate once for all columns of the tile, and only a loop over
// the active groups (8 of 16) reads weights: here a whole tile of 6 vectors, of 12 in a row. bf16 weights are read as their bits.
// CHECK-LABEL: func.func @spmm(
// CHECK: %[[INPUT:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[INDICES:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[GATES:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[WEIGHT:.*]] = tile.binding %{{.*}}[3] : memref<16x4x96xi16>
// CHECK: scf.for %{{.*}} iter_args
// CHECK: %[[GROUP32:.*]] = memref.load %[[INDICES]]
// CHECK: %[[GROUP:.*]] = arith.index_cast %[[GROUP32]]
// CHECK: %[[GATE:.*]] = memref.load %[[GATES]]
// CHECK: scf.for
// CHECK: %[[ELEMENT:.*]] = memref.load %[[INPUT]]
// CHECK: arith.mulf %[[GATE]], %[[ELEMENT]] : f32
// CHECK-NOT: arith.mulf
// CHECK-COUNT-6: vector.load %[[WEIGHT]][%[[GROUP]], {{.*}} vector<8xi16>
// CHECK-NOT: vector.load
// CHECK: return
func.func @spmm(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x8xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xf32>
  %3 = tile.binding %bindings[3] : memref<16x4x96xbf16>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x96xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %w = bufferization.to_tensor %3 restrict : memref<16x4x96xbf16> to tensor<16x4x96xbf16>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.spmm %x, %r, %w plan <gather> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  bufferization.materialize_in_destination %y in restrict writable %4 : (tensor<?x96xf32>, memref<?x96xf32>) -> ()
  return
}

// A plan that walks all groups does not look at the indices.
// CHECK-LABEL: func.func @spmm_all_groups(
// CHECK: tile.binding %{{.*}}[0]
// CHECK-NOT: tile.binding %{{.*}}[1]
// CHECK: %[[GATES:.*]] = tile.binding %{{.*}}[2]
// CHECK-NOT: xi32>
// CHECK: memref.load %[[GATES]]
// CHECK-NOT: xi32>
// CHECK: return
func.func @spmm_all_groups(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x16xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x16xf32>
  %3 = tile.binding %bindings[3] : memref<16x4x96xf32>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x96xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x16xi32> to tensor<?x16xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x16xf32> to tensor<?x16xf32>
  %w = bufferization.to_tensor %3 restrict : memref<16x4x96xf32> to tensor<16x4x96xf32>
  %r = mohd.make_routing %i, %g : tensor<?x16xi32>, tensor<?x16xf32> -> !mohd.routing<16, 16, 0>
  %y = mohd.spmm %x, %r, %w plan <dense> : tensor<?x64xf32>, !mohd.routing<16, 16, 0>, tensor<16x4x96xf32>
  bufferization.materialize_in_destination %y in restrict writable %4 : (tensor<?x96xf32>, memref<?x96xf32>) -> ()
  return
}

// A token whose active set lacks the task's group reads no weights and stores zeros.
// CHECK-LABEL: func.func @sddmm(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<4xf16>
// CHECK-DAG: %[[ZERO_PAIR:.*]] = arith.constant dense<0.000000e+00> : vector<2xf16>
// CHECK: %[[INDICES:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[WEIGHT:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[RESULT:.*]] = tile.binding %{{.*}}[4]
// CHECK: memref.load %[[INDICES]]
// CHECK: scf.if
// CHECK: vector.load %[[WEIGHT]]{{.*}} vector<4xf16>
// CHECK: vector.load %[[WEIGHT]]{{.*}} vector<2xf16>
// CHECK: } else {
// CHECK-NOT: load %[[WEIGHT]][
// CHECK: vector.store %[[ZERO]], %[[RESULT]]
// CHECK: vector.store %[[ZERO_PAIR]], %[[RESULT]]
// CHECK-NOT: load %[[WEIGHT]][
// CHECK: return
func.func @sddmm(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x96xf16>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x8xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xf32>
  %3 = tile.binding %bindings[3] : memref<16x96x6xf16>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x96xf16>
  %z = bufferization.to_tensor %0 restrict : memref<?x96xf16> to tensor<?x96xf16>
  %i = bufferization.to_tensor %1 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %w = bufferization.to_tensor %3 restrict : memref<16x96x6xf16> to tensor<16x96x6xf16>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.sddmm %z, %r, %w : tensor<?x96xf16>, !mohd.routing<16, 6, 2>, tensor<16x96x6xf16>
  bufferization.materialize_in_destination %y in restrict writable %4 : (tensor<?x96xf16>, memref<?x96xf16>) -> ()
  return
}

// Groups of one column: the product is vectorised over the inner dimension instead.
// CHECK-LABEL: func.func @sddmm_narrow(
// CHECK: %[[WEIGHT:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[ROWS:.*]] = memref.collapse_shape %[[WEIGHT]]
// CHECK: vector.load %[[ROWS]]{{.*}} vector<8xf32>
// CHECK: return
func.func @sddmm_narrow(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x96xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x3xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x3xf32>
  %3 = tile.binding %bindings[3] : memref<4x96x1xf32>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x4xf32>
  %z = bufferization.to_tensor %0 restrict : memref<?x96xf32> to tensor<?x96xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x3xi32> to tensor<?x3xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x3xf32> to tensor<?x3xf32>
  %w = bufferization.to_tensor %3 restrict : memref<4x96x1xf32> to tensor<4x96x1xf32>
  %r = mohd.make_routing %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> !mohd.routing<4, 1, 2>
  %y = mohd.sddmm %z, %r, %w : tensor<?x96xf32>, !mohd.routing<4, 1, 2>, tensor<4x96x1xf32>
  bufferization.materialize_in_destination %y in restrict writable %4 : (tensor<?x4xf32>, memref<?x4xf32>) -> ()
  return
}

// Active groups are multiplied by their gates; what lies between them is cleared, the rest of the row at the end.
// CHECK-LABEL: func.func @gate(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: %[[RESULT:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[DONE:.*]] = scf.for {{.*}} iter_args(%[[BEFORE:.*]] = %{{.*}})
// CHECK: scf.for %{{.*}} = %[[BEFORE]] to
// CHECK: memref.store %[[ZERO]], %[[RESULT]]
// CHECK: arith.mulf
// CHECK: vector.store %{{.*}}, %[[RESULT]]
// CHECK: scf.for %{{.*}} = %[[DONE]] to
// CHECK: memref.store %[[ZERO]], %[[RESULT]]
// CHECK: return
func.func @gate(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x3xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x3xf32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x64xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x3xi32> to tensor<?x3xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x3xf32> to tensor<?x3xf32>
  %r = mohd.make_routing %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> !mohd.routing<4, 1, 2>
  %y = mohd.gate %x, %r : tensor<?x64xf32>, !mohd.routing<4, 1, 2>
  bufferization.materialize_in_destination %y in restrict writable %3 : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}
