// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Native code of CPUs: object code, and linking into a shared object.
#include "mohd/Target/CpuTarget.h"

#include "LlvmCode.h"
#include "MemoryFile.h"

#include "mohd/Dialect/MoHD/IR/AttributeNames.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/Module.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Support/Program.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace mlir;
using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

/// Checks that the object needs nothing but the memory functions of the C library.
static Status checkUndefinedSymbols(llvm::StringRef object) {
  auto file =
      llvm::object::ObjectFile::createObjectFile(llvm::MemoryBufferRef(object, "kernels.o"));
  if (!file)
    return internal("cannot read the object file: " + llvm::toString(file.takeError()));
  for (const llvm::object::SymbolRef &symbol : (*file)->symbols()) {
    llvm::Expected<uint32_t> flags = symbol.getFlags();
    llvm::Expected<llvm::StringRef> name = symbol.getName();
    if (!flags || !name)
      return internal("cannot read a symbol of the object file");
    bool allowed = llvm::is_contained(
        {"memcpy", "memmove", "memset", "malloc", "free", "_GLOBAL_OFFSET_TABLE_"}, *name);
    if ((*flags & llvm::object::SymbolRef::SF_Undefined) && !name->empty() && !allowed)
      return internal("the kernels call '" + *name + "', which no target provides");
  }
  return Status();
}

/// Links `object` into a shared object; fills in `code.sharedObject` and `code.linkCommand`.
static Status link(NativeCode &code) {
  llvm::ErrorOr<std::string> linker = llvm::sys::findProgramByName("ld.lld", {MOHD_LLVM_TOOLS_DIR});
  if (!linker)
    linker = llvm::sys::findProgramByName("ld.lld-22");
  if (!linker)
    return Status(StatusCode::NotFound,
                  "cannot find the linker ld.lld of LLVM 22 (package lld-22) in " +
                      std::string(MOHD_LLVM_TOOLS_DIR) + " or PATH");
  MemoryFile input("kernels.o"), output("kernels.so"), messages("messages");
  if (!input.write(code.object))
    return Status(StatusCode::Io, "cannot write the linker's input");
  std::string inputPath = input.path(), outputPath = output.path(), messagesPath = messages.path();
  const std::vector<llvm::StringRef> flags = {
      "-shared", "--build-id=none", "-z", "now", "-z", "noexecstack", "-s", "--hash-style=gnu"};
  std::vector<llvm::StringRef> arguments = {*linker};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  arguments.insert(arguments.end(), {"-o", "-", inputPath});
  code.linkCommand = "ld.lld " + llvm::join(flags, " ") + " -o kernels.so kernels.o";
  std::string error;
  std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(""), llvm::StringRef(outputPath),
                                                llvm::StringRef(messagesPath)};
  int exitCode =
      llvm::sys::ExecuteAndWait(*linker, arguments, std::nullopt, redirects, 0, 0, &error);
  if (exitCode != 0)
    return internal("the linker failed (" + code.linkCommand + "): " + error + messages.read());
  code.sharedObject = output.read();
  return code.sharedObject.empty() ? Status(StatusCode::Io, "cannot read the linker's output")
                                   : Status();
}

Result<NativeCode> mlir::mohd::compileKernels(ModuleOp module, const TargetInfo &target,
                                              bool keepText) {
  llvm::StringSet<> kernels;
  module.walk([&](LLVM::LLVMFuncOp function) {
    if (function->hasAttr(kKernelAttr))
      kernels.insert(function.getSymName());
  });
  Result<std::unique_ptr<llvm::TargetMachine>> machine = createMachine(target);
  if (!machine.ok())
    return machine.status();
  llvm::LLVMContext context;
  Result<std::unique_ptr<llvm::Module>> translated = translateCode(module, context, **machine);
  if (!translated.ok())
    return translated.status();
  std::unique_ptr<llvm::Module> llvmModule = std::move(*translated);
  optimize(*llvmModule, **machine, kernels);

  NativeCode native;
  if (keepText) {
    native.llvmIR = printModule(*llvmModule);
    Result<std::string> assembly = generateCode(*llvm::CloneModule(*llvmModule), **machine,
                                                llvm::CodeGenFileType::AssemblyFile);
    if (!assembly.ok())
      return assembly.status();
    native.assembly = std::move(*assembly);
  }
  Result<std::string> object =
      generateCode(*llvmModule, **machine, llvm::CodeGenFileType::ObjectFile);
  if (!object.ok())
    return object.status();
  native.object = std::move(*object);
  if (Status status = checkUndefinedSymbols(native.object); !status.ok())
    return status;
  if (Status status = link(native); !status.ok())
    return status;
  return native;
}
