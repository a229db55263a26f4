// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.sample. A task is a token.
//
// What is kept of the logits is a prefix of them in descending order: those above a threshold, and of those equal to it the first few by index. The
// threshold is the largest number that leaves enough, and is found bit by bit from the top: the bits of floats are ordered as integers are, but
// that negative ones run the other way. So nothing is sorted, and each of the passes over the logits is a loop of vectors.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

namespace {

using Predicate = arith::CmpFPredicate;
/// Computes `width` elements (f32) from `i` on.
using Elements = llvm::function_ref<Value(Value i, int64_t width)>;

class SampleEmitter {
public:
  SampleEmitter(KernelEmitter &e, SampleOp op, ValueRange operands, Value result)
      : e(e), b(e.b), width(op.getLogits().getType().getDimSize(1)), logits(operands[0]),
        temperatures(operands[1]), topKs(operands[2]), topPs(operands[3]), draws(operands[4]),
        result(result) {}

  void emit(Value token);

private:
  /// The logits above `threshold`, and those equal to it before index `tieEnd`.
  struct Prefix {
    Value threshold, tieEnd;
  };

  Value compare(Predicate predicate, Value lhs, Value rhs) {
    return arith::CmpFOp::create(b, predicate, lhs, rhs);
  }
  Value select(Value condition, Value yes, Value no) {
    return arith::SelectOp::create(b, condition, yes, no);
  }
  Value both(Value lhs, Value rhs) { return arith::AndIOp::create(b, lhs, rhs); }
  Value either(Value lhs, Value rhs) { return arith::OrIOp::create(b, lhs, rhs); }
  Value isLess(Value lhs, Value rhs) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, lhs, rhs);
  }
  Value addFloats(Value lhs, Value rhs) { return arith::AddFOp::create(b, lhs, rhs); }
  Value multiply(Value lhs, Value rhs) { return arith::MulFOp::create(b, lhs, rhs); }
  Value sum(Elements elements) { return e.sum(0, width, elements); }

  Value logit(Value i, int64_t width) { return e.load(logits, {token, i}, width); }
  /// 1 where the logit compares so with `threshold` (f32), else 0.
  Value flag(Value i, int64_t width, Predicate predicate, Value threshold) {
    Value holds = compare(predicate, logit(i, width), e.splat(threshold, width));
    return select(holds, e.splat(e.f32(1), width), e.splat(e.f32(0), width));
  }
  Value countWhere(Predicate predicate, Value threshold) {
    return sum([&](Value i, int64_t width) { return flag(i, width, predicate, threshold); });
  }
  Value weight(Value i, int64_t width);
  Value keptWeight(Value i, int64_t width, const Prefix &kept);

  Value findThreshold(Value isUsed, Value target, llvm::function_ref<Value(Value)> measure);
  Prefix cutTopK();
  Prefix cutTopP(const Prefix &kept);
  SmallVector<Value> addBlocks(Value limit, Elements elements);
  Value addAll(Elements elements);
  Value locate(Value limit, Elements elements);
  Value justBelow(Value number);
  Value locateTie(Value threshold, Value number);
  Value draw();
  void store(Value index) { e.storeIndex(index, result, token); }

  KernelEmitter &e;
  ImplicitLocOpBuilder &b;
  const int64_t width;
  const Value logits, temperatures, topKs, topPs, draws, result;
  Value token, largest, temperature;
};

/// e^((logit - largest) / temperature), 0 of -Inf.
Value SampleEmitter::weight(Value i, int64_t width) {
  Value data = logit(i, width);
  Value below = arith::SubFOp::create(b, data, e.splat(largest, width));
  Value scaled = arith::DivFOp::create(b, below, e.splat(temperature, width));
  Value isFinite = compare(Predicate::OGT, data, e.splat(e.f32(-INFINITY), width));
  return select(isFinite, math::ExpOp::create(b, scaled), e.splat(e.f32(0), width));
}

/// The weight where the token is in a prefix, else 0.
Value SampleEmitter::keptWeight(Value i, int64_t width, const Prefix &kept) {
  Value data = logit(i, width), threshold = e.splat(kept.threshold, width);
  Value steps = vector::StepOp::create(b, VectorType::get({width}, b.getIndexType()));
  Value place = arith::AddIOp::create(b, steps, e.splat(i, width));
  Value isTie =
      both(compare(Predicate::OEQ, data, threshold), isLess(place, e.splat(kept.tieEnd, width)));
  Value isKept = either(compare(Predicate::OGT, data, threshold), isTie);
  return select(isKept, weight(i, width), e.splat(e.f32(0), width));
}

/// The largest f32 of which measure() (which falls) is still at least `target`; -Inf if there is none, or it is not used.
Value SampleEmitter::findThreshold(Value isUsed, Value target,
                                   llvm::function_ref<Value(Value)> measure) {
  Type i32 = b.getI32Type();
  auto constant = [&](int32_t value) -> Value {
    return arith::ConstantOp::create(b, b.getI32IntegerAttr(value));
  };
  Value first = constant(INT32_MIN);
  auto toFloat = [&](Value key) -> Value {
    Value sign = arith::ShRSIOp::create(b, key, constant(31));
    Value bits = arith::XOrIOp::create(
        b, key, arith::AndIOp::create(b, sign, constant(INT32_MAX)).getResult());
    return arith::BitcastOp::create(b, b.getF32Type(), bits);
  };
  Value numBits = select(isUsed, e.index(32), e.index(0));
  Value key = e.loop(e.index(0), numBits, 1, first, [&](Value i, ValueRange carried) {
    Value bit = arith::ShRUIOp::create(b, first, arith::IndexCastOp::create(b, i32, i));
    Value candidate = arith::XOrIOp::create(b, carried[0], bit);
    Value isEnough = compare(Predicate::OGE, measure(toFloat(candidate)), target);
    return SmallVector<Value>{select(isEnough, candidate, carried[0])};
  })[0];
  // Keys below that of -Inf are NaNs.
  Value found = toFloat(key);
  return select(compare(Predicate::ORD, found, found), found, e.f32(-INFINITY));
}

/// Adds up blocks of `lanes` elements until more than `limit` is reached: the sum of all, the block's start (the end of all blocks if none reaches it), and the sum
/// before it.
SmallVector<Value> SampleEmitter::addBlocks(Value limit, Elements elements) {
  Value end = e.index(width / e.lanes * e.lanes);
  Value init[] = {e.f32(0), end, e.f32(0)};
  return e.loop(e.index(0), end, e.lanes, init, [&](Value i, ValueRange carried) {
    Value next = addFloats(carried[0], e.sum(elements(i, e.lanes)));
    Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, carried[1], end);
    Value isHit = both(isFirst, compare(Predicate::OGT, next, limit));
    return SmallVector<Value>{next, select(isHit, i, carried[1]),
                              select(isHit, carried[0], select(isFirst, next, carried[2]))};
  });
}

/// The sum of all elements as locate() adds them up.
Value SampleEmitter::addAll(Elements elements) {
  Value total = addBlocks(e.f32(INFINITY), elements)[0];
  return e.loop(e.index(width / e.lanes * e.lanes), e.index(width), 1, total,
                [&](Value i, ValueRange carried) {
                  Value element = e.sum(elements(i, 1));
                  return SmallVector<Value>{addFloats(carried[0], element)};
                })[0];
}

/// The first index up to which the elements, none negative, add up to more than `limit`, which is less than the sum of all.
Value SampleEmitter::locate(Value limit, Elements elements) {
  SmallVector<Value> found = addBlocks(limit, elements);
  Value upper = e.min(e.add(found[1], e.index(e.lanes)), e.index(width));
  Value init[] = {found[2], e.index(width), found[1]};
  SmallVector<Value> last = e.loop(found[1], upper, 1, init, [&](Value i, ValueRange carried) {
    Value element = e.sum(elements(i, 1)), next = addFloats(carried[0], element);
    Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, carried[1], e.index(width));
    Value isHit = both(isFirst, compare(Predicate::OGT, next, limit));
    Value isPositive = compare(Predicate::OGT, element, e.f32(0));
    return SmallVector<Value>{next, select(isHit, i, carried[1]),
                              select(isPositive, i, carried[2])};
  });
  // Added up one by one, a block's elements may stay below what they are together.
  Value isFound = isLess(last[1], e.index(width));
  return select(isFound, last[1], last[2]);
}

/// The largest f32 below a positive one.
Value SampleEmitter::justBelow(Value number) {
  Value bits = arith::BitcastOp::create(b, b.getI32Type(), number);
  Value one = arith::ConstantOp::create(b, b.getI32IntegerAttr(1));
  return arith::BitcastOp::create(b, b.getF32Type(),
                                  arith::SubIOp::create(b, bits, one).getResult());
}

/// Where the first logits equal to `threshold` end, at least `number` (f32, not below 1) of them; `width` if there are no more than that.
Value SampleEmitter::locateTie(Value threshold, Value number) {
  auto isTie = [&](Value i, int64_t width) { return flag(i, width, Predicate::OEQ, threshold); };
  Value isCut = compare(Predicate::OLE, number, countWhere(Predicate::OEQ, threshold));
  return e.choose(
      isCut,
      [&] { return SmallVector<Value>{e.add(locate(justBelow(number), isTie), e.index(1))}; },
      [&] { return SmallVector<Value>{e.index(width)}; })[0];
}

SampleEmitter::Prefix SampleEmitter::cutTopK() {
  Value topK = memref::LoadOp::create(b, topKs, token);
  auto constant = [&](int32_t value) {
    return arith::ConstantOp::create(b, b.getI32IntegerAttr(value));
  };
  Value isUsed =
      both(arith::CmpIOp::create(b, arith::CmpIPredicate::sgt, topK, constant(0)),
           arith::CmpIOp::create(b, arith::CmpIPredicate::slt, topK,
                                 constant(int32_t(std::min<int64_t>(width, INT32_MAX)))));
  Value target = arith::SIToFPOp::create(b, b.getF32Type(), topK);
  Value threshold = findThreshold(
      isUsed, target, [&](Value candidate) { return countWhere(Predicate::OGE, candidate); });
  Value number = arith::SubFOp::create(b, target, countWhere(Predicate::OGT, threshold));
  number = select(isUsed, number, e.f32(INFINITY));
  return {threshold, locateTie(threshold, number)};
}

/// Cuts `kept` further: to its fewest first tokens that add up to `top_p` of it.
SampleEmitter::Prefix SampleEmitter::cutTopP(const Prefix &kept) {
  Value topP = e.loadScalar(topPs, token);
  auto sumWhere = [&](Predicate predicate, Value threshold) {
    return sum([&](Value i, int64_t width) {
      return multiply(flag(i, width, predicate, threshold), keptWeight(i, width, kept));
    });
  };
  Value isUsed = compare(Predicate::ULT, topP, e.f32(1)); // or a NaN, which keeps one token
  Value total = sumWhere(Predicate::OGE, e.f32(-INFINITY));
  Value target = e.larger(multiply(topP, total), e.f32(1e-30));
  Value threshold = findThreshold(
      isUsed, target, [&](Value candidate) { return sumWhere(Predicate::OGE, candidate); });
  // How many of the equal ones are due.
  Value above = sumWhere(Predicate::OGT, threshold);
  Value scaled = arith::DivFOp::create(b, arith::SubFOp::create(b, threshold, largest).getResult(),
                                       temperature);
  Value due = arith::DivFOp::create(b, arith::SubFOp::create(b, target, above).getResult(),
                                    math::ExpOp::create(b, scaled).getResult());
  Value number = e.larger(due, e.f32(1));
  number = select(isUsed, number, e.f32(INFINITY));
  Value tieEnd = locateTie(threshold, number);
  Value isAbove = compare(Predicate::OGT, threshold, kept.threshold);
  return {select(isAbove, threshold, kept.threshold),
          select(isAbove, tieEnd, e.min(tieEnd, kept.tieEnd))};
}

/// A token drawn by its weight.
Value SampleEmitter::draw() {
  Prefix kept = cutTopP(cutTopK());
  auto weights = [&](Value i, int64_t width) { return keptWeight(i, width, kept); };
  Value total = addAll(weights);
  Value below = justBelow(total); // that of the largest logit alone is 1
  Value limit = e.larger(multiply(e.loadScalar(draws, token), total), e.f32(0));
  return locate(select(compare(Predicate::OGT, below, limit), limit, below), weights);
}

void SampleEmitter::emit(Value token) {
  this->token = token;
  auto larger = [&](Value lhs, Value rhs) { return e.larger(lhs, rhs); };
  largest = e.fold(0, width, e.f32(-INFINITY), larger,
                   [&](Value i, int64_t width) { return logit(i, width); });
  Value numNan = countWhere(Predicate::UNO, e.f32(0));
  Value isFinite = both(compare(Predicate::OGT, e.f32(INFINITY), largest),
                        compare(Predicate::OGT, largest, e.f32(-INFINITY)));
  Value isGood = both(isFinite, compare(Predicate::OEQ, numNan, e.f32(0)));
  temperature = e.loadScalar(temperatures, token);
  auto first = [&] {
    store(locate(e.f32(0),
                 [&](Value i, int64_t width) { return flag(i, width, Predicate::OEQ, largest); }));
  };
  e.branch(
      isGood,
      [&] {
        e.branch(compare(Predicate::OGT, temperature, e.f32(0)), [&] { store(draw()); }, first);
      },
      [&] { store(e.index(-1)); });
}

} // namespace

std::string mlir::mohd::gridOfSample(SampleOp op, StringRef tokens) {
  return KernelEmitter::gridOf(1, 1, tokens);
}

void mlir::mohd::emitSample(KernelEmitter &e, SampleOp op, ValueRange operands,
                            ValueRange results) {
  SampleEmitter sample(e, op, operands, results[0]);
  e.tasks(1, [&](Value, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value token) { sample.emit(token); });
  });
}
