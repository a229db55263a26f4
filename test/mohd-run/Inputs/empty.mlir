// Products of nothing, and into nothing.
func.func @empty(%x: tensor<?x0xf32> {mohd.name = "x"}, %w: tensor<0x5xf32> {mohd.name = "w"}, %v: tensor<5x0xf32> {mohd.name = "v"})
    -> (tensor<?x5xf32> {mohd.name = "y"}, tensor<?x0xf32> {mohd.name = "z"}) {
  %y = mohd.linear %x, %w : tensor<?x0xf32>, tensor<0x5xf32> -> tensor<?x5xf32>
  %z = mohd.linear %y, %v : tensor<?x5xf32>, tensor<5x0xf32> -> tensor<?x0xf32>
  return %y, %z : tensor<?x5xf32>, tensor<?x0xf32>
}

// The same by groups, and a fusion of nothing.
func.func @groups(%x: tensor<?x0xf32> {mohd.name = "x"}, %i: tensor<?x2xi32> {mohd.name = "i"}, %g: tensor<?x2xf32> {mohd.name = "g"},
                  %w: tensor<3x0x2xf32> {mohd.name = "w"}, %v: tensor<3x6x0xf32> {mohd.name = "v"}, %u: tensor<3x0x5xf32> {mohd.name = "u"},
                  %right: tensor<3x2x0xf32> {mohd.name = "right"}, %left: tensor<2x3x3xf32> {mohd.name = "left"})
    -> (tensor<?x6xf32> {mohd.name = "a"}, tensor<?x0xf32> {mohd.name = "b"}, tensor<?x5xf32> {mohd.name = "c"}, tensor<?x6xf32> {mohd.name = "d"}) {
  %r = mohd.make_routing %i, %g : tensor<?x2xi32>, tensor<?x2xf32> -> !mohd.routing<3, 1, 1>
  %a = mohd.sddmm %x, %r, %w : tensor<?x0xf32>, !mohd.routing<3, 1, 1>, tensor<3x0x2xf32>
  %b = mohd.sddmm %a, %r, %v : tensor<?x6xf32>, !mohd.routing<3, 1, 1>, tensor<3x6x0xf32>
  %c = mohd.spmm %b, %r, %u : tensor<?x0xf32>, !mohd.routing<3, 1, 1>, tensor<3x0x5xf32>
  %d = mohd.group_fusion %x kind monarch right(%right) left(%left) : tensor<?x0xf32> right tensor<3x2x0xf32> left tensor<2x3x3xf32>
  return %a, %b, %c, %d : tensor<?x6xf32>, tensor<?x0xf32>, tensor<?x5xf32>, tensor<?x6xf32>
}

func.func @elements(%x: tensor<?x0xf32> {mohd.name = "x"}) -> (tensor<?x0xf32> {mohd.name = "y"}) {
  %a = mohd.silu %x : tensor<?x0xf32>
  %b = mohd.swiglu %a, %x : tensor<?x0xf32>
  %y = mohd.add %a, %b : tensor<?x0xf32>
  return %y : tensor<?x0xf32>
}
