// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the body of a CPU kernel is written: one emitter for each op, on memrefs, with explicit
// vectors.
//
// A kernel does tasks [begin, end) of its grid. What a task is, the emitter decides together with
// the grid: both come from one file, side by side. Buffers of bf16 are memrefs of i16, the bits, as
// LLVM implements some moves of bf16 by calls of a library. Tasks write disjoint parts of the
// results, and the result does not depend on how the grid is cut.
#ifndef MOHD_CONVERSION_MOHDTOKERNELS_KERNELEMITTER_H
#define MOHD_CONVERSION_MOHDTOKERNELS_KERNELEMITTER_H

#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <string>

namespace mlir::mohd {

/// A piece of a row as one vector.
struct Segment {
  int64_t offset; // first column
  int64_t width;  // columns
};

/// Writes kernel bodies. Loop variables, bounds, counts and indices are of type index; data are f32 scalars or
/// vector<Nxf32>.
class KernelEmitter {
public:
  /// `lanes` is the f32 width of the target's vectors; `begin` and `end` (index) bound the tasks;
  /// `numTokens` (index) is T.
  KernelEmitter(ImplicitLocOpBuilder &builder, int64_t lanes, Value begin, Value end,
                Value numTokens)
      : b(builder), lanes(lanes), begin(begin), end(end), numTokens(numTokens) {}

  ImplicitLocOpBuilder &b;
  const int64_t lanes;
  const Value begin, end, numTokens;

  /// Constants of type index and f32, and their sums, differences and products with folding.
  Value index(int64_t value);
  Value f32(double value);
  Value add(Value lhs, Value rhs);
  Value sub(Value lhs, Value rhs);
  Value mul(Value lhs, Value rhs);
  Value div(Value lhs, int64_t rhs);
  Value rem(Value lhs, int64_t rhs);
  Value ceilDiv(Value lhs, int64_t rhs);
  Value min(Value lhs, Value rhs);
  Value max(Value lhs, Value rhs);

  /// Number of tasks when the tokens are cut into blocks of `blockSize` and the rest of the work
  /// into `parts`.
  static std::string gridOf(int64_t parts, int64_t blockSize, StringRef tokens);
  /// For each task of that grid calls body(part, lower, upper): the part, and the range of tokens.
  /// Tasks that follow each other have the same part, as it chooses the weights.
  void tasks(int64_t blockSize, llvm::function_ref<void(Value, Value, Value)> body);

  /// for (i = lower; i < upper; i += step) body(i).
  void loop(Value lower, Value upper, Value step, llvm::function_ref<void(Value)> body);
  void loop(Value lower, Value upper, int64_t step, llvm::function_ref<void(Value)> body);
  /// The same, carrying values: body returns the next ones; returns the last ones.
  SmallVector<Value> loop(Value lower, Value upper, int64_t step, ValueRange init,
                          llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body);
  /// if (condition) thenBody() else elseBody().
  void branch(Value condition, llvm::function_ref<void()> thenBody,
              llvm::function_ref<void()> elseBody = {});
  /// The values of thenBody() or elseBody(), of index type.
  SmallVector<Value> choose(Value condition, llvm::function_ref<SmallVector<Value>()> thenBody,
                            llvm::function_ref<SmallVector<Value>()> elseBody);
  /// Cuts `columns` into vectors of `lanes`, then smaller powers of two.
  SmallVector<Segment> segments(int64_t columns);
  /// Calls body(first column, segments) for column tile number `tile` of `columns`; the last tile
  /// may be narrower than `tileWidth`, hence body may be called twice, for the two cases.
  void columnTile(int64_t columns, int64_t tileWidth, Value tile,
                  llvm::function_ref<void(Value, ArrayRef<Segment>)> body);
  /// Calls body(column, width) for [0, columns) in steps of `width` lanes, then for the left-over
  /// columns with smaller powers of two.
  void columns(int64_t columns, int64_t width, llvm::function_ref<void(Value, int64_t)> body);

  /// A buffer of the kernel's own on the stack, of f32 if no element type is given; to be made outside of loops.
  Value array(ArrayRef<int64_t> shape, Type element = {});
  /// All elements of a memref that has the identity layout, in one dimension.
  Value flatten(Value memref);
  /// Asks for the cache line at `indices`, which may lie anywhere, to be read soon.
  void prefetch(Value memref, ValueRange indices);
  /// Loads `width` consecutive elements at `indices` and widens them to f32: vector<width x f32>.
  Value load(Value memref, ValueRange indices, int64_t width);
  /// Loads one element and widens it to f32.
  Value loadScalar(Value memref, ValueRange indices);
  /// Loads one i32 element as an index.
  Value loadIndex(Value memref, ValueRange indices);
  /// Narrows f32 data (scalar or vector) to the memref's element type (i16: bf16), to nearest even,
  /// and stores it.
  void store(Value data, Value memref, ValueRange indices);
  /// Stores a value of type index as an i32 element.
  void storeIndex(Value value, Value memref, ValueRange indices);
  /// Copies `width` consecutive elements between memrefs of one element type.
  void copy(Value from, ValueRange fromIndices, Value to, ValueRange toIndices, int64_t width);
  /// vector<width x f32> with every lane equal to the f32 `scalar`.
  Value splat(Value scalar, int64_t width);
  /// lhs * rhs + acc.
  Value fma(Value lhs, Value rhs, Value acc);
  /// The larger of two numbers (scalars or vectors); `rhs` where `lhs` is a NaN.
  Value larger(Value lhs, Value rhs);
  /// x / (1 + exp(-x)) of a vector's lanes, and 0 for -Inf.
  Value silu(Value x);
  /// combine(lower half, upper half) of a vector (a power of two), until one lane is left.
  Value reduce(Value vector, llvm::function_ref<Value(Value, Value)> combine);
  /// combine(element, result) over elements [lower, upper), as vectors as far as possible; elements(i, width) loads or computes `width` of them (f32) from `i`
  /// on. `neutral` is combine's neutral element.
  Value fold(int64_t lower, int64_t upper, Value neutral,
             llvm::function_ref<Value(Value, Value)> combine,
             llvm::function_ref<Value(Value, int64_t)> elements);
  /// The sum of such elements.
  Value sum(int64_t lower, int64_t upper, llvm::function_ref<Value(Value, int64_t)> elements);
  /// Sum of a vector's lanes (a power of two), in a fixed order.
  Value sum(Value vector);
  /// The sums of several vectors of one width as a vector, each as `sum` would add it up. Both numbers are powers of two.
  Value sums(ArrayRef<Value> vectors);
  /// Columns of a square of as many vectors as lanes (a power of two).
  SmallVector<Value> transpose(ArrayRef<Value> rows);

  /// True (i1) if `group` is among the active groups of `token`.
  Value isActive(Value indices, Value token, Value group, RoutingType routing);
  /// A zero vector for each segment.
  SmallVector<Value> zeros(ArrayRef<Segment> segments);
  /// Stores a vector for each segment, from memref[row, column] on.
  void storeSegments(ValueRange data, Value memref, Value row, Value column,
                     ArrayRef<Segment> segments);
  /// lhs(i) . rhs(j) for all i < numLhs and j < numRhs, both powers of two, as element i * numRhs + j of a vector. lhs(i, column, width) loads
  /// part of a vector of `length` elements, and so does rhs. A product does not depend on how many are computed together: it is one chain
  /// of additions of vectors, whose lanes are added at the end.
  Value dots(int64_t numLhs, int64_t numRhs, int64_t length,
             llvm::function_ref<Value(int64_t, Value, int64_t)> lhs,
             llvm::function_ref<Value(int64_t, Value, int64_t)> rhs);
  /// Dot product (f32) of `length` consecutive elements of two memrefs from the given indices on.
  Value dot(Value lhs, ValueRange lhsIndices, Value rhs, ValueRange rhsIndices, int64_t length);
};

/// Arithmetic of data, scalars or vectors.
inline Value addUp(KernelEmitter &e, Value lhs, Value rhs) {
  return arith::AddFOp::create(e.b, lhs, rhs);
}
inline Value subtract(KernelEmitter &e, Value lhs, Value rhs) {
  return arith::SubFOp::create(e.b, lhs, rhs);
}
inline Value multiply(KernelEmitter &e, Value lhs, Value rhs) {
  return arith::MulFOp::create(e.b, lhs, rhs);
}
inline Value divide(KernelEmitter &e, Value lhs, Value rhs) {
  return arith::DivFOp::create(e.b, lhs, rhs);
}

/// The expression (docs/formats.md) of the number of tasks of `op`'s kernel, in terms of the token
/// count `tokens`; empty if the op has no kernel.
std::string getKernelGrid(Operation *op, int64_t lanes, StringRef tokens);

/// Writes the body of `op`'s kernel. `operands` has one memref for each operand that is given,
/// except that a routing contributes its two buffers; `results` likewise, with null for a result
/// that nobody stores (only `mohd.route`'s may be null). The cache operands of a KV cache op are
/// one layer, [1, sequences, positions, width]. An op without a kernel is an error at the op.
LogicalResult emitKernel(KernelEmitter &emitter, Operation *op, ValueRange operands,
                         ValueRange results);

//===----------------------------------------------------------------------===//
// One pair of functions for each op, in RouteKernel.cpp, GateKernel.cpp, PackKernels.cpp, SpmmKernel.cpp, SddmmKernel.cpp, FusionKernel.cpp,
// TransformerKernels.cpp, SequenceKernels.cpp, AttentionKernels.cpp, SampleKernel.cpp, GradientKernels.cpp, WeightGradientKernel.cpp, CacheGradientKernels.cpp: the grid and the body
//===----------------------------------------------------------------------===//

std::string gridOfRoute(RouteOp op, StringRef tokens);
void emitRoute(KernelEmitter &e, RouteOp op, ValueRange operands, ValueRange results);
std::string gridOfScale(ScaleOp op, StringRef tokens);
void emitScale(KernelEmitter &e, ScaleOp op, ValueRange operands, ValueRange results);
std::string gridOfBalanceLoss(BalanceLossOp op, StringRef tokens);
void emitBalanceLoss(KernelEmitter &e, BalanceLossOp op, ValueRange operands, ValueRange results);

std::string gridOfGate(StringRef tokens);
void emitGate(KernelEmitter &e, GateOp op, ValueRange operands, ValueRange results);
void emitGatherGroups(KernelEmitter &e, GatherGroupsOp op, ValueRange operands, ValueRange results);
void emitScatterGroups(KernelEmitter &e, ScatterGroupsOp op, ValueRange operands,
                       ValueRange results);

std::string gridOfPackWeight(PackWeightOp op, int64_t lanes);
void emitPackWeight(KernelEmitter &e, PackWeightOp op, ValueRange operands, ValueRange results);
std::string gridOfDequantize(DequantizeOp op, StringRef tokens);
void emitDequantize(KernelEmitter &e, DequantizeOp op, ValueRange operands, ValueRange results);
std::string gridOfGroupTokens(GroupTokensOp op, StringRef tokens);
void emitGroupTokens(KernelEmitter &e, GroupTokensOp op, ValueRange operands, ValueRange results);
std::string gridOfPackTokens(PackTokensOp op, StringRef tokens);
void emitPackTokens(KernelEmitter &e, PackTokensOp op, ValueRange operands, ValueRange results);
std::string gridOfTiledSpmm(TiledSpmmOp op, StringRef tokens);
void emitTiledSpmm(KernelEmitter &e, TiledSpmmOp op, ValueRange operands, ValueRange results);
std::string gridOfTiledSddmm(TiledSddmmOp op, StringRef tokens);
void emitTiledSddmm(KernelEmitter &e, TiledSddmmOp op, ValueRange operands, ValueRange results);

std::string gridOfGroupFusion(GroupFusionOp op, StringRef tokens);
void emitGroupFusion(KernelEmitter &e, GroupFusionOp op, ValueRange operands, ValueRange results);

std::string gridOfMixGroups(MixGroupsOp op, StringRef tokens);
void emitMixGroups(KernelEmitter &e, MixGroupsOp op, ValueRange operands, ValueRange results);

std::string gridOfEmbed(EmbedOp op, StringRef tokens);
void emitEmbed(KernelEmitter &e, EmbedOp op, ValueRange operands, ValueRange results);
std::string gridOfRmsNorm(RmsNormOp op, StringRef tokens);
void emitRmsNorm(KernelEmitter &e, RmsNormOp op, ValueRange operands, ValueRange results);
std::string gridOfElementwise(Operation *op, int64_t lanes, StringRef tokens);
void emitElementwise(KernelEmitter &e, Operation *op, ValueRange operands, ValueRange results);
std::string gridOfRope(RopeOp op, StringRef tokens);
void emitRope(KernelEmitter &e, RopeOp op, ValueRange operands, ValueRange results);
std::string gridOfKvCacheAppend(KvCacheAppendOp op, StringRef tokens);
void emitKvCacheAppend(KernelEmitter &e, KvCacheAppendOp op, ValueRange operands,
                       ValueRange results);
std::string gridOfAttention(AttentionOp op, int64_t lanes, StringRef tokens);
void emitAttention(KernelEmitter &e, AttentionOp op, ValueRange operands, ValueRange results);
std::string gridOfSample(SampleOp op, StringRef tokens);
void emitSample(KernelEmitter &e, SampleOp op, ValueRange operands, ValueRange results);

std::string gridOfPermuteWeight(PermuteWeightOp op);
void emitPermuteWeight(KernelEmitter &e, PermuteWeightOp op, ValueRange operands,
                       ValueRange results);
std::string gridOfTiledWeightGradient(TiledWeightGradientOp op, int64_t lanes);
void emitTiledWeightGradient(KernelEmitter &e, TiledWeightGradientOp op, ValueRange operands,
                             ValueRange results);
std::string gridOfUnitGates(StringRef tokens);
void emitUnitGates(KernelEmitter &e, UnitGatesOp op, ValueRange operands, ValueRange results);
std::string gridOfGateGradient(StringRef tokens);
void emitGateGradient(KernelEmitter &e, GateGradientOp op, ValueRange operands, ValueRange results);
std::string gridOfScaleGradient(StringRef tokens);
void emitScaleGradient(KernelEmitter &e, ScaleGradientOp op, ValueRange operands,
                       ValueRange results);
std::string gridOfRouteGradient(StringRef tokens);
void emitRouteGradient(KernelEmitter &e, RouteGradientOp op, ValueRange operands,
                       ValueRange results);
std::string gridOfBalanceLossGradient();
void emitBalanceLossGradient(KernelEmitter &e, BalanceLossGradientOp op, ValueRange operands,
                             ValueRange results);
std::string gridOfRmsNormGradient(StringRef tokens);
void emitRmsNormGradient(KernelEmitter &e, RmsNormGradientOp op, ValueRange operands,
                         ValueRange results);
std::string gridOfColumnSums(ColumnSumsOp op);
void emitColumnSums(KernelEmitter &e, ColumnSumsOp op, ValueRange operands, ValueRange results);
std::string gridOfEmbedGradient(EmbedGradientOp op);
void emitEmbedGradient(KernelEmitter &e, EmbedGradientOp op, ValueRange operands,
                       ValueRange results);
std::string gridOfSwigluGradient(StringRef tokens);
void emitSwigluGradient(KernelEmitter &e, SwigluGradientOp op, ValueRange operands,
                        ValueRange results);
std::string gridOfFusionMixGradient(FusionMixGradientOp op, int64_t lanes);
void emitFusionMixGradient(KernelEmitter &e, FusionMixGradientOp op, ValueRange operands,
                           ValueRange results);
std::string gridOfZeroCache();
void emitZeroCache(KernelEmitter &e, ZeroCacheOp op, ValueRange operands, ValueRange results);
std::string gridOfKvCacheAppendGradient(StringRef tokens);
void emitKvCacheAppendGradient(KernelEmitter &e, KvCacheAppendGradientOp op, ValueRange operands,
                               ValueRange results);
std::string gridOfAttentionGradient(AttentionGradientOp op, StringRef tokens);
void emitAttentionGradient(KernelEmitter &e, AttentionGradientOp op, ValueRange operands,
                           ValueRange results);
std::string gridOfAttentionCacheGradient(AttentionCacheGradientOp op, StringRef tokens);
void emitAttentionCacheGradient(KernelEmitter &e, AttentionCacheGradientOp op, ValueRange operands,
                                ValueRange results);
/// The slope of silu at each lane of a vector.
Value emitSiluSlope(KernelEmitter &e, Value x);

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_MOHDTOKERNELS_KERNELEMITTER_H
