// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_80 --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-outline-dispatches=lanes=16 | FileCheck %s --check-prefix=CPU

// A cache of zeros, to which keys' gradients are added in place, is the output; that of the values is an input that is updated. A warp for each token and head, or row and key head.
// CHECK-LABEL: mohd.program @gradients
// CHECK-SAME:  inputs = [{{.*}}mutable = true, name = "dv"{{.*}}outputs = [{{.*}}name = "dk"{{.*}}name = "rows"
// CHECK: mohd.dispatch @attention_gradient_0 grid "ceildiv(T*4,4)"
// CHECK: mohd.dispatch @zero_cache_0 grid "min(4096,ceildiv(2*d1*d2*64,1024))" {{.*}}#mohd.binding<output 0, "0", "d1*d2*512">
// CHECK: mohd.dispatch @attention_cache_gradient_0 grid "ceildiv(d1*d2*2,4)" {{.*}}[#mohd.binding<output 0, "d1*d2*256", "d1*d2*256">
// CHECK: mohd.dispatch @attention_cache_gradient_1 grid "ceildiv(d1*d2*2,4)" {{.*}}[#mohd.binding<input 3, "d1*d2*256", "d1*d2*256">
// CHECK: mohd.dispatch @kv_cache_append_gradient_0 grid "ceildiv(T*16,256)" {{.*}}[#mohd.binding<output 0, "d1*d2*256", "d1*d2*256">
// CHECK-LABEL: llvm.func @attention_cache_gradient_0(
// CHECK: tile.ballot
// CHECK: scf.while
// CHECK: tile.exp2
// CPU-LABEL: mohd.program @gradients
// CPU: mohd.dispatch @attention_gradient_0 grid "ceildiv(T,1)*4"
// CPU: mohd.dispatch @zero_cache_0 grid "64"
// CPU: mohd.dispatch @attention_cache_gradient_0 grid "ceildiv(T,16)*2"
// CPU: mohd.dispatch @kv_cache_append_gradient_0 grid "ceildiv(T,8)*1"
func.func @gradients(%q: tensor<?x128xf32>, %keys: tensor<2x?x?x64xf32>, %dy: tensor<?x128xf32>, %dv: tensor<2x?x?x64xf32> {mohd.name = "dv"},
                     %position: tensor<?xi32>, %sequence: tensor<?xi32>)
    -> (tensor<2x?x?x64xf32> {mohd.name = "dk"}, tensor<?x64xf32> {mohd.name = "rows"}, tensor<2x?x?x64xf32>) {
  %dq, %s = mohd.attention_gradient %q, %keys, %keys, %dy, %position in %sequence layer 1 head_dim 32
    : tensor<?x128xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x12xf32>
  %z = mohd.zero_cache %keys : tensor<2x?x?x64xf32>
  %dk = mohd.attention_cache_gradient %z, %q, %keys, %keys, %dy, %s, %position in %sequence layer 1 head_dim 32
    : tensor<2x?x?x64xf32>, tensor<?x128xf32>, tensor<?x12xf32>, tensor<?xi32>, tensor<?xi32>
  %dv1 = mohd.attention_cache_gradient %dv, %q, %keys, %keys, %dy, %s, %position in %sequence layer 1 head_dim 32 of_values
    : tensor<2x?x?x64xf32>, tensor<?x128xf32>, tensor<?x12xf32>, tensor<?xi32>, tensor<?xi32>
  %rest, %rows = mohd.kv_cache_append_gradient %dk, %position in %sequence layer 1 : tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x64xf32>
  return %rest, %rows, %dv1 : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<2x?x?x64xf32>
}
