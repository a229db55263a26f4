// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A block's life: its threads, the schedule, and errors.
#include "block.h"
#include "agents.h"

#include <algorithm>
#include <new>
#include <string_view>

#include <sys/mman.h>

namespace mohdemu {

namespace {

thread_local Block *runningBlock = nullptr;

constexpr int kPoison = 0xff; // NaN in every floating-point type

/// One of the bits of `mask`, which is not 0.
uint32_t chooseBit(uint32_t mask, uint64_t random) {
  for (uint32_t skip = static_cast<uint32_t>(random % __builtin_popcount(mask)); skip; --skip)
    mask &= mask - 1;
  return static_cast<uint32_t>(__builtin_ctz(mask));
}

std::string describe(const Wait &wait) {
  switch (wait.op) {
  case Op::BarrierSync:
    return text("barrier ", wait.number, " of ", wait.detail, " threads");
  case Op::MbarrierWait:
    return text("the mbarrier at shared offset ", wait.number, ", parity ", wait.detail);
  case Op::SetMaxRegisters:
    if (wait.detail == 0)
      return text("the other lanes at ", nameOf(wait.op));
    return text(wait.number, " registers a thread");
  case Op::WgmmaWait:
    return "wgmma wait of a warpgroup";
  default:
    return text(nameOf(wait.op), " of mask 0x", std::hex, wait.number);
  }
}

bool isAligned(Op op) { return op != Op::MbarrierWait && op != Op::SetMaxRegisters; }

bool isSame(const Wait &a, const Wait &b) {
  return a.op == b.op && a.number == b.number && a.detail == b.detail &&
         std::string_view(a.site) == b.site;
}

/// Whether two lanes of a warp wait for each other in vain.
bool isApart(const Thread &a, const Thread &b) {
  if (a.hasExited || b.hasExited)
    return a.hasExited != b.hasExited && isAligned((a.hasExited ? b : a).wait.op);
  return isAligned(a.wait.op) && isAligned(b.wait.op) && !isSame(a.wait, b.wait);
}

} // namespace

Block &currentBlock() { return *runningBlock; }

const char *nameOf(Op op) {
  static const char *const names[] = {
      "barrier_sync", "warp_sync",     "shuffle",          "vote_ballot",
      "elect",        "load_matrix",   "store_matrix",     "mma",
      "wgmma_wait",   "mbarrier_wait", "set_max_registers"};
  return names[static_cast<size_t>(op)];
}

std::string rangesOf(const std::vector<uint32_t> &threads) {
  std::string result;
  int ranges = 0;
  for (size_t i = 0; i < threads.size();) {
    if (ranges++ == 8)
      return result + ", ...";
    size_t end = i + 1;
    while (end < threads.size() && threads[end] == threads[end - 1] + 1)
      ++end;
    result += text(i ? ", " : "", threads[i]);
    if (end > i + 1)
      result += text("-", threads[end - 1]);
    i = end;
  }
  return result;
}

Arena::Arena(uint32_t threads) : stacks(threads), shadow(threads, agentCount(threads)) {
  adoptThread(main);
  mapping_ = ::mmap(nullptr, 2 * kWindowBytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED)
    throw std::bad_alloc();
  const uintptr_t address = reinterpret_cast<uintptr_t>(mapping_);
  window = reinterpret_cast<uint8_t *>((address + kWindowBytes - 1) & ~uintptr_t(kWindowBytes - 1));
}

Arena::~Arena() { ::munmap(mapping_, 2 * kWindowBytes); }

Block::Block(const Launch &launch, const std::vector<Allocation> &allocations, Arena &arena,
             Extent id, GridBarrier *grid)
    : launch(launch), arena(arena), id(id), grid(grid),
      threadCount(launch.block.x * launch.block.y * launch.block.z),
      sharedBytes(launch.sharedBytes), pool(agentCount(threadCount)), joiner(pool),
      threads(threadCount), warps((threadCount + 31) / 32), allocations_(allocations) {
  const uint64_t number = (uint64_t(id.z) * launch.grid.y + id.y) * launch.grid.x + id.x;
  randomState_ = launch.seed * 0x9e3779b97f4a7c15 + number;
  sites_.push_back("");
  const SnapshotRef start = joiner.zero();
  for (uint32_t i = 0; i < threadCount; ++i) {
    Thread &thread = threads[i];
    thread.index = i;
    thread.lane = i % 32;
    thread.warp = i / 32;
    thread.id = {i % launch.block.x, i / launch.block.x % launch.block.y,
                 i / launch.block.x / launch.block.y};
    thread.clock.base = start;
    thread.clock.agent = i;
    thread.clock.now = 1;
    warps[thread.warp].lanes |= 1u << thread.lane;
  }
  const uint32_t fitting = std::min(255u, kRegisterFile / threadCount);
  for (Warp &warp : warps) {
    warp.ready = warp.lanes;
    warp.registers = launch.registers ? launch.registers : fitting / 8 * 8;
  }
  readyWarps_ = warps.size() == 32 ? ~0u : (1u << warps.size()) - 1;
  live_ = threadCount;
  for (uint32_t i = 0; i < threadCount / kWarpgroup; ++i) {
    warpgroups.push_back(std::make_unique<Warpgroup>());
    warpgroups.back()->index = i;
  }
}

Block::~Block() = default;

void Block::run() {
  std::fill_n(arena.window, sharedBytes, static_cast<uint8_t>(kPoison));
  arena.shadow.reset(sharedBytes);
  for (uint32_t i = 0; i < threadCount; ++i)
    arena.stacks.prepare(i, threadMain);
  runningBlock = this;
  current_ = pick();
  switchFiber(arena.main, arena.stacks[current_->index]);
  runningBlock = nullptr;
}

void Block::threadMain() {
  fiberStarted();
  Block &block = currentBlock();
  block.launch.kernel(block.launch.arguments);
  block.exitThread();
}

void Block::exitThread() {
  Thread &thread = *current_;
  finishCopies(thread.copies.items.size());
  thread.stores.commit();
  finishStores(0, false);
  thread.hasExited = true;
  checkExitedLane();
  Warp &warp = warps[thread.warp];
  warp.ready &= ~(1u << thread.lane);
  warp.exited |= 1u << thread.lane;
  if (!warp.ready)
    readyWarps_ &= ~(1u << thread.warp);
  --live_;
  spins_ = 0;
  while (live_ == 0 && finishOneLoad())
    ;
  if (live_ == 0)
    stop();
  resume(pick(), /*ends=*/true);
  std::abort(); // nobody resumes a thread that has ended
}

/// Nobody may wait for a lane that has exited.
void Block::checkExitedLane() {
  Thread &thread = *current_;
  for (const std::unique_ptr<Rendezvous> &open : warps[thread.warp].open)
    if (open->mask >> thread.lane & 1)
      fail(ErrorKind::Mask, open->site,
           text("expects all lanes of mask 0x", std::hex, open->mask, std::dec, " at ",
                nameOf(open->op), ", got lane ", thread.lane, ", which exits"));
}

void Block::stop() {
  switchFiber(arena.stacks[current_->index], arena.main, /*ends=*/true);
  std::abort();
}

uint64_t Block::random() { // splitmix64
  uint64_t z = randomState_ += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

/// The thread to run next. TMA loads end when nothing else can go on, or at random before.
Thread *Block::pick() {
  if (isRandom() && !loads.empty() && random() % 4 == 0)
    finishOneLoad();
  while (!readyWarps_ && finishOneLoad())
    ;
  if (!readyWarps_)
    reportDeadlock();
  // A warp mostly goes on as long as it can: neighbours' stacks are near.
  uint32_t warp = current_ ? current_->warp : 0;
  uint64_t dice = isRandom() ? random() : 0;
  if (!(readyWarps_ >> warp & 1) || (dice & 15) == 15) {
    const uint32_t after = warp < 31 ? readyWarps_ & ~0u << (warp + 1) : 0;
    if (isRandom())
      warp = chooseBit(readyWarps_, dice >> 8);
    else
      warp = static_cast<uint32_t>(__builtin_ctz(after ? after : readyWarps_));
  }
  const uint32_t ready = warps[warp].ready;
  const uint32_t lane =
      isRandom() ? chooseBit(ready, dice >> 32) : static_cast<uint32_t>(__builtin_ctz(ready));
  return &threads[warp * 32 + lane];
}

void Block::resume(Thread *next, bool ends) {
  Thread *previous = current_;
  if (next == previous)
    return;
  ++switches;
  current_ = next;
  switchFiber(arena.stacks[previous->index], arena.stacks[next->index], ends);
}

void Block::suspend(const Wait &wait) {
  Thread &thread = *current_;
  thread.wait = wait;
  thread.isWaiting = true;
  Warp &warp = warps[thread.warp];
  warp.ready &= ~(1u << thread.lane);
  if (!warp.ready)
    readyWarps_ &= ~(1u << thread.warp);
  resume(pick(), /*ends=*/false);
}

void Block::wake(Thread &thread) {
  spins_ = 0;
  thread.isWaiting = false;
  warps[thread.warp].ready |= 1u << thread.lane;
  readyWarps_ |= 1u << thread.warp;
}

void Block::freeRegisters() {
  for (Thread *thread : registerWaiters_)
    wake(*thread);
  registerWaiters_.clear();
}

void Block::yield(uint32_t accesses, const char *site) {
  finishOneLoad(); // whoever spins may wait for one
  spins_ += accesses;
  if (spins_ > launch.maxSpins)
    fail(ErrorKind::Deadlock, site,
         text("expects progress, got ", spins_, " accesses at which nothing happened"));
  Thread &thread = *current_;
  Thread *next = pick();
  if (!isRandom()) { // in turns
    const uint32_t after = thread.index + 1;
    for (uint32_t i = 0; i < threadCount; ++i) {
      Thread &other = threads[(after + i) % threadCount];
      if (!other.hasExited && !other.isWaiting) {
        next = &other;
        break;
      }
    }
  }
  resume(next, /*ends=*/false);
}

std::string Block::threadName(uint32_t thread) const {
  if (thread >= threadCount)
    return "?";
  const Extent at = threads[thread].id;
  return text("(", at.x, ", ", at.y, ", ", at.z, ")");
}

Error Block::makeError(uint32_t thread, ErrorKind kind, const char *site,
                       const std::string &message) {
  Error error;
  error.kind = kind;
  error.block = id;
  error.thread = thread;
  error.site = site ? site : "";
  error.message =
      text("kernel '", launch.name, "', block (", id.x, ", ", id.y, ", ", id.z, "), thread ",
           threadName(thread), ", ", error.site, ": ", nameOf(kind), ": ", message);
  return error;
}

void Block::fail(ErrorKind kind, const char *site, std::string message) {
  failAs(accused_ < threadCount ? accused_ : current_->index, kind, site, std::move(message));
}

void Block::failAs(uint32_t thread, ErrorKind kind, const char *site, std::string message) {
  errors.push_back(makeError(thread, kind, site, message));
  std::string().swap(message);
  stop();
}

void Block::report(ErrorKind kind, const char *site, const std::string &message) {
  for (const Error &error : errors)
    if (error.kind == kind && error.site == site)
      return;
  if (errors.size() < std::max(1u, launch.maxErrors))
    errors.push_back(
        makeError(accused_ < threadCount ? accused_ : current_->index, kind, site, message));
}

std::string Block::describeDeadlock(const Thread *&victim, ErrorKind &kind) const {
  std::vector<uint32_t> exited;
  std::vector<std::pair<const Thread *, std::vector<uint32_t>>> waiting;
  bool diverges = false;
  for (const Thread &thread : threads) {
    diverges |= isApart(threads[thread.warp * 32], thread);
    if (thread.hasExited) {
      exited.push_back(thread.index);
      continue;
    }
    auto group = std::find_if(waiting.begin(), waiting.end(), [&](const auto &other) {
      return isSame(other.first->wait, thread.wait);
    });
    if (group == waiting.end())
      group = waiting.insert(waiting.end(), {&thread, {}});
    group->second.push_back(thread.index);
  }
  std::string message = "expects a thread that can go on, got ";
  for (const auto &group : waiting)
    message += text(&group == &waiting.front() ? "" : "; ", "threads ", rangesOf(group.second),
                    " waiting for ", describe(group.first->wait), " at ", group.first->wait.site);
  if (!exited.empty())
    message += text("; threads ", rangesOf(exited), " have exited");
  victim = waiting.front().first;
  kind = !registerWaiters_.empty() ? ErrorKind::Registers
         : diverges                ? ErrorKind::Divergence
                                   : ErrorKind::Deadlock;
  return message;
}

void Block::reportDeadlock() {
  const Thread *victim = nullptr;
  ErrorKind kind = ErrorKind::Deadlock;
  std::string message = describeDeadlock(victim, kind);
  failAs(victim->index, kind, victim->wait.site, std::move(message));
}

uint16_t Block::siteNumber(const char *site) {
  if (site == lastSite_)
    return lastSiteNumber_;
  auto [entry, isNew] = siteNumbers_.try_emplace(site, static_cast<uint16_t>(sites_.size()));
  if (isNew && sites_.size() < UINT16_MAX)
    sites_.push_back(site);
  lastSite_ = site;
  return lastSiteNumber_ = entry->second;
}

void Block::reportConflict(const Conflict &conflict, const Access &access, const char *what,
                           const char *site) {
  if (conflict.kind == Conflict::None)
    return;
  const std::string at = text(what, " at shared offset ", conflict.offset);
  const uint32_t agent = agentOf(conflict.other);
  std::string who = text("thread ", threadName(agent));
  if (agent >= mbarrierAgent(threadCount, 0))
    who = "a TMA load";
  else if (agent >= threadCount)
    who = text("wgmma of warpgroup ", agent - threadCount);
  if (conflict.otherSite && conflict.otherSite < sites_.size())
    who += text(" (", sites_[conflict.otherSite], ")");
  switch (conflict.kind) {
  case Conflict::None:
    break;
  case Conflict::Uninitialised:
    return report(ErrorKind::Uninitialised, site,
                  text("expects bytes that were written, got ", at, " that nobody wrote"));
  case Conflict::Race:
    return report(ErrorKind::Race, site,
                  text("expects an order, by a barrier or a wait, after the ",
                       conflict.otherWrote ? "write" : "read", " of ", who, ", got ", at,
                       " with none"));
  case Conflict::Unfenced:
    return report(
        ErrorKind::ProxyFence, site,
        text("expects fence proxy_async after the write of ", who, ", got ", at, " with none"));
  case Conflict::Mbarrier:
    return report(ErrorKind::Mbarrier, site,
                  text("expects an mbarrier to be left alone, got ", at, ", initialised by ", who));
  }
}

} // namespace mohdemu
