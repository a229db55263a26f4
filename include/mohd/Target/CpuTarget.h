// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU targets by name, and native code from a lowered module.
#ifndef MOHD_TARGET_CPUTARGET_H
#define MOHD_TARGET_CPUTARGET_H

#include "mohd/Target/TargetInfo.h"
#include "mohd/format/status.h"

#include "llvm/ADT/StringRef.h"

#include <functional>
#include <string>
#include <vector>

namespace mlir {
class ModuleOp;
}

namespace mlir::mohd {

/// What `--target=` means: `cpu:native` (this machine), `cpu:x86-64-v2`, `-v3`, `-v4` or `cpu:aarch64` (Armv8-A with NEON). Anything else is an
/// error that lists them.
::mohdrt::Result<TargetInfo> parseCpuTarget(llvm::StringRef spec);

/// Native code of a module, at each step.
struct NativeCode {
  std::string llvmIR;       // text, after optimisation; empty unless asked for
  std::string assembly;     // text of `object`; empty unless asked for
  std::string object;       // ELF relocatable
  std::string sharedObject; // ELF shared object that exports just the kernels
  std::string linkCommand;  // the linker's command line
};

/// Compiles the kernels of `module` (llvm dialect only; kernels carry `mohd.kernel`) for `target`. The code depends on nothing but the
/// memory functions of the C library; any other undefined symbol is an error that names it. The linker (ld.lld) runs as a child
/// process on temporary files, which do not survive.
::mohdrt::Result<NativeCode> compileKernels(ModuleOp module, const TargetInfo &target,
                                            bool keepText);

} // namespace mlir::mohd

#endif // MOHD_TARGET_CPUTARGET_H
