// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of what prepares attention: rope and kv_cache_append.
//
// T tokens, heads of head_dim columns. A task is a block of tokens.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task.
static constexpr int64_t kRowTokens = 8;

//===----------------------------------------------------------------------===//
// mohd.rope
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfRope(RopeOp op, StringRef tokens) {
  return KernelEmitter::gridOf(1, kRowTokens, tokens);
}

/// A buffer that holds theta^(-2j/head_dim) for j < head_dim/2, negated for an inverse, in f64.
static Value makeFrequencies(KernelEmitter &e, RopeOp op) {
  int64_t headDim = op.getHeadDim();
  SmallVector<double> values;
  for (int64_t j = 0; j < headDim / 2; ++j)
    values.push_back((op.getInverse() ? -1.0 : 1.0) *
                     std::pow(op.getTheta().convertToDouble(), -2.0 * double(j) / double(headDim)));
  auto type = VectorType::get({headDim / 2}, e.b.getF64Type());
  Value constant = arith::ConstantOp::create(e.b, DenseElementsAttr::get(type, ArrayRef(values)));
  Value buffer = e.array({headDim / 2}, e.b.getF64Type());
  vector::StoreOp::create(e.b, constant, buffer, e.index(0));
  return buffer;
}

void mlir::mohd::emitRope(KernelEmitter &e, RopeOp op, ValueRange operands, ValueRange results) {
  Value input = operands[0], positions = operands[1], result = results[0];
  int64_t headDim = op.getHeadDim(), half = headDim / 2, width = op.getType().getDimSize(1);
  Value frequencies = makeFrequencies(e, op), cosines = e.array({half}), sines = e.array({half});

  auto computeAngles = [&](Value token) {
    Value position = arith::SIToFPOp::create(e.b, e.b.getF64Type(),
                                             memref::LoadOp::create(e.b, positions, token));
    e.columns(half, e.lanes, [&](Value column, int64_t vectorWidth) {
      auto type = VectorType::get({vectorWidth}, e.b.getF64Type()),
           narrow = VectorType::get({vectorWidth}, e.b.getF32Type());
      Value frequency = vector::LoadOp::create(e.b, type, frequencies, column);
      Value angle = arith::MulFOp::create(e.b, e.splat(position, vectorWidth), frequency);
      e.store(arith::TruncFOp::create(e.b, narrow, math::CosOp::create(e.b, angle)), cosines,
              column);
      e.store(arith::TruncFOp::create(e.b, narrow, math::SinOp::create(e.b, angle)), sines, column);
    });
  };
  auto rotateHead = [&](Value token, Value first) {
    e.columns(half, e.lanes, [&](Value column, int64_t vectorWidth) {
      Value lowColumn = e.add(first, column), highColumn = e.add(lowColumn, e.index(half));
      Value low = e.load(input, {token, lowColumn}, vectorWidth),
            high = e.load(input, {token, highColumn}, vectorWidth);
      Value cosine = e.load(cosines, column, vectorWidth),
            sine = e.load(sines, column, vectorWidth);
      auto product = [&](Value x, Value y) -> Value { return arith::MulFOp::create(e.b, x, y); };
      Value minusSine = arith::NegFOp::create(e.b, sine);
      e.store(e.fma(low, cosine, product(high, minusSine)), result, {token, lowColumn});
      e.store(e.fma(high, cosine, product(low, sine)), result, {token, highColumn});
    });
  };
  e.tasks(kRowTokens, [&](Value, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value token) {
      computeAngles(token);
      e.loop(e.index(0), e.index(width), headDim, [&](Value first) { rotateHead(token, first); });
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.kv_cache_append
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfKvCacheAppend(KvCacheAppendOp op, StringRef tokens) {
  return KernelEmitter::gridOf(1, kRowTokens, tokens);
}

void mlir::mohd::emitKvCacheAppend(KernelEmitter &e, KvCacheAppendOp op, ValueRange operands,
                                   ValueRange results) {
  Value rows = operands[1], positions = operands[2], cache = results[0];
  e.tasks(kRowTokens, [&](Value, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value token) {
      Value position = e.loadIndex(positions, token);
      Value sequence = op.getSequence() ? e.loadIndex(operands[3], token) : token;
      e.columns(op.getRows().getType().getDimSize(1), e.lanes, [&](Value column, int64_t width) {
        e.store(e.load(rows, {token, column}, width), cache,
                {e.index(0), sequence, position, column});
      });
    });
  });
}
