// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The reference lowering: every op of the mohd dialect as plain dense loops on tensors.
#ifndef MOHD_CONVERSION_MOHDTOLINALG_MOHDTOLINALG_H
#define MOHD_CONVERSION_MOHDTOLINALG_MOHDTOLINALG_H

namespace mlir {
class RewritePatternSet;
class TypeConverter;
} // namespace mlir

namespace mlir::mohd {

/// Makes `converter` turn `!mohd.routing<N, K_s, K_r>` into its two tensors, indices [tokens, K]
/// i32 and gates [tokens, K] f32.
void addRoutingConversion(TypeConverter &converter);

/// Adds the patterns of the ops that make a routing or use only it: route, make_routing,
/// unpack_routing, scale, balance_loss.
void populateRoutingToLinalgPatterns(TypeConverter &converter, RewritePatternSet &patterns);

/// Adds the patterns of the ops that walk active groups: gate, spmm, sddmm, group_fusion.
void populateSparseToLinalgPatterns(TypeConverter &converter, RewritePatternSet &patterns);

/// Adds the patterns of the unrouted rest of a LLaMA block: from embed to attention.
void populateTransformerToLinalgPatterns(TypeConverter &converter, RewritePatternSet &patterns);

/// Adds the patterns of the ops of backward functions (GradientOps.td).
void populateGradientsToLinalgPatterns(TypeConverter &converter, RewritePatternSet &patterns);

/// Adds the patterns of the gradients of attention and of KV caches (CacheGradientOps.td).
void populateCacheGradientsToLinalgPatterns(TypeConverter &converter, RewritePatternSet &patterns);

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_MOHDTOLINALG_MOHDTOLINALG_H
