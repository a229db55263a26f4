// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-llvm --split-input-file | FileCheck %s

// Static buffers need no sizes; a rank-0 buffer has a descriptor without any.
// CHECK-LABEL: func.func @static_buffers(
// CHECK-SAME: %[[BINDINGS:.*]]: !llvm.ptr
func.func @static_buffers(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) -> (memref<4x8xbf16>, memref<f32>) {
  // CHECK: llvm.load %{{.*}} : !llvm.ptr -> !llvm.ptr
  // CHECK: llvm.mlir.{{undef|poison}} : !llvm.struct<(ptr, ptr, i64, array<2 x i64>, array<2 x i64>)>
  %matrix = tile.binding %bindings[0] : memref<4x8xbf16>
  // CHECK: llvm.load %{{.*}} : !llvm.ptr -> !llvm.ptr
  // CHECK: llvm.mlir.{{undef|poison}} : !llvm.struct<(ptr, ptr, i64)>
  %scalar = tile.binding %bindings[1] : memref<f32>
  return %matrix, %scalar : memref<4x8xbf16>, memref<f32>
}

// -----

// Strides of a cache: the product of the inner dimensions, some of them known only at run time.
// CHECK-LABEL: func.func @cache(
func.func @cache(%bindings: !llvm.ptr, %sequences: index, %positions: index) -> memref<1x?x?x64xf32> {
  // CHECK: %[[WIDTH:.*]] = llvm.mlir.constant(64 : index)
  // CHECK: %[[SEQUENCE:.*]] = llvm.mul %{{.*}}, %{{.*}} : i64
  // CHECK: llvm.insertvalue %[[SEQUENCE]], %{{.*}}[4, 1]
  // CHECK: llvm.insertvalue %{{.*}}, %{{.*}}[4, 2]
  %cache = tile.binding %bindings[0] (%sequences, %positions) : memref<1x?x?x64xf32>
  return %cache : memref<1x?x?x64xf32>
}
