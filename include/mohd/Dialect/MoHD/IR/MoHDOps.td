// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of the mohd dialect that are particular to Mixture of Hidden Dimensions; the rest of a LLaMA block is in
// TransformerOps.td, what scheduling produces is in ProgramOps.td.
#ifndef MOHD_DIALECT_MOHD_IR_MOHDOPS_TD
#define MOHD_DIALECT_MOHD_IR_MOHDOPS_TD

include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mohd/Dialect/MoHD/IR/MoHDAttributes.td"
include "mohd/Dialect/MoHD/IR/MoHDInterfaces.td"
include "mohd/Dialect/MoHD/IR/MoHDTypes.td"

class Mohd_Op<string mnemonic, list<Trait> traits = []> : Op<Mohd_Dialect, mnemonic, traits>;

// Declares the method of an op that has a gradient.
def Mohd_Differentiable : DeclareOpInterfaceMethods<Mohd_DifferentiableOpInterface>;

// An op on tokens; `tokenOperands` is a C++ list of operand numbers, for instance "0, 1". An op whose list depends on what is
// given leaves it empty and declares getTokenOperands() itself.
class Mohd_TokenOp<string mnemonic, string tokenOperands, list<Trait> traits = []>
    : Mohd_Op<mnemonic, [Pure, Mohd_TokenOpInterface] # traits> {
  code tokenOperandsDecl = "::llvm::SmallVector<unsigned> getTokenOperands() { return {" # tokenOperands # "}; }\n";
  code readsGatesDecl = "bool readsGates() { return true; }\n";
  let extraClassDeclaration = tokenOperandsDecl;
}

def Mohd_WeightOp : Mohd_Op<"weight", [Pure]> {
  let summary = "a tensor of the model's files, by name";
  let description = [{
    The tensor called `source` in the model's files, converted to the result's element type. If `expanded_shape` is given the
    tensor is first viewed in that shape (row-major, same number of elements); if `permutation` is given, dimension `i` of
    the result is dimension `permutation[i]` of that view. With `panels` P the last dimension of that is cut into panels of P columns, the last one
    filled up with zeros: [G, R, C] becomes [G, ceildiv(C, P), R, P]. The data never enters the IR.

    With `quantized` two results stand for the tensor w, which is [G, R, C] or [R, C] before it is cut into panels:

        scales[g, c] = max_r |w[g, r, c]| / 127,   0 if that is no normal f32
        values[g, r, c] = w[g, r, c] / scales[g, c] rounded to the nearest integer, ties to even;   0 where the scale is 0

    The values lie like the tensor, the scales like one of its rows: [G, C] or [C], in panels [G, ceildiv(C, P), P]. With `k_major_values` the result is
    the values in another order of dimensions, of which R is the last one.

    Constraints:
    - (C1) `permutation` holds each of 0..rank-1 once.
    - (C2) the result's shape is `expanded_shape` permuted by `permutation` and cut into panels.
    - (C3) `panels` is positive and goes only with an `expanded_shape` of rank 3.
    - (C4) the result's elements are i8 for quantised values, f32 for their scales, and floats otherwise.
    - (C5) `quantized` goes only with a tensor of rank 2 or 3, panels aside; scales need an `expanded_shape`.

    Example:
    ```mlir
    %w = mohd.weight "model.layers.0.self_attn.q_proj.weight" expanded_shape [64, 4, 16] permutation [1, 2, 0]
       : tensor<4x16x64xbf16>
    %s = mohd.weight "model.layers.0.self_attn.q_proj.weight" expanded_shape [64, 4, 16] permutation [1, 2, 0] quantized scales
       : tensor<4x64xf32>
    ```
  }];
  let arguments = (ins StrAttr:$source, OptionalAttr<DenseI64ArrayAttr>:$expanded_shape,
                       OptionalAttr<DenseI64ArrayAttr>:$permutation, OptionalAttr<I64Attr>:$panels,
                       OptionalAttr<Mohd_QuantizedPartAttr>:$quantized);
  let results = (outs Type<And<[TensorOf<[Mohd_Float, I8]>.predicate, AllDimsAreStatic]>,
                           "static tensor of f32, bf16, f16 or i8", "::mlir::RankedTensorType">:$result);
  let assemblyFormat = [{
    $source (`expanded_shape` $expanded_shape^)? (`permutation` $permutation^)? (`panels` $panels^)? (`quantized` $quantized^)?
    attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Mohd_DequantizeOp : Mohd_TokenOp<"dequantize", "0"> {
  let summary = "the weight that int8 values and their scales stand for";
  let description = [{
    For values [G, R, C], or [R, C] as one group:

        result[g, r, c] = values[g, r, c] * scales[g, c]

    in f32, then rounded to the result's elements. A product of it need not make it: the product's sums are scaled instead (`mohd.tiled_spmm`, `mohd.bucket_spmm` and
    their sddmm), and nothing is rounded. On GPUs tokens are multiplied in the result's type.

    Constraints:
    - (C1) `scales` is [G, C], or [C] for values [R, C].
    - (C2) the result has the shape of `values`.

    Example:
    ```mlir
    %w = mohd.dequantize %q, %s : tensor<16x4x96xi8>, tensor<16x96xf32> -> tensor<16x4x96xf32>
    ```
  }];
  let arguments = (ins Mohd_PlainQuantizedWeight:$values, Mohd_PlainScales:$scales);
  let results = (outs Mohd_PlainWeight:$result);
  let assemblyFormat = "$values `,` $scales attr-dict `:` type($values) `,` type($scales) `->` type($result)";
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # [{
    bool resultsHaveTokens() { return false; }
  }];
}

def Mohd_RouteOp : Mohd_TokenOp<"route", "0", [Mohd_Differentiable]> {
  let summary = "choose each token's active groups and compute their gates";
  let description = [{
    For normalised token `n` and centroids `Phi`:

        logits = n . Phi^T;   s = score(logits);   A = {0..K_s-1} u topk(logits[K_s:], K_r)
        gates_i = f * gate(s, i) for i in A,   f = 1, or the activation scaling of the gates if `scaling` is given

    with N, K_s, K_r taken from the type of `routing`, in f32 for every element type. Equal logits: lowest index first. A token with a
    NaN logit takes its lowest-index routed groups. `scores` are `s`. Without `centroids` all scores are 1.

    Constraints:
    - (C1) `centroids` is [N, width of `input`].
    - (C2) `scores` is [tokens, N].
    - (C3) `centroids` may be left out only if K_r is 0 and the gate is not `softmax`.
    - (C4) gate `shared_one` does not go with scaling `n_times_mass` (it is about 100 times too large).

    Gate `renormalized` with K_r = 1 is a warning: the model's loss gives the router no gradient.

    Example:
    ```mlir
    %routing, %scores = mohd.route %n, %phi gate softmax score softmax_all
       : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Optional<Mohd_MatrixWeight>:$centroids,
                       Mohd_GateAttr:$gate, Mohd_ScoreAttr:$score,
                       DefaultValuedAttr<Mohd_ScalingAttr, "::mlir::mohd::Scaling::None">:$scaling);
  let results = (outs Mohd_RoutingType:$routing, Mohd_ScoreTensor:$scores);
  let assemblyFormat = [{
    $input (`,` $centroids^)? `gate` $gate `score` $score (`scaling` $scaling^)? attr-dict
    `:` type($input) (`,` type($centroids)^)? `->` qualified(type($routing)) `,` type($scores)
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}

def Mohd_MakeRoutingOp : Mohd_TokenOp<"make_routing", "0, 1", [Mohd_Differentiable]> {
  let summary = "build a routing from its indices and gates";
  let description = [{
    `indices[t]` are the active groups of token t in ascending order, starting with 0..K_s-1, and `gates[t]` their gates. An index
    outside 0..N-1 is refused when a program is run; of indices out of order, or without the common groups in front, the results are undefined, nothing else.

    Constraints:
    - (C1) `indices` is [tokens, K].
    - (C2) `gates` is [tokens, K].

    Example:
    ```mlir
    %routing = mohd.make_routing %indices, %gates
       : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
    ```
  }];
  let arguments = (ins Mohd_IndexTensor:$indices, Mohd_ScoreTensor:$gates);
  let results = (outs Mohd_RoutingType:$routing);
  let assemblyFormat = "$indices `,` $gates attr-dict `:` type($indices) `,` type($gates) `->` qualified(type($routing))";
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # [{
    ::llvm::SmallVector<::mlir::mohd::IndexOperand> getIndexOperands();
  }];
}

def Mohd_UnpackRoutingOp : Mohd_TokenOp<"unpack_routing", "0", [Mohd_Differentiable]> {
  let summary = "the indices and gates of a routing";
  let description = [{
    The inverse of `mohd.make_routing`.

    Constraints:
    - (C1) `indices` is [tokens, K].
    - (C2) `gates` is [tokens, K].

    Example:
    ```mlir
    %indices, %gates = mohd.unpack_routing %routing
       : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Mohd_RoutingType:$routing);
  let results = (outs Mohd_IndexTensor:$indices, Mohd_ScoreTensor:$gates);
  let assemblyFormat = "$routing attr-dict `:` qualified(type($routing)) `->` type($indices) `,` type($gates)";
  let hasVerifier = 1;
  let hasFolder = 1;
  let extraClassDeclaration = tokenOperandsDecl # readsGatesDecl;
}

def Mohd_GateOp : Mohd_TokenOp<"gate", "0, 1", [Mohd_Differentiable, AllTypesMatch<["input", "result"]>]> {
  let summary = "multiply each active group by its gate and clear the others";
  let description = [{
    For group i of token t, with group width `d_e` = width / N:

        result[t, i*d_e + p] = g_i * input[t, i*d_e + p] for i in A_t, 0 elsewhere

    Constraints:
    - (C1) the width of `input` is a multiple of the routing's number of groups.

    Example:
    ```mlir
    %h = mohd.gate %n, %routing : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_RoutingType:$routing);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$input `,` $routing attr-dict `:` type($input) `,` qualified(type($routing))";
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # readsGatesDecl;
}

def Mohd_ScaleOp : Mohd_TokenOp<"scale", "0, 1", [Mohd_Differentiable, AllTypesMatch<["input", "result"]>]> {
  let summary = "multiply each token by its activation scaling";
  let description = [{
    result[t] = a_t * input[t], where `a_t` is computed from the gates g of token t (sum over its active set):

        sqrt_nk_over_mass: sqrt(N*K)/sum(g)   n_times_mass: N*sum(g)   k_over_mass: K/sum(g)
        sqrt_n_over_k: sqrt(N/K)              n_over_k: N/K            none: 1

    It commutes with linear maps and with nothing else; passes move it only past those.

    Constraints:
    - (C1) the gates are not scaled already: the `mohd.route` that made `routing` has no `scaling`.
    - (C2) `n_times_mass` does not go with gate `shared_one` of that `mohd.route`.

    Example:
    ```mlir
    %h = mohd.scale %n, %routing scaling sqrt_nk_over_mass : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_RoutingType:$routing, Mohd_ScalingAttr:$scaling);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$input `,` $routing `scaling` $scaling attr-dict `:` type($input) `,` qualified(type($routing))";
  let hasVerifier = 1;
  let hasFolder = 1;
  let extraClassDeclaration = tokenOperandsDecl # readsGatesDecl;
}

def Mohd_SpmmOp : Mohd_TokenOp<"spmm", "0, 1", [Mohd_Differentiable, DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let summary = "contraction-side projection over each token's active groups";
  let description = [{
    For token t, with group width `d_e`:

        result[t, e] = sum over i in A_t, p of g_i * input[t, i*d_e + p] * weight[i, p, e]

    accumulated in f32.

    Constraints:
    - (C1) `weight` is [N, d_e, E] with the routing's N.
    - (C2) N * d_e is the width of `input`.
    - (C3) the plan is `dense` only if all groups are active.

    Example:
    ```mlir
    %q = mohd.spmm %h, %routing, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_RoutingType:$routing, Mohd_GroupWeight:$weight,
                       OptionalAttr<Mohd_PlanAttr>:$plan);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $routing `,` $weight (`plan` $plan^)? attr-dict `:` type($input) `,` qualified(type($routing)) `,` type($weight)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # readsGatesDecl;
}

def Mohd_SddmmOp : Mohd_TokenOp<"sddmm", "0, 1", [Mohd_Differentiable, DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let summary = "output-side projection that computes only each token's active groups";
  let description = [{
    For token t and group j of the output, with group width `d_e`:

        result[t, j*d_e + p] = sum_e input[t, e] * weight[j, e, p] for j in A_t, 0 elsewhere

    accumulated in f32. The gates are not used.

    Constraints:
    - (C1) `weight` is [N, E, d_e] with the routing's N.
    - (C2) E is the width of `input`.
    - (C3) the plan is `dense` only if all groups are active.

    Example:
    ```mlir
    %o = mohd.sddmm %z, %routing, %w : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xbf16>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_RoutingType:$routing, Mohd_GroupWeight:$weight,
                       OptionalAttr<Mohd_PlanAttr>:$plan);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $routing `,` $weight (`plan` $plan^)? attr-dict `:` type($input) `,` qualified(type($routing)) `,` type($weight)
  }];
  let hasVerifier = 1;
}

def Mohd_GroupFusionOp : Mohd_TokenOp<"group_fusion", "", [Mohd_Differentiable, AttrSizedOperandSegments, DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let summary = "mix groups back over the full width (Monarch or block-diagonal)";
  let description = [{
    `block_diagonal`: `right` is [k, q, p]; output block k is `right[k] . input[k]` (+ `bias`).

    `monarch`: `right` is [k, q, p], `left` is [l, s, r]. With the input viewed as k blocks of p:

        u[k*Q + q] = sum_p right[k, q, p] * input[k*P + p]
        result[s*L + l] = sum_r left[l, s, r] * u[r*L + l]

    The form of the models is k = r = s = N, p = q = l = d_e. `none` returns the input. If `routing` is given, `input` is known
    to be zero outside each token's active groups, and only those are read; the result is the same.

    Constraints:
    - (C1) `right` is given exactly for kinds other than `none`, and k*p is the width of `input`.
    - (C2) `left` is given exactly for `monarch`, and l*r = k*q.
    - (C3) `bias` goes only with `block_diagonal` and has the result's width.
    - (C4) if `routing` is given, k is its number of groups.

    Example:
    ```mlir
    %y = mohd.group_fusion %o kind monarch right(%r) left(%l) routing(%routing)
       : tensor<?x64xf32> right tensor<16x4x4xf32> left tensor<4x16x16xf32> routing !mohd.routing<16, 6, 2>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_FusionAttr:$kind, Optional<Mohd_GroupWeight>:$right,
                       Optional<Mohd_GroupWeight>:$left, Optional<Mohd_VectorWeight>:$bias,
                       Optional<Mohd_RoutingType>:$routing);
  let results = (outs Mohd_TokenTensor:$result);
  // Types follow the operands' keywords, as any operand but the first may be missing.
  let assemblyFormat = [{
    $input `kind` $kind (`right` `(` $right^ `)`)? (`left` `(` $left^ `)`)? (`bias` `(` $bias^ `)`)?
    (`routing` `(` $routing^ `)`)? attr-dict `:` type($input) (`right` type($right)^)? (`left` type($left)^)?
    (`bias` type($bias)^)? (`routing` qualified(type($routing))^)?
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
  let extraClassDeclaration = [{
    /// Operand 0, and the routing if it is given.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_BalanceLossOp : Mohd_TokenOp<"balance_loss", "0, 1", [Mohd_Differentiable]> {
  let summary = "router balance loss";
  let description = [{
    Over the routed groups i, with P_i the mean of `scores[:, i]` and count_i the number of tokens routed to i:

        loss = coefficient * sum_i f_i P_i,   deepseek: f_i = N_r/(K_r T) count_i,   switch: f_i = N_r/T count_i

    where N_r = N - K_s. The loss is 0 for kind `none`, for T = 0 and for K_r = 0.

    Constraints:
    - (C1) `scores` is [tokens, N] with the routing's N.

    Example:
    ```mlir
    %loss = mohd.balance_loss %scores, %routing kind deepseek coefficient 1.000000e-02
       : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<f32>
    ```
  }];
  let arguments = (ins Mohd_ScoreTensor:$scores, Mohd_RoutingType:$routing, Mohd_BalanceAttr:$kind, F64Attr:$coefficient);
  let results = (outs Mohd_ScalarTensor:$loss);
  let assemblyFormat = [{
    $scores `,` $routing `kind` $kind `coefficient` $coefficient attr-dict
    `:` type($scores) `,` qualified(type($routing)) `->` type($loss)
  }];
  let hasVerifier = 1;
}

#endif // MOHD_DIALECT_MOHD_IR_MOHDOPS_TD
