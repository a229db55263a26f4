// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The pass that compiles CUDA kernels for tests and for trying them out.
#include "mohd/Target/CudaCode.h"
#include "mohd/Target/GpuTarget.h"
#include "mohd/Target/Passes.h"
#include "mohd/format/output_file.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"

using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

namespace mlir::mohd {
#define GEN_PASS_DEF_SERIALIZECUDAPASS
#include "mohd/Target/Passes.h.inc"

namespace {

/// A dictionary of numbers.
DictionaryAttr getNumbers(Builder &builder, StringRef name,
                          ArrayRef<std::pair<StringRef, int64_t>> numbers) {
  NamedAttrList list;
  list.append("name", builder.getStringAttr(name));
  for (auto [key, number] : numbers)
    list.append(key, builder.getI64IntegerAttr(number));
  return list.getDictionary(builder.getContext());
}

DictionaryAttr describeKernel(Builder &builder, const CudaKernel &kernel, const GpuInfo &gpu) {
  const GpuKernel &source = kernel.source;
  if (!kernel.resources)
    return getNumbers(builder, source.name,
                      {{"threads", source.threads}, {"dynamic_shared", source.dynamicSharedBytes}});
  const int64_t warps = llvm::divideCeil(source.threads, gpu.warpSize);
  return getNumbers(builder, source.name,
                    {{"threads", source.threads},
                     {"dynamic_shared", source.dynamicSharedBytes},
                     {"static_shared", kernel.resources->sharedBytes},
                     {"registers", kernel.resources->registers},
                     {"barriers", kernel.resources->barriers},
                     {"blocks_per_sm", *kernel.blocksPerSm},
                     {"warps_per_sm", *kernel.blocksPerSm * warps}});
}

DictionaryAttr describeImage(Builder &builder, const CudaImage &image, const GpuInfo &gpu) {
  SmallVector<Attribute> kernels;
  for (const CudaKernel &kernel : image.kernels)
    kernels.push_back(describeKernel(builder, kernel, gpu));
  NamedAttrList list;
  list.append("chip", builder.getStringAttr(image.chip));
  list.append("format", builder.getStringAttr(image.cubin.empty() ? "ptx" : "cubin"));
  list.append("bytes", builder.getI64IntegerAttr(image.code().size()));
  list.append("kernels", builder.getArrayAttr(kernels));
  return list.getDictionary(builder.getContext());
}

Status writeFiles(const CudaImage &image, const std::string &folder) {
  if (std::error_code error = llvm::sys::fs::create_directories(folder))
    return Status(StatusCode::Io, folder + ": cannot make the folder: " + error.message());
  const std::string stem = folder + "/kernels-" + image.chip;
  auto write = [&](const char *extension, const std::string &text) {
    return text.empty() ? Status()
                        : ::mohdrt::writeFile(stem + extension, text.data(), text.size());
  };
  MOHDRT_TRY(write(".ll", image.llvmIR));
  MOHDRT_TRY(write(".ptx", image.ptx));
  return write(".cubin", image.cubin);
}

struct SerializeCudaPass : impl::SerializeCudaPassBase<SerializeCudaPass> {
  using Base::Base;

  void runOnOperation() override {
    Result<std::vector<TargetInfo>> chips = parseGpuTargets("cuda:" + llvm::join(targets, ","));
    Result<CudaCode> code = chips.ok() ? serialize(*chips) : chips.status();
    if (!code.ok()) {
      emitError(getOperation().getLoc()) << code.status().message();
      return signalPassFailure();
    }
    Builder builder(&getContext());
    SmallVector<Attribute> images;
    for (auto [image, target] : llvm::zip_equal(code->images, *chips))
      images.push_back(describeImage(builder, image, *target.gpu));
    NamedAttrList list;
    list.append("images", builder.getArrayAttr(images));
    if (!code->ptxasVersion.empty())
      list.append("ptxas", builder.getStringAttr(code->ptxasVersion));
    getOperation()->setAttr("mohd.cuda", list.getDictionary(&getContext()));
  }

private:
  Result<CudaCode> serialize(const std::vector<TargetInfo> &chips) {
    const Result<Ptxas> ptxas = findPtxas(PtxasPlaces::fromEnvironment());
    CudaCode code;
    if (ptxas.ok())
      code.ptxasVersion = (*ptxas).version;
    for (const TargetInfo &target : chips) {
      Result<CudaImage> image = compileCudaImage(getOperation(), target, ptxas, dumpDir);
      if (!image.ok())
        return image.status();
      if (!dumpDir.empty())
        MOHDRT_TRY(writeFiles(*image, dumpDir));
      code.images.push_back(std::move(*image));
    }
    return code;
  }
};

} // namespace
} // namespace mlir::mohd
