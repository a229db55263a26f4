// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Operations that lanes of a warp execute together, and named barriers.
#include "block.h"
#include "operations_impl.h"

#include <algorithm>
#include <cstring>

namespace mohdemu {

namespace {

std::string hex(uint32_t mask) { return text("0x", std::hex, mask); }

void checkMask(Block &block, uint32_t mask, Op op, const char *site) {
  const Thread &thread = block.current();
  const Warp &warp = block.warps[thread.warp];
  if (!(mask >> thread.lane & 1))
    block.fail(ErrorKind::Mask, site,
               text("expects a mask with lane ", thread.lane, ", which executes ", nameOf(op),
                    ", got ", hex(mask)));
  if (mask & ~warp.lanes)
    block.fail(ErrorKind::Mask, site,
               text("expects a mask of lanes that exist, ", hex(warp.lanes), ", got ", hex(mask)));
  if (mask & warp.exited)
    block.fail(ErrorKind::Mask, site,
               text("expects a mask of lanes that run, got ", hex(mask), " with lane ",
                    __builtin_ctz(mask & warp.exited), ", which has exited"));
}

/// Whether all lanes must come from the same instruction.
bool isAlignedOp(Op op) {
  return op == Op::LoadMatrix || op == Op::StoreMatrix || op == Op::Mma ||
         op == Op::SetMaxRegisters;
}

/// The rendezvous of `mask`, if lanes wait at it already.
Rendezvous *findOpen(Block &block, Op op, uint32_t mask, uint32_t immediate, const char *site) {
  for (const std::unique_ptr<Rendezvous> &open : block.warps[block.current().warp].open) {
    if (!(open->mask & mask))
      continue;
    const auto describe = [&](const auto &...pieces) {
      return text(pieces..., " while lanes ", hex(open->arrived), " are at ", nameOf(open->op),
                  " of mask ", hex(open->mask), " (", open->site, ")");
    };
    if (open->mask != mask)
      block.fail(ErrorKind::Mask, site,
                 describe("expects lanes that execute an operation together to give one mask, got ",
                          hex(mask)));
    if (open->op != op || open->immediate != immediate ||
        (isAlignedOp(op) && open->site != site && std::strcmp(open->site, site) != 0))
      block.fail(ErrorKind::Divergence, site,
                 describe("expects all lanes of the mask at one operation, got ", nameOf(op)));
    return open.get();
  }
  return nullptr;
}

} // namespace

/// Returns the rendezvous to the last lane; the others return when it is done.
Rendezvous *Block::arrive(Op op, uint32_t mask, uint32_t immediate, const void *in, void *out,
                          const char *site) {
  checkMask(*this, mask, op, site);
  Thread &thread = *current_;
  Warp &warp = warps[thread.warp];
  Rendezvous *meeting = findOpen(*this, op, mask, immediate, site);
  if (!meeting) {
    if (warp.spare.empty())
      warp.spare.push_back(std::make_unique<Rendezvous>());
    warp.open.push_back(std::move(warp.spare.back()));
    warp.spare.pop_back();
    meeting = warp.open.back().get();
    meeting->op = op;
    meeting->mask = mask;
    meeting->arrived = 0;
    meeting->immediate = immediate;
    meeting->site = site;
  }
  meeting->arrived |= 1u << thread.lane;
  meeting->in[thread.lane] = in;
  meeting->out[thread.lane] = out;
  if (meeting->arrived == mask)
    return meeting;
  suspend({op, mask, 0, site});
  return nullptr;
}

void Block::depart(Rendezvous *meeting) {
  Thread &thread = *current_;
  for (uint32_t lane = 0; lane < 32; ++lane)
    if ((meeting->mask >> lane & 1) && lane != thread.lane)
      wake(threads[thread.warp * 32 + lane]);
  Warp &warp = warps[thread.warp];
  const auto place = std::find_if(warp.open.begin(), warp.open.end(),
                                  [&](const auto &other) { return other.get() == meeting; });
  warp.spare.push_back(std::move(*place));
  warp.open.erase(place);
  if (isRandom() && random() % 4 == 0)
    yield();
}

namespace {

struct ShuffleIn {
  uint32_t value, lane, clamp;
};

/// The lane that `lane` reads, by the table of shfl.sync in the PTX ISA.
uint32_t shuffleSource(uint32_t mode, uint32_t lane, const ShuffleIn &in) {
  const uint32_t segment = in.clamp >> 8 & 31, clamp = in.clamp & 31, by = in.lane & 31;
  const uint32_t last = (lane & segment) | (clamp & ~segment), first = lane & segment;
  switch (mode) {
  case MOHD_EMU_SHFL_UP:
    return static_cast<int>(lane) - static_cast<int>(by) >= static_cast<int>(last) ? lane - by
                                                                                   : lane;
  case MOHD_EMU_SHFL_DOWN:
    return lane + by <= last ? lane + by : lane;
  case MOHD_EMU_SHFL_BFLY:
    return (lane ^ by) <= last ? lane ^ by : lane;
  default: {
    const uint32_t source = first | (by & ~segment);
    return source <= last ? source : lane;
  }
  }
}

/// Orders the accesses of all lanes.
void orderLanes(Block &block, const std::vector<Thread *> &lanes) {
  std::vector<Clock> clocks;
  for (Thread *lane : lanes)
    clocks.push_back(lane->clock.close());
  const SnapshotRef all = block.joiner.joinAll(clocks);
  for (Thread *lane : lanes)
    lane->clock.base = all;
}

void checkBarrier(Block &block, uint32_t barrier, uint32_t threads, const char *site) {
  if (barrier > 15)
    block.fail(ErrorKind::Argument, site, text("expects a barrier of 0 to 15, got ", barrier));
  if (threads % 32 != 0 || threads > (block.threadCount + 31) / 32 * 32)
    block.fail(
        ErrorKind::Argument, site,
        text("expects a multiple of 32 threads, at most ", block.threadCount, ", got ", threads));
}

/// All lanes of a warp come to a barrier together and by one instruction.
void checkVisits(Block &block, const NamedBarrier &barrier, uint32_t number, const char *site) {
  uint32_t lanes[kMaxThreads / 32] = {}; // of each warp
  const NamedBarrier::Visit *firsts[kMaxThreads / 32] = {};
  for (const NamedBarrier::Visit &visit : barrier.visits) {
    const uint32_t warp = visit.thread->warp;
    lanes[warp] |= 1u << visit.thread->lane;
    if (!firsts[warp])
      firsts[warp] = &visit;
    else if (firsts[warp]->waits != visit.waits || std::strcmp(firsts[warp]->site, visit.site) != 0)
      block.fail(ErrorKind::Divergence, site,
                 text("expects all lanes of a warp to come to barrier ", number,
                      " by one instruction, got lane ", firsts[warp]->thread->lane, " of warp ",
                      warp, " at ", firsts[warp]->site, " and lane ", visit.thread->lane, " at ",
                      visit.site));
  }
  for (uint32_t warp = 0; warp < block.warps.size(); ++warp)
    if (lanes[warp] && lanes[warp] != block.warps[warp].lanes)
      block.fail(ErrorKind::Divergence, site,
                 text("expects all lanes of warp ", warp, " at barrier ", number, ", got lanes ",
                      hex(lanes[warp])));
}

void visitBarrier(uint32_t number, uint32_t threads, bool waits, const char *site) {
  Block &block = currentBlock();
  checkBarrier(block, number, threads, site);
  NamedBarrier &barrier = block.barriers[number];
  if (threads == 0)
    threads = block.threadCount;
  if (barrier.threads && barrier.threads != threads)
    block.fail(ErrorKind::Divergence, site,
               text("expects barrier ", number, " to have ", barrier.threads,
                    " threads, as others say (", barrier.visits.front().site, "), got ", threads));
  Thread &thread = block.current();
  for (const NamedBarrier::Visit &visit : barrier.visits)
    if (visit.thread == &thread)
      block.fail(
          ErrorKind::Divergence, site,
          text("expects a thread once in each phase of barrier ", number, ", got a second time"));
  barrier.threads = threads;
  barrier.visits.push_back({&thread, waits, thread.clock.close(), site});
  if (barrier.visits.size() < threads) {
    if (waits)
      block.suspend({Op::BarrierSync, number, threads, site});
    else if (block.isRandom())
      block.yield();
    return;
  }
  checkVisits(block, barrier, number, site);
  std::vector<Clock> clocks;
  for (const NamedBarrier::Visit &visit : barrier.visits)
    clocks.push_back(visit.clock);
  const SnapshotRef all = block.joiner.joinAll(clocks);
  for (const NamedBarrier::Visit &visit : barrier.visits) {
    if (!visit.waits)
      continue;
    visit.thread->clock.base = all;
    if (visit.thread != &thread)
      block.wake(*visit.thread);
  }
  barrier = NamedBarrier();
  if (block.isRandom())
    block.yield();
}

/// The rows that lanes address, of matrix `matrix`.
void checkRow(Block &block, const void *row, uint32_t count, bool writes, const char *site) {
  if (count != 1 && count != 2 && count != 4)
    block.fail(ErrorKind::Argument, site, text("expects 1, 2 or 4 matrices, got ", count));
  if (block.current().lane >= 8 * count)
    return; // not used
  const char *what = writes ? "stmatrix" : "ldmatrix";
  const uint32_t offset = block.sharedOffset(row, 16, 16, what, site);
  if (writes)
    block.writeShared(offset, 16, what, site);
  else
    block.readShared(offset, 16, what, site);
}

/// Where element `half` of lane `lane`'s word lies in an 8x8 matrix.
void matrixPlace(uint32_t lane, uint32_t half, bool transposed, uint32_t &row, uint32_t &column) {
  row = lane / 4;
  column = lane % 4 * 2 + half;
  if (transposed)
    std::swap(row, column);
}

} // namespace

namespace ops {

void barrier_sync(uint32_t barrier, uint32_t threads, const char *site) {
  visitBarrier(barrier, threads, /*waits=*/true, site);
}

void barrier_arrive(uint32_t barrier, uint32_t threads, const char *site) {
  visitBarrier(barrier, threads, /*waits=*/false, site);
}

void warp_sync(uint32_t mask, const char *site) {
  Block &block = currentBlock();
  block.meet(Op::WarpSync, mask, 0, nullptr, nullptr, site, [&](Rendezvous &meeting) {
    std::vector<Thread *> lanes;
    const uint32_t first = block.current().warp * 32;
    for (uint32_t lane = 0; lane < 32; ++lane)
      if (meeting.mask >> lane & 1)
        lanes.push_back(&block.threads[first + lane]);
    orderLanes(block, lanes);
  });
}

uint32_t shuffle(uint32_t mode, uint32_t mask, uint32_t value, uint32_t lane, uint32_t clamp,
                 const char *site) {
  Block &block = currentBlock();
  if (mode > MOHD_EMU_SHFL_IDX)
    block.fail(ErrorKind::Argument, site, text("expects a mode of shuffle, got ", mode));
  const ShuffleIn in{value, lane, clamp};
  uint32_t result = 0;
  block.meet(Op::Shuffle, mask, mode, &in, &result, site, [&](Rendezvous &meeting) {
    for (uint32_t to = 0; to < 32; ++to) {
      if (!(mask >> to & 1))
        continue;
      const ShuffleIn &own = *static_cast<const ShuffleIn *>(meeting.in[to]);
      const uint32_t from = shuffleSource(mode, to, own);
      if (!(mask >> from & 1))
        block.fail(
            ErrorKind::Mask, site,
            text("expects lane ", to, " to read a lane of mask ", hex(mask), ", got lane ", from));
      *static_cast<uint32_t *>(meeting.out[to]) =
          static_cast<const ShuffleIn *>(meeting.in[from])->value;
    }
  });
  return result;
}

uint32_t vote_ballot(uint32_t mask, uint32_t predicate, const char *site) {
  uint32_t result = 0;
  currentBlock().meet(Op::Ballot, mask, 0, &predicate, &result, site, [&](Rendezvous &meeting) {
    uint32_t ballot = 0;
    for (uint32_t lane = 0; lane < 32; ++lane)
      if ((mask >> lane & 1) && *static_cast<const uint32_t *>(meeting.in[lane]))
        ballot |= 1u << lane;
    for (uint32_t lane = 0; lane < 32; ++lane)
      if (mask >> lane & 1)
        *static_cast<uint32_t *>(meeting.out[lane]) = ballot;
  });
  return result;
}

uint32_t elect(uint32_t mask, const char *site) {
  Block &block = currentBlock();
  block.meet(Op::Elect, mask, 0, nullptr, nullptr, site, [](Rendezvous &) {});
  // The same lane for the same mask each time, but not always the first.
  uint32_t rest = mask;
  for (uint64_t skip = block.launch.seed % __builtin_popcount(mask); skip; --skip)
    rest &= rest - 1;
  return static_cast<uint32_t>(__builtin_ctz(rest)) == block.current().lane;
}

void load_matrix(const void *row, uint32_t count, uint32_t transposed, void *fragments,
                 const char *site) {
  Block &block = currentBlock();
  checkRow(block, row, count, false, site);
  block.meet(
      Op::LoadMatrix, ~0u, count | transposed << 8, row, fragments, site, [&](Rendezvous &meeting) {
        for (uint32_t matrix = 0; matrix < count; ++matrix)
          for (uint32_t lane = 0; lane < 32; ++lane)
            for (uint32_t half = 0; half < 2; ++half) {
              uint32_t r, c;
              matrixPlace(lane, half, transposed, r, c);
              const uint16_t *from = static_cast<const uint16_t *>(meeting.in[matrix * 8 + r]) + c;
              std::memcpy(static_cast<uint16_t *>(meeting.out[lane]) + matrix * 2 + half, from, 2);
            }
      });
}

void store_matrix(void *row, uint32_t count, uint32_t transposed, const void *fragments,
                  const char *site) {
  Block &block = currentBlock();
  checkRow(block, row, count, true, site);
  block.meet(Op::StoreMatrix, ~0u, count | transposed << 8, fragments, row, site,
             [&](Rendezvous &meeting) {
               for (uint32_t matrix = 0; matrix < count; ++matrix)
                 for (uint32_t lane = 0; lane < 32; ++lane)
                   for (uint32_t half = 0; half < 2; ++half) {
                     uint32_t r, c;
                     matrixPlace(lane, half, transposed, r, c);
                     uint16_t *to = static_cast<uint16_t *>(meeting.out[matrix * 8 + r]) + c;
                     std::memcpy(
                         to, static_cast<const uint16_t *>(meeting.in[lane]) + matrix * 2 + half,
                         2);
                   }
             });
}

} // namespace ops

} // namespace mohdemu
