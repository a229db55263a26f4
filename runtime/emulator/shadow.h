// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is known of each byte of a block's shared memory: who wrote it last, who read it since. Kept
// in cells of 16 bytes, which are split to what accesses are smaller need.
#ifndef MOHD_EMULATOR_SHADOW_H
#define MOHD_EMULATOR_SHADOW_H

#include "clocks.h"

#include <array>
#include <deque>

namespace mohdemu {

/// One access to shared bytes: as who, and what is ordered before it.
struct Access {
  const Clock *clock;
  Epoch epoch;   // recorded; for asynchronous accesses that of their end
  uint16_t site; // recorded
  bool async;    // by the async proxy
  bool atomic = false;
};

/// The first thing that is wrong with an access.
struct Conflict {
  enum Kind { None, Uninitialised, Race, Unfenced, Mbarrier } kind = None;
  uint32_t offset = 0; // of the byte
  bool otherWrote = false;
  Epoch other = 0;        // the other access of a race, the write of others
  uint16_t otherSite = 0; // 0: unknown
};

class Shadow {
public:
  /// Agents below `threads` are threads.
  Shadow(uint32_t threads, uint32_t agents);

  /// Forgets all; the next block has `bytes`.
  void reset(uint32_t bytes);

  /// Accesses to `bytes` at `offset`, in bounds. What lies in one cell of 16 bytes must be a power of
  /// 2, at a multiple of it.
  Conflict read(uint32_t offset, uint32_t bytes, const Access &access);
  Conflict write(uint32_t offset, uint32_t bytes, const Access &access);
  /// Marks 8 bytes as an mbarrier, which ordinary accesses must leave alone.
  void markMbarrier(uint32_t offset, const Access &access);

private:
  static constexpr uint32_t kCell = 16;
  struct Cell {
    Epoch written;
    Epoch readers[3];
    uint32_t crowd; // more readers: index of their counts
    uint16_t writeSite, readSite;
    bool atomic, mbarrier;
  };
  struct Chunk {
    Cell whole;
    uint32_t parts; // index + 1 of split cells
    uint32_t unit;  // bytes of a cell
  };
  using Parts = std::array<Cell, kCell>;

  Cell *cellsOf(uint32_t offset, uint32_t bytes, uint32_t &count);
  void split(Chunk &chunk, uint32_t unit);
  void readCell(Cell &cell, const Access &access, uint32_t at, Conflict &conflict);
  void writeCell(Cell &cell, const Access &access, uint32_t at, Conflict &conflict);
  void addReader(Cell &cell, const Access &access);
  void crowd(Cell &cell);
  void releaseCrowd(Cell &cell);
  Epoch unorderedReader(const Cell &cell, const Access &access) const;

  uint32_t threads_, agents_;
  std::vector<Chunk> chunks_;
  std::deque<Parts> parts_;
  uint32_t usedParts_ = 0;
  std::deque<std::vector<uint32_t>> crowds_; // [0] is not used
  std::vector<uint32_t> freeCrowds_;
};

} // namespace mohdemu

#endif // MOHD_EMULATOR_SHADOW_H
