// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.bucket_order: a stable counting sort of the tokens by a key of their chosen groups, then the masks of the tiles.
//
// One block sorts all tokens. Each of its warps has a run of them: it counts their keys, gets the places of its own counts from a sum over keys and warps,
// and walks its run again, 32 tokens at a time, to place them.
#include "WarpSort.h"

#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

using namespace mlir;
using namespace mlir::mohd;

/// Keys at most for which a key is of two groups, and counters of all warps at most.
static constexpr int64_t kMostKeys = 1024, kMostCounters = 16384;

namespace {

class BucketOrderWriter {
public:
  BucketOrderWriter(GpuKernelSet &kernels, BucketOrderOp op, int64_t numWarps)
      : kernels(kernels), e(kernels.e()), op(op), type(op.getRouting().getType()),
        numCandidates(type.getNumGroups() - type.getNumCommon()), hasPairs(usesPairs(type)),
        numKeys(countKeys(type)), numWarps(numWarps) {}

  static bool usesPairs(RoutingType type) {
    int64_t candidates = type.getNumGroups() - type.getNumCommon();
    return type.getNumChosen() > 1 && candidates * candidates <= kMostKeys;
  }
  static int64_t countKeys(RoutingType type) {
    int64_t candidates = type.getNumGroups() - type.getNumCommon();
    return usesPairs(type) ? candidates * candidates : candidates;
  }
  static int64_t countWarps(RoutingType type) {
    int64_t most = std::clamp<int64_t>(kMostCounters / countKeys(type), 1, 32);
    return int64_t(1) << llvm::Log2_64(most);
  }

  void write();

private:
  Term loadGroup(Term token, int64_t slot);
  Term computeKey(Term token);
  void writeMasks();

  GpuKernelSet &kernels;
  GpuEmitter &e;
  BucketOrderOp op;
  RoutingType type;
  const int64_t numCandidates;
  const bool hasPairs;
  const int64_t numKeys, numWarps;
};

} // namespace

/// A chosen group of a token, counted from the common ones on.
Term BucketOrderWriter::loadGroup(Term token, int64_t slot) {
  Term group =
      e.loadI32(kernels.buffer(op.getRouting(), 0), {token, e.i32(type.getNumCommon() + slot)});
  // Indices may be an argument.
  return max(min(group - type.getNumCommon(), e.i32(numCandidates - 1)), e.i32(0));
}

/// The key by which tokens are sorted. With pairs the second group runs back and forth, so that sets side by side share a group.
Term BucketOrderWriter::computeKey(Term token) {
  Term first = loadGroup(token, 0);
  if (!hasPairs)
    return first;
  Term second = loadGroup(token, 1);
  Term other = select((first & 1) == 1, e.i32(numCandidates - 1) - second, second);
  return first * numCandidates + other;
}

void BucketOrderWriter::writeMasks() {
  int64_t rows = op.getRows(), numWords = op.getMasks().getType().getDimSize(1);
  Term numTokens = kernels.numTokens();
  e.loop(e.warp(), ceilDiv(numTokens, rows), numWarps, [&](Term tile) {
    SmallVector<Term> words;
    for (int64_t w = 0; w < numWords; ++w) {
      int64_t common = std::clamp<int64_t>(type.getNumCommon() - 32 * w, 0, 32);
      words.push_back(e.i32(common == 32 ? -1 : (int64_t(1) << common) - 1));
    }
    words = e.loop(tile * rows + e.lane(), min((tile + 1) * rows, numTokens), e.i32(32), words,
                   [&](Term row, ArrayRef<Term> carried) {
                     SmallVector<Term> next(carried);
                     Term token = e.loadI32(kernels.buffer(op.getOrder()), {row});
                     for (int64_t slot = 0; slot < type.getNumChosen(); ++slot) {
                       Term group = loadGroup(token, slot) + type.getNumCommon();
                       Term bit = e.i32(1) << (group & 31);
                       for (int64_t w = 0; w < numWords; ++w)
                         next[w] = next[w] | select((group >> 5) == w, bit, e.i32(0));
                     }
                     return next;
                   });
    for (int64_t w = 0; w < numWords; ++w) {
      Term word = e.warpReduce(words[w], [](Term lhs, Term rhs) { return lhs | rhs; });
      e.when(e.lane() == 0,
             [&] { e.storeI32(word, kernels.buffer(op.getMasks()), {tile, e.i32(w)}); });
    }
  });
}

void BucketOrderWriter::write() {
  WarpSort sort(e, numKeys, numWarps);
  Term numTokens = kernels.numTokens(), warp = e.warp();
  // Runs of whole groups of 32 tokens.
  Term run = ceilDiv(ceilDiv(numTokens, 32), numWarps) * 32;
  Term lower = min(warp * run, numTokens), upper = min(lower + run, numTokens);
  sort.clear(e.thread(), 32 * numWarps);
  e.barrier();
  e.loop(lower + e.lane(), upper, 32, [&](Term token) { sort.count(warp, computeKey(token)); });
  e.barrier();
  e.when(warp == 0, [&] { sort.sumUp(); });
  e.barrier();
  sort.place(
      warp, lower, upper, [&](Term token) { return computeKey(token); },
      [&](Term place, Term token) { e.storeI32(token, kernels.buffer(op.getOrder()), {place}); });
  e.barrier();
  writeMasks();
}

LogicalResult mlir::mohd::emitGpuBucketOrder(GpuKernelSet &kernels, BucketOrderOp op) {
  RoutingType type = op.getRouting().getType();
  if (BucketOrderWriter::countKeys(type) > kMostCounters)
    return op.emitOpError("expects at most ")
           << kMostCounters << " groups for a GPU, got " << type.getNumGroups();
  auto add = [&](StringRef suffix, const std::string &condition, int64_t numWarps) {
    GpuLaunch launch;
    launch.threads = 32 * numWarps;
    launch.grid = ("min(1," + kernels.getTokens() + ")*").str() + condition;
    kernels.add(suffix, launch, [&] { BucketOrderWriter(kernels, op, numWarps).write(); });
  };
  // A block of few threads can be a part of a launch with others.
  int64_t most = BucketOrderWriter::countWarps(type);
  add("few", isFew(kernels.getTokens(), kFewTokens), std::min<int64_t>(most, 4));
  add("many", isMany(kernels.getTokens(), kFewTokens), most);
  return success();
}
