// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The vocabulary of kernel bodies: index arithmetic, loops, and typed loads and stores.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::mohd;

Value KernelEmitter::index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }

Value KernelEmitter::f32(double value) {
  return arith::ConstantFloatOp::create(b, b.getF32Type(), llvm::APFloat(float(value)));
}

Value KernelEmitter::add(Value lhs, Value rhs) { return b.createOrFold<arith::AddIOp>(lhs, rhs); }
Value KernelEmitter::sub(Value lhs, Value rhs) { return b.createOrFold<arith::SubIOp>(lhs, rhs); }
Value KernelEmitter::mul(Value lhs, Value rhs) { return b.createOrFold<arith::MulIOp>(lhs, rhs); }
Value KernelEmitter::div(Value lhs, int64_t rhs) { return b.createOrFold<arith::DivUIOp>(lhs, index(rhs)); }
Value KernelEmitter::rem(Value lhs, int64_t rhs) { return b.createOrFold<arith::RemUIOp>(lhs, index(rhs)); }

void KernelEmitter::loop(Value lower, Value upper, int64_t step, llvm::function_ref<void(Value)> body) {
  loop(lower, upper, step, {}, [&](Value i, ValueRange) {
    body(i);
    return SmallVector<Value>();
  });
}

SmallVector<Value> KernelEmitter::loop(Value lower, Value upper, int64_t step, ValueRange init,
                                       llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto forOp = scf::ForOp::create(b, lower, upper, index(step), init,
                                  [&](OpBuilder &inner, Location loc, Value i, ValueRange carried) {
                                    OpBuilder::InsertionGuard guard(b);
                                    b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
                                    SmallVector<Value> next = body(i, carried);
                                    scf::YieldOp::create(b, next);
                                  });
  return SmallVector<Value>(forOp.getResults());
}

void KernelEmitter::columns(int64_t columns, int64_t width, llvm::function_ref<void(Value, int64_t)> body) {
  int64_t whole = columns / width * width;
  if (whole > 0)
    loop(index(0), index(whole), width, [&](Value column) { body(column, width); });
  if (whole < columns)
    loop(index(whole), index(columns), 1, [&](Value column) { body(column, 1); });
}

/// Widens a float, or a vector of floats, to f32.
static Value widen(ImplicitLocOpBuilder &b, Value data) {
  Type type = b.getF32Type();
  if (auto vector = dyn_cast<VectorType>(data.getType()))
    type = VectorType::get(vector.getShape(), type);
  return data.getType() == type ? data : arith::ExtFOp::create(b, type, data).getResult();
}

Value KernelEmitter::load(Value memref, ValueRange indices, int64_t width) {
  auto type = VectorType::get({width}, cast<MemRefType>(memref.getType()).getElementType());
  return widen(b, vector::LoadOp::create(b, type, memref, indices));
}

Value KernelEmitter::loadScalar(Value memref, ValueRange indices) {
  return widen(b, memref::LoadOp::create(b, memref, indices));
}

Value KernelEmitter::loadIndex(Value memref, ValueRange indices) {
  return arith::IndexCastOp::create(b, b.getIndexType(), memref::LoadOp::create(b, memref, indices));
}

void KernelEmitter::store(Value data, Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  auto vector = dyn_cast<VectorType>(data.getType());
  Type type = vector ? Type(VectorType::get(vector.getShape(), element)) : element;
  if (data.getType() != type)
    data = arith::TruncFOp::create(b, type, data);
  if (vector)
    vector::StoreOp::create(b, data, memref, indices);
  else
    memref::StoreOp::create(b, data, memref, indices);
}

Value KernelEmitter::splat(Value scalar, int64_t width) {
  return vector::BroadcastOp::create(b, VectorType::get({width}, scalar.getType()), scalar);
}

Value KernelEmitter::fma(Value lhs, Value rhs, Value acc) {
  if (isa<VectorType>(acc.getType()))
    return vector::FMAOp::create(b, lhs, rhs, acc);
  return math::FmaOp::create(b, lhs, rhs, acc);
}

Value KernelEmitter::sum(Value vector) {
  return vector::ReductionOp::create(b, vector::CombiningKind::ADD, vector);
}
