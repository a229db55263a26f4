// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The vocabulary of the reference lowering: tensors as functions of their indices, and serial
// reductions.
#include "LoopEmitter.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::mohd;

Value LoopEmitter::index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }

Value LoopEmitter::f32(double value) {
  return arith::ConstantFloatOp::create(b, b.getF32Type(), llvm::APFloat(float(value)));
}

OpFoldResult LoopEmitter::dim(Value tensor, int64_t dimension) {
  return tensor::getMixedSize(b, b.getLoc(), tensor, dimension);
}

Value LoopEmitter::numTokens(Value tensor) {
  return getValueOrCreateConstantIndexOp(b, b.getLoc(), dim(tensor, 0));
}

Value LoopEmitter::tensor(ArrayRef<OpFoldResult> sizes, Type element,
                          function_ref<Value(ValueRange)> body) {
  Value empty = tensor::EmptyOp::create(b, sizes, element);
  SmallVector<AffineMap> maps = {b.getMultiDimIdentityMap(sizes.size())};
  SmallVector<utils::IteratorType> iterators(sizes.size(), utils::IteratorType::parallel);
  auto writeElement = [&](OpBuilder &inner, Location, ValueRange) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
    SmallVector<Value> indices;
    for (int64_t i = 0, rank = sizes.size(); i < rank; ++i)
      indices.push_back(linalg::IndexOp::create(b, i));
    linalg::YieldOp::create(b, narrow(body(indices), element));
  };
  return linalg::GenericOp::create(b, TypeRange{empty.getType()}, ValueRange{}, ValueRange{empty},
                                   maps, iterators, writeElement)
      .getResult(0);
}

Value LoopEmitter::loop(Value first, Value count, Value init,
                        function_ref<Value(Value, Value)> body) {
  auto step = [&](OpBuilder &inner, Location, Value i, ValueRange carried) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
    scf::YieldOp::create(b, body(i, carried[0]));
  };
  return scf::ForOp::create(b, first, count, index(1), ValueRange{init}, step).getResult(0);
}

Value LoopEmitter::sum(Value count, function_ref<Value(Value)> body) {
  return loop(index(0), count, f32(0), [&](Value i, Value acc) { return add(acc, body(i)); });
}

Value LoopEmitter::max(Value count, function_ref<Value(Value)> body) {
  Value lowest = f32(-std::numeric_limits<double>::infinity());
  return loop(index(0), count, lowest,
              [&](Value i, Value acc) { return arith::MaximumFOp::create(b, acc, body(i)); });
}

Value LoopEmitter::read(Value tensor, ValueRange indices) {
  Value data = tensor::ExtractOp::create(b, tensor, indices);
  if (isa<FloatType>(data.getType()) && data.getType().getIntOrFloatBitWidth() < 32)
    return arith::ExtFOp::create(b, b.getF32Type(), data);
  return data;
}

Value LoopEmitter::readIndex(Value tensor, ValueRange indices) {
  return arith::IndexCastOp::create(b, b.getIndexType(),
                                    tensor::ExtractOp::create(b, tensor, indices));
}

Value LoopEmitter::narrow(Value data, Type element) {
  return data.getType() == element ? data : arith::TruncFOp::create(b, element, data).getResult();
}

Value LoopEmitter::exp(Value data) { return math::ExpOp::create(b, data); }

Value LoopEmitter::silu(Value data) {
  Value lowest = f32(-std::numeric_limits<double>::infinity());
  Value isLowest = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, data, lowest);
  Value power = exp(arith::NegFOp::create(b, data));
  return select(isLowest, f32(0), div(data, add(f32(1), power)));
}

Value RoutingTensors::emitActive(LoopEmitter &e) const {
  SmallVector<OpFoldResult> sizes = {e.dim(indices, 0), e.b.getIndexAttr(type.getNumGroups())};
  Value no = arith::ConstantOp::create(e.b, e.b.getBoolAttr(false));
  return e.tensor(sizes, e.b.getI1Type(), [&](ValueRange at) {
    return e.loop(e.index(0), e.index(type.getNumActive()), no, [&](Value k, Value found) {
      return e.either(found, e.equal(e.readIndex(indices, {at[0], k}), at[1]));
    });
  });
}

Value RoutingTensors::emitDenseGates(LoopEmitter &e) const {
  SmallVector<OpFoldResult> sizes = {e.dim(indices, 0), e.b.getIndexAttr(type.getNumGroups())};
  return e.tensor(sizes, e.b.getF32Type(), [&](ValueRange at) {
    return e.sum(e.index(type.getNumActive()), [&](Value k) {
      return e.masked(e.equal(e.readIndex(indices, {at[0], k}), at[1]), e.read(gates, {at[0], k}));
    });
  });
}
