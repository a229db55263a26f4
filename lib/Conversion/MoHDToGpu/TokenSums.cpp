// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of sums over tokens that are no matrix products: mohd.column_sums, mohd.fusion_mix_gradient, mohd.embed_gradient. Blocks share the tokens; a second
// launch adds up their sums, in an order that nothing changes.
#include "Launches.h"

using namespace mlir;
using namespace mlir::mohd;

TokenSplit::TokenSplit(GpuKernelSet &kernels, int64_t numBlocks, int64_t mostParts)
    : kernels(kernels), result(kernels.op->getResult(0)) {
  auto type = cast<RankedTensorType>(result.getType());
  numElements = type.getNumElements();
  // Two blocks for each SM, as long as there is something for each.
  int64_t parts = 2 * kernels.gpu.typicalSms / std::max<int64_t>(numBlocks, 1);
  numParts = std::clamp<int64_t>(parts, 1, mostParts);
  if (numParts > 1)
    kernels.addScratch(numParts * numElements);
}

void TokenSplit::store(ArrayRef<Term> sums, const Term &part, const Term &place) {
  GpuEmitter &e = kernels.e();
  const GpuBuffer &buffer = numParts > 1 ? kernels.scratch() : kernels.buffer(result);
  Term element = toI64(place);
  if (numParts > 1)
    element = toI64(part) * numElements + element;
  int64_t bytes = buffer.getElementType().getIntOrFloatBitWidth() / 8;
  e.storeF32s(sums, e.advance(buffer.pointer, element * bytes), buffer.getElementType());
}

void TokenSplit::addSums() {
  if (numParts == 1)
    return;
  addForElements(kernels, numElements, [&](Term place) {
    GpuEmitter &e = kernels.e();
    Term sum = e.loop(e.i32(0), e.i32(numParts), e.i32(1), {e.f32(0.0)},
                      [&](Term part, ArrayRef<Term> carried) {
                        Term element = toI64(part) * numElements + toI64(place);
                        Value at = e.advance(kernels.scratch().pointer, element * 4);
                        return SmallVector<Term>{carried[0] + e.load(at, e.b.getF32Type())};
                      })[0];
    const GpuBuffer &buffer = kernels.buffer(result);
    int64_t bytes = buffer.getElementType().getIntOrFloatBitWidth() / 8;
    e.storeF32(sum, e.advance(buffer.pointer, toI64(place) * bytes), buffer.getElementType());
  });
}

/// A warp has 32 columns of every eighth token of the block's.
LogicalResult mlir::mohd::emitGpuColumnSums(GpuKernelSet &kernels, ColumnSumsOp op) {
  constexpr int64_t kWarps = 8;
  int64_t width = op.getType().getDimSize(0), numBlocks = llvm::divideCeil(width, 32);
  TokenSplit split(kernels, numBlocks, /*mostParts=*/16);
  GpuLaunch launch;
  launch.threads = 32 * kWarps;
  launch.grid = std::to_string(numBlocks * split.numParts);
  kernels.add("parts", launch, [&] {
    GpuEmitter &e = kernels.e();
    int64_t sums = e.reserveShared(4 * 32 * kWarps); // [warps, 32]
    Term part = e.block() / numBlocks, column = e.block() % numBlocks * 32 + e.lane();
    Term source = min(column, e.i32(width - 1));
    Term own = e.loop(part * kWarps + e.warp(), kernels.numTokens(), e.i32(split.numParts * kWarps),
                      {e.f32(0.0)}, [&](Term token, ArrayRef<Term> sum) {
                        Term value = e.loadF32(kernels.buffer(op.getGrad()), {token, source});
                        if (op.getInput())
                          value = value * e.loadF32(kernels.buffer(op.getInput()), {token, source});
                        if (op.getFactors())
                          value = value * e.loadF32(kernels.buffer(op.getFactors()), {token});
                        return SmallVector<Term>{sum[0] + value};
                      })[0];
    e.store(own, e.advance(e.shared(sums), e.thread() * 4));
    e.barrier();
    e.when((e.warp() == 0) & (column < width), [&] {
      Term sum = e.f32(0.0);
      for (int64_t warp = 0; warp < kWarps; ++warp)
        sum = sum + e.load(e.advance(e.shared(sums + 128 * warp), e.lane() * 4), e.b.getF32Type());
      split.store(sum, part, column);
    });
  });
  split.addSums();
  return success();
}

/// A thread has some s and r of one l.
LogicalResult mlir::mohd::emitGpuFusionMixGradient(GpuKernelSet &kernels, FusionMixGradientOp op) {
  constexpr int64_t kSide = 4, kThreads = 128;
  ArrayRef<int64_t> shape = op.getType().getShape(); // [l, s, r]
  int64_t numRows = llvm::divideCeil(shape[1], kSide),
          numColumns = llvm::divideCeil(shape[2], kSide);
  int64_t numItems = shape[0] * numRows * numColumns;
  int64_t numBlocks = llvm::divideCeil(numItems, kThreads);
  TokenSplit split(kernels, numBlocks, /*mostParts=*/32);
  GpuLaunch launch;
  launch.threads = kThreads;
  launch.grid = std::to_string(numBlocks * split.numParts);
  kernels.add("parts", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term part = e.block() / numBlocks, item = e.block() % numBlocks * kThreads + e.thread();
    Term l = item % shape[0], rest = item / shape[0];
    Term s = rest / numColumns * kSide, r = rest % numColumns * kSide;
    auto load = [&](Value tensor, const Term &token, const Term &first, int64_t extent) {
      SmallVector<Term> values;
      for (int64_t i = 0; i < kSide; ++i) {
        Term block = min(first + i, e.i32(extent - 1));
        values.push_back(e.loadF32(kernels.buffer(tensor), {token, block * shape[0] + l}));
      }
      return values;
    };
    e.when(item < numItems, [&] {
      SmallVector<Term> sums = e.loop(
          part, kernels.numTokens(), e.i32(split.numParts),
          SmallVector<Term>(kSide * kSide, e.f32(0.0)), [&](Term token, ArrayRef<Term> carried) {
            SmallVector<Term> left = load(op.getGrad(), token, s, shape[1]);
            SmallVector<Term> right = load(op.getInput(), token, r, shape[2]), next;
            for (int64_t i = 0; i < kSide * kSide; ++i)
              next.push_back(fma(left[i / kSide], right[i % kSide], carried[i]));
            return next;
          });
      for (int64_t i = 0; i < kSide * kSide; ++i) {
        Term row = s + i / kSide, column = r + i % kSide;
        e.when((row < shape[1]) & (column < shape[2]),
               [&] { split.store(sums[i], part, (l * shape[1] + row) * shape[2] + column); });
      }
    });
  });
  split.addSums();
  return success();
}

/// Zeros, then for each id the row of its first token, by the warps of that token: each has some columns, and looks for the tokens with the id.
LogicalResult mlir::mohd::emitGpuEmbedGradient(GpuKernelSet &kernels, EmbedGradientOp op) {
  constexpr int64_t kVectors = 4;
  int64_t width = op.getType().getDimSize(1), vector = width % 4 == 0 ? 4 : 1;
  GpuLaunch clear;
  clear.threads = kElementThreads;
  int64_t numVectors = op.getType().getNumElements() / vector;
  clear.grid = std::to_string(llvm::divideCeil(numVectors, kElementThreads));
  kernels.add("clear", clear, [&] {
    GpuEmitter &e = kernels.e();
    Term place = e.block() * kElementThreads + e.thread();
    const GpuBuffer &result = kernels.buffer(op.getResult());
    int64_t bytes = vector * result.getElementType().getIntOrFloatBitWidth() / 8;
    e.when(place < numVectors, [&] {
      e.storeF32s(SmallVector<Term>(vector, e.f32(0.0)),
                  e.advance(result.pointer, toI64(place) * bytes), result.getElementType());
    });
  });
  int64_t chunk = 32 * vector * kVectors, numChunks = llvm::divideCeil(width, chunk);
  GpuLaunch launch;
  launch.threads = 32 * kRowWarps;
  launch.grid =
      ("ceildiv(" + kernels.getTokens() + "*" + Twine(numChunks) + "," + Twine(kRowWarps) + ")")
          .str();
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    const GpuBuffer &grad = kernels.buffer(op.getGrad()), &result = kernels.buffer(op.getResult());
    Term warp = e.block() * kRowWarps + e.warp(), numTokens = kernels.numTokens();
    Term token = warp / numChunks, firstColumn = warp % numChunks * chunk;
    auto columnOf = [&](int64_t v) { return firstColumn + (e.lane() + 32 * v) * vector; };
    auto idOf = [&](const Term &t) {
      return e.loadI32(kernels.buffer(op.getIds()), {min(t, numTokens - 1)});
    };
    auto work = [&] {
      Term id = idOf(token), none = e.i32(0);
      // Of the 32 tokens from `first` on, those with the id.
      auto find = [&](const Term &first, const Term &end) {
        Term other = first + e.lane();
        return e.ballot((other < end) & (idOf(other) == id));
      };
      Term earlier = e.repeat(
          {none, none}, [&](ArrayRef<Term> state) { return (state[0] < token) & (state[1] == 0); },
          [&](ArrayRef<Term> state) {
            return SmallVector<Term>{state[0] + 32, find(state[0], token)};
          })[1];
      e.when((earlier == 0) & (id >= 0) & (id < op.getType().getDimSize(0)), [&] {
        SmallVector<Term> sums(kVectors * vector, e.f32(0.0));
        sums = e.loop(token, numTokens, e.i32(32), sums, [&](Term first, ArrayRef<Term> carried) {
          SmallVector<Term> state(carried);
          state.push_back(find(first, numTokens));
          state = e.repeat(
              state, [&](ArrayRef<Term> values) { return values.back() != 0; },
              [&](ArrayRef<Term> values) {
                Term word = values.back(), row = first + e.lowestBit(word);
                SmallVector<Term> next;
                for (int64_t v = 0; v < kVectors; ++v) {
                  Term column = columnOf(v);
                  Term source = select(column < width, column, none);
                  for (auto [i, x] : llvm::enumerate(
                           e.loadF32s(e.at(grad, {row, source}), grad.getElementType(), vector)))
                    next.push_back(values[v * vector + i] + x);
                }
                next.push_back(word & (word - 1));
                return next;
              });
          state.pop_back();
          return state;
        });
        for (int64_t v = 0; v < kVectors; ++v)
          e.when(columnOf(v) < width, [&] {
            e.storeF32s(ArrayRef<Term>(sums).slice(v * vector, vector),
                        e.at(result, {id, columnOf(v)}), result.getElementType());
          });
      });
    };
    e.when(token < numTokens, work);
  });
  return success();
}
