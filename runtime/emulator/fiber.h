// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fibers: one stack for each GPU thread of a block, and the switch between them.
#ifndef MOHD_EMULATOR_FIBER_H
#define MOHD_EMULATOR_FIBER_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mohdemu {

/// Where a stack is suspended. The stack of an operating system's thread has one too.
struct Fiber {
  void *stackPointer = nullptr;
  void *stackBottom = nullptr; // lowest address
  size_t stackBytes = 0;
  void *fakeStack = nullptr; // AddressSanitizer's
  void *sanitizer = nullptr; // ThreadSanitizer's fiber
};

/// Fills in what sanitizers want to know of the stack that runs.
void adoptThread(Fiber &fiber);

/// Leaves `from`, which runs, for `to`. Returns when somebody switches to `from`. With `ends`, nobody
/// will.
void switchFiber(Fiber &from, Fiber &to, bool ends = false);

/// Stacks with guard pages below them, used again by block after block.
class FiberStacks {
public:
  explicit FiberStacks(size_t count);
  ~FiberStacks();
  FiberStacks(const FiberStacks &) = delete;
  /// Makes fiber `index` start in `entry`, which must never return, at the next switch to it.
  void prepare(size_t index, void (*entry)());
  Fiber &operator[](size_t index) { return fibers_[index]; }

private:
  char *memory_ = nullptr;
  size_t bytes_ = 0;
  std::vector<Fiber> fibers_;
};

/// The first thing that a fiber's entry calls.
void fiberStarted();

} // namespace mohdemu

#endif // MOHD_EMULATOR_FIBER_H
