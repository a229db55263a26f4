// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Waiting for the grid.
#include "grid.h"

#include "block.h"
#include "operations_impl.h"

namespace mohdemu {

std::string GridBarrier::wait(uint32_t *counter) {
  std::unique_lock<std::mutex> lock(guard_);
  if (fault_.empty() && ended_ > 0)
    fault_ = text("expects all ", blocks_, " blocks, got the end of ", ended_, " of them");
  if (fault_.empty() && arrived_ > 0 && counter != counter_)
    fault_ = "expects one counter for all blocks, got another one";
  counter_ = counter;
  ++arrived_;
  if (fault_.empty() && arrived_ == blocks_) {
    if (*counter << 1 != 0)
      fault_ = text("expects a counter of 0 or 2147483648 before, got ", *counter);
    *counter ^= 0x80000000u;
    arrived_ = 0;
    ++phase_;
    changed_.notify_all();
    return fault_;
  }
  if (!fault_.empty())
    changed_.notify_all();
  const uint64_t phase = phase_;
  changed_.wait(lock, [&] { return phase_ != phase || !fault_.empty(); });
  return fault_;
}

void GridBarrier::end() {
  std::lock_guard<std::mutex> lock(guard_);
  ++ended_;
  if (fault_.empty() && arrived_ > 0)
    fault_ = text("expects all ", blocks_, " blocks, got the end of ", ended_, " of them");
  changed_.notify_all();
}

namespace ops {

void grid_sync(void *counter, const char *site) {
  Block &block = currentBlock();
  if (!block.grid)
    block.fail(ErrorKind::Argument, site, "expects a cooperative launch");
  block.checkGlobal(counter, 4, 4, /*writes=*/true, "grid_sync", site);
  barrier_sync(/*barrier=*/0, /*threads=*/0, site);
  if (block.current().index == 0) {
    std::string fault = block.grid->wait(static_cast<uint32_t *>(counter));
    if (!fault.empty())
      block.fail(ErrorKind::Divergence, site, std::move(fault));
  }
  barrier_sync(/*barrier=*/0, /*threads=*/0, site);
}

} // namespace ops
} // namespace mohdemu
