// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of the mohd dialect for gradients of attention and of KV caches. docs/differentiation.md has the rules that make them.
#ifndef MOHD_DIALECT_MOHD_IR_CACHEGRADIENTOPS_TD
#define MOHD_DIALECT_MOHD_IR_CACHEGRADIENTOPS_TD

include "mohd/Dialect/MoHD/IR/MoHDOps.td"

def Mohd_ZeroCacheOp : Mohd_TokenOp<"zero_cache", "0", [AllTypesMatch<["like", "result"]>]> {
  let summary = "a cache of zeros";
  let description = [{
    Every element is 0. The result has the shape of `like`, which is not read. Gradients of a cache are added to it.

    Example:
    ```mlir
    %dk = mohd.zero_cache %keys : tensor<2x?x?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_CacheTensor:$like);
  let results = (outs Mohd_CacheTensor:$result);
  let assemblyFormat = "$like attr-dict `:` type($like)";
  let extraClassDeclaration = tokenOperandsDecl # [{
    ::std::optional<unsigned> getShapeOperand() { return 0; }
    bool resultsHaveTokens() { return false; }
  }];
}

def Mohd_KvCacheAppendGradientOp : Mohd_TokenOp<"kv_cache_append_gradient", "", [AllTypesMatch<["grad", "result"]>]> {
  let summary = "take the gradients of appended rows out of that of a cache";
  let description = [{
    For each token t, whose place is [layer, sequence[t], position[t]] (without `sequence`: of sequence t, with as many tokens as sequences):

        rows[t] = grad[place]
        result  = grad, and 0 at each token's place

    As the cache of `mohd.kv_cache_append` is, `grad` is updated in place: it may not be used after this op.

    Constraints:
    - (C1) `rows` has the width of `grad`.
    - (C2) `layer` is less than the number of layers of `grad`, which is static.

    Example:
    ```mlir
    %dc, %dk = mohd.kv_cache_append_gradient %grad, %position in %sequence layer 1
       : tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mohd_CacheTensor:$grad, Mohd_IdTensor:$position, Optional<Mohd_IdTensor>:$sequence, I64Attr:$layer);
  let results = (outs Mohd_CacheTensor:$result, Mohd_TokenTensor:$rows);
  let assemblyFormat = [{
    $grad `,` $position (`in` $sequence^)? `layer` $layer attr-dict
    `:` type($grad) `,` type($position) (`,` type($sequence)^)? `->` type($rows)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// `position`, and `sequence` if it is given.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    ::std::optional<unsigned> getTiedOperand() { return 0; }
    ::llvm::SmallVector<::mlir::mohd::EqualDims> getEqualDims();
    ::llvm::SmallVector<::mlir::mohd::IndexOperand> getIndexOperands();
  }];
}

def Mohd_AttentionGradientOp : Mohd_TokenOp<"attention_gradient", "", [AllTypesMatch<["query", "grad", "result"]>]> {
  let summary = "gradient of the queries of an attention, and what those of its caches need";
  let description = [{
    For query head h of token t, and the keys k and values v that `mohd.attention` has for it in rows s, in f32:

        l_s          = query[t, h] . k_s / sqrt(head_dim)
        m            = the largest number among l_s, -Inf if there is none
        M            = sum_s exp(l_s - m)
        p_s          = exp(l_s - m) / M
        delta        = sum_s p_s * (grad[t, h] . v_s)
        result[t, h] = sum_s p_s * (grad[t, h] . v_s - delta) * k_s / sqrt(head_dim)

    Columns 3h, 3h + 1 and 3h + 2 of `statistics` are m, M and delta.

    Constraints:
    - (C1) `query` and the caches are as `mohd.attention` takes them.
    - (C2) `statistics` has three columns for each query head.

    Example:
    ```mlir
    %dq, %s = mohd.attention_gradient %q, %keys, %values, %da, %position in %sequence layer 1 head_dim 32
       : tensor<?x128xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x12xf32>
    ```
  }];
  let arguments = (ins Mohd_TokenTensor:$query, Mohd_CacheTensor:$keys, Mohd_CacheTensor:$values, Mohd_TokenTensor:$grad,
                       Mohd_IdTensor:$position, Optional<Mohd_IdTensor>:$sequence, I64Attr:$layer, I64Attr:$head_dim);
  let results = (outs Mohd_TokenTensor:$result, Mohd_ScoreTensor:$statistics);
  let assemblyFormat = [{
    $query `,` $keys `,` $values `,` $grad `,` $position (`in` $sequence^)? `layer` $layer `head_dim` $head_dim attr-dict
    `:` type($query) `,` type($keys) `,` type($values) `,` type($position) (`,` type($sequence)^)? `->` type($statistics)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// `query`, `grad`, `position`, and `sequence` if it is given.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    ::llvm::SmallVector<::mlir::mohd::EqualDims> getEqualDims();
    ::llvm::SmallVector<::mlir::mohd::IndexOperand> getIndexOperands();
    int64_t getNumHeads() { return getQuery().getType().getDimSize(1) / getHeadDim(); }
    int64_t getNumKvHeads() { return getKeys().getType().getDimSize(3) / getHeadDim(); }
  }];
}

def Mohd_AttentionCacheGradientOp : Mohd_TokenOp<"attention_cache_gradient", "", [AllTypesMatch<["into", "keys", "values", "result"]>,
                                                 AllTypesMatch<["query", "grad"]>]> {
  let summary = "add the gradient of the keys, or of the values, of an attention";
  let description = [{
    Row s of sequence b and key head j of `layer` gets, with p_s and delta from the statistics of `mohd.attention_gradient`, the sum over the tokens t with
    sequence[t] = b and position[t] >= s, in ascending order, and over the query heads h of j:

        result = into + sum_t,h p_s * (grad[t, h] . v_s - delta) * query[t, h] / sqrt(head_dim)
        result = into + sum_t,h p_s * grad[t, h]   if it is `of_values`

    in f32. Other rows, layers and heads stay as they are. `into` is updated in place: it may not be used after this op.

    Constraints:
    - (C1) `query` and the caches are as `mohd.attention` takes them.
    - (C2) `statistics` has three columns for each query head.

    Example:
    ```mlir
    %dk = mohd.attention_cache_gradient %into, %q, %keys, %values, %da, %s, %position in %sequence layer 1 head_dim 32
       : tensor<2x?x?x64xf32>, tensor<?x128xf32>, tensor<?x12xf32>, tensor<?xi32>, tensor<?xi32>
    ```
  }];
  let arguments = (ins Mohd_CacheTensor:$into, Mohd_TokenTensor:$query, Mohd_CacheTensor:$keys, Mohd_CacheTensor:$values,
                       Mohd_TokenTensor:$grad, Mohd_ScoreTensor:$statistics, Mohd_IdTensor:$position,
                       Optional<Mohd_IdTensor>:$sequence, I64Attr:$layer, I64Attr:$head_dim, UnitAttr:$of_values);
  let results = (outs Mohd_CacheTensor:$result);
  let assemblyFormat = [{
    $into `,` $query `,` $keys `,` $values `,` $grad `,` $statistics `,` $position (`in` $sequence^)? `layer` $layer `head_dim` $head_dim
    (`of_values` $of_values^)? attr-dict `:` type($into) `,` type($query) `,` type($statistics) `,` type($position) (`,` type($sequence)^)?
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// All operands but the caches.
    ::llvm::SmallVector<unsigned> getTokenOperands();
    ::std::optional<unsigned> getTiedOperand() { return 0; }
    ::llvm::SmallVector<::mlir::mohd::EqualDims> getEqualDims();
    ::llvm::SmallVector<::mlir::mohd::IndexOperand> getIndexOperands();
    int64_t getNumHeads() { return getQuery().getType().getDimSize(1) / getHeadDim(); }
    int64_t getNumKvHeads() { return getKeys().getType().getDimSize(3) / getHeadDim(); }
  }];
}

#endif // MOHD_DIALECT_MOHD_IR_CACHEGRADIENTOPS_TD
