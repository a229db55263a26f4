// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-pipeline-lower | FileCheck %s

// Everything a kernel may be written in becomes llvm; programs stay, and what the kernel calls is only malloc and free.
// CHECK-NOT: llvm.func @{{exp|sin|cos|fma|__}}
// CHECK-DAG: llvm.func @malloc(i64) -> !llvm.ptr
// CHECK-DAG: llvm.func @free(!llvm.ptr)
// CHECK: llvm.func @kernel(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64)
// CHECK-NOT: llvm.func @
// CHECK: mohd.program @main
func.func @kernel(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %x = tile.binding %bindings[0] (%tokens) : memref<?x16xbf16>
  %y = tile.binding %bindings[1] (%tokens) : memref<?x16xf32>
  %first = arith.index_cast %begin : i64 to index
  %last = arith.index_cast %end : i64 to index
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %eight = arith.constant 8 : index
  %sixteen = arith.constant 16 : index
  %scratch = memref.alloc(%tokens) : memref<?xf32>
  scf.for %t = %first to %last step %one {
    scf.for %i = %zero to %sixteen step %eight {
      %narrow = vector.load %x[%t, %i] : memref<?x16xbf16>, vector<8xbf16>
      %wide = arith.extf %narrow : vector<8xbf16> to vector<8xf32>
      %exp = math.exp %wide : vector<8xf32>
      %fma = vector.fma %exp, %wide, %wide : vector<8xf32>
      vector.store %fma, %y[%t, %i] : memref<?x16xf32>, vector<8xf32>
      %sum = vector.reduction <add>, %fma : vector<8xf32> into f32
      %scaled = math.rsqrt %sum : f32
      %sine = math.sin %scaled : f32
      memref.store %sine, %scratch[%t] : memref<?xf32>
    }
    %view = memref.subview %scratch[%t] [1] [1] : memref<?xf32> to memref<1xf32, strided<[1], offset: ?>>
    %row = memref.subview %y[%t, 0] [1, 1] [1, 1] : memref<?x16xf32> to memref<1xf32, strided<[1], offset: ?>>
    memref.copy %view, %row : memref<1xf32, strided<[1], offset: ?>> to memref<1xf32, strided<[1], offset: ?>>
  }
  memref.dealloc %scratch : memref<?xf32>
  return
}

mohd.program @main interface {dims = ["T"], inputs = [], outputs = []} workspace "0" {
  mohd.dispatch @kernel grid "T" params ["T"] bindings []
}
