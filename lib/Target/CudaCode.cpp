// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From the llvm dialect to PTX and cubin: what is run in which process, and what is refused.
#include "mohd/Target/CudaCode.h"

#include "LlvmCode.h"

#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/Tile/IR/Tile.h"
#include "mohd/Target/GpuTarget.h"
#include "mohd/Target/IsolatedProcess.h"
#include "mohd/Target/PtxText.h"
#include "mohd/format/output_file.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace mlir;
using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

static constexpr unsigned kGenerateSeconds = 300; // for LLVM, a few seconds of which are usual

//===--- What kernels say -----------------------------------------------------------------------===//

static Status expects(const GpuKernel &kernel, llvm::StringRef attribute, llvm::StringRef what) {
  return Status(StatusCode::Malformed, "kernel '" + kernel.name + "' expects '" + attribute.str() +
                                           "' to be " + what.str());
}

/// Threads of a block, or nothing if the kernel does not say.
static std::optional<int64_t> readThreads(Operation *function) {
  for (const char *name : {"nvvm.reqntid", "nvvm.maxntid"})
    if (auto sizes = function->getAttrOfType<DenseI32ArrayAttr>(name)) {
      int64_t threads = 1;
      for (int32_t size : sizes.asArrayRef())
        threads = size > 0 && size <= 1024 ? threads * size : 0;
      return threads;
    }
  return std::nullopt;
}

static Result<GpuKernel> readKernel(LLVM::LLVMFuncOp function) {
  GpuKernel kernel;
  kernel.name = function.getSymName().str();
  kernel.threads = readThreads(function).value_or(0);
  if (kernel.threads == 0)
    return expects(kernel, "nvvm.reqntid", "the sizes of its blocks, each 1 to 1024, got none");
  if (auto bytes =
          function->getAttrOfType<IntegerAttr>(tile::kSharedBytesAttr)) // the dialect checks
    kernel.dynamicSharedBytes = bytes.getInt();
  if (Attribute list = function->getAttr(kInstructionsAttr)) {
    auto array = dyn_cast<ArrayAttr>(list);
    if (!array || !llvm::all_of(array, llvm::IsaPred<StringAttr>))
      return expects(kernel, kInstructionsAttr, "an array of strings");
    for (auto text : array.getAsRange<StringAttr>())
      kernel.instructions.push_back(text.str());
  }
  return kernel;
}

Result<std::vector<GpuKernel>> mlir::mohd::getGpuKernels(ModuleOp module) {
  std::vector<GpuKernel> kernels;
  for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
    bool marked = function->hasAttr(kKernelAttr) || function->hasAttr("nvvm.kernel");
    if (!marked || function.isExternal())
      continue;
    Result<GpuKernel> kernel = readKernel(function);
    if (!kernel.ok())
      return kernel.status();
    kernels.push_back(std::move(*kernel));
  }
  return kernels;
}

//===--- Reproducers ----------------------------------------------------------------------------===//

/// Keeps what a step failed on; returns the file's path. Where that fails, the path it should have had.
static std::string keepInput(const std::string &dumpDir, const std::string &stem,
                             llvm::StringRef extension, const std::string &text) {
  llvm::SmallString<128> path;
  if (dumpDir.empty()) {
    if (llvm::sys::fs::createTemporaryFile("mohd-" + stem, extension, path))
      return stem + "." + extension.str();
  } else {
    (void)llvm::sys::fs::create_directories(dumpDir); // writing tells
    path = dumpDir + "/" + stem + "." + extension.str();
  }
  (void)::mohdrt::writeFile(path.str().str(), text.data(), text.size());
  return path.str().str();
}

/// `status` and the command that shows the same.
static Status withCommand(const Status &status, const std::string &command) {
  return Status(status.code(), status.message() + "\nreproduce with: " + command);
}

//===--- PTX ------------------------------------------------------------------------------------===//

namespace {
/// What code generation needs, and its results.
struct Generation {
  llvm::TargetMachine &machine;
  llvm::StringSet<> kernels;
  std::string features; // LLVM's spelling
};
} // namespace

/// Optimises `module` and returns {PTX, LLVM IR}. LLVM may end the process.
static Result<std::vector<std::string>> generatePtx(llvm::Module &module,
                                                    const Generation &generation) {
  std::string errors;
  auto collect = [](const llvm::DiagnosticInfo *info, void *text) {
    if (info->getSeverity() != llvm::DS_Error)
      return;
    llvm::raw_string_ostream os(*static_cast<std::string *>(text));
    llvm::DiagnosticPrinterRawOStream printer(os);
    info->print(printer);
    os << "\n";
  };
  module.getContext().setDiagnosticHandlerCallBack(collect, &errors);
  optimize(module, generation.machine, generation.kernels);
  std::string llvmIR = printModule(module);
  Result<std::string> ptx =
      generateCode(module, generation.machine, llvm::CodeGenFileType::AssemblyFile);
  if (!ptx.ok())
    return ptx.status();
  if (!errors.empty())
    return Status(StatusCode::Internal, llvm::StringRef(errors).trim().str());
  return std::vector<std::string>{std::move(*ptx), std::move(llvmIR)};
}

static Result<std::vector<std::string>> generateIsolated(llvm::Module &module,
                                                         const Generation &generation) {
  return runIsolated([&] { return generatePtx(module, generation); }, kGenerateSeconds);
}

/// A copy of `module` with one kernel.
static std::unique_ptr<llvm::Module>
extractKernel(const llvm::Module &module, const Generation &generation, llvm::StringRef name) {
  std::unique_ptr<llvm::Module> alone = llvm::CloneModule(module);
  for (llvm::Function &function : llvm::make_early_inc_range(*alone))
    if (generation.kernels.contains(function.getName()) && function.getName() != name &&
        function.use_empty())
      function.eraseFromParent();
  return alone;
}

/// Keeps `module`, before optimisation; returns the command that makes PTX of it.
static std::string keepModule(const llvm::Module &module, const Generation &generation,
                              const TargetInfo &target, const std::string &dumpDir,
                              const std::string &name) {
  const std::string flags = " -mcpu=" + target.cpu + " -mattr=" + generation.features;
  std::string path = keepInput(dumpDir, name + "-" + target.arch, "ll", printModule(module));
  return "opt -S -O3" + flags + " " + path + " | llc -O3" + flags;
}

/// Says which kernel `failure` comes from, and keeps it.
static Status blameKernel(const Status &failure, const llvm::Module &module,
                          const Generation &generation, llvm::ArrayRef<GpuKernel> kernels,
                          const TargetInfo &target, const std::string &dumpDir) {
  for (const GpuKernel &kernel : kernels) {
    std::unique_ptr<llvm::Module> alone = extractKernel(module, generation, kernel.name);
    Result<std::vector<std::string>> result = generateIsolated(*alone, generation);
    if (result.ok())
      continue;
    return withCommand(result.status().withPrefix("kernel '" + kernel.name +
                                                  "' cannot be made into PTX for " + target.arch),
                       keepModule(*alone, generation, target, dumpDir, kernel.name));
  }
  return withCommand(failure.withPrefix("the kernels cannot be made into PTX for " + target.arch +
                                        ", though each of them can alone"),
                     keepModule(module, generation, target, dumpDir, "kernels"));
}

/// Fills in the image's PTX and LLVM IR.
static Status makePtx(ModuleOp module, const TargetInfo &target, const std::string &dumpDir,
                      llvm::ArrayRef<GpuKernel> kernels, CudaImage &image) {
  Result<std::unique_ptr<llvm::TargetMachine>> machine = createMachine(target);
  if (!machine.ok())
    return machine.status();
  llvm::LLVMContext context;
  Result<std::unique_ptr<llvm::Module>> code = translateCode(module, context, **machine);
  if (!code.ok())
    return code.status();
  Generation generation{**machine, {}, (*machine)->getTargetFeatureString().str()};
  for (const GpuKernel &kernel : kernels) {
    generation.kernels.insert(kernel.name);
    (*code)->getFunction(kernel.name)->setCallingConv(llvm::CallingConv::PTX_Kernel);
  }
  Result<std::vector<std::string>> texts = generateIsolated(**code, generation);
  if (!texts.ok())
    return blameKernel(texts.status(), **code, generation, kernels, target, dumpDir);
  image.ptx = std::move((*texts)[0]);
  image.llvmIR = std::move((*texts)[1]);
  Status checked = checkPtx(image.ptx, kernels);
  if (checked.ok())
    return checked;
  std::string path = keepInput(dumpDir, "kernels-" + target.arch, "ptx", image.ptx);
  return withCommand(Status(checked.code(), checked.message() + "\nthe PTX is kept in " + path),
                     keepModule(**code, generation, target, dumpDir, "kernels"));
}

//===--- Machine code ---------------------------------------------------------------------------===//

/// Fills in each kernel's figures from what the assembler said.
static Status describeKernels(CudaImage &image, const GpuInfo &gpu, const PtxasReport &report) {
  for (CudaKernel &kernel : image.kernels) {
    const std::string prefix = "kernel '" + kernel.source.name + "'";
    const PtxasFunction *figures = report.find(kernel.source.name);
    if (!figures || figures->registers == 0)
      return Status(StatusCode::Internal, prefix + " expects its registers in what ptxas says, got "
                                                   "none");
    kernel.resources = *figures;
    Result<int64_t> blocks = computeBlocksPerSm(
        gpu, {figures->registers, figures->sharedBytes + kernel.source.dynamicSharedBytes,
              kernel.source.threads});
    if (!blocks.ok())
      return blocks.status().withPrefix(prefix);
    kernel.blocksPerSm = *blocks;
  }
  return Status();
}

static Status assemble(const TargetInfo &target, const Ptxas &ptxas, CudaImage &image) {
  Result<Assembled> assembled = assemblePtx(ptxas, target.cpu, image.ptx);
  if (!assembled.ok())
    return assembled.status().withPrefix("the kernels cannot be assembled for " + target.arch);
  MOHDRT_TRY(checkPtxasReport(assembled->report));
  MOHDRT_TRY(describeKernels(image, *target.gpu, assembled->report));
  // The file is that of mohd-compile's --dump-dir.
  image.assembly = ptxasCommand(ptxas, target.cpu, "kernels-cuda-" + target.arch + ".ptx");
  if (!target.gpu->isPtx) // else it was a test of the text
    image.cubin = std::move(assembled->cubin);
  return Status();
}

Result<CudaImage> mlir::mohd::compileToPtx(ModuleOp module, const TargetInfo &target,
                                           const std::string &dumpDir) {
  if (target.kind != TargetKind::Cuda || !target.gpu)
    return Status(StatusCode::InvalidArgument,
                  "expects a CUDA target for PTX, got '" + target.arch + "'");
  Result<std::vector<GpuKernel>> kernels = getGpuKernels(module);
  if (!kernels.ok())
    return kernels.status();
  CudaImage image;
  image.chip = target.arch;
  for (const GpuKernel &kernel : *kernels)
    image.kernels.push_back({kernel, std::nullopt, std::nullopt});
  MOHDRT_TRY(makePtx(module, target, dumpDir, *kernels, image));
  return image;
}

Status mlir::mohd::assembleImage(CudaImage &image, const TargetInfo &target,
                                 const Result<Ptxas> &ptxas, const std::string &dumpDir) {
  if (!ptxas.ok()) {
    const bool absent = ptxas.status().code() == StatusCode::NotFound;
    if (absent && target.gpu->isPtx)
      return Status();
    return ptxas.status().withPrefix(target.arch);
  }
  Status status = assemble(target, *ptxas, image);
  if (status.ok())
    return status;
  std::string path = keepInput(dumpDir, "kernels-" + target.arch, "ptx", image.ptx);
  return withCommand(status, ptxasCommand(*ptxas, target.cpu, path));
}

Result<CudaImage> mlir::mohd::compileCudaImage(ModuleOp module, const TargetInfo &target,
                                               const Result<Ptxas> &ptxas,
                                               const std::string &dumpDir) {
  Result<CudaImage> image = compileToPtx(module, target, dumpDir);
  if (image.ok())
    MOHDRT_TRY(assembleImage(*image, target, ptxas, dumpDir));
  return image;
}
