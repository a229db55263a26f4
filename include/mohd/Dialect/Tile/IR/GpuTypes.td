// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the GPU ops of the tile dialect share: enumerations, type constraints, and sums in flight.
#ifndef MOHD_DIALECT_TILE_IR_GPUTYPES_TD
#define MOHD_DIALECT_TILE_IR_GPUTYPES_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mohd/Dialect/Tile/IR/TileOps.td"

class Tile_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::mlir::mohd::tile";
  let genSpecializedAttr = 0;
}
class Tile_EnumAttr<EnumInfo info, string mnemonic> : EnumAttr<Tile_Dialect, info, mnemonic> {
  let assemblyFormat = "$value";
}

// The numbers are those of runtime/include/mohd/emulator/operations.h.
def Tile_Register : Tile_Enum<"Register", "a special register", [
    I32EnumAttrCase<"TidX", 0, "tid_x">, I32EnumAttrCase<"TidY", 1, "tid_y">, I32EnumAttrCase<"TidZ", 2, "tid_z">,
    I32EnumAttrCase<"NtidX", 3, "ntid_x">, I32EnumAttrCase<"NtidY", 4, "ntid_y">, I32EnumAttrCase<"NtidZ", 5, "ntid_z">,
    I32EnumAttrCase<"CtaidX", 6, "ctaid_x">, I32EnumAttrCase<"CtaidY", 7, "ctaid_y">, I32EnumAttrCase<"CtaidZ", 8, "ctaid_z">,
    I32EnumAttrCase<"NctaidX", 9, "nctaid_x">, I32EnumAttrCase<"NctaidY", 10, "nctaid_y">,
    I32EnumAttrCase<"NctaidZ", 11, "nctaid_z">, I32EnumAttrCase<"Lane", 12, "lane">]>;
def Tile_RegisterAttr : Tile_EnumAttr<Tile_Register, "register">;

def Tile_Atomic : Tile_Enum<"Atomic", "what an atomic op does with the old value", [
    I32EnumAttrCase<"Add", 0, "add">, I32EnumAttrCase<"Min", 1, "min">, I32EnumAttrCase<"Max", 2, "max">,
    I32EnumAttrCase<"And", 3, "and">, I32EnumAttrCase<"Or", 4, "or">, I32EnumAttrCase<"Exchange", 5, "exchange">]>;
def Tile_AtomicAttr : Tile_EnumAttr<Tile_Atomic, "atomic_kind">;

def Tile_Shuffle : Tile_Enum<"Shuffle", "whose value a thread of a warp gets", [
    I32EnumAttrCase<"Up", 0, "up">, I32EnumAttrCase<"Down", 1, "down">, I32EnumAttrCase<"Bfly", 2, "bfly">,
    I32EnumAttrCase<"Idx", 3, "idx">]>;
def Tile_ShuffleAttr : Tile_EnumAttr<Tile_Shuffle, "shuffle_kind">;

def Tile_Fence : Tile_Enum<"Fence", "what a fence orders", [
    I32EnumAttrCase<"Block", 0, "block">, I32EnumAttrCase<"Device", 1, "device">,
    I32EnumAttrCase<"ProxyAsync", 2, "proxy_async">, I32EnumAttrCase<"MbarrierInit", 3, "mbarrier_init">]>;
def Tile_FenceAttr : Tile_EnumAttr<Tile_Fence, "fence_kind">;

def Tile_Half : Tile_Enum<"Half", "a floating-point type of 16 bits", [
    I32EnumAttrCase<"BF16", 0, "bf16">, I32EnumAttrCase<"F16", 1, "f16">]>;
def Tile_HalfAttr : Tile_EnumAttr<Tile_Half, "half">;

def Tile_MmaKind : Tile_Enum<"MmaKind", "the elements that a product of a warp multiplies", [
    I32EnumAttrCase<"BF16", 0, "bf16">, I32EnumAttrCase<"F16", 1, "f16">, I32EnumAttrCase<"TF32", 2, "tf32">,
    I32EnumAttrCase<"S8", 3, "s8">]>;
def Tile_MmaKindAttr : Tile_EnumAttr<Tile_MmaKind, "mma_kind">;

// The numbers are those of bits 62 and 63 of a matrix descriptor.
def Tile_Swizzle : Tile_Enum<"Swizzle", "how 16-byte chunks of shared memory are exchanged", [
    I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Swizzle128", 1, "swizzle_128">,
    I32EnumAttrCase<"Swizzle64", 2, "swizzle_64">, I32EnumAttrCase<"Swizzle32", 3, "swizzle_32">]>;
def Tile_SwizzleAttr : Tile_EnumAttr<Tile_Swizzle, "swizzle">;

class Tile_PointerTo<int space, string what> : Type<
    And<[CPred<"::mlir::isa<::mlir::LLVM::LLVMPointerType>($_self)">,
         CPred<"::mlir::cast<::mlir::LLVM::LLVMPointerType>($_self).getAddressSpace() == " # space>]>,
    what, "::mlir::LLVM::LLVMPointerType">,
    BuildableType<"::mlir::LLVM::LLVMPointerType::get($_builder.getContext(), " # space # ")">;
def Tile_GlobalPointer : Tile_PointerTo<1, "pointer to global memory, !llvm.ptr<1>">;
def Tile_SharedPointer : Tile_PointerTo<3, "pointer to shared memory, !llvm.ptr<3>">;
def Tile_MapPointer : Tile_PointerTo<0, "pointer to a tensor map, !llvm.ptr">;
def Tile_MemoryPointer : Type<
    Or<[Tile_GlobalPointer.predicate, Tile_SharedPointer.predicate]>,
    "pointer to global or shared memory, !llvm.ptr<1> or !llvm.ptr<3>", "::mlir::LLVM::LLVMPointerType">;

def Tile_Scalar : AnyTypeOf<[I8, I16, I32, I64, F16, BF16, F32], "i8, i16, i32, i64, f16, bf16 or f32">;
def Tile_Word : AnyTypeOf<[I32, F32], "i32 or f32">;
def Tile_Value : AnyTypeOf<[Tile_Scalar, FixedVectorOfRankAndType<[1], Tile_Scalar.allowedTypes>],
                           "i8, i16, i32, i64, f16, bf16 or f32, or a vector of them">;

class Tile_VectorOf<int length, Type element, string what, string builder> : Type<
    FixedVectorOfLengthAndType<[length], [element]>.predicate, what, "::mlir::VectorType">,
    BuildableType<"::mlir::VectorType::get({" # length # "}, $_builder." # builder # "())">;
def Tile_TwoWords : Tile_VectorOf<2, I32, "vector<2xi32>", "getI32Type">;
def Tile_FourWords : Tile_VectorOf<4, I32, "vector<4xi32>", "getI32Type">;
def Tile_Fragments : FixedVectorOfLengthAndType<[1, 2, 4], [I32]>;
def Tile_MmaSums : AnyTypeOf<[FixedVectorOfLengthAndType<[4], [F32]>, FixedVectorOfLengthAndType<[4], [I32]>],
                             "vector<4xf32> or vector<4xi32>", "::mlir::VectorType">;

def Tile_SumsType : TypeDef<Tile_Dialect, "Sums"> {
  let mnemonic = "sums";
  let summary = "sums of a warpgroup's product, which may be in flight";
  let description = [{
    The 64 x N f32 sums of `tile.wgmma`, of which each of the 128 threads has N / 2. The hardware may write them until a `tile.wgmma_wait` has
    returned them, and only `tile.wgmma_read` reads them.

    They are one set of registers: a value may be used by one op that returns it (`tile.wgmma`, `tile.wgmma_wait`, a branch or a
    loop) on any path, and not once that op was done.

    Example: `!tile.sums<64x128>`
  }];
  let parameters = (ins "int64_t":$columns);
  let assemblyFormat = "`<` custom<SumsShape>($columns) `>`";
  let genVerifyDecl = 1;
}

#endif // MOHD_DIALECT_TILE_IR_GPUTYPES_TD
