// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the body of a GPU kernel is written: memory, loops, and what a warp or a block does together, on terms.
//
// A kernel is an `llvm.func` of pointers to its buffers, tensor maps and sizes, whose body is of scf, arith, math and tile ops. Both lowerings take it, to
// PTX and to the emulator.
#ifndef MOHD_CONVERSION_MOHDTOGPU_GPUEMITTER_H
#define MOHD_CONVERSION_MOHDTOGPU_GPUEMITTER_H

#include "mohd/Conversion/MoHDToGpu/Term.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/IR/BuiltinTypes.h"

namespace mlir::mohd {

/// The 16-bit kind of a floating-point type of 16 bits.
tile::Half getHalf(Type element);

/// A tensor in global memory, row-major.
struct GpuBuffer {
  Value pointer; // !llvm.ptr<1>
  RankedTensorType type;
  SmallVector<Term> extents; // i32

  Type getElementType() const { return type.getElementType(); }
};

/// Writes kernel bodies. Indices, sizes and counts are i32, data are f32, unless said otherwise.
class GpuEmitter {
public:
  explicit GpuEmitter(ImplicitLocOpBuilder &builder) : b(builder) {}

  ImplicitLocOpBuilder &b;

  //===--------------------------------------------------------------------===//
  // Numbers
  //===--------------------------------------------------------------------===//

  Term wrap(Value value) { return {b, value}; }
  Term i1(bool value);
  Term i32(int64_t value);
  Term i64(int64_t value);
  Term f32(double value);
  /// 2^x and e^x, within a few ulp; 0 where the result is not a normal number.
  Term exp2(const Term &x);
  Term exp(const Term &x);
  /// 1 / sqrt(x), rounded twice.
  Term rsqrt(const Term &x);
  /// How many bits of an i32 are set.
  Term popCount(const Term &word);
  /// The number of the lowest bit of an i32 that is set, 32 if none is.
  Term lowestBit(const Term &word);
  /// x / (1 + exp(-x)), 0 for -Inf.
  Term silu(const Term &x);

  //===--------------------------------------------------------------------===//
  // Where this thread is
  //===--------------------------------------------------------------------===//

  Term thread();    // in its block
  Term block();     // in the grid
  Term numBlocks(); // of the grid
  Term lane();      // in its warp
  Term warp();      // of the block, thread() / 32

  //===--------------------------------------------------------------------===//
  // Control
  //===--------------------------------------------------------------------===//

  /// for (i = lower; i < upper; i += step) body(i).
  void loop(const Term &lower, const Term &upper, const Term &step,
            llvm::function_ref<void(Term)> body);
  void loop(const Term &lower, const Term &upper, int64_t step,
            llvm::function_ref<void(Term)> body) {
    loop(lower, upper, i32(step), body);
  }
  /// The same, carrying values: body returns the next ones; returns the last ones.
  SmallVector<Term> loop(const Term &lower, const Term &upper, const Term &step,
                         ArrayRef<Term> init,
                         llvm::function_ref<SmallVector<Term>(Term, ArrayRef<Term>)> body);
  /// while (condition(values)) values = body(values); returns the last ones.
  SmallVector<Term> repeat(ArrayRef<Term> init, llvm::function_ref<Term(ArrayRef<Term>)> condition,
                           llvm::function_ref<SmallVector<Term>(ArrayRef<Term>)> body);
  /// if (condition) thenBody() else elseBody().
  void when(const Term &condition, llvm::function_ref<void()> thenBody,
            llvm::function_ref<void()> elseBody = {});
  /// The values of thenBody() or elseBody().
  SmallVector<Term> choose(const Term &condition, llvm::function_ref<SmallVector<Term>()> thenBody,
                           llvm::function_ref<SmallVector<Term>()> elseBody);

  //===--------------------------------------------------------------------===//
  // Memory
  //===--------------------------------------------------------------------===//

  /// A pointer (to any space) `bytes` (i32 or i64) further on.
  Value advance(Value pointer, const Term &bytes);
  /// The place of an element of a buffer; missing indices at the end are 0.
  Value at(const GpuBuffer &buffer, ArrayRef<Term> indices);
  Term load(Value pointer, Type type);
  /// The same from global memory, of what is read once; 4, 8 or 16 bytes.
  Term loadStreaming(Value pointer, Type type);
  void store(const Term &value, Value pointer);
  /// One element of f32, bf16, f16 or i8 as f32; an f32 as an element, rounded to nearest even.
  Term loadF32(const GpuBuffer &buffer, ArrayRef<Term> indices);
  void storeF32(const Term &value, const GpuBuffer &buffer, ArrayRef<Term> indices);
  Term loadF32(Value pointer, Type element);
  void storeF32(const Term &value, Value pointer, Type element);
  /// `count` elements in one access of at most 16 bytes, whose address is a multiple of its size.
  SmallVector<Term> loadF32s(Value pointer, Type element, int64_t count);
  void storeF32s(ArrayRef<Term> values, Value pointer, Type element);
  /// The elements of a vector, and the vector of elements of one type.
  SmallVector<Term> split(const Term &vector);
  Term join(ArrayRef<Term> elements);
  /// One i32 element.
  Term loadI32(const GpuBuffer &buffer, ArrayRef<Term> indices);
  void storeI32(const Term &value, const GpuBuffer &buffer, ArrayRef<Term> indices);

  /// `bytes` bytes of the block's shared memory at a multiple of `align`; those of different calls do not overlap.
  int64_t reserveShared(int64_t bytes, int64_t align = 16);
  /// A pointer to the block's shared memory, `offset` bytes on.
  Value shared(int64_t offset);
  /// Bytes reserved up to now.
  int64_t getSharedBytes() const { return sharedBytes; }

  //===--------------------------------------------------------------------===//
  // Together
  //===--------------------------------------------------------------------===//

  /// Waits for the block's other threads, or for the warp's.
  void barrier();
  void warpSync();
  /// Bit i is the condition of the warp's thread i; all its threads do it together.
  Term ballot(const Term &condition);
  /// How many bits of an i32 are set below this thread's lane.
  Term countBelow(const Term &word);
  /// The value of the thread whose lane differs in the bits of `lanes`; all threads of the warp do it together.
  Term shuffleXor(const Term &value, int64_t lanes);
  /// The value of the warp's thread `lane`.
  Term broadcast(const Term &value, const Term &lane);
  /// combine over the values of each `width` consecutive threads of a warp (a power of two), in all of them, in a fixed order; combine
  /// is commutative.
  Term warpReduce(const Term &value, llvm::function_ref<Term(Term, Term)> combine,
                  int64_t width = 32);
  Term warpSum(const Term &value, int64_t width = 32);
  /// The same over a block of `threads` threads; all of them do it together. Contains two barriers.
  Term blockReduce(const Term &value, int64_t threads,
                   llvm::function_ref<Term(Term, Term)> combine);

private:
  int64_t sharedBytes = 0;
};

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_MOHDTOGPU_GPUEMITTER_H
