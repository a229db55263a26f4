// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.sample: a block for each token.
//
// As on the CPU (SampleKernel.cpp): what is kept is found by a threshold, bit by bit, each a pass over the logits by all threads. What has to be found in the
// order of indices (equal logits, and the draw) is added up by chunks, one for each thread, before one thread looks into the right chunk.
#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

static constexpr int64_t kThreads = 256;

namespace {

class SampleEmitter {
public:
  SampleEmitter(GpuKernelSet &kernels, SampleOp op)
      : e(kernels.e()), logits(kernels.buffer(op.getLogits())),
        temperatures(kernels.buffer(op.getTemperature())), topKs(kernels.buffer(op.getTopK())),
        topPs(kernels.buffer(op.getTopP())), draws(kernels.buffer(op.getDraw())),
        result(kernels.buffer(op.getResult())), width(op.getLogits().getType().getDimSize(1)),
        sums(e.reserveShared(4 * kThreads)), found(e.reserveShared(4)), token(e.block()) {}

  void emit();

private:
  /// The logits above `threshold`, and those equal to it before index `tieEnd`.
  struct Prefix {
    Term threshold, tieEnd;
  };
  using Element = llvm::function_ref<Term(const Term &i)>;

  Term logit(const Term &i) { return e.loadF32(logits, {token, i}); }
  Term flag(const Term &condition) { return select(condition, e.f32(1.0), e.f32(0.0)); }
  /// The largest f32 below a positive one.
  Term justBelow(const Term &number) { return fromBits(toBits(number) - 1); }
  Term reduce(const Term &neutral, llvm::function_ref<Term(Term, Term)> combine, Element element);
  Term sum(Element element) {
    return reduce(e.f32(0.0), [](Term lhs, Term rhs) { return lhs + rhs; }, element);
  }
  Term count(llvm::function_ref<Term(const Term &logit)> condition) {
    return sum([&](const Term &i) { return flag(condition(logit(i))); });
  }
  Term weigh(const Term &logit) {
    return select(logit > -INFINITY, e.exp((logit - largest) / temperature), e.f32(0.0));
  }
  Term keptWeight(const Term &i, const Prefix &kept) {
    Term data = logit(i);
    Term isTie = (data == kept.threshold) & (i < kept.tieEnd);
    return select((data > kept.threshold) | isTie, weigh(data), e.f32(0.0));
  }

  Term findThreshold(const Term &isUsed, const Term &target,
                     llvm::function_ref<Term(const Term &)> measure);
  Term locate(llvm::function_ref<Term(const Term &total)> limit, Element element);
  Term locateTie(const Term &threshold, const Term &number);
  Prefix cutTopK();
  Prefix cutTopP(const Prefix &kept);
  Term draw();
  void store(const Term &index) {
    e.when(e.thread() == 0, [&] { e.storeI32(index, result, {token}); });
  }

  GpuEmitter &e;
  const GpuBuffer &logits, &temperatures, &topKs, &topPs, &draws, &result;
  const int64_t width;
  const int64_t sums, found; // shared memory: the sum of each thread's chunk; an index
  const Term token;
  Term largest, temperature;
};

} // namespace

/// combine over the elements of all tokens, in all threads.
Term SampleEmitter::reduce(const Term &neutral, llvm::function_ref<Term(Term, Term)> combine,
                           Element element) {
  Term mine = e.loop(e.thread(), e.i32(width), e.i32(kThreads), {neutral},
                     [&](Term i, ArrayRef<Term> carried) {
                       return SmallVector<Term>{combine(carried[0], element(i))};
                     })[0];
  return e.blockReduce(mine, kThreads, combine);
}

/// The largest f32 of which measure() (which falls) is still at least `target`; -Inf if there is none, or it is not used.
Term SampleEmitter::findThreshold(const Term &isUsed, const Term &target,
                                  llvm::function_ref<Term(const Term &)> measure) {
  Term first = e.i32(INT32_MIN);
  auto toFloat = [&](const Term &key) {
    Term mask = select(key < 0, e.i32(INT32_MAX), e.i32(0));
    return fromBits(key ^ mask);
  };
  Term numBits = select(isUsed, e.i32(32), e.i32(0));
  Term key = e.loop(e.i32(0), numBits, e.i32(1), {first}, [&](Term i, ArrayRef<Term> carried) {
    Term candidate = carried[0] ^ (first >> i);
    return SmallVector<Term>{select(measure(toFloat(candidate)) >= target, candidate, carried[0])};
  })[0];
  Term threshold = toFloat(key); // keys below that of -Inf are NaNs
  return select(threshold == threshold, threshold, e.f32(-INFINITY));
}

/// The first index up to which the elements, none negative, add up to more than limit(sum of all), which is less than that; in all threads.
Term SampleEmitter::locate(llvm::function_ref<Term(const Term &)> limit, Element element) {
  int64_t chunk = llvm::divideCeil(width, kThreads);
  auto sumAt = [&](const Term &i) { return e.advance(e.shared(sums), i * 4); };
  auto endOf = [&](const Term &first) { return min(first + chunk, e.i32(width)); };
  Term mine = e.thread() * chunk;
  e.store(e.loop(mine, endOf(mine), e.i32(1), {e.f32(0.0)},
                 [&](Term i, ArrayRef<Term> carried) {
                   return SmallVector<Term>{carried[0] + element(i)};
                 })[0],
          sumAt(e.thread()));
  e.barrier();
  e.when(e.thread() == 0, [&] {
    auto load = [&](const Term &i) { return e.load(sumAt(i), e.b.getF32Type()); };
    Term total = e.loop(
        e.i32(0), e.i32(kThreads), e.i32(1), {e.f32(0.0)},
        [&](Term i, ArrayRef<Term> carried) { return SmallVector<Term>{carried[0] + load(i)}; })[0];
    Term most = limit(total);
    // Adds up [lower, upper): the first place that goes over the limit, or else the last one that is above 0, and the sum before it.
    auto find = [&](const Term &lower, const Term &upper, const Term &before, Element element) {
      SmallVector<Term> init = {before, e.i1(false), lower, before};
      return e.loop(lower, upper, e.i32(1), init, [&](Term i, ArrayRef<Term> carried) {
        Term part = element(i), next = carried[0] + part;
        Term isCandidate = logicalNot(carried[1]) & (part > 0.0);
        return SmallVector<Term>{next, carried[1] | (next > most),
                                 select(isCandidate, i, carried[2]),
                                 select(isCandidate, carried[0], carried[3])};
      });
    };
    SmallVector<Term> ofChunk = find(e.i32(0), e.i32(kThreads), e.f32(0.0), load);
    Term first = ofChunk[2] * chunk;
    SmallVector<Term> ofToken = find(first, endOf(first), ofChunk[3], element);
    e.store(ofToken[2], e.shared(found));
  });
  e.barrier();
  Term index = e.load(e.shared(found), e.b.getI32Type());
  e.barrier(); // the places may be used again
  return index;
}

/// Where the first logits equal to `threshold` end, at least `number` (f32, not below 1) of them; `width` if there are no more than that.
Term SampleEmitter::locateTie(const Term &threshold, const Term &number) {
  Term ties = count([&](const Term &logit) { return logit == threshold; });
  return e.choose(
      number <= ties,
      [&] {
        Term last = locate([&](const Term &) { return justBelow(number); },
                           [&](const Term &i) { return flag(logit(i) == threshold); });
        return SmallVector<Term>{last + 1};
      },
      [&] { return SmallVector<Term>{e.i32(width)}; })[0];
}

SampleEmitter::Prefix SampleEmitter::cutTopK() {
  Term topK = e.loadI32(topKs, {token});
  Term isUsed = (topK > 0) & (topK < std::min<int64_t>(width, INT32_MAX));
  Term target = toF32(topK);
  Term threshold = findThreshold(isUsed, target, [&](const Term &candidate) {
    return count([&](const Term &logit) { return logit >= candidate; });
  });
  Term number = target - count([&](const Term &logit) { return logit > threshold; });
  return {threshold, locateTie(threshold, select(isUsed, number, e.f32(INFINITY)))};
}

/// Cuts `kept` further: to its fewest first tokens that add up to `top_p` of it.
SampleEmitter::Prefix SampleEmitter::cutTopP(const Prefix &kept) {
  Term topP = e.loadF32(topPs, {token});
  auto sumWhere = [&](llvm::function_ref<Term(const Term &logit)> condition) {
    return sum([&](const Term &i) {
      return select(condition(logit(i)), keptWeight(i, kept), e.f32(0.0));
    });
  };
  Term isUsed = logicalNot(topP >= 1.0); // a NaN keeps one token
  Term total = sumWhere([&](const Term &) { return e.i1(true); });
  Term target = max(topP * total, e.f32(1e-30));
  Term threshold = findThreshold(isUsed, target, [&](const Term &candidate) {
    return sumWhere([&](const Term &logit) { return logit >= candidate; });
  });
  // How many of the equal ones are due.
  Term above = sumWhere([&](const Term &logit) { return logit > threshold; });
  Term due = (target - above) / e.exp((threshold - largest) / temperature);
  Term number = select(isUsed, max(due, e.f32(1.0)), e.f32(INFINITY));
  Term tieEnd = locateTie(threshold, number);
  Term isAbove = threshold > kept.threshold;
  return {select(isAbove, threshold, kept.threshold),
          select(isAbove, tieEnd, min(tieEnd, kept.tieEnd))};
}

/// A token drawn by its weight.
Term SampleEmitter::draw() {
  Prefix kept = cutTopP(cutTopK());
  Term part = e.loadF32(draws, {token});
  return locate(
      [&](const Term &total) {
        Term limit = max(part * total, e.f32(0.0)), below = justBelow(total);
        return select(limit < below, limit, below);
      },
      [&](const Term &i) { return keptWeight(i, kept); });
}

void SampleEmitter::emit() {
  largest = reduce(
      e.f32(-INFINITY), [](Term lhs, Term rhs) { return max(lhs, rhs); },
      [&](const Term &i) { return logit(i); });
  Term numNan = count([&](const Term &logit) { return logit != logit; });
  temperature = e.loadF32(temperatures, {token});
  Term isGood = (largest < INFINITY) & (largest > -INFINITY) & (numNan == 0.0);
  auto first = [&] {
    store(locate([&](const Term &) { return e.f32(0.0); },
                 [&](const Term &i) { return flag(logit(i) == largest); }));
  };
  e.when(
      isGood, [&] { e.when(temperature > 0.0, [&] { store(draw()); }, first); },
      [&] { store(e.i32(-1)); });
}

LogicalResult mlir::mohd::emitGpuSample(GpuKernelSet &kernels, SampleOp op) {
  GpuLaunch launch;
  launch.threads = kThreads;
  launch.grid = kernels.getTokens().str();
  kernels.add("", launch, [&] { SampleEmitter(kernels, op).emit(); });
  return success();
}
