// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the body of a CPU kernel is written: one emitter for each op, on memrefs, with explicit vectors.
//
// A kernel does tasks [begin, end) of its grid. What a task is, the emitter decides together with the grid: both come from one
// file, side by side. Tasks write disjoint parts of the results, and the result does not depend on how the grid is cut.
#ifndef MOHD_CONVERSION_MOHDTOKERNELS_KERNELEMITTER_H
#define MOHD_CONVERSION_MOHDTOKERNELS_KERNELEMITTER_H

#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::mohd {

/// The routing of a kernel: its two tensors in memory.
struct RoutingBuffers {
  Value indices; // memref<tokens x K x i32>, ascending
  Value gates;   // memref<tokens x K x f32>
};

/// Writes kernel bodies. Values called `...Index` or loop variables are of type index; data are f32 scalars or vector<Nxf32>.
class KernelEmitter {
public:
  /// `lanes` is the f32 width of the target's vectors; `begin` and `end` (index) bound the tasks; `numTokens` (index) is T.
  KernelEmitter(ImplicitLocOpBuilder &builder, int64_t lanes, Value begin, Value end, Value numTokens)
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

  /// for (i = lower; i < upper; i += step) body(i).
  void loop(Value lower, Value upper, int64_t step, llvm::function_ref<void(Value)> body);
  /// The same, carrying values: body returns the next ones; returns the last ones.
  SmallVector<Value> loop(Value lower, Value upper, int64_t step, ValueRange init,
                          llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body);
  /// Calls body(column, width) for [0, columns) in steps of `width` lanes, then once for each left-over column with width 1;
  /// `columns` is static, so the left-over part is empty when it divides.
  void columns(int64_t columns, int64_t width, llvm::function_ref<void(Value, int64_t)> body);

  /// Loads `width` consecutive elements at `indices` and widens them to f32: vector<width x f32>.
  Value load(Value memref, ValueRange indices, int64_t width);
  /// Loads one element and widens it to f32.
  Value loadScalar(Value memref, ValueRange indices);
  /// Loads one i32 element as an index.
  Value loadIndex(Value memref, ValueRange indices);
  /// Narrows f32 data (scalar or vector) to the memref's element type, to nearest even, and stores it.
  void store(Value data, Value memref, ValueRange indices);
  /// vector<width x f32> with every lane equal to the f32 `scalar`.
  Value splat(Value scalar, int64_t width);
  /// lhs * rhs + acc.
  Value fma(Value lhs, Value rhs, Value acc);
  /// Sum of a vector's lanes, in a fixed order.
  Value sum(Value vector);
};

/// The expression (docs/formats.md) of the number of tasks of `op`'s kernel, in terms of the token count `tokens`.
std::string getKernelGrid(Operation *op, int64_t lanes, StringRef tokens);

/// Writes the body of `op`'s kernel. `operands` has one memref for each operand that is given, except that a routing contributes its
/// two buffers; `results` likewise. The cache operands of a KV cache op are one layer, [1, sequences, positions, width].
LogicalResult emitKernel(KernelEmitter &emitter, Operation *op, ValueRange operands, ValueRange results);

//===----------------------------------------------------------------------===//
// One pair of functions for each op, in SparseKernels.cpp, RouteKernel.cpp, TransformerKernels.cpp, AttentionKernels.cpp
//===----------------------------------------------------------------------===//

void emitRoute(KernelEmitter &e, RouteOp op, ValueRange operands, ValueRange results);
void emitGate(KernelEmitter &e, GateOp op, ValueRange operands, ValueRange results);
void emitScale(KernelEmitter &e, ScaleOp op, ValueRange operands, ValueRange results);
void emitSpmm(KernelEmitter &e, SpmmOp op, ValueRange operands, ValueRange results);
void emitSddmm(KernelEmitter &e, SddmmOp op, ValueRange operands, ValueRange results);
void emitGroupFusion(KernelEmitter &e, GroupFusionOp op, ValueRange operands, ValueRange results);
void emitBalanceLoss(KernelEmitter &e, BalanceLossOp op, ValueRange operands, ValueRange results);

void emitEmbed(KernelEmitter &e, EmbedOp op, ValueRange operands, ValueRange results);
void emitRmsNorm(KernelEmitter &e, RmsNormOp op, ValueRange operands, ValueRange results);
void emitLinear(KernelEmitter &e, LinearOp op, ValueRange operands, ValueRange results);
void emitElementwise(KernelEmitter &e, Operation *op, ValueRange operands, ValueRange results);
void emitRope(KernelEmitter &e, RopeOp op, ValueRange operands, ValueRange results);
void emitKvCacheAppend(KernelEmitter &e, KvCacheAppendOp op, ValueRange operands, ValueRange results);
void emitAttention(KernelEmitter &e, AttentionOp op, ValueRange operands, ValueRange results);

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_MOHDTOKERNELS_KERNELEMITTER_H
