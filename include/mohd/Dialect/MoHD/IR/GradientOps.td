// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of the mohd dialect that backward functions consist of, besides those of forward ones. docs/differentiation.md has the rules that
// make them.
#ifndef MOHD_DIALECT_MOHD_IR_GRADIENTOPS_TD
#define MOHD_DIALECT_MOHD_IR_GRADIENTOPS_TD

include "mohd/Dialect/MoHD/IR/MoHDOps.td"

// The gradient of a value has the value's type; that of a routing is the gradient of its gates, [tokens, K] f32. `grad` is the gradient of
// the result of the op that an op here is named after.

def Mohd_PermuteWeightOp : Mohd_TokenOp<"permute_weight", "0", [Mohd_Differentiable]> {
  let summary = "a weight with its dimensions in another order";
  let description = [{
    Dimension i of the result is dimension `permutation[i]` of `weight`. A product of it lays it out in one go; no copy is made for that.

    Constraints:
    - (C1) `permutation` holds each dimension of `weight` once, and the result has that shape and the element type.

    Example:
    ```mlir
    %t = mohd.permute_weight %w [1, 2, 0] : tensor<96x16x4xf32> -> tensor<16x4x96xf32>
    ```
  }];
  let arguments = (ins Mohd_PlainWeight:$weight, DenseI64ArrayAttr:$permutation);
  let results = (outs Mohd_PlainWeight:$result);
  let assemblyFormat = "$weight $permutation attr-dict `:` type($weight) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasCanonicalizer = 1;
  let extraClassDeclaration = tokenOperandsDecl # [{
    bool resultsHaveTokens() { return false; }
  }];
}

def Mohd_WeightGradientOp : Mohd_TokenOp<"weight_gradient", ""> {
  let summary = "sum over tokens of the products of two sides, for each group";
  let description = [{
    For `grouped` cut into G groups of P columns, and C columns of `other`:

        w[i, p, c] = sum over t with i in A_t of grouped[t, i*P + p] * other[t, c]
        w[i, p, c] = sum over t with i in A_t of grouped[t, i*P + p] * other[t, i*C + c]   if it is `local`

    accumulated in f32, in an order that depends on nothing but T and the routing. Dimension i of the result is dimension permutation[i] of w (w, without
    `permutation`). Without `routing` every token counts for every group. It is the gradient of the weight of `mohd.spmm` (of the gated input
    and the result's gradient), of `mohd.sddmm` (of the result's gradient and the input), of `mohd.linear` (one group), and of the right factor of a fusion (`local`).

    Constraints:
    - (C1) `permutation` holds each of 0..2 once.
    - (C2) the result has rank 3, or rank 2 (w without its first dimension, and no `permutation`).
    - (C3) G times P is the width of `grouped`; C, or G times C if it is local, that of `other`.
    - (C4) if `routing` is given, G is its number of groups.

    Example:
    ```mlir
    %dw = mohd.weight_gradient %h, %dy routing(%r) permutation [2, 0, 1]
       : tensor<?x64xf32>, tensor<?x96xf32> routing !mohd.routing<16, 6, 2> -> tensor<96x16x4xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$grouped, Mohd_TokenTensor:$other, Optional<Mohd_RoutingType>:$routing,
                       OptionalAttr<DenseI64ArrayAttr>:$permutation, UnitAttr:$local);
  let results = (outs Mohd_PlainWeight:$result);
  let assemblyFormat = [{
    $grouped `,` $other (`routing` `(` $routing^ `)`)? (`permutation` $permutation^)? (`local` $local^)? attr-dict
    `:` type($grouped) `,` type($other) (`routing` qualified(type($routing))^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    bool resultsHaveTokens() { return false; }
  }];
}

def Mohd_UnitGatesOp : Mohd_TokenOp<"unit_gates", "0", [AllTypesMatch<["routing", "result"]>]> {
  let summary = "a routing with all gates 1";
  let description = [{
    The groups of `routing`; the gradient of `mohd.sddmm`'s input is a `mohd.spmm` that gates nothing.

    Example:
    ```mlir
    %u = mohd.unit_gates %r : !mohd.routing<16, 6, 2>
    ```
  }];
  let arguments = (ins Mohd_RoutingType:$routing);
  let results = (outs Mohd_RoutingType:$result);
  let assemblyFormat = "$routing attr-dict `:` qualified(type($routing))";
}

def Mohd_GatherGroupsOp : Mohd_TokenOp<"gather_groups", "0, 1", [Mohd_Differentiable]> {
  let summary = "the active groups of each token side by side";
  let description = [{
    For slot s of token t, with i its group and d_e the group width:

        result[t, s*d_e + p] = input[t, i*d_e + p]

    A function that returns it keeps what a `mohd.sddmm` of the routing gave for its backward function, without what is not active.

    Constraints:
    - (C1) the width of `input` is a multiple of the routing's number of groups.
    - (C2) the result has K groups of that width, and the element type of `input`.

    Example:
    ```mlir
    %a = mohd.gather_groups %o, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x32xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_RoutingType:$routing);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$input `,` $routing attr-dict `:` type($input) `,` qualified(type($routing)) `->` type($result)";
  let hasVerifier = 1;
}

def Mohd_ScatterGroupsOp : Mohd_TokenOp<"scatter_groups", "0, 1", [Mohd_Differentiable]> {
  let summary = "the active groups of each token in their places";
  let description = [{
    For group i of token t, with s its slot and d_e the width of `input` / K:

        result[t, i*d_e + p] = input[t, s*d_e + p] for i in A_t, 0 elsewhere

    Constraints:
    - (C1) the width of `input` is a multiple of K.
    - (C2) the result has N groups of that width, and the element type of `input`.

    Example:
    ```mlir
    %o = mohd.scatter_groups %a, %r : tensor<?x32xf32>, !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_RoutingType:$routing);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$input `,` $routing attr-dict `:` type($input) `,` qualified(type($routing)) `->` type($result)";
  let hasVerifier = 1;
}

def Mohd_GateGradientOp : Mohd_TokenOp<"gate_gradient", "0, 1, 2"> {
  let summary = "gradient of the gates of a gated value";
  let description = [{
    For slot s of token t, with i its group and d_e the group width:

        result[t, s] = sum_p input[t, i*d_e + p] * grad[t, i*d_e + p]

    in f32.

    Constraints:
    - (C1) the width of `input`, which is that of `grad`, is a multiple of the routing's number of groups.
    - (C2) the result is [tokens, K].

    Example:
    ```mlir
    %dg = mohd.gate_gradient %n, %dh, %r : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_TokenTensor:$grad, Mohd_RoutingType:$routing);
  let results = (outs Mohd_ScoreTensor:$result);
  let assemblyFormat = [{
    $input `,` $grad `,` $routing attr-dict `:` type($input) `,` type($grad) `,` qualified(type($routing)) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Mohd_ScaleGradientOp : Mohd_TokenOp<"scale_gradient", "0, 1, 2"> {
  let summary = "gradient of the gates of an activation scaling";
  let description = [{
    With the scaling a = c * m^p of the mass m of token t's gates (`mohd.scale` has c and p), for every slot s:

        result[t, s] = c * p * m^(p - 1) * sum_d input[t, d] * grad[t, d]

    in f32.

    Constraints:
    - (C1) `grad` has the width of `input`.
    - (C2) the result is [tokens, K].

    Example:
    ```mlir
    %dg = mohd.scale_gradient %n, %dh, %r scaling k_over_mass : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_TokenTensor:$grad, Mohd_RoutingType:$routing, Mohd_ScalingAttr:$scaling);
  let results = (outs Mohd_ScoreTensor:$result);
  let assemblyFormat = [{
    $input `,` $grad `,` $routing `scaling` $scaling attr-dict
    `:` type($input) `,` type($grad) `,` qualified(type($routing)) `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # readsGatesDecl;
}

def Mohd_RouteGradientOp : Mohd_TokenOp<"route_gradient", "0, 1", [AttrSizedOperandSegments]> {
  let summary = "gradient of a router's logits";
  let description = [{
    For scores s [tokens, N] and the routing that a `mohd.route` of the same `gate`, `score` and `scaling` gave, and the gradients of its gates and of its scores
    (0 where not given). Let γ be the gates before scaling, which follow from s, m their sum, and a = c * m^p the scaling:

        dγ_s = a * dgates_s + c * p * m^(p - 1) * sum_u dgates_u * γ_u                     for slot s
        ds_i = dscores_i + ∂γ/∂s_i                                                         softmax: dγ_s for i in A
                                                                                           shared_one: the same for routed i only
                                                                                           renormalized: K_r/R * (dγ_s - sum_u dγ_u * s_u / R) for routed i, R their sum of s
                                                                                           binary: 0
        result_i = s_i * (ds_i - sum_j ds_j * s_j)                                         softmax_all; softmax_routed over routed i, 0 for shared ones
        result_i = s_i * (1 - s_i) * ds_i                                                  sigmoid

    in f32.

    Constraints:
    - (C1) `scores`, the gradient of scores and the result are [tokens, N].
    - (C2) the gradient of gates is [tokens, K].

    Example:
    ```mlir
    %dl = mohd.route_gradient %s, %r gates(%dg) gate softmax score softmax_all
       : tensor<?x16xf32>, !mohd.routing<16, 6, 2> gates tensor<?x8xf32> -> tensor<?x16xf32>
    ```
  }];
  let arguments = (ins Mohd_ScoreTensor:$scores, Mohd_RoutingType:$routing, Optional<Mohd_ScoreTensor>:$gates_grad,
                       Optional<Mohd_ScoreTensor>:$scores_grad, Mohd_GateAttr:$gate, Mohd_ScoreAttr:$score,
                       DefaultValuedAttr<Mohd_ScalingAttr, "::mlir::mohd::Scaling::None">:$scaling);
  let results = (outs Mohd_ScoreTensor:$result);
  let assemblyFormat = [{
    $scores `,` $routing (`gates` `(` $gates_grad^ `)`)? (`scores` `(` $scores_grad^ `)`)? `gate` $gate `score` $score
    (`scaling` $scaling^)? attr-dict
    `:` type($scores) `,` qualified(type($routing)) (`gates` type($gates_grad)^)? (`scores` type($scores_grad)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_BalanceLossGradientOp : Mohd_TokenOp<"balance_loss_gradient", "1"> {
  let summary = "gradient of the scores of a balance loss";
  let description = [{
    For routed group i, with f_i as `mohd.balance_loss` has it (through which no gradient goes), and 0 for shared groups:

        result[t, i] = grad * coefficient * f_i / T

    Constraints:
    - (C1) the result is [tokens, N].

    Example:
    ```mlir
    %ds = mohd.balance_loss_gradient %dloss, %r kind deepseek coefficient 1.000000e-02
       : tensor<f32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
    ```
  }];
  let arguments = (ins Mohd_ScalarTensor:$grad, Mohd_RoutingType:$routing, Mohd_BalanceAttr:$kind, F64Attr:$coefficient);
  let results = (outs Mohd_ScoreTensor:$result);
  let assemblyFormat = [{
    $grad `,` $routing `kind` $kind `coefficient` $coefficient attr-dict `:` type($grad) `,` qualified(type($routing)) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Mohd_RmsNormGradientOp : Mohd_TokenOp<"rms_norm_gradient", "", [AllTypesMatch<["input", "grad", "result"]>]> {
  let summary = "gradient of the input of an RMS norm, and its factors";
  let description = [{
    With r = 1 / sqrt(mean(input^2) + epsilon) over the M dimensions that `mohd.rms_norm` takes its mean over, in f32:

        factors[t]   = r
        result[t, d] = r * weight_d * grad_d - (d counted ? input_d * r^3 / M * sum_e weight_e * grad_e * input_e : 0)

    Constraints:
    - (C1) `weight` has the width of `input`.
    - (C2) if `routing` is given, the width of `input` is a multiple of its number of groups.

    Example:
    ```mlir
    %dx, %f = mohd.rms_norm_gradient %x, %w, %dn epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_VectorWeight:$weight, Mohd_TokenTensor:$grad, Optional<Mohd_RoutingType>:$routing,
                       F64Attr:$epsilon);
  let results = (outs Mohd_TokenTensor:$result, Mohd_SettingTensor:$factors);
  let assemblyFormat = [{
    $input `,` $weight `,` $grad (`routing` `(` $routing^ `)`)? `epsilon` $epsilon attr-dict
    `:` type($input) `,` type($weight) (`routing` qualified(type($routing))^)? `->` type($factors)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the weight.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_ColumnSumsOp : Mohd_TokenOp<"column_sums", "", [AttrSizedOperandSegments]> {
  let summary = "sum over tokens of each column, of products with what is given";
  let description = [{
    result[d] = sum_t grad[t, d] * input[t, d] * factors[t], in f32; what is not given counts as 1. The gradient of the weight of an RMS norm, with the factors
    of `mohd.rms_norm_gradient`, and of the bias of a fusion, with `grad` alone.

    Constraints:
    - (C1) the result, and `input` if it is given, have the width of `grad`.

    Example:
    ```mlir
    %dw = mohd.column_sums %dn input(%x) factors(%f) : tensor<?x64xf32> input tensor<?x64xf32> factors tensor<?xf32> -> tensor<64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$grad, Optional<Mohd_TokenTensor>:$input, Optional<Mohd_SettingTensor>:$factors);
  let results = (outs Mohd_VectorWeight:$result);
  let assemblyFormat = [{
    $grad (`input` `(` $input^ `)`)? (`factors` `(` $factors^ `)`)? attr-dict
    `:` type($grad) (`input` type($input)^)? (`factors` type($factors)^)? `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    bool resultsHaveTokens() { return false; }
  }];
}

def Mohd_CopyOp : Mohd_TokenOp<"copy", "0", [Mohd_Differentiable, AllTypesMatch<["input", "result"]>]> {
  let summary = "the input as a value of its own";
  let description = [{
    result = input. An entry point returns nothing but values of its own; the gradient of a side of a `mohd.add` is that of the sum.

    Example:
    ```mlir
    %y = mohd.copy %x : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Mohd_SiluGradientOp : Mohd_TokenOp<"silu_gradient", "0, 1", [AllTypesMatch<["input", "grad", "result"]>]> {
  let summary = "gradient of the input of a sigmoid-weighted linear unit";
  let description = [{
    With σ = 1 / (1 + exp(-input)): result = grad * σ * (1 + input * (1 - σ)) in f32, and 0 for input -Inf.

    Example:
    ```mlir
    %dx = mohd.silu_gradient %x, %dy : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_TokenTensor:$grad);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$input `,` $grad attr-dict `:` type($input)";
}

def Mohd_SwigluGradientOp : Mohd_TokenOp<"swiglu_gradient", "0, 1, 2", [AllTypesMatch<["gate", "up", "grad", "gate_grad", "up_grad"]>]> {
  let summary = "gradients of both inputs of a gated unit";
  let description = [{
        gate_grad = up * grad * silu'(gate)      (`mohd.silu_gradient` has silu')
        up_grad   = silu(gate) * grad

    in f32.

    Example:
    ```mlir
    %dgate, %dup = mohd.swiglu_gradient %gate, %up, %dz : tensor<?x96xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$gate, Mohd_TokenTensor:$up, Mohd_TokenTensor:$grad);
  let results = (outs Mohd_TokenTensor:$gate_grad, Mohd_TokenTensor:$up_grad);
  let assemblyFormat = "$gate `,` $up `,` $grad attr-dict `:` type($gate)";
}

def Mohd_FusionMixOp : Mohd_TokenOp<"fusion_mix", "", [DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let summary = "the left factor of a Monarch fusion alone";
  let description = [{
    With `left` [l, s, r] and the input viewed as r blocks of l:

        result[s*L + l] = sum_r left[l, s, r] * input[r*L + l]

    in f32. If `routing` is given, `input` is known to be zero outside each token's active groups.

    Constraints:
    - (C1) l*r is the width of `input`.
    - (C2) if `routing` is given, r is its number of groups.

    Example:
    ```mlir
    %du = mohd.fusion_mix %dy, %l : tensor<?x64xf32>, tensor<4x16x16xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_GroupWeight:$left, Optional<Mohd_RoutingType>:$routing);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $left (`routing` `(` $routing^ `)`)? attr-dict `:` type($input) `,` type($left) (`routing` qualified(type($routing))^)?
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the factor.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_FusionMixGradientOp : Mohd_TokenOp<"fusion_mix_gradient", "0, 1"> {
  let summary = "gradient of the left factor of a Monarch fusion";
  let description = [{
    result[l, s, r] = sum_t grad[t, s*L + l] * input[t, r*L + l], accumulated in f32.

    Constraints:
    - (C1) l*r is the width of `input`, l*s that of `grad`.

    Example:
    ```mlir
    %dl = mohd.fusion_mix_gradient %u, %dy : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<4x16x16xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_TokenTensor:$grad);
  let results = (outs Mohd_GroupWeight:$result);
  let assemblyFormat = "$input `,` $grad attr-dict `:` type($input) `,` type($grad) `->` type($result)";
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # [{
    bool resultsHaveTokens() { return false; }
  }];
}

def Mohd_EmbedGradientOp : Mohd_TokenOp<"embed_gradient", "0, 1"> {
  let summary = "gradient of a table whose rows were picked";
  let description = [{
    result[v] = sum over t with ids[t] = v of grad[t], accumulated in f32 in ascending order of t. An id outside the table is refused when a program is run.

    Constraints:
    - (C1) the result has the width of `grad`.

    Example:
    ```mlir
    %dt = mohd.embed_gradient %tokens, %dx : tensor<?xi32>, tensor<?x64xf32> -> tensor<256x64xf32>
    ```
  }];
  let arguments = (ins Mohd_IdTensor:$ids, Mohd_TokenTensor:$grad);
  let results = (outs Mohd_MatrixWeight:$result);
  let assemblyFormat = "$ids `,` $grad attr-dict `:` type($ids) `,` type($grad) `->` type($result)";
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # [{
    bool resultsHaveTokens() { return false; }
    ::llvm::SmallVector<::mlir::mohd::IndexOperand> getIndexOperands();
  }];
}

#endif // MOHD_DIALECT_MOHD_IR_GRADIENTOPS_TD
