// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversions between dialects.
#ifndef MOHD_CONVERSION_PASSES_TD
#define MOHD_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// MathToArith
//===----------------------------------------------------------------------===//

def ApproximateMathPass : Pass<"mohd-approximate-math"> {
  let summary = "replace mathematical functions by code that calls no library";
  let description = [{
    Kernels link against nothing. This pass writes `math.log`, `math.tanh` and their like on f32 as the polynomials that MLIR has for them,
    `math.exp` on f32 as an argument reduction and a polynomial (within 1.2 ulp; 0 below 2^-125.5),
    `math.sin` and `math.cos` as an argument reduction and fdlibm's polynomials (in f64 within 2 ulp up to 2^20; f32 goes through f64),
    `math.rsqrt` as a division by a square root, and `math.fma` as a multiplication and an addition that the target joins if it can.

    Runs: in phase lower, when loops and vectors have their final shape.
    Leaves alone: what targets do natively (`math.sqrt`, `math.absf`, `math.floor`, ...) and integer functions.

    Before and after: see test/Docs/approximate-math.mlir.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::vector::VectorDialect", "::mlir::LLVM::LLVMDialect"];
}

def ExpandF16Pass : Pass<"mohd-expand-f16"> {
  let summary = "convert between f16 and f32 by integer arithmetic";
  let description = [{
    A processor without instructions for it (on x86 those of the feature f16c) converts f16 by calling a library, which kernels may not. This pass
    writes `arith.extf` and `arith.truncf` between the two as shifts, masks and one f32 operation, rounding to nearest even.

    Runs: in phase lower, on targets that need it.
    Leaves alone: conversions between other types.

    Before and after: see test/Docs/expand-f16.mlir.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

//===----------------------------------------------------------------------===//
// MoHDToLinalg
//===----------------------------------------------------------------------===//

def ConvertMohdToLinalgPass : Pass<"convert-mohd-to-linalg", "func::FuncOp"> {
  let summary = "lower the mohd dialect to plain dense loops, as a reference";
  let description = [{
    Every op of the mohd dialect on tensors becomes `linalg.generic` ops that compute each element of the result by itself, with serial
    reductions in f32 and masks for inactive groups. A routing becomes its two tensors. The result is slow and simple; it is the executable
    form of `docs/semantics.md`, shares no code with the fast lowering, and serves to check it.

    Runs: in the reference pipeline, on outlined kernels, before bufferization; on any function on tensors when debugging.

    Leaves alone: `mohd.weight`, whose data are outside the IR; ops of other dialects. A function with a routing in its signature is an error.

    Example:
    ```mlir
    func.func @add(%x: tensor<?x64xf32>, %o: tensor<?x64xf32>) -> tensor<?x64xf32> {
      %y = mohd.add %x, %o : tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }
    ```
    becomes a `linalg.generic` that reads `%x` and `%o` at its indices and yields their sum.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect"];
}

//===----------------------------------------------------------------------===//
// MoHDToKernels
//===----------------------------------------------------------------------===//

def EmitKernelsPass : Pass<"mohd-emit-kernels", "::mlir::func::FuncOp"> {
  let summary = "write the body of each CPU kernel as vectors and loops";
  let description = [{
    Replaces the op of an outlined kernel, and the views of its buffers as tensors, by loops over the kernel's tasks that work on the
    buffers. Emitters are chosen by op; an op without one is an error. Needed because a kernel's speed is in the order in
    which it walks weights, which tensors do not express.

    Runs: after `mohd-outline-dispatches`, before the lowering to LLVM.
    Leaves alone: functions without an op of the mohd dialect.

    Before and after: see test/Docs/emit-kernels.mlir.
  }];
  let options = [
    Option<"lanes", "lanes", "int64_t", /*default=*/"8", "Number of f32 in a vector of the target, a power of two.">,
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"
  ];
}

//===----------------------------------------------------------------------===//
// TileToLLVM
//===----------------------------------------------------------------------===//

def ConvertTileToLLVMPass : Pass<"convert-tile-to-llvm"> {
  let summary = "turn a kernel's typed access to its buffers into loads of pointers";
  let description = [{
    `tile.param` becomes a load of the 64-bit parameter; `tile.binding` becomes a load of the pointer and a memref descriptor with offset 0 and
    the strides of the identity layout. No alignment is promised beyond the element's: a binding may start at any element.

    Runs: in phase lower, before the rest becomes LLVM.
    Leaves alone: everything else; casts between memrefs and descriptors remain until `reconcile-unrealized-casts`.

    Before and after: see test/Docs/tile-to-llvm.mlir.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

//===----------------------------------------------------------------------===//
// TileToEmulator
//===----------------------------------------------------------------------===//

def ConvertTileToEmulatorPass : Pass<"convert-tile-to-emulator", "::mlir::ModuleOp"> {
  let summary = "turn GPU kernels into host functions that call the emulator";
  let description = [{
    Each op of the tile dialect in a GPU kernel becomes a call of a function in the table that the variable `mohd_emulator` points to
    (runtime/include/mohd/emulator/operations.h), so that a kernel's memory accesses, barriers and layouts can be tested without a GPU. Loads and stores are announced, then done as
    they are. Sums of `tile.wgmma` stay in a slot on the thread's stack. Pointers lose their address space; a pointer to shared memory that becomes a number
    is the address there, its lower 18 bits. The kernel becomes a function of one pointer, to pointers to the values of its parameters.

    Runs: in place of `convert-tile-to-ptx`, before branches become the `llvm` dialect's.
    Leaves alone: functions without `tile.kernel`; ops of other dialects. An integer that becomes a pointer to shared memory is an error.

    Before and after: see test/Docs/tile-to-emulator.mlir.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

//===----------------------------------------------------------------------===//
// TileToPtx
//===----------------------------------------------------------------------===//

def ConvertTileToPtxPass : Pass<"convert-tile-to-ptx", "::mlir::ModuleOp"> {
  let summary = "turn GPU kernels into what LLVM's NVPTX target compiles";
  let description = [{
    Each op of the tile dialect in a GPU kernel becomes operations of the `llvm` dialect: intrinsics where LLVM has them, else one PTX instruction as inline
    assembly. Sums of `tile.wgmma` become structures of registers. The function gets the attributes that NVPTX reads: it is a kernel, has a block of
    `tile.threads` threads, takes tensor maps by value. `tile.shared_bytes` stays for whoever launches it.

    Runs: before branches become the `llvm` dialect's, which pass no `!tile.sums`.
    Leaves alone: functions without `tile.kernel`; ops of other dialects.

    Before and after: see test/Docs/tile-to-ptx.mlir.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect"];
}

#endif // MOHD_CONVERSION_PASSES_TD
