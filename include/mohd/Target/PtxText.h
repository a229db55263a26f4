// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What must hold of PTX before an assembler sees it.
#ifndef MOHD_TARGET_PTXTEXT_H
#define MOHD_TARGET_PTXTEXT_H

#include "mohd/Target/CudaCode.h"
#include "mohd/format/status.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace mlir::mohd {

/// True if `code` has an instruction that begins with the parts of `instruction`: "mma.sync" finds `mma.sync.aligned.m16n8k16…`, not
/// `wmma.mma.sync.…`.
bool hasInstruction(llvm::StringRef code, llvm::StringRef instruction);

/// Checks a PTX text that LLVM wrote: each of `kernels` is in it with its instructions, no function is called that it does not define, and
/// nothing lies in local memory. One line for each failure.
::mohdrt::Status checkPtx(llvm::StringRef ptx, llvm::ArrayRef<GpuKernel> kernels);

} // namespace mlir::mohd

#endif // MOHD_TARGET_PTXTEXT_H
