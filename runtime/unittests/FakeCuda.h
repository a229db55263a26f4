// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A CUDA driver for tests: a library with two GPUs, whose memory is the host's and whose kernels run
// on the emulator. A cubin is a shared object with kernels for the emulator; PTX is any text, which
// stands for the shared object `ptxObject`. It records its calls and fails where it is told to.
#ifndef MOHD_UNITTESTS_FAKECUDA_H
#define MOHD_UNITTESTS_FAKECUDA_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace fakecuda {

/// What the fake does and has done. One for the process; reset() between tests.
struct Control {
  // Set by tests.
  int version = 12040;
  int devices = 2;
  std::pair<int, int> capability[2] = {{9, 0}, {8, 6}};
  size_t memoryBytes = 1 << 20; // of each GPU
  int maxThreads = 1024;        // of a kernel's block
  int sharedBytes = 227 << 10;  // of a block
  int blocksPerSm = 1;          // of any kernel
  std::string missing;          // function that is not found
  std::string ptxObject;        // path
  std::string log;              // of the compiler of PTX, if loading fails
  struct Failure {
    int after; // so many calls succeed before
    int result;
  };
  std::map<std::string, Failure> failures; // by function; each fails once
  bool isCapturing = false;                // only launches are allowed, and none runs
  bool isRecording = true;                 // else nothing is recorded, or allocated, by launches

  // Read by tests.
  std::vector<std::string> calls;  // in order, without those for errors and versions
  std::vector<std::string> faults; // of kernels, as the emulator tells
  int retained[2] = {0, 0};        // primary contexts
  int modules = 0;                 // loaded
  size_t usedBytes[2] = {0, 0};
  std::vector<void *> streams; // of launches
  std::vector<unsigned> grids; // of cooperative ones
  std::vector<int> contexts;   // the calling thread's stack: GPUs, -1 for the caller's own

  size_t count(const std::string &call) const {
    size_t n = 0;
    for (const std::string &other : calls)
      n += other == call;
    return n;
  }
};

/// Exported as `fakecuda_control`.
using GetControl = Control *(*)();

} // namespace fakecuda

#endif // MOHD_UNITTESTS_FAKECUDA_H
