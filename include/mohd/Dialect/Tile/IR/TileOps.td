// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tile dialect: what kernels are written in, beyond upstream dialects.
#ifndef MOHD_DIALECT_TILE_IR_TILEOPS_TD
#define MOHD_DIALECT_TILE_IR_TILEOPS_TD

include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Tile_Dialect : Dialect {
  let name = "tile";
  let cppNamespace = "::mlir::mohd::tile";
  let summary = "the interior of kernels";
  let description = [{
    A CPU kernel is a function with the scalar interface of docs/formats.md: pointers to its buffers, its 64-bit parameters, and the range of tasks to
    do. `tile.binding` and `tile.param` give its body typed access to the first two.

    A GPU kernel is an `llvm.func` with the attribute `tile.kernel`, run by each thread. Its parameters are i32, i64, f32, pointers to global memory
    (`!llvm.ptr<1>`) and tensor maps. Its body has the other ops of this dialect, as close to PTX's instructions as the names say. Each op has two lowerings:
    `convert-tile-to-ptx` for the GPU, and `convert-tile-to-emulator` for tests without one.

    | attribute | of | what |
    |---|---|---|
    | `tile.kernel` | function | is a GPU kernel |
    | `tile.shared_bytes` | kernel | i64: bytes of shared memory, up to 232448 |
    | `tile.threads` | kernel | i32: threads of a block, a multiple of 32 up to 1024 |
    | `tile.min_blocks` | kernel | i32: blocks that a multiprocessor should hold at once, 1 to 32 |
    | `tile.cooperative` | kernel | all blocks of its grid run at the same time, however many the GPU chose to have: what `tile.grid_sync` needs |
    | `tile.tensor_map` | parameter `!llvm.ptr` | is a tensor map of 128 bytes, passed by value |
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let hasRegionArgAttrVerify = 1;
  let extraClassDeclaration = [{
    void registerTypes();
    void registerAttributes();
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def Tile_Pointer : Type<CPred<"::mlir::isa<::mlir::LLVM::LLVMPointerType>($_self)">, "pointer">,
    BuildableType<"::mlir::LLVM::LLVMPointerType::get($_builder.getContext())">;

class Tile_Op<string mnemonic, list<Trait> traits = []> : Op<Tile_Dialect, mnemonic, traits>;

def Tile_BindingOp : Tile_Op<"binding", [Pure]> {
  let summary = "a typed view of a kernel's buffer";
  let description = [{
    The `index`-th pointer of `bindings` as a memref; `sizes` gives its dynamic dimensions. The data is aligned as its elements are: a
    binding may start anywhere in a buffer. One that the kernel writes overlaps no other.

    Constraints:
    - (C1) `sizes` has one value for each dynamic dimension of the result.
    - (C2) the result has the identity layout.

    Example:
    ```mlir
    %x = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
    ```
  }];
  let arguments = (ins Tile_Pointer:$bindings, I64Attr:$index, Variadic<Index>:$sizes);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "$bindings `[` $index `]` (`(` $sizes^ `)`)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Tile_ParamOp : Tile_Op<"param", [Pure]> {
  let summary = "a kernel's scalar parameter";
  let description = [{
    The `index`-th 64-bit parameter as an index.

    Example:
    ```mlir
    %tokens = tile.param %params[0]
    ```
  }];
  let arguments = (ins Tile_Pointer:$params, I64Attr:$index);
  let results = (outs Index:$result);
  let assemblyFormat = "$params `[` $index `]` attr-dict";
}

#endif // MOHD_DIALECT_TILE_IR_TILEOPS_TD
