// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Translation to LLVM IR, optimisation and code generation.
#include "LlvmCode.h"

#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

Result<std::unique_ptr<llvm::TargetMachine>> mlir::mohd::createMachine(const TargetInfo &info) {
  static const bool initialized = [] {
    LLVMInitializeX86TargetInfo(), LLVMInitializeAArch64TargetInfo(),
        LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeX86Target(), LLVMInitializeAArch64Target(), LLVMInitializeNVPTXTarget();
    LLVMInitializeX86TargetMC(), LLVMInitializeAArch64TargetMC(), LLVMInitializeNVPTXTargetMC();
    LLVMInitializeX86AsmPrinter(), LLVMInitializeAArch64AsmPrinter(),
        LLVMInitializeNVPTXAsmPrinter();
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

void mlir::mohd::optimize(llvm::Module &module, llvm::TargetMachine &machine,
                          const llvm::StringSet<> &kernels) {
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    bool isKernel = kernels.contains(function.getName());
    function.setLinkage(isKernel ? llvm::GlobalValue::ExternalLinkage
                                 : llvm::GlobalValue::InternalLinkage);
    function.addFnAttr("target-cpu", machine.getTargetCPU());
    function.addFnAttr("target-features", machine.getTargetFeatureString());
    if (machine.getTargetTriple().isX86())
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

Result<std::string> mlir::mohd::generateCode(llvm::Module &module, llvm::TargetMachine &machine,
                                             llvm::CodeGenFileType type) {
  llvm::SmallVector<char, 0> buffer;
  llvm::raw_svector_ostream stream(buffer);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    return internal("the code generator cannot write this kind of file");
  passes.run(module);
  return std::string(buffer.begin(), buffer.end());
}

Result<std::unique_ptr<llvm::Module>>
mlir::mohd::translateCode(ModuleOp module, llvm::LLVMContext &context,
                          const llvm::TargetMachine &machine) {
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  registerNVVMDialectTranslation(*module.getContext());
  // Or its attributes, which kernels have without an op of it, would be passed over.
  module.getContext()->getOrLoadDialect("nvvm");
  // Programs are for the manifest; only code is translated.
  OwningOpRef<ModuleOp> code = module.clone();
  for (auto program : llvm::make_early_inc_range(code->getOps<ProgramOp>()))
    program.erase();
  code->getOperation()->removeAttr(kWeightsAttr);
  std::unique_ptr<llvm::Module> translated = translateModuleToLLVMIR(*code, context, "kernels");
  if (!translated)
    return internal("the kernels cannot be translated to LLVM IR");
  translated->setTargetTriple(machine.getTargetTriple());
  translated->setDataLayout(machine.createDataLayout());
  return translated;
}

std::string mlir::mohd::printModule(const llvm::Module &module) {
  std::string text;
  llvm::raw_string_ostream(text) << module;
  return text;
}
