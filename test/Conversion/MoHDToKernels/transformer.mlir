// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels=lanes=8 --canonicalize --cse --split-input-file | FileCheck %s

// A row of the table for each id; the last column is done alone. Elements are converted on the way.
// CHECK-LABEL: func.func @embed(
// CHECK: %[[IDS:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[TABLE:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[ID:.*]] = memref.load %[[IDS]][%{{.*}}] : memref<?xi32>
// CHECK: %[[ROW:.*]] = arith.index_cast %[[ID]] : i32 to index
// CHECK: scf.for %[[COLUMN:.*]] = %c0 to %c32 step %c8 {
// CHECK: vector.load %[[TABLE]][%[[ROW]], %[[COLUMN]]] : memref<100x33xf16>, vector<8xf16>
// CHECK: arith.extf
// CHECK: vector.store
// CHECK: vector.load %[[TABLE]][%[[ROW]], %c32] : memref<100x33xf16>, vector<1xf16>
// CHECK: vector.store
func.func @embed(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?xi32>
  %t0 = bufferization.to_tensor %b0 restrict : memref<?xi32> to tensor<?xi32>
  %b1 = tile.binding %bindings[1] : memref<100x33xf16>
  %t1 = bufferization.to_tensor %b1 restrict : memref<100x33xf16> to tensor<100x33xf16>
  %b2 = tile.binding %bindings[2] (%T) : memref<?x33xf32>
  %res = mohd.embed %t0, %t1 : tensor<?xi32>, tensor<100x33xf16> -> tensor<?x33xf32>
  bufferization.materialize_in_destination %res in restrict writable %b2 : (tensor<?x33xf32>, memref<?x33xf32>) -> ()
  return
}

// -----

// The mean square is over the columns of the active groups alone; the whole row is scaled.
// CHECK-LABEL: func.func @rms_norm_of_active_groups(
// CHECK: %[[X:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[INDICES:.*]] = tile.binding %{{.*}}[2]
// CHECK: scf.for %[[SLOT:.*]] = %c0 to %c2 step %c1 iter_args
// CHECK: memref.load %[[INDICES]][%{{.*}}, %[[SLOT]]]
// CHECK: vector.load %[[X]]
// CHECK: scf.yield
// CHECK: %[[MEAN:.*]] = arith.divf %{{.*}}, %{{.*}} : f32
// CHECK: %[[BIASED:.*]] = arith.addf %[[MEAN]]
// CHECK: %[[ROOT:.*]] = math.sqrt %[[BIASED]]
// CHECK: arith.divf %{{.*}}, %[[ROOT]]
// CHECK: scf.for %{{.*}} = %c0 to %c64 step %c8 {
func.func @rms_norm_of_active_groups(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x64xf32>
  %t0 = bufferization.to_tensor %b0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %b1 = tile.binding %bindings[1] : memref<64xf32>
  %t1 = bufferization.to_tensor %b1 restrict : memref<64xf32> to tensor<64xf32>
  %b2 = tile.binding %bindings[2] (%T) : memref<?x2xi32>
  %t2 = bufferization.to_tensor %b2 restrict : memref<?x2xi32> to tensor<?x2xi32>
  %b3 = tile.binding %bindings[3] (%T) : memref<?x2xf32>
  %t3 = bufferization.to_tensor %b3 restrict : memref<?x2xf32> to tensor<?x2xf32>
  %b4 = tile.binding %bindings[4] (%T) : memref<?x64xf32>
  %r = mohd.make_routing %t2, %t3 : tensor<?x2xi32>, tensor<?x2xf32> -> !mohd.routing<4, 1, 1>
  %res = mohd.rms_norm %t0, %t1 routing(%r) epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32> routing !mohd.routing<4, 1, 1>
  bufferization.materialize_in_destination %res in restrict writable %b4 : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}

// -----

// silu(-Inf) is 0, not the NaN of the formula.
// CHECK-LABEL: func.func @swiglu(
// CHECK: %[[MINUS_INF:.*]] = arith.constant dense<0xFF800000> : vector<8xf32>
// CHECK: %[[GATE:.*]] = arith.extf
// CHECK: math.exp
// CHECK: %[[SILU:.*]] = arith.divf %[[GATE]]
// CHECK: %[[IS:.*]] = arith.cmpf oeq, %[[GATE]], %[[MINUS_INF]]
// CHECK: %[[CHOSEN:.*]] = arith.select %[[IS]], %{{.*}}, %[[SILU]]
// CHECK: arith.mulf %[[CHOSEN]]
// CHECK: arith.truncf %{{.*}} : vector<8xf32> to vector<8xf16>
func.func @swiglu(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x16xf16>
  %t0 = bufferization.to_tensor %b0 restrict : memref<?x16xf16> to tensor<?x16xf16>
  %b1 = tile.binding %bindings[1] (%T) : memref<?x16xf16>
  %t1 = bufferization.to_tensor %b1 restrict : memref<?x16xf16> to tensor<?x16xf16>
  %b2 = tile.binding %bindings[2] (%T) : memref<?x16xf16>
  %res = mohd.swiglu %t0, %t1 : tensor<?x16xf16>
  bufferization.materialize_in_destination %res in restrict writable %b2 : (tensor<?x16xf16>, memref<?x16xf16>) -> ()
  return
}

// -----

// A wide row is three tasks, the last one narrower, and tails are done with smaller vectors.
// CHECK-LABEL: func.func @silu_in_parts(
// CHECK: scf.for %[[TASK:.*]] = {{.*}} {
// CHECK: %[[PART:.*]] = arith.remui %[[TASK]], %c3
// CHECK: %[[FIRST:.*]] = arith.muli %[[PART]], %c1384
// CHECK: arith.divui %[[TASK]], %c3
// CHECK: arith.cmpi ult, %[[FIRST]], %c2768
// CHECK: scf.if
// CHECK: scf.for %{{.*}} = %c0 to %c1384 step %c8 {
// CHECK: } else {
// CHECK: scf.for %{{.*}} = %c0 to %c1360 step %c8 {
// CHECK: vector.load {{.*}}, vector<4xf32>
// CHECK: vector.load {{.*}}, vector<1xf32>
// CHECK: return
func.func @silu_in_parts(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x4133xf32>
  %t0 = bufferization.to_tensor %b0 restrict : memref<?x4133xf32> to tensor<?x4133xf32>
  %b1 = tile.binding %bindings[1] (%T) : memref<?x4133xf32>
  %res = mohd.silu %t0 : tensor<?x4133xf32>
  bufferization.materialize_in_destination %res in restrict writable %b1 : (tensor<?x4133xf32>, memref<?x4133xf32>) -> ()
  return
}
