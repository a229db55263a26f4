// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the blocks of a cooperative launch share: where they wait for each other.
#ifndef MOHD_EMULATOR_GRID_H
#define MOHD_EMULATOR_GRID_H

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

namespace mohdemu {

/// Blocks of one grid, each on its own thread of the operating system.
class GridBarrier {
public:
  explicit GridBarrier(uint64_t blocks) : blocks_(blocks) {}

  /// Waits for all other blocks. The last one checks `counter`, which must be the same word in all of
  /// them, and changes it as the GPU does. Returns what is wrong, or nothing.
  std::string wait(uint32_t *counter);
  /// Says that a block has ended: whoever waits, or will, waits for nothing.
  void end();

private:
  std::mutex guard_;
  std::condition_variable changed_;
  const uint64_t blocks_;
  uint64_t arrived_ = 0, ended_ = 0, phase_ = 0;
  uint32_t *counter_ = nullptr;
  std::string fault_; // of some phase; no block goes on then
};

} // namespace mohdemu

#endif // MOHD_EMULATOR_GRID_H
