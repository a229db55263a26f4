// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of the mohd dialect for the unrouted parts of a LLaMA-style block.
#ifndef MOHD_DIALECT_MOHD_IR_TRANSFORMEROPS_TD
#define MOHD_DIALECT_MOHD_IR_TRANSFORMEROPS_TD

include "mohd/Dialect/MoHD/IR/MoHDOps.td"

def Mohd_EmbedOp : Mohd_TokenOp<"embed", "0", [Mohd_Differentiable]> {
  let summary = "pick a row of a table for each id";
  let description = [{
    result[t] = table[ids[t]]. Serves the embedding and the choice of rows before the LM head. An id outside the table is refused when
    a program is run.

    Constraints:
    - (C1) the result has the table's width.

    Example:
    ```mlir
    %x = mohd.embed %tokens, %table : tensor<?xi32>, tensor<256x64xbf16> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_IdTensor:$ids, Mohd_TableTensor:$table);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` type($ids) `,` type($table) `->` type($result)";
  let hasVerifier = 1;
  let extraClassDeclaration = tokenOperandsDecl # [{
    ::llvm::SmallVector<::mlir::mohd::IndexOperand> getIndexOperands();
  }];
}

def Mohd_RmsNormOp : Mohd_TokenOp<"rms_norm", "", [Mohd_Differentiable, AllTypesMatch<["input", "result"]>]> {
  let summary = "root-mean-square normalisation with a weight";
  let description = [{
    For each token, in f32:

        result = input / sqrt(mean(input^2) + epsilon) * weight

    The mean is over all dimensions or, if `routing` is given, over the dimensions of the token's active groups only.

    Constraints:
    - (C1) `weight` has the width of `input`.
    - (C2) if `routing` is given, the width of `input` is a multiple of its number of groups.

    Example:
    ```mlir
    %n = mohd.rms_norm %x, %w epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_VectorWeight:$weight, Optional<Mohd_RoutingType>:$routing,
                       F64Attr:$epsilon);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`routing` `(` $routing^ `)`)? `epsilon` $epsilon attr-dict
    `:` type($input) `,` type($weight) (`routing` qualified(type($routing))^)?
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Operand 0, and the routing if it is given.
    ::llvm::SmallVector<unsigned> getTokenOperands();
  }];
}

def Mohd_LinearOp : Mohd_TokenOp<"linear", "0", [Mohd_Differentiable]> {
  let summary = "dense projection";
  let description = [{
    result[t, e] = sum_d input[t, d] * weight[d, e], accumulated in f32.

    Constraints:
    - (C1) `weight` is [width of `input`, width of the result].
    - (C2) the plan is `dense`.

    Example:
    ```mlir
    %logits = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x256xbf16> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_MatrixWeight:$weight, OptionalAttr<Mohd_PlanAttr>:$plan);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$input `,` $weight (`plan` $plan^)? attr-dict `:` type($input) `,` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def Mohd_AddOp : Mohd_TokenOp<"add", "0, 1", [Mohd_Differentiable, AllTypesMatch<["lhs", "rhs", "result"]>, Commutative]> {
  let summary = "element-wise sum, as of a residual stream and a sub-layer's output";
  let description = [{
    result = lhs + rhs.

    Example:
    ```mlir
    %y = mohd.add %x, %o : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$lhs, Mohd_TokenTensor:$rhs);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs)";
  let hasCanonicalizer = 1;
}

def Mohd_SiluOp : Mohd_TokenOp<"silu", "0", [Mohd_Differentiable, AllTypesMatch<["input", "result"]>]> {
  let summary = "sigmoid-weighted linear unit";
  let description = [{
    result = x / (1 + exp(-x)) in f32, with silu(-Inf) = 0.

    Example:
    ```mlir
    %y = mohd.silu %x : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Mohd_SwigluOp : Mohd_TokenOp<"swiglu", "0, 1", [Mohd_Differentiable, AllTypesMatch<["gate", "up", "result"]>]> {
  let summary = "gated unit silu(gate) * up";
  let description = [{
    result = silu(gate) * up in f32 (`mohd.silu` defines silu).

    Example:
    ```mlir
    %z = mohd.swiglu %gate, %up : tensor<?x96xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$gate, Mohd_TokenTensor:$up);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = "$gate `,` $up attr-dict `:` type($gate)";
}

def Mohd_RopeOp : Mohd_TokenOp<"rope", "0, 1", [Mohd_Differentiable, AllTypesMatch<["input", "result"]>]> {
  let summary = "rotary position embedding";
  let description = [{
    For every head of `head_dim` columns and j < head_dim/2, with the angle a = position[t] * theta^(-2j/head_dim):

        result[j]              = input[j] * cos(a) - input[j + head_dim/2] * sin(a)
        result[j + head_dim/2] = input[j + head_dim/2] * cos(a) + input[j] * sin(a)

    (Hugging Face LLaMA's half rotation; the angle in f64, the rest in f32.) If it is `inverse`, the angle is negated: the rotation back, which is also the
    gradient.

    Constraints:
    - (C1) `head_dim` is even, at least 2 and at most 4096.
    - (C2) the width of `input` is a multiple of `head_dim`.

    Example:
    ```mlir
    %r = mohd.rope %q, %position head_dim 32 theta 1.000000e+04 : tensor<?x64xf32>, tensor<?xi32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$input, Mohd_IdTensor:$position, I64Attr:$head_dim, F64Attr:$theta, UnitAttr:$inverse);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $input `,` $position `head_dim` $head_dim `theta` $theta (`inverse` $inverse^)? attr-dict `:` type($input) `,` type($position)
  }];
  let hasVerifier = 1;
}

def Mohd_KvCacheAppendOp : Mohd_TokenOp<"kv_cache_append", "", [Mohd_Differentiable, AllTypesMatch<["cache", "result"]>]> {
  let summary = "write each token's keys or values into a layer of a KV cache";
  let description = [{
    result is `cache` with result[layer, sequence[t], position[t]] = rows[t]; without `sequence`, token t belongs to sequence t, and there are as
    many tokens as sequences. The cache is
    updated in place: it may not be used after this op. Two tokens with the same place are undefined.

    Constraints:
    - (C1) `rows` has the cache's width.
    - (C2) `layer` is less than the cache's number of layers, which is static.

    Example:
    ```mlir
    %c = mohd.kv_cache_append %cache, %k, %position in %sequence layer 1
       : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>
    ```
  }];
  let arguments = (ins Mohd_CacheTensor:$cache, Mohd_TokenTensor:$rows, Mohd_IdTensor:$position,
                       Optional<Mohd_IdTensor>:$sequence, I64Attr:$layer);
  let results = (outs Mohd_CacheTensor:$result);
  let assemblyFormat = [{
    $cache `,` $rows `,` $position (`in` $sequence^)? `layer` $layer attr-dict
    `:` type($cache) `,` type($rows) `,` type($position) (`,` type($sequence)^)?
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// `rows`, `position`, and `sequence` if it is given.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    ::std::optional<unsigned> getTiedOperand() { return 0; }
    ::llvm::SmallVector<::mlir::mohd::EqualDims> getEqualDims();
    ::llvm::SmallVector<::mlir::mohd::IndexOperand> getIndexOperands();
  }];
}

def Mohd_AttentionOp : Mohd_TokenOp<"attention", "", [Mohd_Differentiable, AllTypesMatch<["query", "result"]>]> {
  let summary = "causal attention of each token over its sequence in a KV cache";
  let description = [{
    Token t attends to rows 0..position[t] of sequence[t] (without `sequence`: of sequence t, with as many tokens as sequences) in `layer` of the caches. With
    head_dim columns a head, query head h uses key and value head h / (heads / kv_heads):

        result[t, h] = softmax(query[t, h] . keys^T / sqrt(head_dim)) . values

    in f32.

    Constraints:
    - (C1) the widths of `query` and of the caches are multiples of `head_dim`.
    - (C2) the number of query heads is a multiple of the number of key heads.
    - (C3) `keys` and `values` have the same type, with a static number of layers greater than `layer`.
    - (C4) `head_dim` is at least 1 and at most 4096.

    Example:
    ```mlir
    %a = mohd.attention %q, %keys, %values, %position in %sequence layer 1 head_dim 32
       : tensor<?x128xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$query, Mohd_CacheTensor:$keys, Mohd_CacheTensor:$values,
                       Mohd_IdTensor:$position, Optional<Mohd_IdTensor>:$sequence, I64Attr:$layer, I64Attr:$head_dim);
  let results = (outs Mohd_TokenTensor:$result);
  let assemblyFormat = [{
    $query `,` $keys `,` $values `,` $position (`in` $sequence^)? `layer` $layer `head_dim` $head_dim attr-dict
    `:` type($query) `,` type($keys) `,` type($values) `,` type($position) (`,` type($sequence)^)?
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// `query`, `position`, and `sequence` if it is given.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    ::llvm::SmallVector<::mlir::mohd::IndexOperand> getIndexOperands();
    ::llvm::SmallVector<::mlir::mohd::EqualDims> getEqualDims();
    int64_t getNumHeads() { return getQuery().getType().getDimSize(1) / getHeadDim(); }
    int64_t getNumKvHeads() { return getKeys().getType().getDimSize(3) / getHeadDim(); }
  }];
}

def Mohd_SampleOp : Mohd_TokenOp<"sample", "0, 1, 2, 3, 4"> {
  let summary = "choose a token from each row of logits";
  let description = [{
    For each row, with logits l and their maximum M, in f32:

    - A NaN, a +Inf, or nothing but -Inf gives -1.
    - Tokens are ordered by descending logit, equal ones by ascending index. At a temperature not above 0 the first is the result.
    - Else w[i] = exp((l[i] - M) / temperature). The first `top_k` are kept (all if that is below 1), and of those the fewest first ones whose
      w add up to at least `top_p` of the sum of all of them; at least one.
    - The result is the first token, by index, up to which (it included) the kept w add up to more than `draw` of their sum; the last kept one if rounding
      leaves none. With `draw` uniform in [0, 1) it is a draw from the kept distribution.

    Constraints:
    - (C1) the logits have a column.

    Example:
    ```mlir
    %next = mohd.sample %logits temperature %t top_k %k top_p %p draw %u : tensor<?x256xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<?xf32> -> tensor<?xi32>
    ```
  }];
  let arguments = (ins Mohd_ScoreTensor:$logits, Mohd_SettingTensor:$temperature, Mohd_IdTensor:$topK, Mohd_SettingTensor:$topP,
                       Mohd_SettingTensor:$draw);
  let results = (outs Mohd_IdTensor:$result);
  let assemblyFormat = [{
    $logits `temperature` $temperature `top_k` $topK `top_p` $topP `draw` $draw attr-dict
    `:` type($logits) `,` type($temperature) `,` type($topK) `,` type($topP) `,` type($draw) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // MOHD_DIALECT_MOHD_IR_TRANSFORMEROPS_TD
