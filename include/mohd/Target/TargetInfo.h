// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What passes may know of a target: a value, never a name to test.
#ifndef MOHD_TARGET_TARGETINFO_H
#define MOHD_TARGET_TARGETINFO_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mlir::mohd {

/// What runs a target's kernels: a CPU, an NVIDIA GPU, or a CPU that emulates one.
enum class TargetKind { Cpu, Cuda, Emulate };

/// A tile of a product's result, which a block computes.
struct GpuTile {
  int64_t rows, columns;
};

/// A GPU as its kernels see it. How many multiprocessors (SMs) a card has differs within a chip's name and is known at run time only; `typicalSms` serves to
/// choose between kernels, which work with any number.
struct GpuInfo {
  /// LLVM's and ptxas's name, for instance "sm_90a".
  std::string chip;
  /// Kernels stay PTX, which the driver of this chip or any later one assembles.
  bool isPtx = false;
  /// Version of the PTX language, times ten: 86 is 8.6.
  int64_t ptxVersion = 0;
  /// Threads of a warp, and the most of a block and of an SM.
  int64_t warpSize = 32, threadsPerBlock = 1024, threadsPerSm = 2048;
  /// The most blocks that an SM holds.
  int64_t blocksPerSm = 32;
  /// 32-bit registers of an SM, the most of a thread, and how many a warp is given at a time.
  int64_t registersPerSm = 65536, registersPerThread = 255, registerUnit = 256;
  /// Parts of an SM that have registers and a scheduler of their own; a warp lives in one of them.
  int64_t partitionsPerSm = 4;
  /// Shared memory in bytes: the most of a block (over 48 KiB it must ask for it), of an SM, what each block costs besides its own,
  /// and how much is given at a time.
  int64_t sharedPerBlock = 0, sharedPerSm = 0, sharedReserved = 1024, sharedUnit = 128;
  /// It has TMA, barriers in shared memory that count bytes, and products of warpgroups on shared memory (`wgmma`).
  bool hasWgmma = false;
  /// SMs of most cards.
  int64_t typicalSms = 0;
  /// Of an SM in a cycle: multiply-adds of 16 bits on its tensor units, and bytes from the second-level cache.
  int64_t multipliesPerCycle = 0, cacheBytesPerCycle = 0;
  /// Tiles that products with `mma`, and with `wgmma`, may have.
  std::vector<GpuTile> mmaTiles, wgmmaTiles;
};

/// A processor that code is generated for.
struct TargetInfo {
  TargetKind kind = TargetKind::Cpu;
  /// Of kinds `Cuda` and `Emulate`; the fields below are of the processor that LLVM makes code for, with `Emulate` this machine's CPU.
  std::optional<GpuInfo> gpu;
  /// LLVM triple, for instance "x86_64-unknown-linux-gnu".
  std::string triple;
  /// Name that the bundle shows, for instance "x86-64-v3": the one the user gave, or with `native` this machine's CPU; for a GPU its
  /// chip, or "ptx".
  std::string arch;
  /// Of kind `Emulate`: the name of the CPU that runs the code.
  std::string host;
  /// LLVM processor name.
  std::string cpu;
  /// Processor features that a machine must have to run the code, sorted, in LLVM's spelling ("avx2").
  std::vector<std::string> features;
  /// f32 lanes of a vector register.
  int64_t vectorLanes = 8;
  /// Vector registers that code can name.
  int64_t vectorRegisters = 16;
  /// Data cache of a core, first and second level, in bytes: what every machine of the target can be expected to have, or with
  /// `native` what this one reports.
  int64_t l1Bytes = 32 << 10;
  int64_t l2Bytes = 256 << 10;
  /// It has instructions for conversions between f16 and f32.
  bool convertsF16 = true;
};

} // namespace mlir::mohd

#endif // MOHD_TARGET_TARGETINFO_H
