// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The GPU kernels of an op: which launches it takes, and their bodies.
#ifndef MOHD_CONVERSION_MOHDTOGPU_GPUKERNELS_H
#define MOHD_CONVERSION_MOHDTOGPU_GPUKERNELS_H

#include "mohd/Conversion/MoHDToGpu/GpuEmitter.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Target/TargetInfo.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <memory>
#include <string>

namespace mlir::mohd {

/// Marks kernels of ops that only programs for many tokens have, which `mohd-fuse-launches` leaves as they are.
inline constexpr llvm::StringLiteral kManyTokensAttr = "mohd.many_tokens";

/// What TMA is told of a tensor. Extents and strides are expressions (docs/formats.md) over the call's dims.
struct GpuTensorMap {
  int64_t binding = 0; // of the kernel
  Type element;
  SmallVector<std::string> extents; // innermost first
  SmallVector<std::string> strides; // in bytes, of the second dimension on
  SmallVector<int64_t> box;         // extents of a tile
  tile::Swizzle swizzle = tile::Swizzle::None;
};

/// How a kernel is launched.
struct GpuLaunch {
  std::string grid; // expression, blocks; a launch of none is left out
  int64_t threads = 128;
  int64_t minBlocks = 1; // of an SM, which bounds the registers of a thread
  SmallVector<GpuTensorMap> maps;
};

/// A buffer that a kernel gets, as the entry point knows it.
struct GpuBinding {
  RankedTensorType type;
  SmallVector<std::string> extents; // numbers, or names of dims
};

/// An empty function with the marks of a GPU kernel. The bytes of its shared memory (`tile.shared_bytes`) are set with its body.
LLVM::LLVMFuncOp createGpuKernel(OpBuilder &builder, Location loc, StringRef name,
                                 ArrayRef<Type> params, int64_t threads, int64_t minBlocks);

/// Demands of a kernel (`mohd.instructions`) the PTX instructions that its ops are there for: those of tensor units, and copies past
/// the registers. For kernels whose body is complete.
void demandInstructions(LLVM::LLVMFuncOp kernel);

/// A kernel that was made, and its launch.
struct EmittedKernel {
  LLVM::LLVMFuncOp function;
  GpuLaunch launch;
};

/// Makes the kernels of one op: functions of its buffers, tensor maps, and dims.
class GpuKernelSet {
public:
  /// `bindings` has one entry for each operand that is given, except that a routing has two (indices, gates), then the same for each
  /// result that does not overwrite an operand. `dims` are the names of the dims in their extents; the first is the number of tokens, or a number.
  /// Kernels are called `name` and are made where `builder` is.
  GpuKernelSet(OpBuilder &builder, Operation *op, ArrayRef<GpuBinding> bindings,
               ArrayRef<std::string> dims, StringRef name, const GpuInfo &gpu);

  Operation *op;
  const GpuInfo &gpu;

  /// The number of tokens as an expression.
  StringRef getTokens() const { return dims.front(); }
  /// The number of the first binding of an operand, or of a result, of the op.
  int64_t getBinding(Value value) const;
  const GpuBinding &getType(Value value) const { return bindings[getBinding(value)]; }

  /// Gives the kernels `size` f32 of their own, the last binding, in which a launch leaves things for later ones of the call. Before the first of them is made.
  void addScratch(int64_t size);
  int64_t getScratchBinding() const { return int64_t(bindings.size()) - 1; }
  /// How many f32 these are, 0 if none.
  int64_t getScratchSize() const { return scratchSize; }

  /// Makes a kernel called after `suffix`, whose body `body` writes.
  void add(StringRef suffix, const GpuLaunch &launch, llvm::function_ref<void()> body);

  //===--------------------------------------------------------------------===//
  // Inside of a body
  //===--------------------------------------------------------------------===//

  GpuEmitter &e() { return *emitter; }
  /// The buffer of an operand or result of the op: of a routing its indices (part 0) or gates (part 1).
  const GpuBuffer &buffer(Value value, unsigned part = 0) const;
  const GpuBuffer &scratch() const { return buffers.back(); }
  /// The number of tokens.
  Term numTokens();
  /// The kernel's parameter for the launch's map number `map`.
  Value map(unsigned map) const;

  /// The kernels made, in the order of their launches.
  ArrayRef<EmittedKernel> getKernels() const { return kernels; }

private:
  OpBuilder &outer;
  ImplicitLocOpBuilder builder;
  SmallVector<GpuBinding> bindings;
  SmallVector<std::string> dims;
  std::string name;
  DenseMap<Value, int64_t> firstBinding;
  int64_t scratchSize = 0;
  std::unique_ptr<GpuEmitter> emitter;
  SmallVector<GpuBuffer> buffers;
  SmallVector<Value> maps;
  SmallVector<Term> dimValues;
  SmallVector<EmittedKernel> kernels;
};

/// Makes the kernels of `kernels.op`. An op without any for this GPU is an error at the op.
LogicalResult emitGpuKernels(GpuKernelSet &kernels);

/// Tokens up to which most ops have kernels of their own, which read each weight once.
inline constexpr int64_t kFewTokens = 16;

/// An expression that is 1 if there are 1 to `few` of `tokens`, or none, and 0 if there are more; and the other way round.
std::string isFew(StringRef tokens, int64_t few);
std::string isMany(StringRef tokens, int64_t few);

/// The activation scaling of a token whose gates sum up to mass(); null for `none`.
Term computeScaling(GpuEmitter &e, RoutingType routing, Scaling scaling,
                    llvm::function_ref<Term()> mass);

//===----------------------------------------------------------------------===//
// One function for each op
//===----------------------------------------------------------------------===//

LogicalResult emitGpuRoute(GpuKernelSet &kernels, RouteOp op);
LogicalResult emitGpuNormRoute(GpuKernelSet &kernels, NormRouteOp op);
LogicalResult emitGpuBucketOrder(GpuKernelSet &kernels, BucketOrderOp op);
LogicalResult emitGpuBucketTokens(GpuKernelSet &kernels, BucketTokensOp op);
LogicalResult emitGpuBucketSpmm(GpuKernelSet &kernels, BucketSpmmOp op);
LogicalResult emitGpuBucketSddmm(GpuKernelSet &kernels, BucketSddmmOp op);
LogicalResult emitGpuBucketFusion(GpuKernelSet &kernels, BucketFusionOp op);
LogicalResult emitGpuGate(GpuKernelSet &kernels, GateOp op);
LogicalResult emitGpuGatherGroups(GpuKernelSet &kernels, GatherGroupsOp op);
LogicalResult emitGpuScatterGroups(GpuKernelSet &kernels, ScatterGroupsOp op);
LogicalResult emitGpuScale(GpuKernelSet &kernels, ScaleOp op);
LogicalResult emitGpuBalanceLoss(GpuKernelSet &kernels, BalanceLossOp op);
LogicalResult emitGpuDequantize(GpuKernelSet &kernels, DequantizeOp op);
LogicalResult emitGpuGroupFusion(GpuKernelSet &kernels, GroupFusionOp op);
LogicalResult emitGpuEmbed(GpuKernelSet &kernels, EmbedOp op);
LogicalResult emitGpuRmsNorm(GpuKernelSet &kernels, RmsNormOp op);
LogicalResult emitGpuElementwise(GpuKernelSet &kernels, Operation *op);
LogicalResult emitGpuTransposeWeight(GpuKernelSet &kernels, TransposeWeightOp op);
LogicalResult emitGpuPermuteWeight(GpuKernelSet &kernels, PermuteWeightOp op);
LogicalResult emitGpuUnitGates(GpuKernelSet &kernels, UnitGatesOp op);
LogicalResult emitGpuGateGradient(GpuKernelSet &kernels, GateGradientOp op);
LogicalResult emitGpuScaleGradient(GpuKernelSet &kernels, ScaleGradientOp op);
LogicalResult emitGpuRouteGradient(GpuKernelSet &kernels, RouteGradientOp op);
LogicalResult emitGpuBalanceLossGradient(GpuKernelSet &kernels, BalanceLossGradientOp op);
LogicalResult emitGpuRmsNormGradient(GpuKernelSet &kernels, RmsNormGradientOp op);
LogicalResult emitGpuColumnSums(GpuKernelSet &kernels, ColumnSumsOp op);
LogicalResult emitGpuFusionMix(GpuKernelSet &kernels, FusionMixOp op);
LogicalResult emitGpuFusionMixGradient(GpuKernelSet &kernels, FusionMixGradientOp op);
LogicalResult emitGpuEmbedGradient(GpuKernelSet &kernels, EmbedGradientOp op);
LogicalResult emitGpuBucketWeightGradient(GpuKernelSet &kernels, BucketWeightGradientOp op);
LogicalResult emitGpuZeroCache(GpuKernelSet &kernels, ZeroCacheOp op);
LogicalResult emitGpuKvCacheAppendGradient(GpuKernelSet &kernels, KvCacheAppendGradientOp op);
LogicalResult emitGpuAttentionGradient(GpuKernelSet &kernels, AttentionGradientOp op);
LogicalResult emitGpuAttentionCacheGradient(GpuKernelSet &kernels, AttentionCacheGradientOp op);
LogicalResult emitGpuRope(GpuKernelSet &kernels, RopeOp op);
LogicalResult emitGpuKvCacheAppend(GpuKernelSet &kernels, KvCacheAppendOp op);
LogicalResult emitGpuAttention(GpuKernelSet &kernels, AttentionOp op);
LogicalResult emitGpuSample(GpuKernelSet &kernels, SampleOp op);

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_MOHDTOGPU_GPUKERNELS_H
