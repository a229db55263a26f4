// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How many blocks such kernels have, and which part is whose.
#include "Launches.h"

using namespace mlir;
using namespace mlir::mohd;

void mlir::mohd::addForParts(GpuKernelSet &kernels, int64_t parts,
                             llvm::function_ref<void(Term, Term)> body, int64_t threads) {
  GpuLaunch launch;
  launch.threads = threads;
  launch.grid =
      ("ceildiv(" + kernels.getTokens() + "*" + Twine(parts) + "," + Twine(threads) + ")").str();
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term place = toI64(e.block()) * threads + toI64(e.thread());
    int64_t divisor = std::max<int64_t>(parts, 1);
    Term token = toI32(place / divisor), part = toI32(place % divisor);
    e.when(token < kernels.numTokens(), [&] { body(token, part); });
  });
}

void mlir::mohd::addForElements(GpuKernelSet &kernels, int64_t size,
                                llvm::function_ref<void(Term)> body) {
  GpuLaunch launch;
  launch.threads = kElementThreads;
  launch.grid = std::to_string(llvm::divideCeil(size, kElementThreads));
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term place = e.block() * kElementThreads + e.thread();
    e.when(place < size, [&] { body(place); });
  });
}

void mlir::mohd::addForRows(GpuKernelSet &kernels, llvm::function_ref<void(Term)> body) {
  GpuLaunch launch;
  launch.threads = 32 * kRowWarps;
  launch.grid = ("ceildiv(" + kernels.getTokens() + "," + Twine(kRowWarps) + ")").str();
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term row = e.block() * kRowWarps + e.warp();
    e.when(row < kernels.numTokens(), [&] { body(row); });
  });
}
