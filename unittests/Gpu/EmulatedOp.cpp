// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles an op's kernels for the emulator, loads them, and launches them.
#include "EmulatedOp.h"

#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Pipelines/LowerGpuKernels.h"
#include "mohd/Target/CpuTarget.h"
#include "mohd/Target/CudaCode.h"
#include "mohd/Target/GpuTarget.h"
#include "mohd/emulator/emulator.h"
#include "mohd/format/expr.h"
#include "mohd/format/float16.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/MathExtras.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::mohd;
using namespace mohdgpu;

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

HostTensor::HostTensor(DType dtype, std::vector<int64_t> shape)
    : dtype(dtype), shape(std::move(shape)), lines(size_t(bytes() / 64 + 1)) {
  std::memset(data(), 0xff, lines.size() * sizeof(Line));
}

int64_t HostTensor::size() const {
  int64_t product = 1;
  for (int64_t extent : shape)
    product *= extent;
  return product;
}

double HostTensor::get(int64_t index) const {
  const auto *bytes = static_cast<const uint8_t *>(data()) + index * mohdrt::dtypeSize(dtype);
  auto read = [&](auto value) {
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  };
  switch (dtype) {
  case DType::F32:
    return read(float());
  case DType::BF16:
    return mohdrt::widenBf16(read(uint16_t()));
  case DType::F16:
    return mohdrt::widenF16(read(uint16_t()));
  case DType::I8:
    return read(int8_t());
  default:
    return read(int32_t());
  }
}

void HostTensor::set(int64_t index, double value) {
  auto *bytes = static_cast<uint8_t *>(data()) + index * mohdrt::dtypeSize(dtype);
  auto write = [&](auto element) { std::memcpy(bytes, &element, sizeof(element)); };
  switch (dtype) {
  case DType::F32:
    return write(float(value));
  case DType::BF16:
    return write(mohdrt::narrowBf16(float(value)));
  case DType::F16:
    return write(mohdrt::narrowF16(float(value)));
  case DType::I8:
    return write(int8_t(value));
  default:
    return write(int32_t(int64_t(value)));
  }
}

double mohdgpu::toleranceOf(DType dtype, double value, double magnitude) {
  double ofElement = dtype == DType::BF16 ? 0x1p-8 : dtype == DType::F16 ? 0x1p-11 : 0x1p-23;
  return magnitude * 0x1p-20 + std::abs(value) * ofElement + 1e-7;
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

namespace {

/// A kernel's code and launch, whose expressions are parsed.
struct LoadedKernel {
  std::string name;
  GpuLaunch launch;
  uint32_t sharedBytes = 0;
  mohd_emu_kernel code = nullptr;
};

} // namespace

struct EmulatedOp::State {
  MLIRContext context;
  TargetInfo target; // of CUDA
  OwningOpRef<ModuleOp> source, kernels;
  std::vector<GpuBinding> bindings;
  HostTensor scratch;
  std::vector<std::string> dims = {"T"};
  std::vector<LoadedKernel> loaded;
  std::string prefix = "op";
  void *library = nullptr;
  int file = -1;

  void describeBindings(func::FuncOp function, Operation *op);
  void addBinding(Type type, ArrayAttr names);
  bool emit(const Emit &emit, Operation *op);
  bool load();
  int64_t evaluate(const std::string &text, const std::vector<int64_t> &values);
  mohd_emu_tensor_map encode(const GpuTensorMap &map, const HostTensor &tensor,
                             const std::vector<int64_t> &values);
};

void EmulatedOp::State::addBinding(Type type, ArrayAttr names) {
  if (auto routing = dyn_cast<RoutingType>(type)) {
    addBinding(routing.getIndicesType(ShapedType::kDynamic), names);
    return addBinding(routing.getGatesType(ShapedType::kDynamic), names);
  }
  GpuBinding binding{cast<RankedTensorType>(type), {}};
  size_t next = 0;
  for (int64_t extent : binding.type.getShape()) {
    if (!ShapedType::isDynamic(extent)) {
      binding.extents.push_back(std::to_string(extent));
      continue;
    }
    std::string name = names ? cast<StringAttr>(names[next++]).getValue().str() : "T";
    if (!llvm::is_contained(dims, name))
      dims.push_back(name);
    binding.extents.push_back(name);
  }
  bindings.push_back(binding);
}

/// One binding for each operand, in the function's arguments' types, and each result that is not an operand's.
void EmulatedOp::State::describeBindings(func::FuncOp function, Operation *op) {
  for (Value operand : op->getOperands()) {
    auto argument = cast<BlockArgument>(operand);
    addBinding(operand.getType(),
               function.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), kDimsAttr));
  }
  auto tokenOp = dyn_cast<TokenOpInterface>(op);
  for (OpResult result : op->getResults())
    if (!tokenOp || !tokenOp.getTiedOperand() || result.getResultNumber() != 0)
      addBinding(result.getType(), {});
}

/// Makes the kernels, in a module of their own.
bool EmulatedOp::State::emit(const Emit &emit, Operation *op) {
  kernels = ModuleOp::create(op->getLoc());
  OpBuilder builder = OpBuilder::atBlockEnd(kernels->getBody());
  GpuKernelSet set(builder, op, bindings, dims, prefix, *target.gpu);
  if (failed(emit(set, op)))
    return false;
  scratch = HostTensor(DType::F32, {set.getScratchSize()});
  for (EmittedKernel kernel : set.getKernels()) {
    auto bytes = kernel.function->getAttrOfType<IntegerAttr>(tile::kSharedBytesAttr);
    loaded.push_back({kernel.function.getSymName().str(), kernel.launch, uint32_t(bytes.getInt()),
                      /*code=*/nullptr});
  }
  return true;
}

/// Compiles the kernels for this machine and finds their code.
bool EmulatedOp::State::load() {
  OwningOpRef<ModuleOp> module = kernels->clone();
  PassManager passes(&context);
  buildLowerGpuKernels(passes, /*emulate=*/true);
  if (failed(passes.run(*module)))
    return false;
  mohdrt::Result<TargetInfo> host = parseCpuTarget("cpu:native");
  if (!host.ok())
    return false;
  mohdrt::Result<NativeCode> code = compileKernels(*module, *host, /*keepText=*/false);
  if (!code.ok()) {
    ADD_FAILURE() << code.status().message();
    return false;
  }
  file = ::memfd_create("kernels.so", MFD_CLOEXEC);
  const std::string &bytes = code->sharedObject;
  if (::write(file, bytes.data(), bytes.size()) != ssize_t(bytes.size()))
    return false;
  library = ::dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    ADD_FAILURE() << ::dlerror();
    return false;
  }
  if (void *table = ::dlsym(library, "mohd_emulator"))
    *static_cast<const mohd_emu_table **>(table) = mohdemu::table();
  for (LoadedKernel &kernel : loaded)
    kernel.code = reinterpret_cast<mohd_emu_kernel>(::dlsym(library, kernel.name.c_str()));
  return true;
}

EmulatedOp::EmulatedOp(const std::string &chip, const std::string &text, const Emit &emit,
                       const std::function<void(GpuInfo &)> &adjust)
    : state(std::make_unique<State>()) {
  State &s = *state;
  s.context.loadDialect<arith::ArithDialect, func::FuncDialect, LLVM::LLVMDialect,
                        math::MathDialect, MohdDialect, scf::SCFDialect, tile::TileDialect>();
  mohdrt::Result<std::vector<TargetInfo>> targets = parseGpuTargets("cuda:" + chip);
  if (!targets.ok()) {
    ADD_FAILURE() << targets.status().message();
    return;
  }
  s.target = targets->front();
  if (adjust)
    adjust(*s.target.gpu);
  s.source = parseSourceString<ModuleOp>(text, &s.context);
  if (!s.source) {
    ADD_FAILURE() << "cannot read " << text;
    return;
  }
  auto function = *s.source->getOps<func::FuncOp>().begin();
  Operation *op = &function.getBody().front().front();
  s.describeBindings(function, op);
  if (!s.emit(emit, op) || !s.load())
    ADD_FAILURE() << "cannot make kernels for " << text;
}

EmulatedOp::~EmulatedOp() {
  if (state->library)
    ::dlclose(state->library);
  if (state->file >= 0)
    ::close(state->file);
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

int64_t EmulatedOp::State::evaluate(const std::string &text, const std::vector<int64_t> &values) {
  mohdrt::Result<mohdrt::Expr> expr = mohdrt::Expr::parse(text, dims);
  int64_t result = 0;
  if (!expr.ok())
    ADD_FAILURE() << text << ": " << expr.status().message();
  else if (mohdrt::ExprError error = expr->evaluate(values.data(), &result);
           error != mohdrt::ExprError::None)
    ADD_FAILURE() << text << ": " << mohdrt::exprErrorName(error);
  return result;
}

mohd_emu_tensor_map EmulatedOp::State::encode(const GpuTensorMap &map, const HostTensor &tensor,
                                              const std::vector<int64_t> &values) {
  mohd_emu_tensor_map encoded = {};
  encoded.base = reinterpret_cast<uint64_t>(tensor.data());
  encoded.rank = uint8_t(map.extents.size());
  encoded.element_bytes = uint8_t(map.element.getIntOrFloatBitWidth() / 8);
  encoded.swizzle = uint8_t((4 - int(map.swizzle)) & 3); // of the descriptor: 1 is 128 bytes
  for (size_t i = 0; i < map.extents.size(); ++i) {
    encoded.extents[i] = uint32_t(evaluate(map.extents[i], values));
    encoded.box[i] = uint16_t(map.box[i]);
    if (i > 0)
      encoded.strides[i - 1] = uint64_t(evaluate(map.strides[i - 1], values));
  }
  return encoded;
}

std::string EmulatedOp::run(const std::map<std::string, int64_t> &dims,
                            const std::vector<HostTensor *> &tensors, uint64_t seed) {
  State &s = *state;
  if (tensors.size() != s.bindings.size())
    return "expects " + std::to_string(s.bindings.size()) + " tensors, got " +
           std::to_string(tensors.size());
  std::vector<int64_t> values;
  for (const std::string &dim : s.dims)
    values.push_back(dims.at(dim));
  std::vector<mohdemu::Allocation> allocations;
  std::vector<void *> pointers;
  for (HostTensor *tensor : tensors) {
    allocations.push_back({tensor->data(), size_t(tensor->bytes()),
                           "binding " + std::to_string(pointers.size()), /*writable=*/true});
    pointers.push_back(tensor->data());
  }
  if (s.scratch.size() > 0) {
    s.scratch = HostTensor(s.scratch.dtype, s.scratch.shape);
    allocations.push_back(
        {s.scratch.data(), size_t(s.scratch.bytes()), "scratch", /*writable=*/true});
    pointers.push_back(s.scratch.data());
  }
  launchedNames.clear();
  for (const LoadedKernel &kernel : s.loaded) {
    mohdemu::Launch launch;
    launch.grid.x = uint32_t(s.evaluate(kernel.launch.grid, values));
    if (launch.grid.x == 0)
      continue;
    if (!kernel.code)
      return "no code for " + kernel.name;
    launchedNames.push_back(kernel.name.substr(std::min(kernel.name.size(), s.prefix.size() + 1)));
    std::vector<mohd_emu_tensor_map> maps;
    for (const GpuTensorMap &map : kernel.launch.maps) {
      const bool isScratch = size_t(map.binding) == tensors.size();
      maps.push_back(s.encode(map, isScratch ? s.scratch : *tensors[size_t(map.binding)], values));
    }
    std::vector<const void *> arguments;
    for (void *&pointer : pointers)
      arguments.push_back(&pointer);
    for (const mohd_emu_tensor_map &map : maps)
      arguments.push_back(&map);
    for (const int64_t &value : values)
      arguments.push_back(&value);
    launch.kernel = kernel.code;
    launch.name = kernel.name;
    launch.block.x = uint32_t(kernel.launch.threads);
    launch.sharedBytes = kernel.sharedBytes;
    launch.arguments = arguments.data();
    launch.allocations = allocations;
    launch.seed = seed;
    launch.threads = 2;
    mohdemu::Result result = mohdemu::launch(launch);
    if (!result.errors.empty())
      return mohdemu::toString(result);
  }
  return "";
}

std::string EmulatedOp::assemble(std::string &figures) {
  State &s = *state;
  mohdrt::Result<Ptxas> ptxas = findPtxas(PtxasPlaces::fromEnvironment());
  if (!ptxas.ok())
    return "";
  OwningOpRef<ModuleOp> module = s.kernels->clone();
  PassManager passes(&s.context);
  buildLowerGpuKernels(passes, /*emulate=*/false);
  if (failed(passes.run(*module)))
    return "cannot be lowered";
  mohdrt::Result<CudaImage> image = compileCudaImage(*module, s.target, ptxas, "");
  if (!image.ok())
    return image.status().message();
  static int number = 0;
  const std::string stem = "/" + std::to_string(++number) + "-" + image->chip;
  if (const char *folder = std::getenv("MOHD_GPU_DUMP"))
    for (auto [extension, text] : {std::pair(".ptx", &image->ptx), {".cubin", &image->cubin}})
      std::ofstream(folder + stem + extension) << *text;
  for (const CudaKernel &kernel : image->kernels)
    figures += kernel.source.name + ": " +
               std::to_string(kernel.resources ? kernel.resources->registers : 0) + " registers, " +
               std::to_string(kernel.source.dynamicSharedBytes) + " bytes shared, " +
               std::to_string(kernel.blocksPerSm.value_or(0)) + " blocks an SM\n";
  return "";
}
