// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One block under emulation: its threads, what they wait for, and the schedule. A block belongs to
// one thread of the operating system, so that nothing here is shared or locked.
#ifndef MOHD_EMULATOR_BLOCK_H
#define MOHD_EMULATOR_BLOCK_H

#include "fiber.h"
#include "shadow.h"

#include "mohd/emulator/emulator.h"

#include <memory>
#include <sstream>
#include <unordered_map>

namespace mohdemu {

constexpr uint32_t kWindowBytes = 256 * 1024, kMaxSharedBytes = 227 * 1024;
constexpr uint32_t kMaxThreads = 1024, kMaxMbarriers = 128, kWarpgroup = 128;
constexpr uint32_t kRegisterFile = 64 * 1024;

class Block;
class GridBarrier;
struct Mbarrier;

/// Builds a message from pieces.
template <typename... Pieces> std::string text(const Pieces &...pieces) {
  std::ostringstream stream;
  (stream << ... << pieces);
  return stream.str();
}

/// Operations that threads execute together, for messages and to tell them apart.
enum class Op : uint8_t {
  BarrierSync,
  WarpSync,
  Shuffle,
  Ballot,
  Elect,
  LoadMatrix,
  StoreMatrix,
  Mma,
  WgmmaWait,
  MbarrierWait,
  SetMaxRegisters,
};
const char *nameOf(Op op);

/// What a suspended thread waits for.
struct Wait {
  Op op = Op::WarpSync;
  uint32_t number = 0; // of the barrier, mask, shared offset of the mbarrier, registers
  uint32_t detail = 0; // threads, parity
  const char *site = "";
};

/// A cp.async under way.
struct AsyncCopy {
  uint32_t to;
  const uint8_t *from;
  uint32_t bytes, sourceBytes;
  Clock clock; // at its issue
  const char *site;
};

/// A TMA store under way.
struct TmaStore {
  mohd_emu_tensor_map map;
  uint32_t from;
  int32_t at[5];
  Clock clock;
  const char *site;
  bool isRead = false;
  std::vector<uint8_t> tile;
};

/// Operations in the order of their issue, and where groups of them end.
template <typename Item> struct Groups {
  std::deque<Item> items;
  std::deque<size_t> ends; // of committed groups, counted from items.begin()

  void commit() { ends.push_back(items.size()); }
  /// Items of all groups but the last `pending`.
  size_t due(uint32_t pending) const {
    return ends.size() <= pending ? 0 : ends[ends.size() - pending - 1];
  }
  /// Removes what due(pending) counts.
  void drop(uint32_t pending) {
    const size_t count = due(pending);
    items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(count));
    while (ends.size() > pending)
      ends.pop_front();
    for (size_t &end : ends)
      end -= count;
  }
};

struct Thread {
  uint32_t index = 0, lane = 0, warp = 0;
  Extent id;
  bool hasExited = false, isWaiting = false;
  Wait wait;
  RunningClock clock;
  uint32_t calls = 0;
  Groups<AsyncCopy> copies;
  Groups<TmaStore> stores;
  // wgmma: how many operations and groups this thread has issued, and registers touched since its
  // last fence.
  uint64_t wgmmaIssued = 0, wgmmaGroups = 0;
  bool wgmmaFenced = false;
  std::vector<std::pair<const char *, size_t>> touched;
};

/// Lanes of a warp that have come to an operation they execute together.
struct Rendezvous {
  Op op;
  uint32_t mask, arrived;
  uint32_t immediate; // must be equal in all lanes
  const char *site;
  const void *in[32];
  void *out[32];
};

struct Warp {
  uint32_t lanes = 0, ready = 0, exited = 0; // masks: existing, able to run, at their ends
  std::vector<std::unique_ptr<Rendezvous>> open, spare;
  uint32_t registers = 0, wantedRegisters = 0;
};

struct NamedBarrier {
  uint32_t threads = 0; // expected; 0: none has come yet
  struct Visit {
    Thread *thread;
    bool waits;
    Clock clock;
    const char *site;
  };
  std::vector<Visit> visits;
};

struct Warpgroup;

/// A TMA load under way.
struct TmaLoad {
  mohd_emu_tensor_map map;
  uint32_t to;
  Mbarrier *barrier;
  int32_t at[5];
  Clock clock;
  const char *site;
  uint32_t thread;
};

/// What a worker has for block after block.
struct Arena {
  explicit Arena(uint32_t threads);
  ~Arena();
  Arena(const Arena &) = delete;
  FiberStacks stacks;
  Fiber main;
  uint8_t *window = nullptr;
  Shadow shadow;

private:
  void *mapping_ = nullptr;
};

class Block {
public:
  /// `grid` is what all blocks of a cooperative launch share, null of another.
  Block(const Launch &launch, const std::vector<Allocation> &allocations, Arena &arena, Extent id,
        GridBarrier *grid = nullptr);
  ~Block();

  /// Runs all threads to their ends, or until the block cannot go on.
  void run();

  // Errors. `fail` stops the block, `report` lets it go on. A stack that is left by `fail` is never
  // unwound, so that nothing on it may own memory then; the message is moved out of it.
  [[noreturn]] void fail(ErrorKind kind, const char *site, std::string message);
  void report(ErrorKind kind, const char *site, const std::string &message);
  [[noreturn]] void failAs(uint32_t thread, ErrorKind kind, const char *site, std::string message);
  void reportConflict(const Conflict &conflict, const Access &access, const char *what,
                      const char *site);
  std::string threadName(uint32_t thread) const;

  // Schedule.
  Thread &current() { return *current_; }
  /// Suspends the current thread until wake().
  void suspend(const Wait &wait);
  void wake(Thread &thread);
  /// Suspends the current thread until registers are free.
  void waitForRegisters(const Wait &wait) {
    registerWaiters_.push_back(current_);
    suspend(wait);
  }
  void freeRegisters();
  /// Lets others run. After too many `accesses` at which nothing happened the block stops.
  void yield(uint32_t accesses = 0, const char *site = "");
  uint64_t random();
  bool isRandom() const { return launch.seed != 0; }

  /// Comes to an operation that the lanes of `mask` execute together; the last one runs `finish` for
  /// all. `in` and `out` are this lane's; `immediate` must be equal in all lanes.
  template <typename Finish>
  void meet(Op op, uint32_t mask, uint32_t immediate, const void *in, void *out, const char *site,
            Finish finish) {
    if (Rendezvous *meeting = arrive(op, mask, immediate, in, out, site)) {
      finish(*meeting);
      depart(meeting);
    }
  }

  // Memory.
  /// The offset of shared bytes that are checked for bounds and alignment.
  uint32_t sharedOffset(const void *address, uint32_t bytes, uint32_t alignment, const char *what,
                        const char *site);
  void checkGlobal(const void *address, uint64_t bytes, uint32_t alignment, bool writes,
                   const char *what, const char *site);
  /// Records accesses of the current thread and reports what is wrong with them.
  void readShared(uint32_t offset, uint32_t bytes, const char *what, const char *site);
  void writeShared(uint32_t offset, uint32_t bytes, const char *what, const char *site,
                   bool atomic = false);
  uint16_t siteNumber(const char *site);

  // Asynchronous operations.
  void finishCopies(size_t count);
  void readStore(TmaStore &store);
  void finishStores(uint32_t pending, bool onlyRead);
  bool finishOneLoad();
  Mbarrier &findMbarrier(const void *address, const char *site);
  void completePhase(Mbarrier &barrier);

  const Launch &launch;
  Arena &arena;
  const Extent id;
  GridBarrier *const grid;
  const uint32_t threadCount;
  const uint32_t sharedBytes;
  SnapshotPool pool; // before everything that holds snapshots
  ClockJoiner joiner;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<std::unique_ptr<Warpgroup>> warpgroups;
  NamedBarrier barriers[16];
  std::vector<std::unique_ptr<Mbarrier>> mbarriers;
  std::deque<TmaLoad> loads;
  std::vector<Error> errors;
  uint64_t switches = 0;

private:
  Rendezvous *arrive(Op op, uint32_t mask, uint32_t immediate, const void *in, void *out,
                     const char *site);
  void depart(Rendezvous *meeting);
  static void threadMain();
  void exitThread();
  Thread *pick();
  void resume(Thread *next, bool ends);
  void checkExitedLane();
  [[noreturn]] void stop();
  [[noreturn]] void reportDeadlock();
  std::string describeDeadlock(const Thread *&victim, ErrorKind &kind) const;
  Error makeError(uint32_t thread, ErrorKind kind, const char *site, const std::string &message);

  const std::vector<Allocation> &allocations_; // by address
  size_t lastAllocation_ = 0;
  Thread *current_ = nullptr;
  std::vector<Thread *> registerWaiters_;
  uint32_t readyWarps_ = 0, live_ = 0;
  uint32_t accused_ = kMaxThreads; // whom errors name, if it is not the current thread
  uint64_t randomState_;
  uint64_t spins_ = 0; // accesses since something happened
  std::unordered_map<const char *, uint16_t> siteNumbers_;
  std::vector<const char *> sites_;
  const char *lastSite_ = nullptr;
  uint16_t lastSiteNumber_ = 0;
};

/// The block that runs on this thread of the operating system.
Block &currentBlock();

/// Threads as ranges: "0-31, 64".
std::string rangesOf(const std::vector<uint32_t> &threads);

} // namespace mohdemu

#endif // MOHD_EMULATOR_BLOCK_H
