// As many query heads on one key head, and as wide, as formats.md allows: a task takes a share of them, as all would not fit a stack.
// RUN: mohd-opt %s --mohd-outline-dispatches | FileCheck %s
// RUN: mohd-compile %s -q -o %t.mohdb
// RUN: mohd-compile %s -q --lowering=reference -o %t.reference.mohdb
// RUN: mohd-run %t.reference.mohdb --function attention --input q=2x1048576xf32=random:1 --input k=1x2x2x4096xf32=random:2 \
// RUN:   --input v=1x2x2x4096xf32=random:3 --input p=2xi32=0,1 --output y=@%t.npy
// RUN: mohd-run %t.mohdb --function attention --input q=2x1048576xf32=random:1 --input k=1x2x2x4096xf32=random:2 \
// RUN:   --input v=1x2x2x4096xf32=random:3 --input p=2xi32=0,1 --expect y=@%t.npy --atol 1e-5

// CHECK: mohd.dispatch @attention_0 grid "ceildiv(T,1)*64"
func.func @attention(%q: tensor<?x1048576xf32> {mohd.name = "q"}, %k: tensor<1x?x?x4096xf32> {mohd.name = "k"},
    %v: tensor<1x?x?x4096xf32> {mohd.name = "v"}, %p: tensor<?xi32> {mohd.name = "p"}) -> (tensor<?x1048576xf32> {mohd.name = "y"}) {
  %y = mohd.attention %q, %k, %v, %p layer 0 head_dim 4096
    : tensor<?x1048576xf32>, tensor<1x?x?x4096xf32>, tensor<1x?x?x4096xf32>, tensor<?xi32>
  return %y : tensor<?x1048576xf32>
}
