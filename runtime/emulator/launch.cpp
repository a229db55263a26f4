// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A launch: blocks shared out among threads of the operating system, their errors put in order; and
// the operations that need nothing but a thread's own values.
#include "block.h"
#include "grid.h"
#include "operations_impl.h"

#include "mohd/format/float16.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <thread>

namespace mohdemu {

namespace {

Error launchError(const Launch &launch, const std::string &message) {
  Error error;
  error.kind = ErrorKind::Argument;
  error.message = text("kernel '", launch.name, "': ", nameOf(ErrorKind::Argument), ": ", message);
  return error;
}

uint64_t volume(const Extent &extent) { return uint64_t(extent.x) * extent.y * extent.z; }

/// What is wrong with a launch itself, or an empty text.
std::string findFault(const Launch &launch) {
  const uint64_t threads = volume(launch.block);
  if (!launch.kernel)
    return "expects a kernel, got none";
  if (threads == 0 || launch.block.x > kMaxThreads || launch.block.y > kMaxThreads ||
      launch.block.z > 64 || threads > kMaxThreads)
    return text("expects 1 to ", kMaxThreads, " threads a block, got ", launch.block.x, " x ",
                launch.block.y, " x ", launch.block.z);
  if (launch.sharedBytes > kMaxSharedBytes)
    return text("expects at most ", kMaxSharedBytes, " shared bytes, got ", launch.sharedBytes);
  if (launch.grid.x > INT32_MAX || launch.grid.y > UINT16_MAX || launch.grid.z > UINT16_MAX)
    return text("expects a grid of at most 2147483647 x 65535 x 65535, got ", launch.grid.x, " x ",
                launch.grid.y, " x ", launch.grid.z);
  if (launch.registers * threads > kRegisterFile)
    return text("expects at most ", kRegisterFile, " registers a block, got ", launch.registers,
                " for each of ", threads, " threads");
  if (launch.cooperative && volume(launch.grid) > kMaxCooperativeBlocks)
    return text("expects at most ", kMaxCooperativeBlocks, " blocks of a cooperative launch, got ",
                volume(launch.grid));
  return {};
}

/// What workers share.
struct Work {
  explicit Work(const Launch &launch)
      : launch(launch), allocations(launch.allocations), grid(volume(launch.grid)) {}

  const Launch &launch;
  std::vector<Allocation> allocations; // by address
  std::mutex guard;
  std::map<uint64_t, std::vector<Error>> errors; // of blocks that have any
  std::atomic<uint64_t> next{0}, switches{0};
  std::atomic<bool> lacksMemory{false};
  GridBarrier grid;

  void run() {
    const uint64_t blocks = volume(launch.grid);
    Arena arena(static_cast<uint32_t>(volume(launch.block)));
    for (uint64_t i; (i = next.fetch_add(1)) < blocks;) {
      const Extent id = {static_cast<uint32_t>(i % launch.grid.x),
                         static_cast<uint32_t>(i / launch.grid.x % launch.grid.y),
                         static_cast<uint32_t>(i / launch.grid.x / launch.grid.y)};
      Block block(launch, allocations, arena, id, launch.cooperative ? &grid : nullptr);
      block.run();
      grid.end();
      switches += block.switches;
      if (block.errors.empty())
        continue;
      std::lock_guard<std::mutex> lock(guard);
      errors[i] = std::move(block.errors);
    }
  }
};

} // namespace

Result launch(const Launch &launch) {
  Result result;
  const std::string fault = findFault(launch);
  if (!fault.empty()) {
    result.errors.push_back(launchError(launch, fault));
    return result;
  }
  Work work(launch);
  std::sort(work.allocations.begin(), work.allocations.end(),
            [](const Allocation &a, const Allocation &b) {
              return reinterpret_cast<uintptr_t>(a.address) <
                     reinterpret_cast<uintptr_t>(b.address);
            });
  // Never on the caller's thread: a fiber may not leave it in a state that it does not know.
  std::vector<std::thread> workers;
  const uint64_t blocks = volume(launch.grid);
  const uint64_t count =
      launch.cooperative ? blocks : std::min<uint64_t>(std::max(1u, launch.threads), blocks);
  for (uint64_t i = 0; i < count; ++i)
    workers.emplace_back([&work] {
      try {
        work.run();
      } catch (const std::bad_alloc &) {
        work.lacksMemory = true;
        work.grid.end(); // nobody waits for its block
      }
    });
  for (std::thread &worker : workers)
    worker.join();
  std::set<std::pair<ErrorKind, std::string>> seen;
  for (auto &[block, errors] : work.errors)
    for (Error &error : errors)
      if (result.errors.size() < std::max(1u, launch.maxErrors) &&
          seen.insert({error.kind, error.site}).second)
        result.errors.push_back(std::move(error));
  result.switches = work.switches;
  if (work.lacksMemory)
    result.errors.push_back(launchError(launch, "expects memory for a block's stacks, got none"));
  return result;
}

std::string toString(const Result &result) {
  std::string all;
  for (const Error &error : result.errors)
    all += error.message + "\n";
  return all;
}

const char *nameOf(ErrorKind kind) {
  static const char *const names[] = {
      "bounds",      "misaligned",    "read-only",  "uninitialised", "race",     "proxy fence",
      "wgmma fence", "wgmma operand", "divergence", "deadlock",      "mask",     "mbarrier",
      "transaction", "tensor map",    "descriptor", "registers",     "argument", "trap"};
  return names[static_cast<size_t>(kind)];
}

namespace ops {

uint32_t special_register(uint32_t which) {
  Block &block = currentBlock();
  const Thread &thread = block.current();
  const Extent *const extents[] = {&thread.id, &block.launch.block, &block.id, &block.launch.grid};
  if (which == MOHD_EMU_LANE)
    return thread.lane;
  if (which > MOHD_EMU_LANE)
    block.fail(ErrorKind::Argument, "special_register",
               text("expects a special register of 0 to ", int(MOHD_EMU_LANE), ", got ", which));
  const Extent &extent = *extents[which / 3];
  return which % 3 == 0 ? extent.x : which % 3 == 1 ? extent.y : extent.z;
}

void set_max_registers(uint32_t registers, uint32_t increases, const char *site) {
  Block &block = currentBlock();
  if (registers < 24 || registers > 256 || registers % 8 != 0)
    block.fail(ErrorKind::Registers, site,
               text("expects 24 to 256 registers in steps of 8, got ", registers));
  Warp &warp = block.warps[block.current().warp];
  const auto used = [&] {
    uint32_t sum = 0;
    for (const Warp &other : block.warps)
      sum += other.registers * 32;
    return sum;
  };
  block.meet(Op::SetMaxRegisters, warp.lanes, registers << 1 | (increases != 0), nullptr, nullptr,
             site, [&](Rendezvous &) {
               if (increases ? registers < warp.registers : registers > warp.registers)
                 block.fail(ErrorKind::Registers, site,
                            text("expects ", increases ? "at least " : "at most ", warp.registers,
                                 " registers, as the warp has, got ", registers));
               if (increases)
                 return;
               warp.registers = registers;
               block.freeRegisters();
             });
  if (!increases)
    return;
  // The first lane to see enough takes them for the warp; each waits until the warp has them.
  const uint32_t others = static_cast<uint32_t>(block.warps.size() - 1) * 32 * 24;
  if (registers * 32 + others > kRegisterFile)
    block.fail(ErrorKind::Registers, site,
               text("expects no more than ", kRegisterFile, " registers a block, got ", registers,
                    " for each thread of the warp"));
  while (warp.registers < registers) {
    if (used() + (registers - warp.registers) * 32 <= kRegisterFile) {
      warp.registers = registers;
      break;
    }
    block.waitForRegisters({Op::SetMaxRegisters, registers, /*detail=*/1, site});
  }
}

float exp2(float x) {
  const float result = std::exp2(std::fpclassify(x) == FP_SUBNORMAL ? 0.0f : x);
  return std::fpclassify(result) == FP_SUBNORMAL ? 0.0f : result;
}

uint32_t pack(uint32_t type, float low, float high) {
  const auto narrow = [&](float value) -> uint32_t {
    if (std::isnan(value))
      return 0x7fff; // the one NaN that cvt gives
    return type == MOHD_EMU_BF16 ? mohdrt::narrowBf16(value) : mohdrt::narrowF16(value);
  };
  return narrow(low) | narrow(high) << 16;
}

float unpack(uint32_t type, uint32_t bits) {
  const uint16_t half = static_cast<uint16_t>(bits);
  return type == MOHD_EMU_BF16 ? mohdrt::widenBf16(half) : mohdrt::widenF16(half);
}

void trap(const char *site) {
  currentBlock().fail(ErrorKind::Trap, site, "expects not to get here, got a trap");
}

} // namespace ops

const mohd_emu_table *table() {
#define MOHD_EMU_ENTRY(name, result, arguments, parameters) ops::name,
  static const mohd_emu_table all = {MOHD_EMULATOR_OPERATIONS(MOHD_EMU_ENTRY)};
#undef MOHD_EMU_ENTRY
  return &all;
}

} // namespace mohdemu
