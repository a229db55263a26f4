// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers of the tile dialect's GPU ops.
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd::tile;

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// Bits of a scalar or of all elements of a vector.
static int64_t getBits(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getNumElements() * int64_t(vector.getElementTypeBitWidth());
  return type.getIntOrFloatBitWidth();
}

/// Checks that a value can be read or written in one access.
static LogicalResult verifyAccess(Operation *op, StringRef name, Type type) {
  int64_t bytes = getBits(type) / 8;
  if (bytes > 16 || !llvm::isPowerOf2_64(bytes))
    return op->emitOpError("expects '")
           << name << "' to have 1, 2, 4, 8 or 16 bytes, got " << bytes << " in " << type;
  return success();
}

LogicalResult GridSyncOp::verify() {
  auto kernel = (*this)->getParentOfType<LLVM::LLVMFuncOp>();
  if (!kernel || !kernel->hasAttr(kCooperativeAttr)) // grid_sync_c1
    return emitOpError("expects a kernel with the attribute '") << kCooperativeAttr << "'";
  return success();
}

LogicalResult SharedOp::verify() {
  auto function = (*this)->getParentOfType<LLVM::LLVMFuncOp>();
  auto bytes = function ? function->getAttrOfType<IntegerAttr>(kSharedBytesAttr) : IntegerAttr();
  if (!bytes) // shared_c1
    return emitOpError("expects a function with the attribute '") << kSharedBytesAttr << "'";
  if (getOffset() >= bytes.getValue().getZExtValue()) // shared_c2
    return emitOpError("expects an offset below the kernel's ")
           << bytes.getValue().getZExtValue() << " bytes of shared memory, got "
           << int64_t(getOffset());
  return success();
}

LogicalResult LoadOp::verify() {
  Type type = getResult().getType();
  if (failed(verifyAccess(*this, "result", type))) // load_c1
    return failure();
  bool isGlobal = getPointer().getType().getAddressSpace() == 1;
  if (getStreaming() && (!isGlobal || getBits(type) < 32)) // load_c2
    return emitOpError("expects global memory and 4, 8 or 16 bytes with 'streaming', got ")
           << getBits(type) / 8 << " bytes at " << getPointer().getType();
  return success();
}

LogicalResult StoreOp::verify() {
  return verifyAccess(*this, "value", getValue().getType()); // store_c1
}

//===----------------------------------------------------------------------===//
// Synchronisation and exchange
//===----------------------------------------------------------------------===//

/// Checks a number of threads that come to a barrier.
static LogicalResult verifyThreads(Operation *op, int64_t threads) {
  if (threads < 32 || threads > 1024 || threads % 32 != 0)
    return op->emitOpError("expects 'threads' to be a multiple of 32 from 32 to 1024, got ")
           << threads;
  return success();
}

LogicalResult BarrierSyncOp::verify() {
  if (bool(getBarrier()) != getThreads().has_value()) // barrier_sync_c1
    return emitOpError("expects both 'barrier' and 'threads' or none of them");
  return getThreads() ? verifyThreads(*this, int32_t(*getThreads())) : success(); // barrier_sync_c2
}

LogicalResult BarrierArriveOp::verify() {
  return verifyThreads(*this, int32_t(getThreads())); // barrier_arrive_c1
}

LogicalResult ShuffleOp::verify() {
  if (getWidth() > 32 || !llvm::isPowerOf2_32(getWidth())) // shuffle_c1
    return emitOpError("expects 'width' to be a power of two from 1 to 32, got ")
           << int32_t(getWidth());
  return success();
}

/// Checks a number of groups that may be pending, which goes up to `most`.
static LogicalResult verifyPending(Operation *op, int64_t pending, int64_t most) {
  if (pending < 0 || pending > most)
    return op->emitOpError("expects 'pending' to be from 0 to ") << most << ", got " << pending;
  return success();
}

//===----------------------------------------------------------------------===//
// Matrices
//===----------------------------------------------------------------------===//

LogicalResult CopyAsyncOp::verify() {
  if (getBytes() != 4 && getBytes() != 8 && getBytes() != 16) // copy_async_c1
    return emitOpError("expects 'bytes' to be 4, 8 or 16, got ") << int32_t(getBytes());
  return success();
}

LogicalResult CopyAsyncWaitOp::verify() {
  return verifyPending(*this, int32_t(getPending()), INT32_MAX); // copy_async_wait_c1
}

LogicalResult MmaOp::verify() {
  Type element = getC().getType().getElementType();
  bool isInteger = getKind() == MmaKind::S8;
  if (element.isInteger(32) != isInteger) // mma_c1
    return emitOpError("expects sums of ") << (isInteger ? "i32" : "f32") << " with "
                                           << stringifyMmaKind(getKind()) << ", got " << element;
  return success();
}

LogicalResult MatrixDescriptorOp::verify() {
  for (auto [name, offset] : {std::pair("leading", getLeading()), std::pair("stride", getStride())})
    if (offset >= 1 << 18 || offset % 16 != 0) // matrix_descriptor_c1
      return emitOpError("expects '")
             << name << "' to be a multiple of 16 from 0 to 262128, got " << int32_t(offset);
  return success();
}

LogicalResult WgmmaOp::verify() {
  if (getATransposed() && !getA().getType().isInteger(64)) // wgmma_c2
    return emitOpError("expects a descriptor as a transposed A, got ") << getA().getType();
  return success();
}

LogicalResult WgmmaWaitOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  llvm::append_range(types, adaptor.getSums().getTypes());
  return success();
}

LogicalResult WgmmaWaitOp::verify() {
  return verifyPending(*this, int32_t(getPending()), 7); // wgmma_wait_c1
}

LogicalResult WgmmaReadOp::verify() {
  int64_t elements = cast<SumsType>(getSums().getType()).getColumns() / 2;
  if (getIndex() >= elements) // wgmma_read_c1
    return emitOpError("expects 'index' to be below the thread's ")
           << elements << " elements, got " << int32_t(getIndex());
  return success();
}

//===----------------------------------------------------------------------===//
// TMA
//===----------------------------------------------------------------------===//

/// Checks the coordinates (C1) and the tensor map (C2) of a copy.
template <typename Op> static LogicalResult verifyTma(Op op) {
  size_t rank = op.getCoordinates().size();
  if (rank < 1 || rank > 5) // tma_load_c1, tma_store_c1
    return op.emitOpError("expects 1 to 5 coordinates, got ") << rank;
  auto argument = dyn_cast<BlockArgument>(op.getMap());
  auto function = op->template getParentOfType<LLVM::LLVMFuncOp>();
  if (!function || !argument || argument.getOwner() != &function.getBody().front() ||
      !function.getArgAttr(argument.getArgNumber(), kTensorMapAttr)) // tma_load_c2, tma_store_c2
    return op.emitOpError("expects 'map' to be a parameter of the kernel with the attribute '")
           << kTensorMapAttr << "'";
  return success();
}

LogicalResult TmaLoadOp::verify() { return verifyTma(*this); }

LogicalResult TmaStoreOp::verify() { return verifyTma(*this); }

LogicalResult TmaStoreWaitOp::verify() {
  return verifyPending(*this, int32_t(getPending()), INT32_MAX); // tma_store_wait_c1
}

LogicalResult SetMaxRegistersOp::verify() {
  if (getRegisters() < 24 || getRegisters() > 256 ||
      getRegisters() % 8 != 0) // set_max_registers_c1
    return emitOpError("expects 'registers' to be a multiple of 8 from 24 to 256, got ")
           << int32_t(getRegisters());
  return success();
}
