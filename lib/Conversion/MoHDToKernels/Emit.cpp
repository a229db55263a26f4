// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Chooses the emitter of a kernel's op and replaces the kernel's tensors by its buffers.
//
//   %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
//   %y = mohd.silu %x : tensor<?x64xf32>
//   bufferization.materialize_in_destination %y in restrict writable %1 : ...
// becomes loops over [%begin, %end) that read %0 and write %1. Tests:
// test/Conversion/MoHDToKernels.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_EMITKERNELSPASS
#include "mohd/Conversion/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

std::string mlir::mohd::getKernelGrid(Operation *op, int64_t lanes, StringRef tokens) {
  return llvm::TypeSwitch<Operation *, std::string>(op)
      .Case([&](RouteOp op) { return gridOfRoute(op, tokens); })
      .Case([&](ScaleOp op) { return gridOfScale(op, tokens); })
      .Case([&](BalanceLossOp op) { return gridOfBalanceLoss(op, tokens); })
      .Case<GateOp, GatherGroupsOp, ScatterGroupsOp>([&](auto) { return gridOfGate(tokens); })
      .Case([&](PackWeightOp op) { return gridOfPackWeight(op, lanes); })
      .Case([&](DequantizeOp op) { return gridOfDequantize(op, tokens); })
      .Case([&](GroupTokensOp op) { return gridOfGroupTokens(op, tokens); })
      .Case([&](PackTokensOp op) { return gridOfPackTokens(op, tokens); })
      .Case([&](TiledSpmmOp op) { return gridOfTiledSpmm(op, tokens); })
      .Case([&](TiledSddmmOp op) { return gridOfTiledSddmm(op, tokens); })
      .Case([&](GroupFusionOp op) { return gridOfGroupFusion(op, tokens); })
      .Case([&](MixGroupsOp op) { return gridOfMixGroups(op, tokens); })
      .Case([&](EmbedOp op) { return gridOfEmbed(op, tokens); })
      .Case([&](RmsNormOp op) { return gridOfRmsNorm(op, tokens); })
      .Case([&](RopeOp op) { return gridOfRope(op, tokens); })
      .Case([&](KvCacheAppendOp op) { return gridOfKvCacheAppend(op, tokens); })
      .Case([&](AttentionOp op) { return gridOfAttention(op, lanes, tokens); })
      .Case([&](SampleOp op) { return gridOfSample(op, tokens); })
      .Case<AddOp, CopyOp, SiluOp, SiluGradientOp, SwigluOp>(
          [&](Operation *op) { return gridOfElementwise(op, lanes, tokens); })
      .Case([&](PermuteWeightOp op) { return gridOfPermuteWeight(op); })
      .Case([&](TiledWeightGradientOp op) { return gridOfTiledWeightGradient(op, lanes); })
      .Case([&](UnitGatesOp) { return gridOfUnitGates(tokens); })
      .Case([&](GateGradientOp) { return gridOfGateGradient(tokens); })
      .Case([&](ScaleGradientOp) { return gridOfScaleGradient(tokens); })
      .Case([&](RouteGradientOp) { return gridOfRouteGradient(tokens); })
      .Case([&](BalanceLossGradientOp) { return gridOfBalanceLossGradient(); })
      .Case([&](RmsNormGradientOp) { return gridOfRmsNormGradient(tokens); })
      .Case([&](ColumnSumsOp op) { return gridOfColumnSums(op); })
      .Case([&](EmbedGradientOp op) { return gridOfEmbedGradient(op); })
      .Case([&](SwigluGradientOp) { return gridOfSwigluGradient(tokens); })
      .Case([&](FusionMixGradientOp op) { return gridOfFusionMixGradient(op, lanes); })
      .Case([&](ZeroCacheOp) { return gridOfZeroCache(); })
      .Case([&](KvCacheAppendGradientOp) { return gridOfKvCacheAppendGradient(tokens); })
      .Case([&](AttentionGradientOp op) { return gridOfAttentionGradient(op, tokens); })
      .Case([&](AttentionCacheGradientOp op) { return gridOfAttentionCacheGradient(op, tokens); })
      .Default([](Operation *) { return std::string(); });
}

LogicalResult mlir::mohd::emitKernel(KernelEmitter &e, Operation *op, ValueRange operands,
                                     ValueRange results) {
  bool known = true;
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](RouteOp op) { emitRoute(e, op, operands, results); })
      .Case([&](ScaleOp op) { emitScale(e, op, operands, results); })
      .Case([&](BalanceLossOp op) { emitBalanceLoss(e, op, operands, results); })
      .Case([&](GateOp op) { emitGate(e, op, operands, results); })
      .Case([&](GatherGroupsOp op) { emitGatherGroups(e, op, operands, results); })
      .Case([&](ScatterGroupsOp op) { emitScatterGroups(e, op, operands, results); })
      .Case([&](PackWeightOp op) { emitPackWeight(e, op, operands, results); })
      .Case([&](DequantizeOp op) { emitDequantize(e, op, operands, results); })
      .Case([&](GroupTokensOp op) { emitGroupTokens(e, op, operands, results); })
      .Case([&](PackTokensOp op) { emitPackTokens(e, op, operands, results); })
      .Case([&](TiledSpmmOp op) { emitTiledSpmm(e, op, operands, results); })
      .Case([&](TiledSddmmOp op) { emitTiledSddmm(e, op, operands, results); })
      .Case([&](GroupFusionOp op) {
        known = op.getKind() != Fusion::Monarch; // that is tiled
        if (known)
          emitGroupFusion(e, op, operands, results);
      })
      .Case([&](MixGroupsOp op) { emitMixGroups(e, op, operands, results); })
      .Case([&](EmbedOp op) { emitEmbed(e, op, operands, results); })
      .Case([&](RmsNormOp op) { emitRmsNorm(e, op, operands, results); })
      .Case([&](RopeOp op) { emitRope(e, op, operands, results); })
      .Case([&](KvCacheAppendOp op) { emitKvCacheAppend(e, op, operands, results); })
      .Case([&](AttentionOp op) { emitAttention(e, op, operands, results); })
      .Case([&](SampleOp op) { emitSample(e, op, operands, results); })
      .Case<AddOp, CopyOp, SiluOp, SiluGradientOp, SwigluOp>(
          [&](Operation *op) { emitElementwise(e, op, operands, results); })
      .Case([&](PermuteWeightOp op) { emitPermuteWeight(e, op, operands, results); })
      .Case([&](TiledWeightGradientOp op) { emitTiledWeightGradient(e, op, operands, results); })
      .Case([&](UnitGatesOp op) { emitUnitGates(e, op, operands, results); })
      .Case([&](GateGradientOp op) { emitGateGradient(e, op, operands, results); })
      .Case([&](ScaleGradientOp op) { emitScaleGradient(e, op, operands, results); })
      .Case([&](RouteGradientOp op) { emitRouteGradient(e, op, operands, results); })
      .Case([&](BalanceLossGradientOp op) { emitBalanceLossGradient(e, op, operands, results); })
      .Case([&](RmsNormGradientOp op) { emitRmsNormGradient(e, op, operands, results); })
      .Case([&](ColumnSumsOp op) { emitColumnSums(e, op, operands, results); })
      .Case([&](EmbedGradientOp op) { emitEmbedGradient(e, op, operands, results); })
      .Case([&](SwigluGradientOp op) { emitSwigluGradient(e, op, operands, results); })
      .Case([&](FusionMixGradientOp op) { emitFusionMixGradient(e, op, operands, results); })
      .Case([&](ZeroCacheOp op) { emitZeroCache(e, op, operands, results); })
      .Case(
          [&](KvCacheAppendGradientOp op) { emitKvCacheAppendGradient(e, op, operands, results); })
      .Case([&](AttentionGradientOp op) { emitAttentionGradient(e, op, operands, results); })
      .Case([&](AttentionCacheGradientOp op) {
        emitAttentionCacheGradient(e, op, operands, results);
      })
      .Default([&](Operation *) { known = false; });
  if (!known)
    return op->emitOpError("expects an op with a CPU kernel");
  return success();
}

namespace {

/// Appends the buffers behind a tensor or routing: one, or the two of a routing. False if it is not
/// a view of buffers.
bool appendOperandBuffers(Value operand, SmallVectorImpl<Value> &buffers) {
  if (auto make = operand.getDefiningOp<MakeRoutingOp>())
    return appendOperandBuffers(make.getIndices(), buffers) &&
           appendOperandBuffers(make.getGates(), buffers);
  auto view = operand.getDefiningOp<bufferization::ToTensorOp>();
  if (view)
    buffers.push_back(view.getBuffer());
  return bool(view);
}

/// Appends the buffers into which a tensor or routing is stored; null for one that is not stored.
void appendResultBuffers(Value result, SmallVectorImpl<Value> &buffers) {
  if (auto routing = dyn_cast<RoutingType>(result.getType())) {
    for (Operation *user : result.getUsers())
      if (auto unpack = dyn_cast<UnpackRoutingOp>(user)) {
        appendResultBuffers(unpack.getIndices(), buffers);
        return appendResultBuffers(unpack.getGates(), buffers);
      }
    return buffers.append(2, Value());
  }
  for (Operation *user : result.getUsers())
    if (auto store = dyn_cast<bufferization::MaterializeInDestinationOp>(user))
      return buffers.push_back(store.getDest());
  buffers.push_back(Value());
}

/// A view of a buffer of bf16 as i16; other buffers as they are.
Value viewAsBits(Value buffer) {
  auto type = buffer ? cast<MemRefType>(buffer.getType()) : MemRefType();
  auto binding = buffer ? buffer.getDefiningOp<tile::BindingOp>() : tile::BindingOp();
  if (!binding || !type.getElementType().isBF16())
    return buffer;
  OpBuilder builder(binding);
  Type bits = MemRefType::get(type.getShape(), builder.getI16Type());
  return tile::BindingOp::create(builder, binding.getLoc(), bits, binding.getBindings(),
                                 binding.getIndex(), binding.getSizes());
}

/// Erases the op of a kernel and the ops that tie it to its buffers.
void eraseTensors(func::FuncOp kernel) {
  auto isTensorOp = [](Operation &op) {
    if (isa<tile::BindingOp>(op))
      return op.use_empty(); // replaced by a view as bits
    return isa<bufferization::ToTensorOp, bufferization::MaterializeInDestinationOp>(op) ||
           isa<MohdDialect>(op.getDialect());
  };
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(kernel.front())))
    if (isTensorOp(op))
      op.erase();
}

/// Finds the op of a kernel, null if there is none. More than one is an error.
FailureOr<Operation *> findKernelOp(func::FuncOp kernel) {
  Operation *found = nullptr;
  for (Operation &op : kernel.getOps()) {
    if (!isa<MohdDialect>(op.getDialect()) || isa<MakeRoutingOp, UnpackRoutingOp>(op))
      continue;
    if (found)
      return op.emitOpError("expects to be the only op of its kernel");
    found = &op;
  }
  return found;
}

class EmitKernels : public mohd::impl::EmitKernelsPassBase<EmitKernels> {
public:
  using Base::Base;

  void runOnOperation() override {
    func::FuncOp kernel = getOperation();
    if (kernel.isExternal())
      return;
    FailureOr<Operation *> op = findKernelOp(kernel);
    if (failed(op) || (*op && failed(emit(kernel, *op))))
      signalPassFailure();
  }

private:
  LogicalResult emit(func::FuncOp kernel, Operation *op) {
    if (lanes < 1 || !llvm::isPowerOf2_64(lanes))
      return op->emitOpError("expects a number of lanes that is a power of two, got ")
             << lanes.getValue();
    if (kernel.getNumArguments() != 4 || !kernel.getBody().hasOneBlock())
      return op->emitOpError(
          "expects to be in a kernel: a function of bindings, params, begin and end");
    SmallVector<Value> operands, results;
    for (Value operand : op->getOperands())
      if (!appendOperandBuffers(operand, operands))
        return op->emitOpError("expects operands that are views of the kernel's buffers");
    for (Value result : op->getResults())
      appendResultBuffers(result, results);
    if (!isa<RouteOp>(op) && llvm::is_contained(results, Value()))
      return op->emitOpError("expects its results to be stored in the kernel's buffers");

    for (Value &buffer : operands)
      buffer = viewAsBits(buffer);
    for (Value &buffer : results)
      buffer = viewAsBits(buffer);

    ImplicitLocOpBuilder builder(op->getLoc(), kernel.front().getTerminator());
    auto toIndex = [&](Value value) {
      return arith::IndexCastOp::create(builder, builder.getIndexType(), value).getResult();
    };
    Value begin = toIndex(kernel.getArgument(2)), end = toIndex(kernel.getArgument(3));
    Value numTokens =
        tile::ParamOp::create(builder, builder.getIndexType(), kernel.getArgument(1), 0);
    KernelEmitter emitter(builder, lanes, begin, end, numTokens);
    if (failed(emitKernel(emitter, op, operands, results)) || failed(checkStack(kernel, op)))
      return failure();
    eraseTensors(kernel);
    return success();
  }

  /// Checks that the kernel's buffers of its own fit the stack of any thread.
  LogicalResult checkStack(func::FuncOp kernel, Operation *op) {
    constexpr uint64_t maxBytes = uint64_t(1) << 20;
    uint64_t bytes = 0;
    kernel.walk([&](memref::AllocaOp buffer) {
      MemRefType type = buffer.getType();
      unsigned bits = type.getElementType().isIndex() ? 64 : type.getElementTypeBitWidth();
      uint64_t size = (bits + 7) / 8;
      for (int64_t extent : type.getShape())
        size = llvm::SaturatingMultiply<uint64_t>(size, extent);
      bytes = llvm::SaturatingAdd(bytes, size);
    });
    if (bytes > maxBytes)
      return op->emitOpError("expects a kernel to need at most ")
             << maxBytes << " bytes of stack, got " << bytes;
    return success();
  }
};

} // namespace
