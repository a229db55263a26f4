// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Makes the functions of an op's kernels, and chooses who writes their bodies.
#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

#include "mohd/Dialect/MoHD/IR/AttributeNames.h"

#include "llvm/ADT/TypeSwitch.h"

#include <set>

using namespace mlir;
using namespace mlir::mohd;

std::string mlir::mohd::isFew(StringRef tokens, int64_t few) {
  return ("min(1," + Twine(few) + "/max(1," + tokens + "))").str();
}

std::string mlir::mohd::isMany(StringRef tokens, int64_t few) {
  return "(1-" + isFew(tokens, few) + ")";
}

LLVM::LLVMFuncOp mlir::mohd::createGpuKernel(OpBuilder &builder, Location loc, StringRef name,
                                             ArrayRef<Type> params, int64_t threads,
                                             int64_t minBlocks) {
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()), params);
  auto function = LLVM::LLVMFuncOp::create(builder, loc, name, type);
  function->setAttr(kKernelAttr, builder.getUnitAttr());
  function->setAttr(tile::kKernelAttr, builder.getUnitAttr());
  function->setAttr(tile::kThreadsAttr, builder.getI32IntegerAttr(threads));
  function->setAttr(tile::kMinBlocksAttr, builder.getI32IntegerAttr(minBlocks));
  return function;
}

/// The instruction that an op is there for; nothing for ops that others could stand in for.
static StringRef getInstruction(Operation *op) {
  return llvm::TypeSwitch<Operation *, StringRef>(op)
      .Case([](tile::MmaOp) { return "mma.sync"; })
      .Case([](tile::WgmmaOp) { return "wgmma.mma_async"; })
      .Case([](tile::LoadMatrixOp) { return "ldmatrix"; })
      .Case([](tile::CopyAsyncOp copy) { // which cache: as convert-tile-to-ptx has it
        return copy.getBytes() == 16 ? "cp.async.cg" : "cp.async.ca";
      })
      .Case<tile::TmaLoadOp, tile::TmaStoreOp>([](auto) { return "cp.async.bulk.tensor"; })
      .Default([](Operation *) { return ""; });
}

void mlir::mohd::demandInstructions(LLVM::LLVMFuncOp kernel) {
  std::set<StringRef> instructions; // in order
  kernel.walk([&](Operation *op) {
    if (StringRef instruction = getInstruction(op); !instruction.empty())
      instructions.insert(instruction);
  });
  SmallVector<StringRef> list(instructions.begin(), instructions.end());
  if (!list.empty())
    kernel->setAttr(kInstructionsAttr, Builder(kernel).getStrArrayAttr(list));
}

GpuKernelSet::GpuKernelSet(OpBuilder &builder, Operation *op, ArrayRef<GpuBinding> bindings,
                           ArrayRef<std::string> dims, StringRef name, const GpuInfo &gpu)
    : op(op), gpu(gpu), outer(builder), builder(op->getLoc(), builder.getContext()),
      bindings(bindings), dims(dims), name(name) {
  int64_t next = 0;
  auto count = [&](Value value) {
    firstBinding.try_emplace(value, next);
    next += isa<RoutingType>(value.getType()) ? 2 : 1;
  };
  for (Value operand : op->getOperands())
    count(operand);
  auto tokenOp = dyn_cast<TokenOpInterface>(op);
  for (OpResult result : op->getResults())
    if (tokenOp && tokenOp.getTiedOperand() && result.getResultNumber() == 0)
      firstBinding[result] = firstBinding[op->getOperand(*tokenOp.getTiedOperand())];
    else
      count(result);
}

int64_t GpuKernelSet::getBinding(Value value) const { return firstBinding.lookup(value); }

void GpuKernelSet::addScratch(int64_t size) {
  assert(kernels.empty() && scratchSize == 0 && "all kernels have the same parameters");
  scratchSize = size;
  bindings.push_back({RankedTensorType::get({size}, outer.getF32Type()), {std::to_string(size)}});
}

const GpuBuffer &GpuKernelSet::buffer(Value value, unsigned part) const {
  return buffers[getBinding(value) + part];
}

Term GpuKernelSet::numTokens() { return dimValues.front(); }

Value GpuKernelSet::map(unsigned map) const { return maps[map]; }

void GpuKernelSet::add(StringRef suffix, const GpuLaunch &launch, llvm::function_ref<void()> body) {
  MLIRContext *context = outer.getContext();
  Type pointer = LLVM::LLVMPointerType::get(context, 1), map = LLVM::LLVMPointerType::get(context);
  SmallVector<Type> types(bindings.size(), pointer);
  types.append(launch.maps.size(), map);
  types.append(dims.size(), outer.getI64Type());
  std::string full = suffix.empty() ? name : (name + "_" + suffix).str();
  LLVM::LLVMFuncOp function =
      createGpuKernel(outer, op->getLoc(), full, types, launch.threads, launch.minBlocks);
  if (isa<BucketWeightGradientOp>(op))
    function->setAttr(kManyTokensAttr, outer.getUnitAttr());
  for (size_t i = 0; i < launch.maps.size(); ++i)
    function.setArgAttr(bindings.size() + i, tile::kTensorMapAttr, outer.getUnitAttr());

  builder.setInsertionPointToStart(function.addEntryBlock(outer));
  emitter = std::make_unique<GpuEmitter>(builder);
  buffers.clear();
  maps.clear();
  dimValues.clear();
  Block &entry = function.getBody().front();
  for (size_t i = 0; i < launch.maps.size(); ++i)
    maps.push_back(entry.getArgument(bindings.size() + i));
  for (size_t i = 0; i < dims.size(); ++i)
    dimValues.push_back(
        toI32(emitter->wrap(entry.getArgument(bindings.size() + launch.maps.size() + i))));
  for (auto [number, binding] : llvm::enumerate(bindings)) {
    GpuBuffer &buffer = buffers.emplace_back();
    buffer.pointer = entry.getArgument(number);
    buffer.type = binding.type;
    for (const auto &[size, text] : llvm::zip_equal(binding.type.getShape(), binding.extents)) {
      const auto *dim = llvm::find(dims, text);
      buffer.extents.push_back(ShapedType::isDynamic(size) ? dimValues[dim - dims.begin()]
                                                           : emitter->i32(size));
    }
  }
  body();
  LLVM::ReturnOp::create(builder, ValueRange());
  function->setAttr(tile::kSharedBytesAttr, outer.getI64IntegerAttr(emitter->getSharedBytes()));
  demandInstructions(function);
  kernels.push_back({function, launch});
}

LogicalResult mlir::mohd::emitGpuKernels(GpuKernelSet &kernels) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(kernels.op)
      .Case([&](RouteOp op) { return emitGpuRoute(kernels, op); })
      .Case([&](NormRouteOp op) { return emitGpuNormRoute(kernels, op); })
      .Case([&](BucketOrderOp op) { return emitGpuBucketOrder(kernels, op); })
      .Case([&](BucketTokensOp op) { return emitGpuBucketTokens(kernels, op); })
      .Case([&](BucketSpmmOp op) { return emitGpuBucketSpmm(kernels, op); })
      .Case([&](BucketSddmmOp op) { return emitGpuBucketSddmm(kernels, op); })
      .Case([&](BucketFusionOp op) { return emitGpuBucketFusion(kernels, op); })
      .Case([&](GateOp op) { return emitGpuGate(kernels, op); })
      .Case([&](GatherGroupsOp op) { return emitGpuGatherGroups(kernels, op); })
      .Case([&](ScatterGroupsOp op) { return emitGpuScatterGroups(kernels, op); })
      .Case([&](ScaleOp op) { return emitGpuScale(kernels, op); })
      .Case([&](BalanceLossOp op) { return emitGpuBalanceLoss(kernels, op); })
      .Case([&](DequantizeOp op) { return emitGpuDequantize(kernels, op); })
      .Case([&](GroupFusionOp op) { return emitGpuGroupFusion(kernels, op); })
      .Case([&](EmbedOp op) { return emitGpuEmbed(kernels, op); })
      .Case([&](RmsNormOp op) { return emitGpuRmsNorm(kernels, op); })
      .Case<AddOp, CopyOp, SiluOp, SiluGradientOp, SwigluOp, SwigluGradientOp>(
          [&](Operation *op) { return emitGpuElementwise(kernels, op); })
      .Case([&](TransposeWeightOp op) { return emitGpuTransposeWeight(kernels, op); })
      .Case([&](PermuteWeightOp op) { return emitGpuPermuteWeight(kernels, op); })
      .Case([&](UnitGatesOp op) { return emitGpuUnitGates(kernels, op); })
      .Case([&](GateGradientOp op) { return emitGpuGateGradient(kernels, op); })
      .Case([&](ScaleGradientOp op) { return emitGpuScaleGradient(kernels, op); })
      .Case([&](RouteGradientOp op) { return emitGpuRouteGradient(kernels, op); })
      .Case([&](BalanceLossGradientOp op) { return emitGpuBalanceLossGradient(kernels, op); })
      .Case([&](RmsNormGradientOp op) { return emitGpuRmsNormGradient(kernels, op); })
      .Case([&](ColumnSumsOp op) { return emitGpuColumnSums(kernels, op); })
      .Case([&](FusionMixOp op) { return emitGpuFusionMix(kernels, op); })
      .Case([&](FusionMixGradientOp op) { return emitGpuFusionMixGradient(kernels, op); })
      .Case([&](EmbedGradientOp op) { return emitGpuEmbedGradient(kernels, op); })
      .Case([&](BucketWeightGradientOp op) { return emitGpuBucketWeightGradient(kernels, op); })
      .Case([&](ZeroCacheOp op) { return emitGpuZeroCache(kernels, op); })
      .Case([&](KvCacheAppendGradientOp op) { return emitGpuKvCacheAppendGradient(kernels, op); })
      .Case([&](AttentionGradientOp op) { return emitGpuAttentionGradient(kernels, op); })
      .Case([&](AttentionCacheGradientOp op) { return emitGpuAttentionCacheGradient(kernels, op); })
      .Case([&](RopeOp op) { return emitGpuRope(kernels, op); })
      .Case([&](KvCacheAppendOp op) { return emitGpuKvCacheAppend(kernels, op); })
      .Case([&](AttentionOp op) { return emitGpuAttention(kernels, op); })
      .Case([&](SampleOp op) { return emitGpuSample(kernels, op); })
      .Default([](Operation *op) { return op->emitOpError("expects an op with a GPU kernel"); });
}
