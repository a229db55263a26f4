// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_90a --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_80 --cse | FileCheck %s --check-prefix=SM80

// A few tokens: a block for each, four heads of a key head and one of 32 parts of the cache, and one that adds them up in the workspace. More: tiles of 128 tokens of a head with wgmma, or of 64 with mma; those of many sequences by
// blocks that go round.
// CHECK-LABEL: mohd.program @grouped
// CHECK-SAME: workspace "2129920"
// CHECK: mohd.dispatch @attention_0_rows grid "min(1,16/max(1,T))*T*64" {{.*}}, #mohd.binding<workspace 0, "0", "2129920">]
// CHECK: mohd.dispatch @attention_0_combine grid "min(1,16/max(1,T))*T*8"
// CHECK: mohd.dispatch @attention_0_wgmma grid "(1-min(1,16/max(1,T)))*ceildiv(T,128)*8"
// CHECK: mohd.dispatch @attention_0_mixed grid "(1-min(1,16/max(1,T)))*min(2048,ceildiv(T,8)*8)"
// SM80-LABEL: mohd.program @grouped
// SM80: mohd.dispatch @attention_0_tiles grid "(1-min(1,16/max(1,T)))*ceildiv(T,64)*8"
func.func @grouped(%q: tensor<?x1024xf32>, %k: tensor<2x?x?x256xbf16> {mohd.dims = ["B", "S"]}, %v: tensor<2x?x?x256xbf16> {mohd.dims = ["B", "S"]},
                   %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x1024xf32> {
  %y = mohd.attention %q, %k, %v, %p in %s layer 1 head_dim 128
     : tensor<?x1024xf32>, tensor<2x?x?x256xbf16>, tensor<2x?x?x256xbf16>, tensor<?xi32>, tensor<?xi32>
  return %y : tensor<?x1024xf32>
}

// Heads whose width is no multiple of 16 have the first kernel only, in two sizes of blocks.
// CHECK-LABEL: mohd.program @narrow
// CHECK: mohd.dispatch @attention_1_rows grid "min(1,16/max(1,T))*T*96"
// CHECK: mohd.dispatch @attention_1_combine grid "min(1,16/max(1,T))*T*3"
// CHECK: mohd.dispatch @attention_1_many grid "(1-min(1,16/max(1,T)))*T*3"
func.func @narrow(%q: tensor<?x24xf32>, %k: tensor<1x?x?x24xf32> {mohd.dims = ["B", "S"]}, %v: tensor<1x?x?x24xf32> {mohd.dims = ["B", "S"]},
                  %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x24xf32> {
  %y = mohd.attention %q, %k, %v, %p in %s layer 0 head_dim 8
     : tensor<?x24xf32>, tensor<1x?x?x24xf32>, tensor<1x?x?x24xf32>, tensor<?xi32>, tensor<?xi32>
  return %y : tensor<?x24xf32>
}

// CHECK-LABEL: llvm.func @attention_0_rows(
// CHECK-NOT: mohd.instructions
// CHECK-SAME: tile.threads = 256
// CHECK: tile.shuffle bfly
// CHECK-LABEL: llvm.func @attention_0_wgmma(
// CHECK-SAME: mohd.instructions = ["wgmma.mma_async"]
// CHECK-SAME: tile.threads = 384
// CHECK: tile.set_max_registers 200 increase
// CHECK: tile.mbarrier_wait
// CHECK: tile.wgmma bf16 {{.*}} : i64
// CHECK: tile.wgmma bf16 {{.*}} transposed, {{.*}} : vector<4xi32>
// CHECK: tile.set_max_registers 104
// CHECK: tile.fence proxy_async
// CHECK: tile.mbarrier_arrive
// SM80-LABEL: llvm.func @attention_0_tiles(
// SM80-SAME: mohd.instructions = ["cp.async.cg", "ldmatrix", "mma.sync"]
// SM80: tile.copy_async
// SM80: tile.load_matrix
// SM80: tile.mma bf16
// SM80: tile.load_matrix {{.*}} transposed
// SM80: tile.mma bf16
