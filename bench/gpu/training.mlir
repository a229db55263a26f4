// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A routed FFN of mohd-1130m-50 in bf16 with its backward function, for bench/gpu/figures.
func.func @ffn(%x: tensor<?x2048xbf16>, %norm: tensor<2048xbf16>, %phi: tensor<16x2048xbf16>, %gate: tensor<4096x16x128xbf16>,
               %up: tensor<4096x16x128xbf16>, %down: tensor<16x128x4096xbf16>, %right: tensor<16x128x128xbf16>, %left: tensor<128x16x16xbf16>)
    -> (tensor<?x2048xbf16> {mohd.name = "y"}, tensor<?x4096xbf16> {mohd.name = "a", mohd.frozen}, tensor<?x4096xbf16> {mohd.name = "b", mohd.frozen},
        tensor<?x1024xbf16> {mohd.name = "active", mohd.frozen}, tensor<?x8xi32> {mohd.name = "i"}, tensor<?x8xf32> {mohd.name = "g", mohd.frozen},
        tensor<?x16xf32> {mohd.name = "s", mohd.frozen}, tensor<f32> {mohd.name = "loss"})
    attributes {mohd.backward = "ffn_backward"} {
  %n = mohd.rms_norm %x, %norm epsilon 1.0e-5 : tensor<?x2048xbf16>, tensor<2048xbf16>
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all scaling sqrt_nk_over_mass
    : tensor<?x2048xbf16>, tensor<16x2048xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  %gate_p = mohd.permute_weight %gate [1, 2, 0] : tensor<4096x16x128xbf16> -> tensor<16x128x4096xbf16>
  %a = mohd.spmm %n, %r, %gate_p : tensor<?x2048xbf16>, !mohd.routing<16, 6, 2>, tensor<16x128x4096xbf16>
  %up_p = mohd.permute_weight %up [1, 2, 0] : tensor<4096x16x128xbf16> -> tensor<16x128x4096xbf16>
  %b = mohd.spmm %n, %r, %up_p : tensor<?x2048xbf16>, !mohd.routing<16, 6, 2>, tensor<16x128x4096xbf16>
  %z = mohd.swiglu %a, %b : tensor<?x4096xbf16>
  %down_p = mohd.permute_weight %down [0, 2, 1] : tensor<16x128x4096xbf16> -> tensor<16x4096x128xbf16>
  %o = mohd.sddmm %z, %r, %down_p : tensor<?x4096xbf16>, !mohd.routing<16, 6, 2>, tensor<16x4096x128xbf16>
  %active = mohd.gather_groups %o, %r : tensor<?x2048xbf16>, !mohd.routing<16, 6, 2> -> tensor<?x1024xbf16>
  %f = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r)
    : tensor<?x2048xbf16> right tensor<16x128x128xbf16> left tensor<128x16x16xbf16> routing !mohd.routing<16, 6, 2>
  %y = mohd.add %x, %f : tensor<?x2048xbf16>
  %loss = mohd.balance_loss %s, %r kind deepseek coefficient 1.0e-2 : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<f32>
  return %y, %a, %b, %active, %i, %g, %s, %loss : tensor<?x2048xbf16>, tensor<?x4096xbf16>, tensor<?x4096xbf16>, tensor<?x1024xbf16>, tensor<?x8xi32>,
    tensor<?x8xf32>, tensor<?x16xf32>, tensor<f32>
}
