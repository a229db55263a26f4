// RUN: mohd-opt %s --mohd-outline-dispatches | FileCheck %s

// Two ops become two dispatches; the value between them is in the workspace. Widths of 16 floats are 64 bytes a token.

// CHECK:       mohd.program @ffn interface
// CHECK-SAME:    dims = ["T"]
// CHECK-SAME:    name = "x", shape = ["T", "16"]
// CHECK-SAME:    workspace "T*64"
// CHECK:         mohd.dispatch @silu_0
// CHECK-SAME:      params ["T"] bindings [#mohd.binding<input 0, "0", "T*64">, #mohd.binding<workspace 0, "0", "T*64">]
// CHECK:         mohd.dispatch @rms_norm_0
// CHECK-SAME:      [#mohd.binding<workspace 0, "0", "T*64">, #mohd.binding<weight 0, "0", "64">, #mohd.binding<output 0, "0", "T*64">]
// CHECK-LABEL: func.func private @silu_0(
// CHECK-SAME:    %[[BINDINGS:.*]]: !llvm.ptr, %[[PARAMS:.*]]: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64) attributes {mohd.kernel}
// CHECK:         %[[T:.*]] = tile.param %[[PARAMS]][0]
// CHECK:         %[[IN:.*]] = tile.binding %[[BINDINGS]][0] (%[[T]]) : memref<?x16xf32>
// CHECK:         %[[X:.*]] = bufferization.to_tensor %[[IN]] restrict
// CHECK:         %[[Y:.*]] = mohd.silu %[[X]]
// CHECK:         %[[OUT:.*]] = tile.binding %[[BINDINGS]][1] (%[[T]]) : memref<?x16xf32>
// CHECK:         bufferization.materialize_in_destination %[[Y]] in restrict writable %[[OUT]]
func.func @ffn(%x: tensor<?x16xf32> {mohd.name = "x", mohd.dims = ["T"]}) -> tensor<?x16xf32> {
  %w = mohd.weight "norm" : tensor<16xf32>
  %a = mohd.silu %x : tensor<?x16xf32>
  %y = mohd.rms_norm %a, %w epsilon 1.0e-05 : tensor<?x16xf32>, tensor<16xf32>
  return %y : tensor<?x16xf32>
}
