// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What this machine can do at best, measured beside what it does.
#ifndef MOHD_TOOLS_MOHD_BENCH_MACHINE_H
#define MOHD_TOOLS_MOHD_BENCH_MACHINE_H

#include "Memory.h"

#include "mohd/format/json.h"

#include <cstdint>
#include <vector>

namespace mohdbench {

/// Measures in short pieces, so that they can stand between the runs of a benchmark: other guests of a machine take from both alike.
class Machine {
public:
  /// Reads pass over `bufferBytes`, which must be more than the caches hold; `peakSeconds` is the length of one measurement
  /// of arithmetic.
  Machine(size_t bufferBytes, double peakSeconds);

  /// f32 multiply-adds of `threads` threads with the widest vectors of this CPU, counted as two operations: FLOP/s.
  double samplePeak(uint32_t threads) const;
  /// Bytes read by `threads` threads from memory, per second, over the next piece of the buffer.
  double sampleBandwidth(uint32_t threads);

private:
  Buffer buffer_;
  size_t next_ = 0; // piece
  double peakSeconds_;
};

/// CPU model, number of CPUs this process may use, sizes of caches, memory.
mohdrt::JsonValue describeMachine();

/// Bytes of the largest cache; 0 if the system does not say.
size_t largestCache();

/// FLOP/s of one thread that does nothing but multiply-adds for about `seconds`.
double measurePeak(double seconds);

/// Bytes per second of one thread that reads all of `data`; 0 if there are none.
double measureBandwidth(const void *data, size_t bytes);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_MACHINE_H
