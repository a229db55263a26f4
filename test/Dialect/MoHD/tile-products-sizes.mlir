// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-tile-products="lanes=16 registers=32 l2-bytes=1048576" | FileCheck %s --check-prefixes=CHECK,WIDE
// RUN: mohd-opt %s --mohd-tile-products="lanes=8 registers=16 l2-bytes=1048576" | FileCheck %s --check-prefixes=CHECK,MIDDLE
// RUN: mohd-opt %s --mohd-tile-products="lanes=4 registers=16 l2-bytes=1048576" | FileCheck %s --check-prefixes=CHECK,SHORT
// RUN: mohd-opt %s --mohd-tile-products="lanes=4 registers=32 l2-bytes=1048576" | FileCheck %s --check-prefixes=CHECK,ARM
// RUN: mohd-opt %s --mohd-tile-products="lanes=8 registers=16 l2-bytes=65536" | FileCheck %s --check-prefixes=CHECK,SMALL
// RUN: mohd-opt %s --mohd-tile-products="lanes=8 registers=1 l2-bytes=1" | FileCheck %s --check-prefixes=CHECK,LEAST
// RUN: mohd-opt %s --mohd-tile-products="lanes=16 registers=32 l2-bytes=1048576 remarks=true" 2>&1 >/dev/null | FileCheck %s --check-prefix=REMARK
// RUN: not mohd-opt %s --mohd-tile-products="lanes=0" 2>&1 | FileCheck %s --check-prefix=LANES
// RUN: not mohd-opt %s --mohd-tile-products="registers=-1 l2-bytes=0" 2>&1 | FileCheck %s --check-prefix=NEGATIVE

// LANES: error: expects positive lanes, registers and l2-bytes of a target, got 0, 16 and 262144
// NEGATIVE: error: expects positive lanes, registers and l2-bytes of a target, got 8, -1 and 0

// Registers hold a tile's sums, a vector of weights for each of its columns, and one factor. A panel has 16 columns on every target, so that a bundle has its
// weights once; a block's tokens, 64 columns of them, fit half the cache many times.
// CHECK-LABEL: func.func @sizes(
// CHECK:         mohd.pack_weight %{{.*}} -> tensor<1x6x64x16xf32>
// WIDE:          mohd.tiled_spmm {{.*}} block 266 few 0 rows 14 panels 2 :
// MIDDLE:        mohd.tiled_spmm {{.*}} block 258 few 0 rows 6 panels 1 :
// SHORT:         mohd.tiled_spmm {{.*}} block 256 few 0 rows 2 panels 1 :
// ARM:           mohd.tiled_spmm {{.*}} block 258 few 0 rows 6 panels 1 :
// SMALL:         mohd.tiled_spmm {{.*}} block 132 few 0 rows 6 panels 1 :
// LEAST:         mohd.tiled_spmm {{.*}} block 4 few 0 rows 1 panels 1 :
// REMARK: tile-products-sizes.mlir:[[#@LINE+2]]:{{.*}} remark: tiles: mohd.linear by tiles of 14 tokens and 2 panels, in blocks of 266 tokens
func.func @sizes(%x: tensor<?x64xf32>, %w: tensor<64x96xf32>) -> tensor<?x96xf32> {
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// Five panels: the last tile of a contraction's result reads a panel twice, but tiles of a group's own columns are whole.
// CHECK-LABEL: func.func @odd_number_of_panels(
// WIDE:          mohd.tiled_spmm {{.*}} rows 14 panels 2 :
// WIDE:          mohd.tiled_sddmm {{.*}} rows 14 panels 1 depth
// WIDE:          mohd.tiled_sddmm {{.*}} rows 14 panels 2 depth
// MIDDLE:        mohd.tiled_sddmm {{.*}} rows 6 panels 1 depth
// MIDDLE:        mohd.tiled_sddmm {{.*}} rows 6 panels 1 depth
func.func @odd_number_of_panels(%x: tensor<?x8xf32>, %r: !mohd.routing<4, 1, 2>, %w: tensor<4x2x80xf32>, %v: tensor<4x80x80xf32>,
                                %u: tensor<4x80x64xf32>) -> (tensor<?x320xf32>, tensor<?x256xf32>) {
  %y = mohd.spmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x8xf32>, !mohd.routing<4, 1, 2>, tensor<4x2x80xf32>
  %z = mohd.sddmm %y, %r, %v plan <gather to 24, grouped> : tensor<?x80xf32>, !mohd.routing<4, 1, 2>, tensor<4x80x80xf32>
  %t = mohd.sddmm %y, %r, %u plan <gather to 24, grouped> : tensor<?x80xf32>, !mohd.routing<4, 1, 2>, tensor<4x80x64xf32>
  return %z, %t : tensor<?x320xf32>, tensor<?x256xf32>
}

// A panel of 4 columns is one vector whatever the lanes: of 4.
// CHECK-LABEL: func.func @narrow_panel(
// WIDE:          mohd.tiled_sddmm {{.*}} rows 14 panels 1 depth
// MIDDLE:        mohd.tiled_sddmm {{.*}} rows 14 panels 1 depth
// SHORT:         mohd.tiled_sddmm {{.*}} rows 14 panels 1 depth
func.func @narrow_panel(%x: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x96x4xf32>) -> tensor<?x64xf32> {
  %y = mohd.sddmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf32>
  return %y : tensor<?x64xf32>
}

// The columns of a contraction that are taken at a time fit half the cache with a block's tokens, but are at least 256.
// CHECK-LABEL: func.func @depth(
// WIDE:          mohd.tiled_sddmm {{.*}} block 140 few 24 rows 14 panels 1 depth 936 :
// MIDDLE:        mohd.tiled_sddmm {{.*}} block 132 few 24 rows 6 panels 1 depth 992 :
// SMALL:         mohd.tiled_sddmm {{.*}} block 24 few 24 rows 6 panels 1 depth 341 :
// LEAST:         mohd.tiled_sddmm {{.*}} block 4 few 24 rows 1 panels 1 depth 256 :
func.func @depth(%x: tensor<?x4096xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4096x16xf32>) -> tensor<?x256xf32> {
  %y = mohd.sddmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x4096xf32>, !mohd.routing<16, 6, 2>, tensor<16x4096x16xf32>
  return %y : tensor<?x256xf32>
}

// Nothing to multiply, or nowhere to put it.
// CHECK-LABEL: func.func @empty(
// CHECK:         mohd.tiled_spmm {{.*}} : tensor<?x0xf32>, tensor<1x6x0x16xf32> -> tensor<?x96xf32>
// CHECK:         mohd.tiled_spmm {{.*}} : tensor<?x96xf32>, tensor<1x0x96x1xf32> -> tensor<?x0xf32>
func.func @empty(%x: tensor<?x0xf32>, %w: tensor<0x96xf32>, %v: tensor<96x0xf32>) -> tensor<?x0xf32> {
  %y = mohd.linear %x, %w : tensor<?x0xf32>, tensor<0x96xf32> -> tensor<?x96xf32>
  %z = mohd.linear %y, %v : tensor<?x96xf32>, tensor<96x0xf32> -> tensor<?x0xf32>
  return %z : tensor<?x0xf32>
}

// A contraction of nothing has a step all the same: what clears the result.
// CHECK-LABEL: func.func @empty_contraction(
// CHECK:         mohd.tiled_sddmm {{.*}} depth 1 : tensor<?x0xf32>, tensor<4x1x0x2xf32> table {{.*}} -> tensor<?x8xf32>
// CHECK:         mohd.tiled_sddmm {{.*}} depth 1 local : tensor<?x0xf32>, tensor<4x1x0x2xf32> -> tensor<?x8xf32>
func.func @empty_contraction(%x: tensor<?x0xf32>, %r: !mohd.routing<4, 1, 2>, %w: tensor<4x0x2xf32>, %right: tensor<4x2x0xf32>, %left: tensor<2x4x4xf32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %y = mohd.sddmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x0xf32>, !mohd.routing<4, 1, 2>, tensor<4x0x2xf32>
  %z = mohd.group_fusion %x kind monarch right(%right) left(%left) : tensor<?x0xf32> right tensor<4x2x0xf32> left tensor<2x4x4xf32>
  return %y, %z : tensor<?x8xf32>, tensor<?x8xf32>
}
