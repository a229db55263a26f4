// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs GPU kernels on the CPU and checks them: a kernel is compiled for the host and calls the
// table of operations.h. docs/emulator.md says what is modelled, what is checked and what is not.
#ifndef MOHD_EMULATOR_EMULATOR_H
#define MOHD_EMULATOR_EMULATOR_H

#include "mohd/emulator/operations.h"

#include <cstddef>
#include <string>
#include <vector>

namespace mohdemu {

/// Sizes or coordinates of a grid or a block.
struct Extent {
  uint32_t x = 1, y = 1, z = 1;
};

/// Global memory that a kernel may touch; accesses outside every allocation are errors.
struct Allocation {
  const void *address = nullptr;
  size_t bytes = 0;
  std::string name; // as errors call it
  bool writable = false;
};

/// What is wrong with a kernel. After those marked * its block goes on, after the others it stops.
enum class ErrorKind {
  Bounds,        // access outside every allocation or outside the block's shared memory
  Misaligned,    // address is no multiple of the access's size
  ReadOnly,      // write to an allocation that is not writable
  Uninitialised, // * read of shared bytes that nobody wrote
  Race,          // * two accesses to shared bytes, one a write, with nothing that orders them
  ProxyFence,    // * ordinary write read by wgmma or a TMA store without fence proxy_async
  WgmmaFence,    // * wgmma on registers touched since the last wgmma fence
  WgmmaOperand,  // * sums or registers of A touched between a wgmma and its wait
  Divergence,    // threads that must execute one operation together do not
  Deadlock,      // no thread can go on
  Mask,          // mask of a warp operation that does not fit who takes part
  Mbarrier,      // not initialised, overwritten, arrived at too often
  Transaction,   // transaction count of an mbarrier out of range
  TensorMap,     // tensor map or its use that the hardware refuses
  Descriptor,    // descriptor of a matrix in shared memory that the hardware refuses
  Registers,     // setmaxnreg out of range or beyond the registers there are
  Argument,      // other argument out of range
  Trap,          // the kernel said so
};

/// The name of a kind, for instance "race".
const char *nameOf(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::Trap;
  std::string message; // with kernel, block, thread and site
  Extent block;        // coordinates
  uint32_t thread = 0; // linear index in the block
  std::string site;    // of the operation that found it, as given by the kernel
};

/// As many blocks a cooperative launch may have.
constexpr uint64_t kMaxCooperativeBlocks = 64;

/// One kernel launch. Everything pointed to must live until launch() returns.
struct Launch {
  mohd_emu_kernel kernel = nullptr;
  std::string name;         // as errors call the kernel
  Extent grid, block;       // at most 1024 threads a block
  uint32_t sharedBytes = 0; // at most 227 KiB
  const void *const *arguments = nullptr;
  std::vector<Allocation> allocations;
  bool cooperative = false; // all blocks at once, each on its own thread of the operating system
  uint64_t seed = 0;        // 0: threads in order; else a random schedule, the same every time
  unsigned threads = 1;     // of the operating system; blocks are shared out among them if not
                            // cooperative
  uint32_t registers = 0;   // of each thread at the start; 0: as many as fit
  uint32_t maxErrors = 20;  // returned; the first ones by block
  uint64_t maxSpins = uint64_t(1) << 28; // accesses with no progress, then a block counts as stuck
};

struct Result {
  std::vector<Error> errors; // by block; one for each kind and site
  uint64_t switches = 0;     // between threads, all blocks together
};

/// Runs all blocks and returns what is wrong with the kernel: nothing if it is correct. Same launch,
/// same result, whatever `threads` is, if blocks do not communicate. A block that stops leaves its
/// threads where they are: destructors of a kernel written in C++ do not run.
Result launch(const Launch &launch);

/// All messages, one a line.
std::string toString(const Result &result);

/// What a kernel's `mohd_emulator` must point to. Works only inside launch().
const mohd_emu_table *table();

} // namespace mohdemu

#endif // MOHD_EMULATOR_EMULATOR_H
