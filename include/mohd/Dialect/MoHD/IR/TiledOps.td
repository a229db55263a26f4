// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of the mohd dialect that scheduling puts in place of products (linear, spmm, sddmm): the same mathematics, cut into tiles.
#ifndef MOHD_DIALECT_MOHD_IR_TILEDOPS_TD
#define MOHD_DIALECT_MOHD_IR_TILEDOPS_TD

include "mohd/Dialect/MoHD/IR/MoHDOps.td"

// The common groups of a routing (K_c) are those that every token has: the K_s shared ones, or all N if K = N. The others are chosen by some tokens, K - K_c by each.
//
// Tokens of a call are cut into ceildiv(T, block) blocks of nearly equal size, the first ones one larger than the others, and a list of n tokens into
// ceildiv(n, rows) tiles in the same way.

def Mohd_PackWeightOp : Mohd_TokenOp<"pack_weight", "0"> {
  let summary = "lay out a product's weight in panels of columns";
  let description = [{
    With panels of P columns, for weight [G, R, C] after `permutation`, whose dimension i is dimension permutation[i] of the operand (a weight [R, C]
    counts as [1, R, C] when that is done):

        result[g, c / P, r, c % P] = weight[g, r, c],   0 where c >= C

    so that a product reads a group's weight from front to back. A weight of the model's files is laid out when the bundle is written
    (`mohd.weight ... panels P`); this op does it in a call, for a weight that is an argument.

    Constraints:
    - (C1) the result is [G, ceildiv(C, P), R, P] with the weight's element type.
    - (C2) `permutation` holds each dimension of the operand once.

    Example:
    ```mlir
    %p = mohd.pack_weight %w : tensor<16x4x96xbf16> -> tensor<16x6x4x16xbf16>
    ```
  }];
  let arguments = (ins Mohd_PlainWeight:$weight, OptionalAttr<DenseI64ArrayAttr>:$permutation);
  let results = (outs Mohd_PanelWeight:$result);
  let assemblyFormat = "$weight (`permutation` $permutation^)? attr-dict `:` type($weight) `->` type($result)";
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # [{
    bool resultsHaveTokens() { return false; }
  }];
}

def Mohd_GroupTokensOp : Mohd_TokenOp<"group_tokens", "0"> {
  let summary = "list the tokens of each group that not all tokens have";
  let description = [{
    Orders the (token, slot) pairs of each block of tokens by group, linear in T. A block of n tokens has n rows of the result, which together are one array:
    N - K_c + 1 offsets, then from offset g on the entries of group K_c + g, ascending. An entry is token * (K - K_c) + slot, the token counted from the
    block's start, the slot from the first that is not common.

    Constraints:
    - (C1) the result is [tokens, N - K_c + 1 + K - K_c].
    - (C2) K - K_c and `block` are positive.

    Example:
    ```mlir
    %t = mohd.group_tokens %r block 256 : !mohd.routing<16, 6, 2> -> tensor<?x13xi32>
    ```
  }];
  let arguments = (ins Mohd_RoutingType:$routing, I64Attr:$block);
  let results = (outs Mohd_IndexTensor:$table);
  let assemblyFormat = "$routing `block` $block attr-dict `:` qualified(type($routing)) `->` type($table)";
  let hasVerifier = 1;
}

def Mohd_PackTokensOp : Mohd_TokenOp<"pack_tokens", "", [AttrSizedOperandSegments]> {
  let summary = "lay out a product's tokens in tiles, active groups only, gated";
  let description = [{
    The left side of a product as its tiles read it: for each block first the common groups, tile by tile, then the others
    by `table` (`mohd.group_tokens`), tile by tile; a tile of m tokens and c columns lies as [c, m]. Elements are g_i * input in f32. Without
    a routing all columns are one common group and nothing is gated.

    Constraints:
    - (C1) `table` is given exactly if `routing` is and has K > K_c, and is [tokens, N - K_c + 1 + K - K_c].
    - (C2) the width of `input` is a multiple of the routing's number of groups.
    - (C3) the result is [tokens, K * group width].
    - (C4) `block` is in 1..65536, `rows` in 1..64.

    Example:
    ```mlir
    %p = mohd.pack_tokens %x routing(%r) table(%t) block 256 rows 12
       : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> table tensor<?x13xi32> -> tensor<?x32xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Optional<Mohd_RoutingType>:$routing, Optional<Mohd_IndexTensor>:$table,
                       I64Attr:$block, I64Attr:$rows);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input (`routing` `(` $routing^ `)`)? (`table` `(` $table^ `)`)? `block` $block `rows` $rows attr-dict
    `:` type($input) (`routing` qualified(type($routing))^)? (`table` type($table)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = readsGatesDecl # [{
    /// All operands.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_TiledSpmmOp : Mohd_TokenOp<"tiled_spmm", "", [AttrSizedOperandSegments]> {
  let summary = "contraction-side projection of packed tokens";
  let description = [{
    What `mohd.spmm` (with K_c = `num_common` and K - K_c = `num_chosen`) or `mohd.linear` (one group, common) computes, from tokens that
    `mohd.pack_tokens` laid out with the same `block` and `rows`. A tile of `rows` tokens and `panels` panels of the weight stays in registers while the
    common groups, or one of the others, are added up. Blocks of at most `few` tokens take one group after the other (plan `gather`).
    With `scales` the weight's elements are int8 values, and a group's part of a sum is multiplied by the scale of that group and column. Of a product y
    the result is silu(gate) * y with `gate`, and residual + y with `residual`.

    Constraints:
    - (C1) `packed` is [tokens, (num_common + num_chosen) * group width].
    - (C2) the result's width needs all panels of the weight and no more.
    - (C3) `table` is given exactly if `num_chosen` is not 0, and is [tokens, N - num_common + 1 + num_chosen].
    - (C4) `block` is in 1..65536, `few` in 0..65536, `rows` and `panels` in 1..64.
    - (C5) `scales` is given exactly for a weight of i8, and is a row of it: [groups, panels, columns of a panel].
    - (C6) at most one of `gate` and `residual` is given, of the result's type.

    Example:
    ```mlir
    %y = mohd.tiled_spmm %p, %w table(%t) common 6 chosen 2 block 256 few 40 rows 12 panels 2
       : tensor<?x32xf32>, tensor<16x6x4x16xbf16> table tensor<?x13xi32> -> tensor<?x96xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$packed, Mohd_ProductWeight:$weight, Optional<Mohd_PanelScales>:$scales,
                       Optional<Mohd_IndexTensor>:$table, Optional<Mohd_TokenTensor>:$gate, Optional<Mohd_TokenTensor>:$residual,
                       I64Attr:$num_common, I64Attr:$num_chosen, I64Attr:$block, I64Attr:$few, I64Attr:$rows, I64Attr:$panels);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $packed `,` $weight (`scales` `(` $scales^ `)`)? (`table` `(` $table^ `)`)? (`gate` `(` $gate^ `)`)? (`residual` `(` $residual^ `)`)?
    `common` $num_common `chosen` $num_chosen `block` $block `few` $few `rows` $rows `panels` $panels attr-dict
    `:` type($packed) `,` type($weight) (`scales` type($scales)^)? (`table` type($table)^)? (`gate` type($gate)^)? (`residual` type($residual)^)?
    `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the weight and its scales.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_TiledSddmmOp : Mohd_TokenOp<"tiled_sddmm", "", [AttrSizedOperandSegments]> {
  let summary = "output-side projection by tiles of the tokens that want a group";
  let description = [{
    What `mohd.sddmm` computes: a tile of `rows` tokens that have group j and `panels` panels of that group's weight stays in registers while `depth` columns
    of the input, or all in blocks of at most `few` tokens, are added up. If it is `local`, group j contracts its own columns of the input only, as the
    blocks of a `mohd.group_fusion` do. With `scales` the weight's elements are int8 values, and sums are multiplied by the scale of their group and column.
    With `residual` that is added.

    Constraints:
    - (C1) `weight` has the width of `input` as its third extent, or a group's share of it if it is local.
    - (C2) the result's width is the number of groups times a width that needs all panels of a group and no more.
    - (C3) `table` is given exactly if `num_chosen` is not 0, and is [tokens, N - num_common + 1 + num_chosen].
    - (C4) `block` is in 1..65536, `few` in 0..65536, `rows` and `panels` in 1..64, `depth` positive.
    - (C5) `scales` is given exactly for a weight of i8, and is a row of it: [groups, panels, columns of a panel].
    - (C6) `residual` has the result's type.

    Example:
    ```mlir
    %o = mohd.tiled_sddmm %z, %w table(%t) common 6 chosen 2 block 256 few 40 rows 12 panels 2 depth 1024
       : tensor<?x96xf32>, tensor<16x1x96x4xbf16> table tensor<?x13xi32> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_ProductWeight:$weight, Optional<Mohd_PanelScales>:$scales,
                       Optional<Mohd_IndexTensor>:$table, Optional<Mohd_TokenTensor>:$residual,
                       I64Attr:$num_common, I64Attr:$num_chosen, I64Attr:$block, I64Attr:$few, I64Attr:$rows, I64Attr:$panels, I64Attr:$depth,
                       UnitAttr:$local);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`scales` `(` $scales^ `)`)? (`table` `(` $table^ `)`)? (`residual` `(` $residual^ `)`)? `common` $num_common `chosen` $num_chosen
    `block` $block `few` $few `rows` $rows `panels` $panels `depth` $depth (`local` $local^)? attr-dict
    `:` type($input) `,` type($weight) (`scales` type($scales)^)? (`table` type($table)^)? (`residual` type($residual)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the weight and its scales.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_MixGroupsOp : Mohd_TokenOp<"mix_groups", "", [AttrSizedOperandSegments]> {
  let summary = "the second factor of a Monarch fusion, and the residual stream";
  let description = [{
    For `weight` [r, panels, s, P], the `left` [l, s, r] of a `mohd.group_fusion` permuted to [r, s, l] and cut into panels:

        result[s*L + l] = residual[s*L + l] + sum_r weight[r, l / P, s, l % P] * input[r*L + l]

    in f32, without `residual` 0. If `routing` is given, only the r that are groups of the token are added up: the others are known to be zero.

    Constraints:
    - (C1) the widths of `input` and of the result are r and s times the same L, which needs all panels of the weight and no more.
    - (C2) if `routing` is given, r is its number of groups.
    - (C3) `residual` has the result's type.

    Example:
    ```mlir
    %y = mohd.mix_groups %u, %l routing(%r) residual(%x)
       : tensor<?x64xf32>, tensor<16x1x16x4xf32> routing !mohd.routing<16, 6, 2> residual tensor<?x64xf32> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_PanelWeight:$weight, Optional<Mohd_RoutingType>:$routing,
                       Optional<Mohd_TokenTensor>:$residual);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`routing` `(` $routing^ `)`)? (`residual` `(` $residual^ `)`)? attr-dict
    `:` type($input) `,` type($weight) (`routing` qualified(type($routing))^)? (`residual` type($residual)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the weight.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_TiledWeightGradientOp : Mohd_TokenOp<"tiled_weight_gradient", ""> {
  let summary = "a weight's gradient by tiles of the tokens that have a group";
  let description = [{
    What `mohd.weight_gradient` computes, the tokens of a group that not all tokens have taken from `table` (`mohd.group_tokens`). Tiles of `rows` rows stay
    in registers while a piece of the list of tokens is added up.

    Constraints:
    - (C1) `table` is given exactly if `num_chosen` is not 0, and is [tokens, N - num_common + 1 + num_chosen].
    - (C2) `block` is in 1..65536, `rows` in 1..64.

    Example:
    ```mlir
    %dw = mohd.tiled_weight_gradient %h, %dy table(%t) permutation [2, 0, 1] common 6 chosen 2 block 4096 rows 12
       : tensor<?x64xf32>, tensor<?x96xf32> table tensor<?x13xi32> -> tensor<96x16x4xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$grouped, Mohd_TokenTensor:$other, Optional<Mohd_IndexTensor>:$table,
                       OptionalAttr<DenseI64ArrayAttr>:$permutation, UnitAttr:$local, I64Attr:$num_common, I64Attr:$num_chosen, I64Attr:$block,
                       I64Attr:$rows);
  let results = (outs Mohd_PlainWeight:$result);
  let assemblyFormat = [{
    $grouped `,` $other (`table` `(` $table^ `)`)? (`permutation` $permutation^)? (`local` $local^)?
    `common` $num_common `chosen` $num_chosen `block` $block `rows` $rows attr-dict
    `:` type($grouped) `,` type($other) (`table` type($table)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    bool resultsHaveTokens() { return false; }
  }];
}

#endif // MOHD_DIALECT_MOHD_IR_TILEDOPS_TD
