// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The vocabulary of kernel bodies: index arithmetic, loops, and typed loads and stores.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace mlir::mohd;

Value KernelEmitter::index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }

Value KernelEmitter::f32(double value) {
  return arith::ConstantFloatOp::create(b, b.getF32Type(), llvm::APFloat(float(value)));
}

Value KernelEmitter::add(Value lhs, Value rhs) { return b.createOrFold<arith::AddIOp>(lhs, rhs); }
Value KernelEmitter::sub(Value lhs, Value rhs) { return b.createOrFold<arith::SubIOp>(lhs, rhs); }
Value KernelEmitter::mul(Value lhs, Value rhs) { return b.createOrFold<arith::MulIOp>(lhs, rhs); }
Value KernelEmitter::div(Value lhs, int64_t rhs) {
  return b.createOrFold<arith::DivUIOp>(lhs, index(rhs));
}
Value KernelEmitter::rem(Value lhs, int64_t rhs) {
  return b.createOrFold<arith::RemUIOp>(lhs, index(rhs));
}

Value KernelEmitter::ceilDiv(Value lhs, int64_t rhs) { return div(add(lhs, index(rhs - 1)), rhs); }
Value KernelEmitter::min(Value lhs, Value rhs) { return b.createOrFold<arith::MinUIOp>(lhs, rhs); }
Value KernelEmitter::max(Value lhs, Value rhs) { return b.createOrFold<arith::MaxUIOp>(lhs, rhs); }

std::string KernelEmitter::gridOf(int64_t parts, int64_t blockSize, StringRef tokens) {
  return (Twine("ceildiv(") + tokens + "," + Twine(blockSize) + ")*" + Twine(parts)).str();
}

void KernelEmitter::tasks(int64_t blockSize, llvm::function_ref<void(Value, Value, Value)> body) {
  Value numBlocks = ceilDiv(numTokens, blockSize);
  loop(begin, end, 1, [&](Value task) {
    Value part = b.createOrFold<arith::DivUIOp>(task, numBlocks);
    Value lower = mul(b.createOrFold<arith::RemUIOp>(task, numBlocks), index(blockSize));
    body(part, lower, min(add(lower, index(blockSize)), numTokens));
  });
}

void KernelEmitter::loop(Value lower, Value upper, Value step,
                         llvm::function_ref<void(Value)> body) {
  scf::ForOp::create(b, lower, upper, step, ValueRange(),
                     [&](OpBuilder &inner, Location, Value i, ValueRange) {
                       OpBuilder::InsertionGuard guard(b);
                       b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
                       body(i);
                       scf::YieldOp::create(b);
                     });
}

void KernelEmitter::loop(Value lower, Value upper, int64_t step,
                         llvm::function_ref<void(Value)> body) {
  loop(lower, upper, step, {}, [&](Value i, ValueRange) {
    body(i);
    return SmallVector<Value>();
  });
}

SmallVector<Value>
KernelEmitter::loop(Value lower, Value upper, int64_t step, ValueRange init,
                    llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto forOp = scf::ForOp::create(b, lower, upper, index(step), init,
                                  [&](OpBuilder &inner, Location loc, Value i, ValueRange carried) {
                                    OpBuilder::InsertionGuard guard(b);
                                    b.setInsertionPoint(inner.getInsertionBlock(),
                                                        inner.getInsertionPoint());
                                    SmallVector<Value> next = body(i, carried);
                                    scf::YieldOp::create(b, next);
                                  });
  return SmallVector<Value>(forOp.getResults());
}

void KernelEmitter::branch(Value condition, llvm::function_ref<void()> thenBody,
                           llvm::function_ref<void()> elseBody) {
  auto ifOp = scf::IfOp::create(b, condition, /*withElseRegion=*/bool(elseBody));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  thenBody();
  if (!elseBody)
    return;
  b.setInsertionPointToStart(ifOp.elseBlock());
  elseBody();
}

SmallVector<Value> KernelEmitter::choose(Value condition,
                                         llvm::function_ref<SmallVector<Value>()> thenBody,
                                         llvm::function_ref<SmallVector<Value>()> elseBody) {
  auto fill = [&](llvm::function_ref<SmallVector<Value>()> body) {
    return [&, body](OpBuilder &inner, Location) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
      scf::YieldOp::create(b, body());
    };
  };
  return SmallVector<Value>(
      scf::IfOp::create(b, condition, fill(thenBody), fill(elseBody)).getResults());
}

SmallVector<Segment> KernelEmitter::segments(int64_t columns) {
  SmallVector<Segment> result;
  for (int64_t offset = 0, width = lanes; offset < columns; offset += width) {
    while (width > columns - offset)
      width /= 2;
    result.push_back({offset, width});
  }
  return result;
}

void KernelEmitter::columnTile(int64_t columns, int64_t tileWidth, Value tile,
                               llvm::function_ref<void(Value, ArrayRef<Segment>)> body) {
  int64_t whole = columns / tileWidth, rest = columns % tileWidth;
  Value column = mul(tile, index(tileWidth));
  auto wholeTile = [&] { body(column, segments(tileWidth)); };
  auto lastTile = [&] { body(column, segments(rest)); };
  if (rest == 0)
    return wholeTile();
  if (whole == 0)
    return lastTile();
  branch(arith::CmpIOp::create(b, arith::CmpIPredicate::ult, tile, index(whole)), wholeTile,
         lastTile);
}

void KernelEmitter::columns(int64_t columns, int64_t width,
                            llvm::function_ref<void(Value, int64_t)> body) {
  int64_t whole = columns / width * width;
  if (whole > 0)
    loop(index(0), index(whole), width, [&](Value column) { body(column, width); });
  for (Segment segment : segments(columns - whole))
    body(index(whole + segment.offset), segment.width);
}

/// `element`, or a vector of it in the shape of the vector type `like`.
static Type withShape(Type like, Type element) {
  auto vector = dyn_cast<VectorType>(like);
  return vector ? Type(VectorType::get(vector.getShape(), element)) : element;
}

/// A constant of `type`: an i32 scalar, or a vector of equal i32.
static Value bits(ImplicitLocOpBuilder &b, Type type, uint32_t value) {
  Attribute element = b.getI32IntegerAttr(static_cast<int32_t>(value));
  if (auto vector = dyn_cast<VectorType>(type))
    element = DenseElementsAttr::get(vector, element);
  return arith::ConstantOp::create(b, cast<TypedAttr>(element));
}

/// Widens data (scalar or vector) of f32, f16, i8 or the bits of bf16 (i16) to f32.
static Value widen(ImplicitLocOpBuilder &b, Value data) {
  Type type = withShape(data.getType(), b.getF32Type());
  if (data.getType() == type)
    return data;
  if (getElementTypeOrSelf(data).isInteger(8))
    return arith::SIToFPOp::create(b, type, data);
  if (!getElementTypeOrSelf(data).isInteger(16))
    return arith::ExtFOp::create(b, type, data);
  Type wide = withShape(data.getType(), b.getI32Type());
  Value high = arith::ShLIOp::create(b, arith::ExtUIOp::create(b, wide, data), bits(b, wide, 16));
  return arith::BitcastOp::create(b, type, high);
}

/// Narrows f32 data to the bits of bf16 (i16): to nearest even, a NaN to a quiet NaN.
static Value narrowToBits(ImplicitLocOpBuilder &b, Value data) {
  Type wide = withShape(data.getType(), b.getI32Type());
  Value value = arith::BitcastOp::create(b, wide, data), sixteen = bits(b, wide, 16);
  Value odd = arith::AndIOp::create(b, arith::ShRUIOp::create(b, value, sixteen), bits(b, wide, 1));
  Value rounded =
      arith::AddIOp::create(b, value, arith::AddIOp::create(b, odd, bits(b, wide, 0x7fff)));
  Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, data, data);
  Value result = arith::SelectOp::create(b, isNan, bits(b, wide, 0x7fc00000), rounded);
  return arith::TruncIOp::create(b, withShape(data.getType(), b.getI16Type()),
                                 arith::ShRUIOp::create(b, result, sixteen));
}

Value KernelEmitter::array(ArrayRef<int64_t> shape, Type element) {
  auto type = MemRefType::get(shape, element ? element : b.getF32Type());
  // No vector in a row of whole ones crosses a cache line.
  return memref::AllocaOp::create(b, type, b.getI64IntegerAttr(64));
}

Value KernelEmitter::flatten(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  if (type.getRank() == 1)
    return memref;
  ReassociationIndices all = llvm::to_vector(llvm::seq<int64_t>(0, type.getRank()));
  // Not what the op infers: that takes ? x 0 elements for a static 0.
  int64_t size = type.hasStaticShape() ? type.getNumElements() : ShapedType::kDynamic;
  auto flat = MemRefType::get({size}, type.getElementType());
  return memref::CollapseShapeOp::create(b, flat, memref, ArrayRef<ReassociationIndices>(all));
}

void KernelEmitter::prefetch(Value memref, ValueRange indices) {
  memref::PrefetchOp::create(b, memref, indices, /*isWrite=*/false, /*localityHint=*/3,
                             /*isDataCache=*/true);
}

Value KernelEmitter::load(Value memref, ValueRange indices, int64_t width) {
  auto type = VectorType::get({width}, cast<MemRefType>(memref.getType()).getElementType());
  return widen(b, vector::LoadOp::create(b, type, memref, indices));
}

Value KernelEmitter::loadScalar(Value memref, ValueRange indices) {
  return widen(b, memref::LoadOp::create(b, memref, indices));
}

Value KernelEmitter::loadIndex(Value memref, ValueRange indices) {
  return arith::IndexCastOp::create(b, b.getIndexType(),
                                    memref::LoadOp::create(b, memref, indices));
}

void KernelEmitter::store(Value data, Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  if (element.isInteger(16))
    data = narrowToBits(b, data);
  else if (!element.isF32())
    data = arith::TruncFOp::create(b, withShape(data.getType(), element), data);
  if (isa<VectorType>(data.getType()))
    vector::StoreOp::create(b, data, memref, indices);
  else
    memref::StoreOp::create(b, data, memref, indices);
}

void KernelEmitter::storeIndex(Value value, Value memref, ValueRange indices) {
  Value narrow = arith::IndexCastOp::create(b, b.getI32Type(), value);
  memref::StoreOp::create(b, narrow, memref, indices);
}

void KernelEmitter::copy(Value from, ValueRange fromIndices, Value to, ValueRange toIndices,
                         int64_t width) {
  auto type = VectorType::get({width}, cast<MemRefType>(from.getType()).getElementType());
  vector::StoreOp::create(b, vector::LoadOp::create(b, type, from, fromIndices), to, toIndices);
}

Value KernelEmitter::splat(Value scalar, int64_t width) {
  return vector::BroadcastOp::create(b, VectorType::get({width}, scalar.getType()), scalar);
}

Value KernelEmitter::fma(Value lhs, Value rhs, Value acc) {
  if (isa<VectorType>(acc.getType()))
    return vector::FMAOp::create(b, lhs, rhs, acc);
  return math::FmaOp::create(b, lhs, rhs, acc);
}

Value KernelEmitter::larger(Value lhs, Value rhs) {
  // One instruction on x86; maximumf and maxnumf are several, for their rules on NaN.
  Value greater = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, lhs, rhs);
  return arith::SelectOp::create(b, greater, lhs, rhs);
}

Value KernelEmitter::reduce(Value vector, llvm::function_ref<Value(Value, Value)> combine) {
  for (int64_t width = cast<VectorType>(vector.getType()).getDimSize(0); width > 1; width /= 2) {
    assert(width % 2 == 0 && "a vector's width is a power of two");
    Value low = vector::ExtractStridedSliceOp::create(b, vector, {0}, {width / 2}, {1});
    Value high = vector::ExtractStridedSliceOp::create(b, vector, {width / 2}, {width / 2}, {1});
    vector = combine(low, high);
  }
  return vector::ExtractOp::create(b, vector, ArrayRef<int64_t>{0});
}

Value KernelEmitter::fold(int64_t lower, int64_t upper, Value neutral,
                          llvm::function_ref<Value(Value, Value)> combine,
                          llvm::function_ref<Value(Value, int64_t)> elements) {
  int64_t whole = (upper - lower) / lanes * lanes;
  Value result;
  auto add = [&](Value vector) {
    Value part = reduce(vector, combine);
    result = result ? combine(part, result) : part;
  };
  if (whole > 0)
    add(loop(index(lower), index(lower + whole), lanes, splat(neutral, lanes),
             [&](Value i, ValueRange carried) {
               return SmallVector<Value>{combine(elements(i, lanes), carried[0])};
             })[0]);
  for (Segment segment : segments(upper - lower - whole))
    add(elements(index(lower + whole + segment.offset), segment.width));
  return result ? result : neutral;
}

Value KernelEmitter::sum(int64_t lower, int64_t upper,
                         llvm::function_ref<Value(Value, int64_t)> elements) {
  auto add = [&](Value lhs, Value rhs) -> Value { return arith::AddFOp::create(b, lhs, rhs); };
  return fold(lower, upper, f32(0), add, elements);
}

Value KernelEmitter::sum(Value vector) {
  return reduce(
      vector, [&](Value low, Value high) -> Value { return arith::AddFOp::create(b, low, high); });
}

Value KernelEmitter::sums(ArrayRef<Value> vectors) {
  SmallVector<Value> level(vectors);
  // Every vector has groups of `size` lanes that are still to be added up. Each step halves them, and puts the groups of two vectors into
  // one as long as there are two.
  for (int64_t size = cast<VectorType>(level[0].getType()).getDimSize(0); size > 1; size /= 2) {
    SmallVector<Value> next;
    int64_t width = cast<VectorType>(level[0].getType()).getDimSize(0);
    int64_t sources = level.size() > 1 ? 2 : 1;
    SmallVector<int64_t> low, high;
    for (int64_t group = 0; group < width * sources; group += size)
      for (int64_t lane = 0; lane < size / 2; ++lane) {
        low.push_back(group + lane);
        high.push_back(group + size / 2 + lane);
      }
    for (size_t i = 0; i < level.size(); i += sources) {
      Value first = level[i], second = level[i + sources - 1];
      next.push_back(arith::AddFOp::create(b, vector::ShuffleOp::create(b, first, second, low),
                                           vector::ShuffleOp::create(b, first, second, high)));
    }
    level = std::move(next);
  }
  // More vectors than lanes: what is left is joined.
  while (level.size() > 1) {
    SmallVector<Value> next;
    int64_t width = cast<VectorType>(level[0].getType()).getDimSize(0);
    for (size_t i = 0; i < level.size(); i += 2)
      next.push_back(vector::ShuffleOp::create(b, level[i], level[i + 1],
                                               llvm::to_vector(llvm::seq<int64_t>(0, 2 * width))));
    level = std::move(next);
  }
  return level[0];
}

SmallVector<Value> KernelEmitter::transpose(ArrayRef<Value> rows) {
  SmallVector<Value> level(rows);
  int64_t count = rows.size();
  SmallVector<int64_t> low, high;
  for (int64_t lane = 0; lane < count; ++lane) {
    low.push_back(lane / 2 + lane % 2 * count);
    high.push_back(count / 2 + low.back());
  }
  // Each step interleaves row i with row i + count/2: a rotation of the bits of (row, lane) by one.
  for (int64_t step = 1; step < count; step *= 2) {
    SmallVector<Value> next;
    for (int64_t i = 0; i < count / 2; ++i)
      for (ArrayRef<int64_t> mask : {ArrayRef(low), ArrayRef(high)})
        next.push_back(vector::ShuffleOp::create(b, level[i], level[i + count / 2], mask));
    level = std::move(next);
  }
  return level;
}

Value KernelEmitter::silu(Value x) {
  int64_t width = cast<VectorType>(x.getType()).getNumElements();
  Value exp = math::ExpOp::create(b, arith::NegFOp::create(b, x));
  Value result = arith::DivFOp::create(b, x, arith::AddFOp::create(b, splat(f32(1), width), exp));
  Value infinity = splat(f32(-std::numeric_limits<double>::infinity()), width);
  Value isInfinite = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, x, infinity);
  return arith::SelectOp::create(b, isInfinite, splat(f32(0), width), result);
}

SmallVector<Value> KernelEmitter::zeros(ArrayRef<Segment> segments) {
  return llvm::map_to_vector(segments, [&](Segment s) { return splat(f32(0), s.width); });
}

void KernelEmitter::storeSegments(ValueRange data, Value memref, Value row, Value column,
                                  ArrayRef<Segment> segments) {
  for (auto [value, segment] : llvm::zip_equal(data, segments))
    store(value, memref, {row, add(column, index(segment.offset))});
}

Value KernelEmitter::dots(int64_t numLhs, int64_t numRhs, int64_t length,
                          llvm::function_ref<Value(int64_t, Value, int64_t)> lhs,
                          llvm::function_ref<Value(int64_t, Value, int64_t)> rhs) {
  auto addProducts = [&](Value column, int64_t width, ValueRange acc) {
    SmallVector<Value> left, next;
    for (int64_t i = 0; i < numLhs; ++i)
      left.push_back(lhs(i, column, width));
    next.resize(acc.size());
    for (int64_t j = 0; j < numRhs; ++j) {
      Value right = rhs(j, column, width);
      for (int64_t i = 0; i < numLhs; ++i)
        next[i * numRhs + j] = fma(left[i], right, acc[i * numRhs + j]);
    }
    return next;
  };
  auto zero = [&](int64_t width) {
    return SmallVector<Value>(numLhs * numRhs, splat(f32(0), width));
  };
  Value result;
  int64_t whole = length / lanes * lanes;
  if (whole > 0)
    result =
        sums(loop(index(0), index(whole), lanes, zero(lanes),
                  [&](Value i, ValueRange carried) { return addProducts(i, lanes, carried); }));
  for (Segment segment : segments(length - whole)) {
    Value part =
        sums(addProducts(index(whole + segment.offset), segment.width, zero(segment.width)));
    result = result ? arith::AddFOp::create(b, result, part).getResult() : part;
  }
  return result;
}

Value KernelEmitter::dot(Value lhs, ValueRange lhsIndices, Value rhs, ValueRange rhsIndices,
                         int64_t length) {
  auto loadAt = [&](Value memref, ValueRange indices, Value offset, int64_t width) {
    SmallVector<Value> at(indices);
    at.back() = add(at.back(), offset);
    return load(memref, at, width);
  };
  auto multiplyAdd = [&](Value offset, int64_t width, Value acc) {
    return fma(loadAt(lhs, lhsIndices, offset, width), loadAt(rhs, rhsIndices, offset, width), acc);
  };
  constexpr int64_t chains = 4; // hide the latency of an addition
  SmallVector<Value> acc;
  int64_t whole = length / (chains * lanes) * (chains * lanes);
  if (whole > 0)
    acc = loop(index(0), index(whole), chains * lanes,
               SmallVector<Value>(chains, splat(f32(0), lanes)),
               [&](Value offset, ValueRange carried) {
                 SmallVector<Value> next(carried);
                 for (auto [i, value] : llvm::enumerate(next))
                   value = multiplyAdd(add(offset, index(i * lanes)), lanes, value);
                 return next;
               });
  Value tail;
  for (auto [i, segment] : llvm::enumerate(segments(length - whole))) {
    Value offset = index(whole + segment.offset);
    if (segment.width == lanes && i < acc.size()) {
      acc[i] = multiplyAdd(offset, lanes, acc[i]);
      continue;
    }
    Value part = multiplyAdd(offset, segment.width, splat(f32(0), segment.width));
    if (segment.width == lanes) {
      acc.push_back(part);
      continue;
    }
    part = sum(part);
    tail = tail ? arith::AddFOp::create(b, tail, part).getResult() : part;
  }
  for (; acc.size() > 1; acc.pop_back())
    acc[acc.size() - 2] = arith::AddFOp::create(b, acc[acc.size() - 2], acc.back());
  if (acc.empty())
    return tail ? tail : f32(0);
  Value total = sum(acc[0]);
  return tail ? arith::AddFOp::create(b, total, tail).getResult() : total;
}

Value KernelEmitter::isActive(Value indices, Value token, Value group, RoutingType routing) {
  auto compare = [&](arith::CmpIPredicate predicate, Value lhs, Value rhs) -> Value {
    return arith::CmpIOp::create(b, predicate, lhs, rhs);
  };
  Value shared = compare(arith::CmpIPredicate::ult, group, index(routing.getNumShared()));
  return loop(index(routing.getNumShared()), index(routing.getNumActive()), 1, shared,
              [&](Value slot, ValueRange found) {
                Value same =
                    compare(arith::CmpIPredicate::eq, loadIndex(indices, {token, slot}), group);
                return SmallVector<Value>{arith::OrIOp::create(b, found[0], same)};
              })[0];
}
