// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What kernels are written with.
#include "mohd/Conversion/MoHDToGpu/GpuEmitter.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

tile::Half mlir::mohd::getHalf(Type element) {
  assert((element.isBF16() || element.isF16()) && "expects 16 bits");
  return element.isBF16() ? tile::Half::BF16 : tile::Half::F16;
}

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

Term GpuEmitter::i1(bool value) { return {b, arith::ConstantOp::create(b, b.getBoolAttr(value))}; }

Term GpuEmitter::i32(int64_t value) {
  return {b, arith::ConstantOp::create(b, b.getI32IntegerAttr(int32_t(value)))};
}

Term GpuEmitter::i64(int64_t value) {
  return {b, arith::ConstantOp::create(b, b.getI64IntegerAttr(value))};
}

Term GpuEmitter::f32(double value) {
  return {b, arith::ConstantOp::create(b, b.getF32FloatAttr(float(value)))};
}

Term GpuEmitter::exp2(const Term &x) { return {b, tile::Exp2Op::create(b, x)}; }

Term GpuEmitter::exp(const Term &x) {
  constexpr double log2e = 1.4426950408889634;
  return exp2(x * log2e);
}

Term GpuEmitter::rsqrt(const Term &x) { return f32(1.0) / wrap(math::SqrtOp::create(b, x.value)); }

Term GpuEmitter::popCount(const Term &word) { return wrap(math::CtPopOp::create(b, word.value)); }

Term GpuEmitter::lowestBit(const Term &word) { return popCount((word ^ -1) & (word - 1)); }

Term GpuEmitter::silu(const Term &x) {
  Term zero = f32(0.0);
  Term result = x / (exp(zero - x) + 1.0);
  // -Inf / Inf would be a NaN.
  return select(x == f32(-std::numeric_limits<double>::infinity()), zero, result);
}

//===----------------------------------------------------------------------===//
// Where this thread is
//===----------------------------------------------------------------------===//

Term GpuEmitter::thread() { return {b, tile::SpecialRegisterOp::create(b, tile::Register::TidX)}; }
Term GpuEmitter::block() { return {b, tile::SpecialRegisterOp::create(b, tile::Register::CtaidX)}; }
Term GpuEmitter::numBlocks() {
  return {b, tile::SpecialRegisterOp::create(b, tile::Register::NctaidX)};
}
Term GpuEmitter::lane() { return {b, tile::SpecialRegisterOp::create(b, tile::Register::Lane)}; }
Term GpuEmitter::warp() { return thread() / 32; }

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

static SmallVector<Term> wrapAll(ImplicitLocOpBuilder &b, ValueRange values) {
  SmallVector<Term> terms;
  for (Value value : values)
    terms.emplace_back(b, value);
  return terms;
}

static SmallVector<Value> unwrapAll(ArrayRef<Term> terms) {
  return llvm::map_to_vector(terms, [](const Term &term) { return term.value; });
}

void GpuEmitter::loop(const Term &lower, const Term &upper, const Term &step,
                      llvm::function_ref<void(Term)> body) {
  loop(lower, upper, step, {}, [&](Term i, ArrayRef<Term>) {
    body(i);
    return SmallVector<Term>();
  });
}

SmallVector<Term>
GpuEmitter::loop(const Term &lower, const Term &upper, const Term &step, ArrayRef<Term> init,
                 llvm::function_ref<SmallVector<Term>(Term, ArrayRef<Term>)> body) {
  auto loop = scf::ForOp::create(b, lower.value, upper.value, step.value, unwrapAll(init));
  OpBuilder::InsertionGuard guard(b);
  Block *block = loop.getBody();
  if (init.empty() && !block->empty())
    block->getTerminator()->erase();
  b.setInsertionPointToEnd(block);
  SmallVector<Term> next = body(wrap(loop.getInductionVar()), wrapAll(b, loop.getRegionIterArgs()));
  scf::YieldOp::create(b, unwrapAll(next));
  return wrapAll(b, loop.getResults());
}

SmallVector<Term> GpuEmitter::repeat(ArrayRef<Term> init,
                                     llvm::function_ref<Term(ArrayRef<Term>)> condition,
                                     llvm::function_ref<SmallVector<Term>(ArrayRef<Term>)> body) {
  SmallVector<Value> values = unwrapAll(init);
  auto loop = scf::WhileOp::create(b, ValueRange(values).getTypes(), values);
  OpBuilder::InsertionGuard guard(b);
  SmallVector<Location> locations(values.size(), b.getLoc());
  Block *before = b.createBlock(&loop.getBefore(), {}, ValueRange(values).getTypes(), locations);
  Term holds = condition(wrapAll(b, before->getArguments()));
  scf::ConditionOp::create(b, holds.value, before->getArguments());
  Block *after = b.createBlock(&loop.getAfter(), {}, ValueRange(values).getTypes(), locations);
  scf::YieldOp::create(b, unwrapAll(body(wrapAll(b, after->getArguments()))));
  return wrapAll(b, loop.getResults());
}

void GpuEmitter::when(const Term &condition, llvm::function_ref<void()> thenBody,
                      llvm::function_ref<void()> elseBody) {
  auto branch = scf::IfOp::create(b, condition.value, /*withElseRegion=*/bool(elseBody));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  thenBody();
  if (elseBody) {
    b.setInsertionPointToStart(branch.elseBlock());
    elseBody();
  }
}

SmallVector<Term> GpuEmitter::choose(const Term &condition,
                                     llvm::function_ref<SmallVector<Term>()> thenBody,
                                     llvm::function_ref<SmallVector<Term>()> elseBody) {
  // The types are known once a branch is written: into a block that moves to the op.
  OpBuilder::InsertionGuard guard(b);
  auto write = [&](Region &region, llvm::function_ref<SmallVector<Term>()> body) {
    OpBuilder::InsertionGuard inner(b);
    b.createBlock(&region);
    SmallVector<Value> values = unwrapAll(body());
    scf::YieldOp::create(b, values);
    return values;
  };
  auto outer = scf::IfOp::create(b, condition.value, /*withElseRegion=*/false);
  outer.getThenRegion().getBlocks().clear();
  SmallVector<Value> values = write(outer.getThenRegion(), thenBody);
  write(outer.getElseRegion(), elseBody);
  auto branch = scf::IfOp::create(b, ValueRange(values).getTypes(), condition.value,
                                  /*addThenBlock=*/false, /*addElseBlock=*/false);
  branch.getThenRegion().takeBody(outer.getThenRegion());
  branch.getElseRegion().takeBody(outer.getElseRegion());
  outer.erase();
  return wrapAll(b, branch.getResults());
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value GpuEmitter::advance(Value pointer, const Term &bytes) {
  return LLVM::GEPOp::create(b, pointer.getType(), b.getI8Type(), pointer,
                             ArrayRef<LLVM::GEPArg>{bytes.value});
}

Value GpuEmitter::at(const GpuBuffer &buffer, ArrayRef<Term> indices) {
  Term place = i64(0);
  for (auto [dim, extent] : llvm::enumerate(buffer.extents)) {
    place = place * toI64(extent);
    if (dim < indices.size())
      place = place + toI64(indices[dim]);
  }
  int64_t bytes = buffer.getElementType().getIntOrFloatBitWidth() / 8;
  return advance(buffer.pointer, place * bytes);
}

Term GpuEmitter::load(Value pointer, Type type) {
  return {b, tile::LoadOp::create(b, type, pointer, /*streaming=*/UnitAttr())};
}

Term GpuEmitter::loadStreaming(Value pointer, Type type) {
  return {b, tile::LoadOp::create(b, type, pointer, b.getUnitAttr())};
}

void GpuEmitter::store(const Term &value, Value pointer) {
  tile::StoreOp::create(b, value.value, pointer);
}

Term GpuEmitter::loadF32(Value pointer, Type element) {
  if (element.isF32())
    return load(pointer, element);
  if (element.isInteger(8)) {
    Term byte = load(pointer, element);
    return toF32(wrap(arith::ExtSIOp::create(b, b.getI32Type(), byte.value)));
  }
  Term bits = load(pointer, b.getI16Type());
  Term word = wrap(arith::ExtUIOp::create(b, b.getI32Type(), bits.value));
  return wrap(tile::UnpackOp::create(b, getHalf(element), word.value).getLow());
}

void GpuEmitter::storeF32(const Term &value, Value pointer, Type element) {
  if (element.isF32())
    return store(value, pointer);
  Term word = wrap(tile::PackOp::create(b, getHalf(element), value.value, f32(0.0).value));
  store(wrap(arith::TruncIOp::create(b, b.getI16Type(), word.value)), pointer);
}

Term GpuEmitter::loadF32(const GpuBuffer &buffer, ArrayRef<Term> indices) {
  return loadF32(at(buffer, indices), buffer.getElementType());
}

void GpuEmitter::storeF32(const Term &value, const GpuBuffer &buffer, ArrayRef<Term> indices) {
  storeF32(value, at(buffer, indices), buffer.getElementType());
}

SmallVector<Term> GpuEmitter::split(const Term &vector) {
  SmallVector<Term> elements;
  for (int64_t i = 0, end = cast<VectorType>(vector.getType()).getNumElements(); i < end; ++i) {
    Value place = LLVM::ConstantOp::create(b, b.getI32Type(), i);
    elements.emplace_back(b, LLVM::ExtractElementOp::create(b, vector.value, place));
  }
  return elements;
}

Term GpuEmitter::join(ArrayRef<Term> elements) {
  auto type = VectorType::get({int64_t(elements.size())}, elements.front().getType());
  Value vector = LLVM::PoisonOp::create(b, type);
  for (auto [i, element] : llvm::enumerate(elements)) {
    Value place = LLVM::ConstantOp::create(b, b.getI32Type(), int64_t(i));
    vector = LLVM::InsertElementOp::create(b, vector, element.value, place);
  }
  return wrap(vector);
}

SmallVector<Term> GpuEmitter::loadF32s(Value pointer, Type element, int64_t count) {
  if (count == 1)
    return {loadF32(pointer, element)};
  if (element.isF32())
    return split(load(pointer, VectorType::get({count}, element)));
  SmallVector<Term> values;
  if (element.isInteger(8)) {
    for (Term byte : split(load(pointer, VectorType::get({count}, element))))
      values.push_back(toF32(wrap(arith::ExtSIOp::create(b, b.getI32Type(), byte.value))));
    return values;
  }
  SmallVector<Term> words;
  if (count == 2)
    words.push_back(load(pointer, b.getI32Type()));
  else
    words = split(load(pointer, VectorType::get({count / 2}, b.getI32Type())));
  for (const Term &word : words) {
    auto pair = tile::UnpackOp::create(b, getHalf(element), word.value);
    values.push_back(wrap(pair.getLow()));
    values.push_back(wrap(pair.getHigh()));
  }
  return values;
}

void GpuEmitter::storeF32s(ArrayRef<Term> values, Value pointer, Type element) {
  if (values.size() == 1)
    return storeF32(values.front(), pointer, element);
  if (element.isF32())
    return store(join(values), pointer);
  SmallVector<Term> words;
  for (size_t i = 0; i < values.size(); i += 2)
    words.push_back(
        wrap(tile::PackOp::create(b, getHalf(element), values[i].value, values[i + 1].value)));
  store(words.size() == 1 ? words.front() : join(words), pointer);
}

Term GpuEmitter::loadI32(const GpuBuffer &buffer, ArrayRef<Term> indices) {
  return load(at(buffer, indices), b.getI32Type());
}

void GpuEmitter::storeI32(const Term &value, const GpuBuffer &buffer, ArrayRef<Term> indices) {
  store(value, at(buffer, indices));
}

int64_t GpuEmitter::reserveShared(int64_t bytes, int64_t align) {
  int64_t offset = llvm::alignTo(sharedBytes, align);
  sharedBytes = offset + bytes;
  return offset;
}

Value GpuEmitter::shared(int64_t offset) { return tile::SharedOp::create(b, offset); }

//===----------------------------------------------------------------------===//
// Together
//===----------------------------------------------------------------------===//

void GpuEmitter::barrier() { tile::BarrierSyncOp::create(b, Value(), IntegerAttr()); }

void GpuEmitter::warpSync() { tile::WarpSyncOp::create(b, Value()); }

Term GpuEmitter::ballot(const Term &condition) {
  return wrap(tile::BallotOp::create(b, condition.value, Value()));
}

Term GpuEmitter::countBelow(const Term &word) { return popCount(word & ((i32(1) << lane()) - 1)); }

Term GpuEmitter::shuffleXor(const Term &value, int64_t lanes) {
  return {b, tile::ShuffleOp::create(b, tile::Shuffle::Bfly, value.value, i32(lanes).value,
                                     /*width=*/32, /*mask=*/Value())};
}

Term GpuEmitter::broadcast(const Term &value, const Term &lane) {
  return {b, tile::ShuffleOp::create(b, tile::Shuffle::Idx, value.value, lane.value,
                                     /*width=*/32, /*mask=*/Value())};
}

Term GpuEmitter::warpReduce(const Term &value, llvm::function_ref<Term(Term, Term)> combine,
                            int64_t width) {
  Term result = value;
  for (int64_t lanes = width / 2; lanes > 0; lanes /= 2)
    result = combine(result, shuffleXor(result, lanes));
  return result;
}

Term GpuEmitter::warpSum(const Term &value, int64_t width) {
  return warpReduce(value, [](Term lhs, Term rhs) { return lhs + rhs; }, width);
}

Term GpuEmitter::blockReduce(const Term &value, int64_t threads,
                             llvm::function_ref<Term(Term, Term)> combine) {
  Term ofWarp = warpReduce(value, combine);
  int64_t numWarps = threads / 32;
  if (numWarps == 1)
    return ofWarp;
  int64_t place = reserveShared(4 * numWarps, 4);
  when(lane() == 0, [&] { store(ofWarp, advance(shared(place), warp() * 4)); });
  barrier();
  Term result;
  for (int64_t i = 0; i < numWarps; ++i) {
    Term part = load(shared(place + 4 * i), value.getType());
    result = i == 0 ? part : combine(result, part);
  }
  barrier(); // the place may be used again
  return result;
}
