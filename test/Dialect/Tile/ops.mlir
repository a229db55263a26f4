// RUN: mohd-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: @kernel(
// CHECK: %[[TOKENS:.*]] = tile.param %{{.*}}[0]
// CHECK: tile.binding %{{.*}}[0] (%[[TOKENS]]) : memref<?x64xf32>
// CHECK: tile.binding %{{.*}}[1] : memref<64xf32>
func.func @kernel(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %x = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %w = tile.binding %bindings[1] : memref<64xf32>
  return
}
