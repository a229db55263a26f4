// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Native code: translation to LLVM IR, optimisation, object code, and linking into a shared object.
#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Target/CpuTarget.h"
#include "mohd/format/output_file.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

namespace {
/// A file in memory that has a path as long as it lives: an interrupted process leaves nothing behind.
class MemoryFile {
public:
  explicit MemoryFile(const char *name) : descriptor(::memfd_create(name, MFD_CLOEXEC)) {}
  ~MemoryFile() {
    if (descriptor >= 0)
      ::close(descriptor);
  }
  MemoryFile(const MemoryFile &) = delete;
  MemoryFile &operator=(const MemoryFile &) = delete;

  std::string path() const {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(descriptor);
  }
  bool write(llvm::StringRef text) {
    llvm::raw_fd_ostream os(descriptor, /*shouldClose=*/false);
    os << text;
    os.flush();
    bool written = descriptor >= 0 && !os.has_error();
    os.clear_error();
    return written;
  }
  std::string read() const {
    auto buffer = llvm::MemoryBuffer::getFile(path());
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  }

private:
  int descriptor;
};
} // namespace

static Status internal(const llvm::Twine &message) {
  return Status(StatusCode::Internal, message.str());
}

/// The machine that code is generated for.
static Result<std::unique_ptr<llvm::TargetMachine>> createMachine(const TargetInfo &info) {
  static const bool initialized = [] {
    LLVMInitializeX86TargetInfo(), LLVMInitializeAArch64TargetInfo();
    LLVMInitializeX86Target(), LLVMInitializeAArch64Target();
    LLVMInitializeX86TargetMC(), LLVMInitializeAArch64TargetMC();
    LLVMInitializeX86AsmPrinter(), LLVMInitializeAArch64AsmPrinter();
    return true;
  }();
  (void)initialized;
  std::string error;
  llvm::Triple triple(info.triple);
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return internal("no code generator for " + info.triple + ": " + error);
  std::vector<std::string> features;
  for (const std::string &feature : info.features)
    features.push_back("+" + feature);
  llvm::TargetOptions options;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      triple, info.cpu, llvm::join(features, ","), options, llvm::Reloc::PIC_, std::nullopt,
      llvm::CodeGenOptLevel::Aggressive));
  return machine;
}

/// Runs LLVM's pipeline. Only kernels stay visible; all else may be inlined and dropped.
static void optimize(llvm::Module &module, llvm::TargetMachine &machine,
                     const llvm::StringSet<> &kernels) {
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    bool isKernel = kernels.contains(function.getName());
    function.setLinkage(isKernel ? llvm::GlobalValue::ExternalLinkage
                                 : llvm::GlobalValue::InternalLinkage);
    function.addFnAttr("target-cpu", machine.getTargetCPU());
    function.addFnAttr("target-features", machine.getTargetFeatureString());
    function.addFnAttr("prefer-vector-width", "512");
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager callGraph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(callGraph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, callGraph, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, modules);
}

/// An object file or assembly text of `module`, which is used up.
static Result<std::string> generateCode(llvm::Module &module, llvm::TargetMachine &machine,
                                        llvm::CodeGenFileType type) {
  llvm::SmallVector<char, 0> buffer;
  llvm::raw_svector_ostream stream(buffer);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    return internal("the code generator cannot write this kind of file");
  passes.run(module);
  return std::string(buffer.begin(), buffer.end());
}

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
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  llvm::LLVMContext context;
  // Programs are for the manifest; only code is translated.
  OwningOpRef<ModuleOp> code = module.clone();
  for (auto program : llvm::make_early_inc_range(code->getOps<ProgramOp>()))
    program.erase();
  code->getOperation()->removeAttr(kWeightsAttr);
  std::unique_ptr<llvm::Module> llvmModule = translateModuleToLLVMIR(*code, context, "kernels");
  if (!llvmModule)
    return internal("the kernels cannot be translated to LLVM IR");
  Result<std::unique_ptr<llvm::TargetMachine>> machine = createMachine(target);
  if (!machine.ok())
    return machine.status();
  llvmModule->setTargetTriple((*machine)->getTargetTriple());
  llvmModule->setDataLayout((*machine)->createDataLayout());
  optimize(*llvmModule, **machine, kernels);

  NativeCode native;
  if (keepText) {
    llvm::raw_string_ostream(native.llvmIR) << *llvmModule;
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
