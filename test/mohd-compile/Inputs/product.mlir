// A product for the tensor units: more than 16 tokens take the kernel with mma.sync on sm_80, with wgmma and TMA on sm_90a.
func.func @project(%x: tensor<?x256xf32> {mohd.name = "x"}, %i: tensor<?x3xi32> {mohd.name = "indices"},
                   %g: tensor<?x3xf32> {mohd.name = "gates"}) -> (tensor<?x256xf32> {mohd.name = "y"}) {
  %r = mohd.make_routing %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> !mohd.routing<4, 1, 2>
  %w = mohd.weight "w" : tensor<4x64x256xbf16>
  %y = mohd.spmm %x, %r, %w : tensor<?x256xf32>, !mohd.routing<4, 1, 2>, tensor<4x64x256xbf16>
  return %y : tensor<?x256xf32>
}
