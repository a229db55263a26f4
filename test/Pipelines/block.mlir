// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-pipeline-import --mohd-pipeline-plan --mohd-pipeline-schedule --mohd-pipeline-lower \
// RUN:   | FileCheck %s --implicit-check-not='llvm.func @{{[a-z]+[(]}}'
// RUN: mohd-opt %s --mohd-pipeline-import --mohd-pipeline-plan=reference=true \
// RUN:   --mohd-pipeline-schedule=reference=true --mohd-pipeline-lower \
// RUN:   | FileCheck %s --check-prefixes=CHECK,REFERENCE --implicit-check-not='llvm.func @{{[a-z]+[(]}}'

// A dense block in bf16 goes all the way, fast and by the reference. Kernels (their names have a number) call nothing, but for the buffers
// of the reference.
// REFERENCE-DAG: llvm.func @malloc(
// REFERENCE-DAG: llvm.func @free(
// CHECK: mohd.program @block
// CHECK: llvm.func @embed_0(
// CHECK: llvm.func @rms_norm_0(
// CHECK: llvm.func @rope_0(
// CHECK: llvm.func @kv_cache_append_0(
// CHECK: llvm.func @attention_0(
// CHECK: llvm.func @swiglu_0(
func.func @block(%tokens: tensor<?xi32> {mohd.name = "tokens"}, %position: tensor<?xi32> {mohd.name = "position"},
                 %sequence: tensor<?xi32> {mohd.name = "sequence"}, %k_cache: tensor<2x?x?x32xf32> {mohd.name = "k"},
                 %v_cache: tensor<2x?x?x32xf32> {mohd.name = "v"}) -> (tensor<?x256xf32>) {
  %table = mohd.weight "table" : tensor<256x64xbf16>
  %norm = mohd.weight "norm" : tensor<64xbf16>
  %wq = mohd.weight "q" : tensor<64x64xbf16>
  %wk = mohd.weight "k" : tensor<64x32xbf16>
  %wv = mohd.weight "v" : tensor<64x32xbf16>
  %head = mohd.weight "head" : tensor<64x256xbf16>
  %x = mohd.embed %tokens, %table : tensor<?xi32>, tensor<256x64xbf16> -> tensor<?x64xbf16>
  %n = mohd.rms_norm %x, %norm epsilon 1.0e-05 : tensor<?x64xbf16>, tensor<64xbf16>
  %q = mohd.linear %n, %wq : tensor<?x64xbf16>, tensor<64x64xbf16> -> tensor<?x64xf32>
  %k = mohd.linear %n, %wk : tensor<?x64xbf16>, tensor<64x32xbf16> -> tensor<?x32xf32>
  %v = mohd.linear %n, %wv : tensor<?x64xbf16>, tensor<64x32xbf16> -> tensor<?x32xf32>
  %q1 = mohd.rope %q, %position head_dim 16 theta 1.0e+04 : tensor<?x64xf32>, tensor<?xi32>
  %k1 = mohd.rope %k, %position head_dim 16 theta 1.0e+04 : tensor<?x32xf32>, tensor<?xi32>
  %k2 = mohd.kv_cache_append %k_cache, %k1, %position in %sequence layer 1
    : tensor<2x?x?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>
  %v2 = mohd.kv_cache_append %v_cache, %v, %position in %sequence layer 1
    : tensor<2x?x?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>
  %a = mohd.attention %q1, %k2, %v2, %position in %sequence layer 1 head_dim 16
    : tensor<?x64xf32>, tensor<2x?x?x32xf32>, tensor<2x?x?x32xf32>, tensor<?xi32>, tensor<?xi32>
  %o = mohd.linear %a, %wq : tensor<?x64xf32>, tensor<64x64xbf16> -> tensor<?x64xbf16>
  %y = mohd.add %x, %o : tensor<?x64xbf16>
  %z = mohd.silu %y : tensor<?x64xbf16>
  %s = mohd.swiglu %z, %y : tensor<?x64xbf16>
  %logits = mohd.linear %s, %head : tensor<?x64xbf16>, tensor<64x256xbf16> -> tensor<?x256xf32>
  return %logits : tensor<?x256xf32>
}
