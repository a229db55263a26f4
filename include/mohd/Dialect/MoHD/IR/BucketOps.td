// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of the mohd dialect that scheduling for GPUs puts in place of products and what is around them: tokens in the order of their routed sets, tiles of
// them with a mask of groups.
#ifndef MOHD_DIALECT_MOHD_IR_BUCKETOPS_TD
#define MOHD_DIALECT_MOHD_IR_BUCKETOPS_TD

include "mohd/Dialect/MoHD/IR/MoHDOps.td"

// The bucket order of tokens puts those with the same groups side by side: row r of a tensor in bucket order is of token order[r]. Tiles are `rows` rows, and
// a tile's mask has a bit for each group that one of its tokens has. Weights of products are K-major: what is added up lies together.

def Mohd_MaskTensor : Mohd_Tensor<2, I32, "[tokens, words] tensor of i32">;

def Mohd_KMajorWeight : AnyTypeOf<[Mohd_GroupWeight, Mohd_QuantizedWeight<3, "[groups, rows, columns]">], "", "::mlir::RankedTensorType">;
def Mohd_KMajorScales : Mohd_Scales<2, "[groups, columns]">;

def Mohd_NormRouteOp : Mohd_TokenOp<"norm_route", "0"> {
  let summary = "normalise tokens and choose their groups";
  let description = [{
    `mohd.route` of `mohd.rms_norm` of `input`, without a tensor in between.

    Constraints:
    - (C1) `norm` has the width of `input`, and `centroids` is [N, width of `input`].
    - (C2) `scores` is [tokens, N].

    Example:
    ```mlir
    %r, %s = mohd.norm_route %x, %w, %phi epsilon 1.000000e-05 gate softmax score softmax_all scaling none
       : tensor<?x64xf32>, tensor<64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_VectorWeight:$norm, Mohd_MatrixWeight:$centroids, F64Attr:$epsilon,
                       Mohd_GateAttr:$gate, Mohd_ScoreAttr:$score, Mohd_ScalingAttr:$scaling);
  let results = (outs Mohd_RoutingType:$routing, Mohd_ScoreTensor:$scores);
  let assemblyFormat = [{
    $input `,` $norm `,` $centroids `epsilon` $epsilon `gate` $gate `score` $score `scaling` $scaling attr-dict
    `:` type($input) `,` type($norm) `,` type($centroids) `->` qualified(type($routing)) `,` type($scores)
  }];
  let hasVerifier = 1;
}

def Mohd_BucketOrderOp : Mohd_TokenOp<"bucket_order", "0"> {
  let summary = "order tokens by their routed sets, and mask the groups of each tile";
  let description = [{
    `order` is a permutation of the tokens, in which those with the same chosen groups follow each other, earlier ones first, and sets that follow
    each other differ little. Bit g mod 32 of masks[t, g / 32] is set if a token of tile t has group g; a mask has a row for each tile, the others are not written.
    Linear in T.

    Constraints:
    - (C1) `order` is [tokens] and `masks` is [tokens, ceildiv(N, 32)].
    - (C2) `rows` is a power of two in 16..256, and tokens have groups that not all have.

    Example:
    ```mlir
    %order, %masks = mohd.bucket_order %r rows 64 : !mohd.routing<16, 6, 2> -> tensor<?xi32>, tensor<?x1xi32>
    ```
  }];
  let arguments = (ins Mohd_RoutingType:$routing, I64Attr:$rows);
  let results = (outs Mohd_IdTensor:$order, Mohd_MaskTensor:$masks);
  let assemblyFormat = "$routing `rows` $rows attr-dict `:` qualified(type($routing)) `->` type($order) `,` type($masks)";
  let hasVerifier = 1;
}

def Mohd_BucketTokensOp : Mohd_TokenOp<"bucket_tokens", "", [AttrSizedOperandSegments]> {
  let summary = "lay out a product's tokens in bucket order, normalised and gated";
  let description = [{
    result[r] = g * norm(input[order[r]]), where norm is `mohd.rms_norm` if `norm` is given, and g is the gate of the token's group, or 0 where the token
    does not have it, if `routing` is; with `ungated` it is 1 in place of the gate. Without `order` the order stays.

    Constraints:
    - (C1) `norm` has the width of `input`, as has the result.
    - (C2) the width of `input` is a multiple of the routing's number of groups.
    - (C3) `ungated` goes with `routing`.

    Example:
    ```mlir
    %a = mohd.bucket_tokens %x norm(%w) routing(%r) order(%order) epsilon 1.000000e-05
       : tensor<?x64xf32> norm tensor<64xbf16> routing !mohd.routing<16, 6, 2> order tensor<?xi32> -> tensor<?x64xbf16>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Optional<Mohd_VectorWeight>:$norm, Optional<Mohd_RoutingType>:$routing,
                       Optional<Mohd_IdTensor>:$order, F64Attr:$epsilon, UnitAttr:$ungated);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input (`norm` `(` $norm^ `)`)? (`routing` `(` $routing^ `)`)? (`order` `(` $order^ `)`)? `epsilon` $epsilon (`ungated` $ungated^)? attr-dict
    `:` type($input) (`norm` type($norm)^)? (`routing` qualified(type($routing))^)? (`order` type($order)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    bool readsGates() { return !getUngated(); }
    /// All operands but the norm's weight.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_BucketSpmmOp : Mohd_TokenOp<"bucket_spmm", "", [AttrSizedOperandSegments]> {
  let summary = "contraction-side projection of tokens in bucket order";
  let description = [{
    With the groups A(r) that row r's tile has, the first `num_common` and those of its mask:

        y[r, e] = sum over g in A(r) and d of input[r, g, d] * weight[e, g, d]

    Row r of y, with `order` row order[r] of the result, is y, or silu(gate[r]) * y with `gate`, or residual[order[r]] + y with `residual`. Groups in A(r) that
    row r does not have are zero in `input` (`mohd.bucket_tokens`). With `scales` the weight's elements are int8 values, and group g's part of the sum is multiplied by
    scales[g, e].

    Constraints:
    - (C1) `weight` is [width of the result, groups, width of `input` / groups].
    - (C2) `masks` has ceildiv(groups, 32) columns; without it A(r) are the first `num_common` groups.
    - (C3) `gate` has the result's shape, `residual` its type; at most one is given, and `gate` not with `order`.
    - (C4) `rows` is a power of two in 16..256, `num_common` in 0..groups.
    - (C5) `scales` is given exactly for a weight of i8, and is [groups, width of the result].

    Example:
    ```mlir
    %y = mohd.bucket_spmm %a, %w order(%order) masks(%masks) common 6 rows 64
       : tensor<?x64xbf16>, tensor<96x16x4xbf16> order tensor<?xi32> masks tensor<?x1xi32> -> tensor<?x96xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_KMajorWeight:$weight, Optional<Mohd_KMajorScales>:$scales, Optional<Mohd_IdTensor>:$order,
                       Optional<Mohd_MaskTensor>:$masks, Optional<Mohd_TokenTensor>:$gate, Optional<Mohd_TokenTensor>:$residual,
                       I64Attr:$num_common, I64Attr:$rows);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`scales` `(` $scales^ `)`)? (`order` `(` $order^ `)`)? (`masks` `(` $masks^ `)`)? (`gate` `(` $gate^ `)`)? (`residual` `(` $residual^ `)`)?
    `common` $num_common `rows` $rows attr-dict
    `:` type($input) `,` type($weight) (`scales` type($scales)^)? (`order` type($order)^)? (`masks` type($masks)^)? (`gate` type($gate)^)?
    (`residual` type($residual)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the weight and its scales.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_BucketSddmmOp : Mohd_TokenOp<"bucket_sddmm", "", [AttrSizedOperandSegments]> {
  let summary = "output-side projection of tokens in bucket order";
  let description = [{
    For each row r and each group g that its token order[r] (without `order`, r) has by `routing`:

        y[r, g, d] = sum over e of input[r, e] * weight[g, d, e]

    and 0 for the other groups. With `scatters` row r of y is row order[r] of the result, to which `residual` is added; without it the result is in bucket order.
    `masks` are those of `mohd.bucket_order`, from which whole tiles can be left out. With `scales` the weight's elements are int8 values, and the sum is multiplied by
    scales[g, d].

    Constraints:
    - (C1) `weight` is [groups, width of the result / groups, width of `input`].
    - (C2) `order` and `masks` are given exactly if tokens have groups that not all have; the mask has ceildiv(groups, 32) columns.
    - (C3) `scatters` goes with `order`; `residual` has the result's type, and goes with `order` only if it scatters.
    - (C4) `rows` is a power of two in 16..256.
    - (C5) `scales` is given exactly for a weight of i8, and is [groups, width of the result / groups].

    Example:
    ```mlir
    %o = mohd.bucket_sddmm %z, %w routing(%r) order(%order) masks(%masks) rows 64
       : tensor<?x96xbf16>, tensor<16x4x96xbf16> routing !mohd.routing<16, 6, 2> order tensor<?xi32> masks tensor<?x1xi32> -> tensor<?x64xbf16>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_KMajorWeight:$weight, Optional<Mohd_KMajorScales>:$scales, Mohd_RoutingType:$routing,
                       Optional<Mohd_IdTensor>:$order, Optional<Mohd_MaskTensor>:$masks, Optional<Mohd_TokenTensor>:$residual, I64Attr:$rows, UnitAttr:$scatters);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`scales` `(` $scales^ `)`)? `routing` `(` $routing `)` (`order` `(` $order^ `)`)? (`masks` `(` $masks^ `)`)? (`residual` `(` $residual^ `)`)?
    `rows` $rows (`scatters` $scatters^)? attr-dict
    `:` type($input) `,` type($weight) (`scales` type($scales)^)? `routing` qualified(type($routing)) (`order` type($order)^)? (`masks` type($masks)^)?
    (`residual` type($residual)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the weight and its scales.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_BucketFusionOp : Mohd_TokenOp<"bucket_fusion", "", [AttrSizedOperandSegments]> {
  let summary = "Monarch fusion of tokens in bucket order, back in their own, and the residual stream";
  let description = [{
    The `monarch` form of `mohd.group_fusion` for each row r, in f32 in between, and added to row order[r] of `residual` (without `order`, row r), which is row order[r] of the result.
    If `masks` is given, input blocks of a tile that are neither among the first `num_common` nor in its mask are known to be zero.

    Constraints:
    - (C1) `right` is [k, q, p] with k * p the width of `input`, `left` is [l, s, r] with l * r = k * q and l * s the width of the result.
    - (C2) `masks` has ceildiv(k, 32) columns; without it all but the first `num_common` blocks are known to be zero.
    - (C3) `residual` has the result's type.
    - (C4) `rows` is a power of two in 16..256, `num_common` in 0..k.

    Example:
    ```mlir
    %y = mohd.bucket_fusion %o, %right, %left order(%order) masks(%masks) residual(%x) common 6 rows 64
       : tensor<?x64xbf16>, tensor<16x4x4xbf16>, tensor<4x16x16xbf16> order tensor<?xi32> masks tensor<?x1xi32> residual tensor<?x64xf32> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_GroupWeight:$right, Mohd_GroupWeight:$left, Optional<Mohd_IdTensor>:$order,
                       Optional<Mohd_MaskTensor>:$masks, Optional<Mohd_TokenTensor>:$residual, I64Attr:$num_common, I64Attr:$rows);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $right `,` $left (`order` `(` $order^ `)`)? (`masks` `(` $masks^ `)`)? (`residual` `(` $residual^ `)`)?
    `common` $num_common `rows` $rows attr-dict
    `:` type($input) `,` type($right) `,` type($left) (`order` type($order)^)? (`masks` type($masks)^)? (`residual` type($residual)^)?
    `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the weights.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_BucketWeightGradientOp : Mohd_TokenOp<"bucket_weight_gradient", ""> {
  let summary = "a weight's gradient from tokens in bucket order";
  let description = [{
    What `mohd.weight_gradient` computes, of both sides in one order of tokens. Groups that a row does not have are zero in `grouped`, and in `other` if it is `local`
    (`mohd.bucket_tokens`), so that nothing needs to be known but which tiles have none of a group: by `masks`, or, without it, all but the first `num_common`. Where rows may lack
    groups, a zero of `grouped` adds nothing, whatever `other` is.

    Constraints:
    - (C1) the sides, `permutation` and the result are as in `mohd.weight_gradient`.
    - (C2) `masks` has ceildiv(G, 32) columns.
    - (C3) `rows` is a power of two in 32..256, `num_common` in 0..G.

    Example:
    ```mlir
    %dw = mohd.bucket_weight_gradient %h, %dy masks(%masks) permutation [2, 0, 1] common 6 rows 64
       : tensor<?x64xbf16>, tensor<?x96xbf16> masks tensor<?x1xi32> -> tensor<96x16x4xbf16>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$grouped, Mohd_TokenTensor:$other, Optional<Mohd_MaskTensor>:$masks,
                       OptionalAttr<DenseI64ArrayAttr>:$permutation, UnitAttr:$local, I64Attr:$num_common, I64Attr:$rows);
  let results = (outs Mohd_PlainWeight:$result);
  let assemblyFormat = [{
    $grouped `,` $other (`masks` `(` $masks^ `)`)? (`permutation` $permutation^)? (`local` $local^)? `common` $num_common `rows` $rows attr-dict
    `:` type($grouped) `,` type($other) (`masks` type($masks)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    bool resultsHaveTokens() { return false; }
  }];
}

def Mohd_TransposeWeightOp : Mohd_TokenOp<"transpose_weight", "0"> {
  let summary = "permute the dimensions of a weight that is an argument";
  let description = [{
    Dimension i of the result is dimension permutation[i] of the operand; a weight [R, C] counts as [1, R, C]. A weight of the model's files is permuted when the bundle is written
    (`mohd.weight ... permutation`).

    Constraints:
    - (C1) `permutation` holds each of 0..2 once.
    - (C2) the result is of the operand's permuted type.

    Example:
    ```mlir
    %t = mohd.transpose_weight %w permutation [2, 0, 1] : tensor<16x4x96xbf16> -> tensor<96x16x4xbf16>
    ```
  }];
  let arguments = (ins Mohd_PlainWeight:$weight, DenseI64ArrayAttr:$permutation);
  let results = (outs Mohd_GroupWeight:$result);
  let assemblyFormat = "$weight `permutation` $permutation attr-dict `:` type($weight) `->` type($result)";
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # [{
    bool resultsHaveTokens() { return false; }
    /// The result's type for a weight, and an order of 0..2.
    static ::mlir::RankedTensorType getTransposed(::mlir::RankedTensorType weight, ::llvm::ArrayRef<int64_t> order);
  }];
}

#endif // MOHD_DIALECT_MOHD_IR_BUCKETOPS_TD
