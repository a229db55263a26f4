// A function with everything: dynamic tokens, a routing from arguments, and a weight.
func.func @project(%x: tensor<?x16xf32> {mohd.name = "x"}, %i: tensor<?x3xi32> {mohd.name = "indices"},
                   %g: tensor<?x3xf32> {mohd.name = "gates"}) -> (tensor<?x20xf32> {mohd.name = "y"}) {
  %r = mohd.make_routing %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> !mohd.routing<4, 1, 2>
  %w = mohd.weight "w" : tensor<4x4x20xf32>
  %y = mohd.spmm %x, %r, %w : tensor<?x16xf32>, !mohd.routing<4, 1, 2>, tensor<4x4x20xf32>
  return %y : tensor<?x20xf32>
}
