// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-llvm | FileCheck %s

// A parameter is a load of 64 bits, a buffer a load of its pointer and a descriptor.
// CHECK-LABEL: func.func @kernel(
// CHECK-SAME: %[[BINDINGS:.*]]: !llvm.ptr, %[[PARAMS:.*]]: !llvm.ptr
func.func @kernel(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  // CHECK: %[[PARAM:.*]] = llvm.getelementptr %[[PARAMS]][1] : (!llvm.ptr) -> !llvm.ptr, i64
  // CHECK: %[[TOKENS:.*]] = llvm.load %[[PARAM]] : !llvm.ptr -> i64
  %tokens = tile.param %params[1]
  // CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[BINDINGS]][2] : (!llvm.ptr) -> !llvm.ptr, i64
  // CHECK: %[[DATA:.*]] = llvm.load %[[PLACE]] : !llvm.ptr -> !llvm.ptr
  // CHECK: llvm.insertvalue %[[DATA]], %{{.*}}[0]
  // CHECK: llvm.insertvalue %[[DATA]], %{{.*}}[1]
  // CHECK: llvm.insertvalue %[[TOKENS]], %{{.*}}[3, 0]
  // CHECK: %[[BUFFER:.*]] = builtin.unrealized_conversion_cast {{.*}} to memref<?x64xf32>
  %buffer = tile.binding %bindings[2] (%tokens) : memref<?x64xf32>
  %zero = arith.constant 0 : index
  %value = arith.constant 1.0 : f32
  // CHECK: memref.store %{{.*}}, %[[BUFFER]]
  memref.store %value, %buffer[%zero, %zero] : memref<?x64xf32>
  return
}
