// Products of nothing, and into nothing.
func.func @empty(%x: tensor<?x0xf32> {mohd.name = "x"}, %w: tensor<0x5xf32> {mohd.name = "w"}, %v: tensor<5x0xf32> {mohd.name = "v"})
    -> (tensor<?x5xf32> {mohd.name = "y"}, tensor<?x0xf32> {mohd.name = "z"}) {
  %y = mohd.linear %x, %w : tensor<?x0xf32>, tensor<0x5xf32> -> tensor<?x5xf32>
  %z = mohd.linear %y, %v : tensor<?x5xf32>, tensor<5x0xf32> -> tensor<?x0xf32>
  return %y, %z : tensor<?x5xf32>, tensor<?x0xf32>
}
