// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --split-input-file --verify-diagnostics

func.func @norm_route_c1_centroids(%x: tensor<?x64xf32>, %w: tensor<64xf32>, %phi: tensor<8x64xf32>) {
  // expected-error@+1 {{expects 'centroids' of shape [16, 64], got [8, 64]}}
  %r, %s = mohd.norm_route %x, %w, %phi epsilon 1.0e-05 gate softmax score softmax_all scaling none : tensor<?x64xf32>, tensor<64xf32>, tensor<8x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  return
}

// -----

func.func @norm_route_c1_norm(%x: tensor<?x64xf32>, %w: tensor<32xf32>, %phi: tensor<16x64xf32>) {
  // expected-error@+1 {{expects 'norm' of width 64, got 32}}
  %r, %s = mohd.norm_route %x, %w, %phi epsilon 1.0e-05 gate softmax score softmax_all scaling none : tensor<?x64xf32>, tensor<32xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  return
}

// -----

func.func @norm_route_c2(%x: tensor<?x64xf32>, %w: tensor<64xf32>, %phi: tensor<16x64xf32>) {
  // expected-error@+1 {{expects 'scores' of width 16, got 8}}
  %r, %s = mohd.norm_route %x, %w, %phi epsilon 1.0e-05 gate softmax score softmax_all scaling none : tensor<?x64xf32>, tensor<64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x8xf32>
  return
}

// -----

func.func @bucket_order_c1(%r: !mohd.routing<40, 6, 2>) {
  // expected-error@+1 {{expects 'masks' of 2 columns, got 1}}
  %order, %masks = mohd.bucket_order %r rows 64 : !mohd.routing<40, 6, 2> -> tensor<?xi32>, tensor<?x1xi32>
  return
}

// -----

func.func @bucket_order_c2_rows(%r: !mohd.routing<16, 6, 2>) {
  // expected-error@+1 {{expects 'rows' to be a power of two in 16..256, got 48}}
  %order, %masks = mohd.bucket_order %r rows 48 : !mohd.routing<16, 6, 2> -> tensor<?xi32>, tensor<?x1xi32>
  return
}

// -----

func.func @bucket_order_c2_groups(%r: !mohd.routing<16, 6, 0>) {
  // expected-error@+1 {{expects a routing of which tokens have different groups, got '!mohd.routing<16, 6, 0>'}}
  %order, %masks = mohd.bucket_order %r rows 64 : !mohd.routing<16, 6, 0> -> tensor<?xi32>, tensor<?x1xi32>
  return
}

// -----

func.func @bucket_tokens_c1_norm(%x: tensor<?x64xf32>, %w: tensor<32xf32>) {
  // expected-error@+1 {{expects 'norm' of width 64, got 32}}
  %a = mohd.bucket_tokens %x norm(%w) epsilon 1.0e-05 : tensor<?x64xf32> norm tensor<32xf32> -> tensor<?x64xbf16>
  return
}

// -----

func.func @bucket_tokens_c1_result(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{expects 'result' of width 64, got 32}}
  %a = mohd.bucket_tokens %x epsilon 0.0 : tensor<?x64xf32> -> tensor<?x32xbf16>
  return
}

// -----

func.func @bucket_tokens_c2(%x: tensor<?x60xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error@+1 {{expects the width of 'input' to be a multiple of 16 groups, got 60}}
  %a = mohd.bucket_tokens %x routing(%r) epsilon 0.0 : tensor<?x60xf32> routing !mohd.routing<16, 6, 2> -> tensor<?x60xbf16>
  return
}

// -----

func.func @bucket_tokens_c3(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{expects 'ungated' with 'routing' only, got it without}}
  %a = mohd.bucket_tokens %x epsilon 0.0 ungated : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_spmm_c1(%a: tensor<?x64xbf16>, %w: tensor<96x16x8xbf16>) {
  // expected-error@+1 {{expects a 'weight' [96, groups, 64 / groups], got [96, 16, 8]}}
  %y = mohd.bucket_spmm %a, %w common 16 rows 64 : tensor<?x64xbf16>, tensor<96x16x8xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_spmm_c2(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xbf16>, %m: tensor<?x2xi32>) {
  // expected-error@+1 {{expects 'masks' of 1 columns, got 2}}
  %y = mohd.bucket_spmm %a, %w masks(%m) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> masks tensor<?x2xi32> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_spmm_c3_both(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xbf16>, %g: tensor<?x96xf32>) {
  // expected-error@+1 {{expects 'gate' without 'residual' and 'order', got both}}
  %y = mohd.bucket_spmm %a, %w gate(%g) residual(%g) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> gate tensor<?x96xf32> residual tensor<?x96xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_spmm_c3_gate(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xbf16>, %g: tensor<?x48xf32>) {
  // expected-error@+1 {{expects 'gate' of the result's shape, got 'tensor<?x48xf32>'}}
  %y = mohd.bucket_spmm %a, %w gate(%g) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> gate tensor<?x48xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_spmm_c3_residual(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xbf16>, %g: tensor<?x96xbf16>) {
  // expected-error@+1 {{expects 'residual' of the result's type 'tensor<?x96xf32>', got 'tensor<?x96xbf16>'}}
  %y = mohd.bucket_spmm %a, %w residual(%g) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> residual tensor<?x96xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_spmm_c4_common(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xbf16>) {
  // expected-error@+1 {{expects 'common' in 0..16, got 17}}
  %y = mohd.bucket_spmm %a, %w common 17 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_spmm_c4_rows(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xbf16>) {
  // expected-error@+1 {{expects 'rows' to be a power of two in 16..256, got 8}}
  %y = mohd.bucket_spmm %a, %w common 6 rows 8 : tensor<?x64xbf16>, tensor<96x16x4xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_spmm_c5_missing(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xi8>) {
  // expected-error@+1 {{expects 'scales' exactly for a weight of i8, got none for one of 'i8'}}
  %y = mohd.bucket_spmm %a, %w common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xi8> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_spmm_c5_shape(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xi8>, %s: tensor<96x16xf32>) {
  // expected-error@+1 {{expects 'scales' of shape [16, 96], got [96, 16]}}
  %y = mohd.bucket_spmm %a, %w scales(%s) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xi8> scales tensor<96x16xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @bucket_sddmm_c1(%z: tensor<?x96xbf16>, %w: tensor<16x8x96xbf16>, %r: !mohd.routing<16, 6, 0>) {
  // expected-error@+1 {{expects a 'weight' [16, 64 / 16, 96], got [16, 8, 96]}}
  %o = mohd.bucket_sddmm %z, %w routing(%r) rows 64 : tensor<?x96xbf16>, tensor<16x8x96xbf16> routing !mohd.routing<16, 6, 0> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_sddmm_c2(%z: tensor<?x96xbf16>, %w: tensor<16x4x96xbf16>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error@+1 {{expects 'order' and 'masks' exactly with a routing of which tokens have different groups, got '!mohd.routing<16, 6, 2>'}}
  %o = mohd.bucket_sddmm %z, %w routing(%r) rows 64 : tensor<?x96xbf16>, tensor<16x4x96xbf16> routing !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_sddmm_c3_scatters(%z: tensor<?x96xbf16>, %w: tensor<16x4x96xbf16>, %r: !mohd.routing<16, 6, 0>) {
  // expected-error@+1 {{expects 'scatters' with 'order' only, got it without}}
  %o = mohd.bucket_sddmm %z, %w routing(%r) rows 64 scatters : tensor<?x96xbf16>, tensor<16x4x96xbf16> routing !mohd.routing<16, 6, 0> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_sddmm_c3_residual(%z: tensor<?x96xbf16>, %w: tensor<16x4x96xbf16>, %r: !mohd.routing<16, 6, 2>, %order: tensor<?xi32>, %m: tensor<?x1xi32>, %x: tensor<?x64xf32>) {
  // expected-error@+1 {{expects 'residual' with 'order' only if it scatters}}
  %o = mohd.bucket_sddmm %z, %w routing(%r) order(%order) masks(%m) residual(%x) rows 64 : tensor<?x96xbf16>, tensor<16x4x96xbf16> routing !mohd.routing<16, 6, 2> order tensor<?xi32> masks tensor<?x1xi32> residual tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_sddmm_c4(%z: tensor<?x96xbf16>, %w: tensor<16x4x96xbf16>, %r: !mohd.routing<16, 6, 0>) {
  // expected-error@+1 {{expects 'rows' to be a power of two in 16..256, got 512}}
  %o = mohd.bucket_sddmm %z, %w routing(%r) rows 512 : tensor<?x96xbf16>, tensor<16x4x96xbf16> routing !mohd.routing<16, 6, 0> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_sddmm_c5_unwanted(%z: tensor<?x96xbf16>, %w: tensor<16x4x96xbf16>, %r: !mohd.routing<16, 6, 0>, %s: tensor<16x4xf32>) {
  // expected-error@+1 {{expects 'scales' exactly for a weight of i8, got some for one of 'bf16'}}
  %o = mohd.bucket_sddmm %z, %w scales(%s) routing(%r) rows 64 : tensor<?x96xbf16>, tensor<16x4x96xbf16> scales tensor<16x4xf32> routing !mohd.routing<16, 6, 0> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_sddmm_c5_shape(%z: tensor<?x96xbf16>, %w: tensor<16x4x96xi8>, %r: !mohd.routing<16, 6, 0>, %s: tensor<1x64xf32>) {
  // expected-error@+1 {{expects 'scales' of shape [16, 4], got [1, 64]}}
  %o = mohd.bucket_sddmm %z, %w scales(%s) routing(%r) rows 64 : tensor<?x96xbf16>, tensor<16x4x96xi8> scales tensor<1x64xf32> routing !mohd.routing<16, 6, 0> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_weight_gradient_c1(%h: tensor<?x64xbf16>, %d: tensor<?x96xbf16>) {
  // expected-error@+1 {{expects 'grouped' to have 16 x 5 columns, got 64}}
  %w = mohd.bucket_weight_gradient %h, %d common 6 rows 64 : tensor<?x64xbf16>, tensor<?x96xbf16> -> tensor<16x5x96xbf16>
  return
}

// -----

func.func @bucket_weight_gradient_c2(%h: tensor<?x64xbf16>, %d: tensor<?x96xbf16>, %m: tensor<?x2xi32>) {
  // expected-error@+1 {{expects 'masks' of 1 columns, got 2}}
  %w = mohd.bucket_weight_gradient %h, %d masks(%m) common 6 rows 64 : tensor<?x64xbf16>, tensor<?x96xbf16> masks tensor<?x2xi32> -> tensor<16x4x96xbf16>
  return
}

// -----

func.func @bucket_weight_gradient_c3_common(%h: tensor<?x64xbf16>, %d: tensor<?x96xbf16>) {
  // expected-error@+1 {{expects 'common' in 0..16, got 17}}
  %w = mohd.bucket_weight_gradient %h, %d common 17 rows 64 : tensor<?x64xbf16>, tensor<?x96xbf16> -> tensor<16x4x96xbf16>
  return
}

// -----

func.func @bucket_weight_gradient_c3_rows(%h: tensor<?x64xbf16>, %d: tensor<?x96xbf16>) {
  // expected-error@+1 {{expects 'rows' to be a power of two in 32..256, got 16}}
  %w = mohd.bucket_weight_gradient %h, %d common 6 rows 16 : tensor<?x64xbf16>, tensor<?x96xbf16> -> tensor<16x4x96xbf16>
  return
}

// -----

func.func @bucket_fusion_c1(%o: tensor<?x64xbf16>, %right: tensor<16x4x4xbf16>, %left: tensor<4x16x8xbf16>) {
  // expected-error@+1 {{expects 'right' [k, q, p] and 'left' [l, s, r] with k*p = 64, l*r = k*q and l*s = 64, got [16, 4, 4] and [4, 16, 8]}}
  %y = mohd.bucket_fusion %o, %right, %left common 16 rows 64 : tensor<?x64xbf16>, tensor<16x4x4xbf16>, tensor<4x16x8xbf16> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_fusion_c2(%o: tensor<?x64xbf16>, %right: tensor<16x4x4xbf16>, %left: tensor<4x16x16xbf16>, %m: tensor<?x2xi32>) {
  // expected-error@+1 {{expects 'masks' of 1 columns, got 2}}
  %y = mohd.bucket_fusion %o, %right, %left masks(%m) common 6 rows 64 : tensor<?x64xbf16>, tensor<16x4x4xbf16>, tensor<4x16x16xbf16> masks tensor<?x2xi32> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_fusion_c3(%o: tensor<?x64xbf16>, %right: tensor<16x4x4xbf16>, %left: tensor<4x16x16xbf16>) {
  // expected-error@+1 {{expects 'residual' of the result's type 'tensor<?x64xf32>', got 'tensor<?x64xbf16>'}}
  %y = mohd.bucket_fusion %o, %right, %left residual(%o) common 16 rows 64 : tensor<?x64xbf16>, tensor<16x4x4xbf16>, tensor<4x16x16xbf16> residual tensor<?x64xbf16> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_fusion_c4_common(%o: tensor<?x64xbf16>, %right: tensor<16x4x4xbf16>, %left: tensor<4x16x16xbf16>) {
  // expected-error@+1 {{expects 'common' in 0..16, got -1}}
  %y = mohd.bucket_fusion %o, %right, %left common -1 rows 64 : tensor<?x64xbf16>, tensor<16x4x4xbf16>, tensor<4x16x16xbf16> -> tensor<?x64xf32>
  return
}

// -----

func.func @bucket_fusion_c4_rows(%o: tensor<?x64xbf16>, %right: tensor<16x4x4xbf16>, %left: tensor<4x16x16xbf16>) {
  // expected-error@+1 {{expects 'rows' to be a power of two in 16..256, got 24}}
  %y = mohd.bucket_fusion %o, %right, %left common 16 rows 24 : tensor<?x64xbf16>, tensor<16x4x4xbf16>, tensor<4x16x16xbf16> -> tensor<?x64xf32>
  return
}

// -----

func.func @transpose_weight_c1(%w: tensor<16x4x96xbf16>) {
  // expected-error@+1 {{expects 'permutation' to hold each of 0..2 once, got [2, 0, 0]}}
  %t = mohd.transpose_weight %w permutation [2, 0, 0] : tensor<16x4x96xbf16> -> tensor<96x16x4xbf16>
  return
}

// -----

func.func @transpose_weight_c2(%w: tensor<16x4x96xbf16>) {
  // expected-error@+1 {{expects a result of type 'tensor<96x16x4xbf16>', got 'tensor<96x4x16xbf16>'}}
  %t = mohd.transpose_weight %w permutation [2, 0, 1] : tensor<16x4x96xbf16> -> tensor<96x4x16xbf16>
  return
}
