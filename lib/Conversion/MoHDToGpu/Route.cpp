// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the router: mohd.route, and mohd.norm_route, which normalises the tokens first.
//
// A block has four tokens, or one where there are few. All its threads add up the tokens' logits together, each over columns of its own, so that a centroid is read once for all of them;
// then a warp takes each token, with a lane for each group (or every 32nd group). All arithmetic in f32.
#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

/// Threads of a block, tokens of a block (one for each warp), and groups whose logits are added up at a time.
static constexpr int64_t kThreads = 128, kGroups = 16;

Term mlir::mohd::computeScaling(GpuEmitter &e, RoutingType routing, Scaling scaling,
                                llvm::function_ref<Term()> mass) {
  if (scaling == Scaling::None)
    return {};
  ScalingForm form = getScalingForm(routing, scaling);
  Term coefficient = e.f32(form.coefficient);
  if (form.massPower == 0)
    return coefficient;
  return form.massPower > 0 ? coefficient * mass() : coefficient / mass();
}

namespace {

/// What both ops say.
struct Router {
  Value input, norm, centroids, routing, scores; // norm and centroids may be null
  double epsilon;
  Gate gate;
  Score score;
  Scaling scaling;
};

class RouteWriter {
public:
  RouteWriter(GpuKernelSet &kernels, const Router &router, int64_t blockTokens)
      : kernels(kernels), e(kernels.e()), router(router), blockTokens(blockTokens),
        type(cast<RoutingType>(router.routing.getType())), numGroups(type.getNumGroups()),
        numShared(type.getNumShared()), numActive(type.getNumActive()),
        numChunks(llvm::divideCeil(numGroups, 32)) {}

  void write();

private:
  using Combine = llvm::function_ref<Term(Term, Term)>;

  void writeLogits(Term firstToken);
  void writeToken(Term token);
  SmallVector<Term> loadLogits();
  SmallVector<Term> computeScores(ArrayRef<Term> logits);
  SmallVector<Term> softmax(ArrayRef<Term> logits, int64_t lower);
  SmallVector<Term> selectActive(SmallVector<Term> logits);
  SmallVector<Term> computeGates(ArrayRef<Term> scores, ArrayRef<Term> active);

  Term groupOf(int64_t chunk) { return e.lane() + 32 * chunk; }
  /// The sum over groups where `where` holds.
  Term sumWhere(ArrayRef<Term> values, llvm::function_ref<Term(int64_t)> where);
  Value logitPlace(Term row, Term group) {
    return e.advance(e.shared(logits), (row * numGroups + group) * 4);
  }

  GpuKernelSet &kernels;
  GpuEmitter &e;
  const Router &router;
  const int64_t blockTokens;
  RoutingType type;
  const int64_t numGroups, numShared, numActive, numChunks;
  int64_t logits = 0; // shared: [blockTokens, N] f32
  int64_t parts = 0;  // shared: [warps, blockTokens * (kGroups + 1)] f32
};

} // namespace

/// Writes the logits of the block's tokens to shared memory.
void RouteWriter::writeLogits(Term firstToken) {
  const GpuBuffer &input = kernels.buffer(router.input);
  const GpuBuffer &centroids = kernels.buffer(router.centroids);
  int64_t width = input.type.getDimSize(1);
  int64_t vector = width % 4 == 0 ? 4 : 1;
  Term last = kernels.numTokens() - 1;
  SmallVector<Value> rows; // of the tokens; the last one stands in for those that are not there
  for (int64_t i = 0; i < blockTokens; ++i)
    rows.push_back(e.at(input, {min(firstToken + i, last)}));
  int64_t inputBytes = input.getElementType().getIntOrFloatBitWidth() / 8;

  for (int64_t firstGroup = 0; firstGroup < numGroups; firstGroup += kGroups) {
    int64_t count = std::min(kGroups, numGroups - firstGroup);
    bool squares = router.norm && firstGroup == 0;
    SmallVector<Term> init(blockTokens * count + (squares ? blockTokens : 0), e.f32(0.0));
    SmallVector<Term> sums =
        e.loop(e.thread() * vector, e.i32(width), e.i32(kThreads * vector), init,
               [&](Term column, ArrayRef<Term> carried) {
                 SmallVector<Term> next(carried);
                 SmallVector<SmallVector<Term>> tokens;
                 SmallVector<Term> weights;
                 if (router.norm) {
                   const GpuBuffer &norm = kernels.buffer(router.norm);
                   weights = e.loadF32s(e.at(norm, {column}), norm.getElementType(), vector);
                 }
                 for (int64_t i = 0; i < blockTokens; ++i) {
                   tokens.push_back(e.loadF32s(e.advance(rows[i], column * inputBytes),
                                               input.getElementType(), vector));
                   for (int64_t v = 0; v < vector; ++v) {
                     Term &x = tokens.back()[v];
                     if (squares)
                       next[blockTokens * count + i] = fma(x, x, next[blockTokens * count + i]);
                     if (router.norm)
                       x = x * weights[v];
                   }
                 }
                 for (int64_t j = 0; j < count; ++j) {
                   SmallVector<Term> centroid =
                       e.loadF32s(e.at(centroids, {e.i32(firstGroup + j), column}),
                                  centroids.getElementType(), vector);
                   for (int64_t i = 0; i < blockTokens; ++i)
                     for (int64_t v = 0; v < vector; ++v)
                       next[i * count + j] = fma(tokens[i][v], centroid[v], next[i * count + j]);
                 }
                 return next;
               });
    for (Term &sum : sums)
      sum = e.warpSum(sum);
    int64_t size = sums.size(), warps = kThreads / 32;
    e.when(e.lane() == 0, [&] {
      for (auto [i, sum] : llvm::enumerate(sums))
        e.store(sum, e.advance(e.shared(parts), (e.warp() * size + int64_t(i)) * 4));
    });
    e.barrier();
    // A thread for each (token, group).
    e.loop(e.thread(), e.i32(blockTokens * count), kThreads, [&](Term pair) {
      auto total = [&](Term place) {
        Term sum = e.f32(0.0);
        for (int64_t w = 0; w < warps; ++w)
          sum = sum + e.load(e.advance(e.shared(parts), (place + w * size) * 4), e.b.getF32Type());
        return sum;
      };
      Term row = pair / count;
      e.store(total(pair), logitPlace(row, pair % count + firstGroup));
    });
    if (squares) {
      // 1 / rms of each token stays behind the logits.
      e.when(e.thread() < blockTokens, [&] {
        Term sum = e.f32(0.0);
        for (int64_t w = 0; w < warps; ++w)
          sum = sum + e.load(e.advance(e.shared(parts),
                                       (e.thread() + (w * size + blockTokens * count)) * 4),
                             e.b.getF32Type());
        Term mean = sum / double(width);
        e.store(e.rsqrt(mean + router.epsilon),
                e.advance(e.shared(logits), (e.thread() + blockTokens * numGroups) * 4));
      });
    }
    e.barrier();
  }
}

/// The token's logits, with a lane for each group; 0 beyond the last one.
SmallVector<Term> RouteWriter::loadLogits() {
  SmallVector<Term> result;
  Term row = e.warp();
  for (int64_t c = 0; c < numChunks; ++c) {
    Term group = min(groupOf(c), e.i32(numGroups - 1));
    Term logit = e.load(logitPlace(row, group), e.b.getF32Type());
    if (router.norm)
      logit = logit * e.load(e.advance(e.shared(logits), (row + blockTokens * numGroups) * 4),
                             e.b.getF32Type());
    result.push_back(logit);
  }
  return result;
}

Term RouteWriter::sumWhere(ArrayRef<Term> values, llvm::function_ref<Term(int64_t)> where) {
  Term sum = e.f32(0.0);
  for (int64_t c = 0; c < numChunks; ++c)
    sum = sum + select(where(c), values[c], e.f32(0.0));
  return e.warpSum(sum);
}

/// Softmax over groups [lower, N); 1 for those before. A NaN reaches all of them.
SmallVector<Term> RouteWriter::softmax(ArrayRef<Term> logits, int64_t lower) {
  auto isIn = [&](int64_t c) { return groupOf(c) >= lower & groupOf(c) < numGroups; };
  Term largest = e.f32(-INFINITY);
  for (int64_t c = 0; c < numChunks; ++c)
    largest = max(largest, select(isIn(c), logits[c], e.f32(-INFINITY)));
  largest = e.warpReduce(largest, [](Term lhs, Term rhs) { return max(lhs, rhs); });
  SmallVector<Term> powers;
  for (int64_t c = 0; c < numChunks; ++c)
    powers.push_back(e.exp(logits[c] - largest));
  Term sum = sumWhere(powers, isIn);
  for (int64_t c = 0; c < numChunks; ++c)
    powers[c] = select(groupOf(c) < lower, e.f32(1.0), powers[c] / sum);
  return powers;
}

SmallVector<Term> RouteWriter::computeScores(ArrayRef<Term> logits) {
  SmallVector<Term> scores(numChunks, e.f32(1.0));
  if (!router.centroids)
    return scores;
  switch (router.score) {
  case Score::SoftmaxAll:
    return softmax(logits, 0);
  case Score::SoftmaxRouted:
    return numShared < numGroups ? softmax(logits, numShared) : scores;
  case Score::Sigmoid:
    for (int64_t c = 0; c < numChunks; ++c)
      scores[c] = e.f32(1.0) / (e.exp(e.f32(0.0) - logits[c]) + 1.0);
    return scores;
  }
  llvm_unreachable("all scores are known");
}

/// Whether each lane's groups are active: the shared ones, and the K_r largest logits of the others, lowest index first among equal
/// ones. With a NaN among the token's logits all count as equal.
SmallVector<Term> RouteWriter::selectActive(SmallVector<Term> values) {
  SmallVector<Term> active;
  if (type.getNumRouted() == 0 || numActive == numGroups) {
    for (int64_t c = 0; c < numChunks; ++c)
      active.push_back(groupOf(c) < numActive);
    return active;
  }
  Term hasNan = e.i32(0);
  for (int64_t c = 0; c < numChunks; ++c)
    hasNan = hasNan | toI32(values[c] != values[c]);
  hasNan = e.warpReduce(hasNan, [](Term lhs, Term rhs) { return lhs | rhs; });
  for (Term &value : values)
    value = select(hasNan != 0, e.f32(0.0), value);
  // How many groups come before each of this lane's.
  SmallVector<Term> before(numChunks, e.i32(0));
  for (int64_t source = 0; source < numChunks; ++source) {
    int64_t lower = std::max<int64_t>(numShared - 32 * source, 0);
    int64_t upper = std::min<int64_t>(numGroups - 32 * source, 32);
    before = e.loop(
        e.i32(lower), e.i32(upper), e.i32(1), before, [&](Term lane, ArrayRef<Term> carried) {
          SmallVector<Term> next(carried);
          Term other = e.broadcast(values[source], lane);
          Term group = lane + 32 * source;
          for (int64_t c = 0; c < numChunks; ++c) {
            Term isBefore = other > values[c] | ((other == values[c]) & (group < groupOf(c)));
            next[c] = next[c] + toI32(isBefore);
          }
          return next;
        });
  }
  for (int64_t c = 0; c < numChunks; ++c)
    active.push_back(groupOf(c) < numShared |
                     ((before[c] < type.getNumRouted()) & (groupOf(c) < numGroups)));
  return active;
}

SmallVector<Term> RouteWriter::computeGates(ArrayRef<Term> scores, ArrayRef<Term> active) {
  SmallVector<Term> gates(scores);
  auto isActive = [&](int64_t c) { return active[c]; };
  auto isRouted = [&](int64_t c) { return active[c] & (groupOf(c) >= numShared); };
  if (router.gate == Gate::Renormalized && type.getNumRouted() > 0) {
    Term sum = sumWhere(scores, isRouted);
    for (Term &gate : gates)
      gate = gate * double(type.getNumRouted()) / sum;
  }
  for (int64_t c = 0; c < numChunks; ++c) {
    if (router.gate == Gate::Binary)
      gates[c] = e.f32(1.0);
    else if (router.gate != Gate::Softmax)
      gates[c] = select(groupOf(c) < numShared, e.f32(1.0), gates[c]);
  }
  Term factor = computeScaling(e, type, router.scaling, [&] { return sumWhere(gates, isActive); });
  if (!factor.value)
    return gates;
  for (Term &gate : gates)
    gate = gate * factor;
  return gates;
}

/// Scores, active groups and gates of a warp's token.
void RouteWriter::writeToken(Term token) {
  SmallVector<Term> logits(numChunks, e.f32(0.0));
  if (router.centroids)
    logits = loadLogits();
  SmallVector<Term> scores = computeScores(logits);
  SmallVector<Term> active = selectActive(logits);
  SmallVector<Term> gates = computeGates(scores, active);
  Term isThere = token < kernels.numTokens();
  Term slot = e.i32(0); // the first one of the chunk
  for (int64_t c = 0; c < numChunks; ++c) {
    Term mask = e.ballot(active[c]);
    Term mine = slot + e.countBelow(mask);
    slot = slot + e.popCount(mask);
    e.when(active[c] & isThere, [&] {
      e.storeI32(groupOf(c), kernels.buffer(router.routing, 0), {token, mine});
      e.storeF32(gates[c], kernels.buffer(router.routing, 1), {token, mine});
    });
    e.when(groupOf(c) < numGroups & isThere,
           [&] { e.storeF32(scores[c], kernels.buffer(router.scores), {token, groupOf(c)}); });
  }
}

void RouteWriter::write() {
  Term firstToken = e.block() * blockTokens;
  if (router.centroids) {
    logits = e.reserveShared(4 * blockTokens * (numGroups + 1));
    parts = e.reserveShared(4 * (kThreads / 32) * blockTokens * (kGroups + 1));
    writeLogits(firstToken);
  }
  auto writeOwn = [&] { writeToken(firstToken + e.warp()); };
  if (blockTokens == kThreads / 32)
    writeOwn();
  else
    e.when(e.warp() < blockTokens, writeOwn);
}

static LogicalResult emit(GpuKernelSet &kernels, const Router &router) {
  constexpr int64_t kMostGroups = 1024;
  int64_t numGroups = cast<RoutingType>(router.routing.getType()).getNumGroups();
  if (numGroups > kMostGroups)
    return kernels.op->emitOpError("expects at most ")
           << kMostGroups << " groups for a GPU, got " << numGroups;
  auto add = [&](StringRef suffix, const std::string &condition, int64_t blockTokens) {
    GpuLaunch launch;
    launch.threads = kThreads;
    launch.grid =
        (condition + "*ceildiv(" + kernels.getTokens() + "," + Twine(blockTokens) + ")").str();
    kernels.add(suffix, launch, [&] { RouteWriter(kernels, router, blockTokens).write(); });
  };
  // Sums of one token leave registers to the kernels that such a launch is joined with.
  add("few", isFew(kernels.getTokens(), kFewTokens), 1);
  add("many", isMany(kernels.getTokens(), kFewTokens), kThreads / 32);
  return success();
}

LogicalResult mlir::mohd::emitGpuRoute(GpuKernelSet &kernels, RouteOp op) {
  return emit(kernels, {op.getInput(), Value(), op.getCentroids(), op.getRouting(), op.getScores(),
                        0.0, op.getGate(), op.getScore(), op.getScaling()});
}

LogicalResult mlir::mohd::emitGpuNormRoute(GpuKernelSet &kernels, NormRouteOp op) {
  return emit(kernels,
              {op.getInput(), op.getNorm(), op.getCentroids(), op.getRouting(), op.getScores(),
               op.getEpsilon().convertToDouble(), op.getGate(), op.getScore(), op.getScaling()});
}
