// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What code for CPUs and for GPUs shares: translation to LLVM IR, LLVM's pipeline, and its code generator.
#ifndef MOHD_LIB_TARGET_LLVMCODE_H
#define MOHD_LIB_TARGET_LLVMCODE_H

#include "mohd/Target/TargetInfo.h"
#include "mohd/format/status.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/CodeGen.h"

#include <memory>
#include <string>

namespace llvm {
class LLVMContext;
class Module;
class TargetMachine;
} // namespace llvm

namespace mlir {
class ModuleOp;
}

namespace mlir::mohd {

/// An error of the compiler itself.
inline ::mohdrt::Status internal(const llvm::Twine &message) {
  return ::mohdrt::Status(::mohdrt::StatusCode::Internal, message.str());
}

/// The machine that code is generated for.
::mohdrt::Result<std::unique_ptr<llvm::TargetMachine>> createMachine(const TargetInfo &info);

/// LLVM IR of the code in `module` (llvm dialect), without its programs, for `machine`. Its dialects' translations are registered.
::mohdrt::Result<std::unique_ptr<llvm::Module>>
translateCode(ModuleOp module, llvm::LLVMContext &context, const llvm::TargetMachine &machine);

/// Runs LLVM's pipeline. Only kernels stay visible; all else may be inlined and dropped.
void optimize(llvm::Module &module, llvm::TargetMachine &machine, const llvm::StringSet<> &kernels);

/// An object file or assembly text of `module`, which is used up.
::mohdrt::Result<std::string> generateCode(llvm::Module &module, llvm::TargetMachine &machine,
                                           llvm::CodeGenFileType type);

/// The text of `module`.
std::string printModule(const llvm::Module &module);

} // namespace mlir::mohd

#endif // MOHD_LIB_TARGET_LLVMCODE_H
