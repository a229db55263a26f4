// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers and token interfaces of the unrouted ops of a LLaMA-style block, and of the gradients of those on KV caches.
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::mohd;

/// Kernels keep the columns of a head on the stack.
static constexpr int64_t kMaxHeadDim = 1 << 12;

//===----------------------------------------------------------------------===//
// EmbedOp, RmsNormOp, LinearOp, RopeOp
//===----------------------------------------------------------------------===//

LogicalResult EmbedOp::verify() {
  if (getTable().getType().getDimSize(1) != getResult().getType().getDimSize(1)) // embed_c1
    return emitOpError("expects a result of the table's width ")
           << getTable().getType().getDimSize(1) << ", got " << getResult().getType().getDimSize(1);
  return success();
}

SmallVector<IndexOperand> EmbedOp::getIndexOperands() { return {{0, 1, 0, 0}}; }

LogicalResult RmsNormOp::verify() {
  int64_t width = getInput().getType().getDimSize(1);
  if (getWeight().getType().getDimSize(0) != width) // rms_norm_c1
    return emitOpError("expects 'weight' to have width ")
           << width << ", got " << getWeight().getType().getDimSize(0);
  if (getRouting()) // rms_norm_c2
    return detail::verifyWholeGroups(*this, getInput().getType(), getRouting().getType());
  return success();
}

SmallVector<unsigned> RmsNormOp::getTokenOperands() {
  if (getRouting())
    return {0, 2};
  return {0};
}

LogicalResult LinearOp::verify() {
  ArrayRef<int64_t> weight = getWeight().getType().getShape();
  int64_t input = getInput().getType().getDimSize(1), result = getResult().getType().getDimSize(1);
  if (weight[0] != input || weight[1] != result) // linear_c1
    return emitOpError("expects 'weight' of shape [")
           << input << ", " << result << "], got [" << weight << "]";
  if (getPlan() && getPlan()->getStrategy() != Strategy::Dense) // linear_c2
    return emitOpError("expects plan 'dense', got '")
           << stringifyStrategy(getPlan()->getStrategy()) << "'";
  return success();
}

LogicalResult RopeOp::verify() {
  int64_t headDim = getHeadDim();
  if (headDim < 2 || headDim > kMaxHeadDim || headDim % 2 != 0) // rope_c1
    return emitOpError("expects an even 'head_dim' in 2..") << kMaxHeadDim << ", got " << headDim;
  int64_t width = getInput().getType().getDimSize(1);
  if (width % headDim != 0) // rope_c2
    return emitOpError("expects the width of 'input' to be a multiple of 'head_dim' ")
           << headDim << ", got " << width;
  return success();
}

//===----------------------------------------------------------------------===//
// KvCacheAppendOp, KvCacheAppendGradientOp
//===----------------------------------------------------------------------===//

/// The operands [first, end) that are given, for ops whose optional `sequence` comes last.
static SmallVector<unsigned> withSequence(ArrayRef<unsigned> operands, Value sequence,
                                          unsigned number) {
  SmallVector<unsigned> all(operands);
  if (sequence)
    all.push_back(number);
  return all;
}

/// Bounds of `position` and `sequence` by the dims of the cache, operand `cache`.
static SmallVector<IndexOperand> cacheIndexOperands(unsigned cache, unsigned position,
                                                    Value sequence) {
  SmallVector<IndexOperand> operands = {{position, int(cache), 2, 0}};
  if (sequence)
    operands.push_back({position + 1, int(cache), 1, 0});
  return operands;
}

/// Checks that `layer` is a layer of a cache of type `cache`.
static LogicalResult verifyLayer(Operation *op, RankedTensorType cache, int64_t layer) {
  if (cache.isDynamicDim(0) || layer < 0 || layer >= cache.getDimSize(0))
    return op->emitOpError(
               "expects 'layer' to be less than a static number of layers of the cache, got layer ")
           << layer << " of " << cache;
  return success();
}

/// Checks that `rows` are of the cache's width, and `layer` is one of it.
static LogicalResult verifyRows(Operation *op, RankedTensorType cache, RankedTensorType rows,
                                int64_t layer) {
  if (rows.getDimSize(1) != cache.getDimSize(3))
    return op->emitOpError("expects 'rows' to have the cache's width ")
           << cache.getDimSize(3) << ", got " << rows.getDimSize(1);
  return verifyLayer(op, cache, layer);
}

LogicalResult KvCacheAppendOp::verify() { // kv_cache_append_c1, kv_cache_append_c2
  return verifyRows(*this, getCache().getType(), getRows().getType(), getLayer());
}

SmallVector<unsigned> KvCacheAppendOp::getTokenOperands() {
  return withSequence({1, 2}, getSequence(), 3);
}

SmallVector<EqualDims> KvCacheAppendOp::getEqualDims() {
  if (getSequence())
    return {};
  return {{1, 0, 0, 1}};
}

SmallVector<IndexOperand> KvCacheAppendOp::getIndexOperands() {
  return cacheIndexOperands(0, 2, getSequence());
}

// kv_cache_append_gradient_c1, kv_cache_append_gradient_c2
LogicalResult KvCacheAppendGradientOp::verify() {
  return verifyRows(*this, getGrad().getType(), getRows().getType(), getLayer());
}

SmallVector<unsigned> KvCacheAppendGradientOp::getTokenOperands() {
  return withSequence({1}, getSequence(), 2);
}

SmallVector<EqualDims> KvCacheAppendGradientOp::getEqualDims() {
  if (getSequence())
    return {};
  return {{1, 0, 0, 1}};
}

SmallVector<IndexOperand> KvCacheAppendGradientOp::getIndexOperands() {
  return cacheIndexOperands(0, 1, getSequence());
}

//===----------------------------------------------------------------------===//
// AttentionOp, AttentionGradientOp, AttentionCacheGradientOp
//===----------------------------------------------------------------------===//

/// Checks what an attention has in common with its gradients.
template <typename OpTy> static LogicalResult verifyAttention(OpTy op) {
  int64_t headDim = op.getHeadDim();
  RankedTensorType keys = op.getKeys().getType(), values = op.getValues().getType();
  int64_t query = op.getQuery().getType().getDimSize(1), width = keys.getDimSize(3);
  if (headDim < 1 || headDim > kMaxHeadDim) // attention_c4
    return op.emitOpError("expects 'head_dim' in 1..") << kMaxHeadDim << ", got " << headDim;
  if (query % headDim != 0 || width % headDim != 0) // attention_c1
    return op.emitOpError("expects the widths of 'query' and 'keys' to be multiples of 'head_dim' ")
           << headDim << ", got " << query << " and " << width;
  if (width == 0 || query % width != 0) // attention_c2
    return op.emitOpError("expects the number of query heads to be a multiple of the number of key "
                          "heads, got ")
           << query / headDim << " and " << width / headDim;
  if (keys != values) // attention_c3
    return op.emitOpError("expects 'keys' and 'values' of one type, got ")
           << keys << " and " << values;
  return verifyLayer(op, keys, op.getLayer()); // attention_c3
}

/// The same of a gradient, whose statistics have a column for each head.
template <typename OpTy> static LogicalResult verifyAttentionGradient(OpTy op) {
  if (failed(verifyAttention(op))) // attention_gradient_c1, attention_cache_gradient_c1
    return failure();
  int64_t columns = op.getStatistics().getType().getDimSize(1), expected = 3 * op.getNumHeads();
  if (columns != expected) // attention_gradient_c2, attention_cache_gradient_c2
    return op.emitOpError("expects 'statistics' to have ")
           << expected << " columns, three for each query head, got " << columns;
  return success();
}

/// The dims that the operands `caches` have in common; without `sequence` each of the tokens, operand `tokens`, has a sequence.
static SmallVector<EqualDims> getCacheDims(ArrayRef<unsigned> caches, unsigned tokens,
                                           Value sequence) {
  SmallVector<EqualDims> equal;
  for (unsigned cache : caches.drop_front()) {
    equal.push_back({caches.front(), 1, cache, 1});
    equal.push_back({caches.front(), 2, cache, 2});
  }
  if (!sequence)
    equal.push_back({tokens, 0, caches.front(), 1});
  return equal;
}

LogicalResult AttentionOp::verify() { return verifyAttention(*this); }

SmallVector<unsigned> AttentionOp::getTokenOperands() {
  return withSequence({0, 3}, getSequence(), 4);
}

SmallVector<EqualDims> AttentionOp::getEqualDims() {
  return getCacheDims({1, 2}, 0, getSequence());
}

SmallVector<IndexOperand> AttentionOp::getIndexOperands() {
  return cacheIndexOperands(1, 3, getSequence());
}

LogicalResult AttentionGradientOp::verify() { return verifyAttentionGradient(*this); }

SmallVector<unsigned> AttentionGradientOp::getTokenOperands() {
  return withSequence({0, 3, 4}, getSequence(), 5);
}

SmallVector<EqualDims> AttentionGradientOp::getEqualDims() {
  return getCacheDims({1, 2}, 0, getSequence());
}

SmallVector<IndexOperand> AttentionGradientOp::getIndexOperands() {
  return cacheIndexOperands(1, 4, getSequence());
}

LogicalResult AttentionCacheGradientOp::verify() { return verifyAttentionGradient(*this); }

SmallVector<unsigned> AttentionCacheGradientOp::getTokenOperands() {
  return withSequence({1, 4, 5, 6}, getSequence(), 7);
}

SmallVector<EqualDims> AttentionCacheGradientOp::getEqualDims() {
  return getCacheDims({0, 2, 3}, 1, getSequence());
}

SmallVector<IndexOperand> AttentionCacheGradientOp::getIndexOperands() {
  return cacheIndexOperands(0, 6, getSequence());
}

//===----------------------------------------------------------------------===//
// SampleOp
//===----------------------------------------------------------------------===//

LogicalResult SampleOp::verify() {
  if (getLogits().getType().getDimSize(1) == 0) // sample_c1
    return emitOpError("expects logits of at least one column, got none");
  return success();
}

//===----------------------------------------------------------------------===//
// AddOp
//===----------------------------------------------------------------------===//

namespace {

/// `gate(a, r) + gate(b, r)` gates once.
struct AddBeforeGate : OpRewritePattern<AddOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AddOp op, PatternRewriter &rewriter) const override {
    auto lhs = op.getLhs().getDefiningOp<GateOp>(), rhs = op.getRhs().getDefiningOp<GateOp>();
    if (!lhs || !rhs || !lhs->hasOneUse() || !rhs->hasOneUse() ||
        lhs.getRouting() != rhs.getRouting())
      return rewriter.notifyMatchFailure(op, "adds no two values of one gating each");
    Value sum = AddOp::create(rewriter, op.getLoc(), op.getType(), lhs.getInput(), rhs.getInput());
    rewriter.replaceOpWithNewOp<GateOp>(op, op.getType(), sum, lhs.getRouting());
    return success();
  }
};

/// `gate_gradient(x, a, r) + gate_gradient(x, b, r)` is that of a + b.
struct AddBeforeGateGradient : OpRewritePattern<AddOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AddOp op, PatternRewriter &rewriter) const override {
    auto lhs = op.getLhs().getDefiningOp<GateGradientOp>(),
         rhs = op.getRhs().getDefiningOp<GateGradientOp>();
    if (!lhs || !rhs || !lhs->hasOneUse() || !rhs->hasOneUse() ||
        lhs.getRouting() != rhs.getRouting() || lhs.getInput() != rhs.getInput() ||
        lhs.getGrad().getType() != rhs.getGrad().getType())
      return rewriter.notifyMatchFailure(op, "adds no gradients of the same gates");
    Value sum =
        AddOp::create(rewriter, op.getLoc(), lhs.getGrad().getType(), lhs.getGrad(), rhs.getGrad());
    rewriter.replaceOpWithNewOp<GateGradientOp>(op, op.getType(), lhs.getInput(), sum,
                                                lhs.getRouting());
    return success();
  }
};

} // namespace

void AddOp::getCanonicalizationPatterns(RewritePatternSet &results, MLIRContext *context) {
  results.add<AddBeforeGate, AddBeforeGateGradient>(context);
}
