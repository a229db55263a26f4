// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Monarch fusion: both factors in one kernel, as
//
//   u[r * L + l] = sum over p of right[k, q, p] * input[k * P + p],   k * Q + q = r * L + l
//   y[s * L + l] = sum over r of left[l, s, r] * u[r * L + l]
//
// need of u what has their l only. A block has some rows and some l, and keeps that part of u in shared memory.
#include "Fusion.h"
#include "Fragments.h"

#include <numeric>

using namespace mlir;
using namespace mlir::mohd;

FusionShape::FusionShape(BucketFusionOp op) {
  ArrayRef<int64_t> right = op.getRight().getType().getShape();
  ArrayRef<int64_t> left = op.getLeft().getType().getShape();
  k = right[0], q = right[1], p = right[2];
  l = left[0], s = left[1], r = left[2];
}

FusionBody::FusionBody(GpuKernelSet &kernels, BucketFusionOp op)
    : e(kernels.e()), op(op), shape(op), numTokens(kernels.numTokens()),
      input(kernels.buffer(op.getInput())), right(kernels.buffer(op.getRight())),
      left(kernels.buffer(op.getLeft())), result(kernels.buffer(op.getResult())) {
  if (op.getOrder())
    order = kernels.buffer(op.getOrder());
  if (op.getMasks())
    masks = kernels.buffer(op.getMasks());
  if (op.getResidual())
    residual = kernels.buffer(op.getResidual());
}

Term FusionBody::isActive(const Term &row, const Term &block) {
  int64_t numCommon = op.getNumCommon();
  if (numCommon == shape.k)
    return e.i1(true);
  Term isCommon = block < numCommon;
  if (!masks)
    return isCommon;
  Term word = e.loadI32(*masks, {row / int64_t(op.getRows()), block / 32});
  return isCommon | ((word >> (block % 32) & 1) != 0);
}

Term FusionBody::destinationOf(const Term &row) { return order ? e.loadI32(*order, {row}) : row; }

void FusionBody::write(ArrayRef<Term> sums, const Term &destination, const Term &column) {
  Type element = result.getElementType();
  SmallVector<Term> values(sums);
  if (residual) {
    SmallVector<Term> added =
        loadWide(e, e.at(*residual, {destination, column}), element, int64_t(sums.size()));
    for (auto [value, other] : llvm::zip_equal(values, added))
      value = other + value;
  }
  e.storeF32s(values, e.at(result, {destination, column}), element);
}

/// The sum of products of two rows of `count` elements.
static Term multiplyRows(GpuEmitter &e, Value lhs, Type lhsElement, Value rhs, Type rhsElement,
                         int64_t count) {
  int64_t step = std::gcd<int64_t>(count, 8);
  SmallVector<Term> init = {e.f32(0.0)};
  return e.loop(e.i32(0), e.i32(count), e.i32(step), init, [&](Term i, ArrayRef<Term> sums) {
    Term sum = sums[0];
    auto load = [&](Value start, Type element) {
      Term bytes = i * int64_t(element.getIntOrFloatBitWidth() / 8);
      return loadWide(e, e.advance(start, bytes), element, step);
    };
    for (const auto &[l, r] : llvm::zip_equal(load(lhs, lhsElement), load(rhs, rhsElement)))
      sum = fma(l, r, sum);
    return SmallVector<Term>{sum};
  })[0];
}

/// Makes the kernel for any shape and type: `rows` rows and `columns` of the l of a block, each sum by one thread.
static void addSimple(GpuKernelSet &kernels, BucketFusionOp op, int64_t rows, int64_t columns) {
  FusionShape shape(op);
  int64_t numSlices = llvm::divideCeil(shape.l, columns);
  GpuLaunch launch;
  launch.grid =
      ("ceildiv(" + kernels.getTokens() + "," + Twine(rows) + ")*" + Twine(numSlices)).str();
  launch.threads = 256;
  kernels.add("", launch, [&] {
    FusionBody body(kernels, op);
    GpuEmitter &e = body.e;
    Type f32 = e.b.getF32Type();
    int64_t middle = e.reserveShared(4 * rows * shape.r * columns); // [rows, r, columns]
    Term block = e.block();
    Term firstRow = block / numSlices * rows, firstColumn = block % numSlices * columns;
    // body(row, i, l): for each of `count` i, l fastest.
    auto forEach = [&](int64_t count, llvm::function_ref<void(Term, Term, Term, Term)> work) {
      e.loop(e.thread(), e.i32(rows * count * columns), launch.threads, [&](Term item) {
        Term column = item % columns, i = item / columns % count, row = item / (columns * count);
        Term isThere = (firstRow + row < body.numTokens) & (firstColumn + column < shape.l);
        e.when(isThere, [&] { work(row, i, column, firstColumn + column); });
      });
    };
    auto place = [&](const Term &row, const Term &r, const Term &column) {
      return e.advance(e.shared(middle), ((row * shape.r + r) * columns + column) * 4);
    };
    forEach(shape.r, [&](Term row, Term r, Term column, Term l) {
      Term index = r * shape.l + l, k = index / shape.q;
      Term zero = e.f32(0.0);
      Term sum = e.choose(
          body.isActive(firstRow + row, k),
          [&] {
            return SmallVector<Term>{multiplyRows(e, e.at(body.right, {k, index % shape.q}),
                                                  body.right.getElementType(),
                                                  e.at(body.input, {firstRow + row, k * shape.p}),
                                                  body.input.getElementType(), shape.p)};
          },
          [&] { return SmallVector<Term>{zero}; })[0];
      e.store(sum, place(row, r, column));
    });
    e.barrier();
    int64_t bytes = body.left.getElementType().getIntOrFloatBitWidth() / 8;
    forEach(shape.s, [&](Term row, Term s, Term column, Term l) {
      Value left = e.at(body.left, {l, s});
      SmallVector<Term> init = {e.f32(0.0)};
      Term sum = e.loop(e.i32(0), e.i32(shape.r), e.i32(1), init, [&](Term r, ArrayRef<Term> sums) {
        Term weight = e.loadF32(e.advance(left, r * bytes), body.left.getElementType());
        Term value = e.load(place(row, r, column), f32);
        return SmallVector<Term>{fma(weight, value, sums[0])};
      })[0];
      body.write(sum, body.destinationOf(firstRow + row), s * shape.l + l);
    });
  });
}

LogicalResult mlir::mohd::emitGpuBucketFusion(GpuKernelSet &kernels, BucketFusionOp op) {
  if (succeeded(addFusionTiles(kernels, op)))
    return success();
  // As much of u as fits in a good part of the shared memory.
  FusionShape shape(op);
  int64_t rows = 8, columns = std::min<int64_t>(shape.l, 16);
  auto isTooLarge = [&](int64_t limit) { return 4 * rows * columns * shape.r > limit; };
  while (columns > 1 && isTooLarge(32 << 10))
    columns = llvm::divideCeil(columns, 2);
  while (rows > 1 && isTooLarge(32 << 10))
    rows /= 2;
  if (isTooLarge(kernels.gpu.sharedPerBlock))
    return op.emitOpError("expects at most ")
           << kernels.gpu.sharedPerBlock / 4 << " columns of 'left', got " << shape.r;
  addSimple(kernels, op, rows, columns);
  return success();
}
