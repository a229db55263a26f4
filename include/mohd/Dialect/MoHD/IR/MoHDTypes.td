// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Types of the mohd dialect and the type constraints of its ops.
#ifndef MOHD_DIALECT_MOHD_IR_MOHDTYPES_TD
#define MOHD_DIALECT_MOHD_IR_MOHDTYPES_TD

include "mlir/IR/AttrTypeBase.td"
include "mohd/Dialect/MoHD/IR/MoHDDialect.td"

def Mohd_RoutingType : TypeDef<Mohd_Dialect, "Routing"> {
  let mnemonic = "routing";
  let summary = "the active groups of each token and their gates";
  let description = [{
    For each token K = `num_shared` + `num_routed` group indices out of `num_groups`, ascending, and one f32 gate
    for each. The first `num_shared` indices are always 0, 1, ... (a contiguous prefix).

    Example: `!mohd.routing<16, 6, 2>` has 16 groups, 6 of them shared, and 2 routed groups a token.
  }];
  let parameters = (ins "int64_t":$numGroups, "int64_t":$numShared, "int64_t":$numRouted);
  let assemblyFormat = "`<` $numGroups `,` $numShared `,` $numRouted `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// K, the active groups of a token.
    int64_t getNumActive() const { return getNumShared() + getNumRouted(); }
    /// Groups that every token has: the shared ones, or all if all are active. They are a prefix.
    int64_t getNumCommon() const { return getNumActive() == getNumGroups() ? getNumGroups() : getNumShared(); }
    /// Active groups of a token besides those.
    int64_t getNumChosen() const { return getNumActive() - getNumCommon(); }
    /// Columns of the table of tokens by group (`mohd.group_tokens`).
    int64_t getTableWidth() const { return getNumGroups() - getNumCommon() + 1 + getNumChosen(); }
    /// Type of the index tensor, [tokens, K] i32.
    RankedTensorType getIndicesType(int64_t numTokens) const;
    /// Type of the gate tensor, [tokens, K] f32.
    RankedTensorType getGatesType(int64_t numTokens) const;
  }];
}

def Mohd_Float : AnyTypeOf<[F32, BF16, F16], "f32, bf16 or f16">;

class Mohd_Tensor<int rank, Type element, string what> : Type<
    And<[TensorRankOf<[element], [rank]>.predicate,
         CPred<"::mlir::isa<::mlir::RankedTensorType>($_self)">]>,
    what, "::mlir::RankedTensorType">;

def InnerDimIsStatic : CPred<
    "!::mlir::cast<::mlir::RankedTensorType>($_self).isDynamicDim(::mlir::cast<::mlir::RankedTensorType>($_self).getRank() - 1)">;
def AllDimsAreStatic : CPred<"::mlir::cast<::mlir::RankedTensorType>($_self).hasStaticShape()">;

def Mohd_TokenTensor : Type<
    And<[Mohd_Tensor<2, Mohd_Float, "">.predicate, InnerDimIsStatic]>,
    "[tokens, width] tensor of f32, bf16 or f16 with static width", "::mlir::RankedTensorType">;
def Mohd_ScoreTensor : Type<
    And<[Mohd_Tensor<2, F32, "">.predicate, InnerDimIsStatic]>,
    "[tokens, groups] tensor of f32 with static number of groups", "::mlir::RankedTensorType">;
def Mohd_IndexTensor : Type<
    And<[Mohd_Tensor<2, I32, "">.predicate, InnerDimIsStatic]>,
    "[tokens, slots] tensor of i32 with static number of slots", "::mlir::RankedTensorType">;
def Mohd_IdTensor : Mohd_Tensor<1, I32, "[tokens] tensor of i32">;
def Mohd_SettingTensor : Mohd_Tensor<1, F32, "[tokens] tensor of f32">;
def Mohd_TableTensor : Type<
    And<[Mohd_Tensor<2, Mohd_Float, "">.predicate, InnerDimIsStatic]>,
    "[rows, width] tensor of f32, bf16 or f16 with static width", "::mlir::RankedTensorType">;
def Mohd_CacheTensor : Type<
    And<[Mohd_Tensor<4, Mohd_Float, "">.predicate, InnerDimIsStatic]>,
    "[layers, sequences, positions, width] tensor of f32, bf16 or f16 with static width", "::mlir::RankedTensorType">;
def Mohd_ScalarTensor : Mohd_Tensor<0, F32, "rank-0 tensor of f32">;

class Mohd_Weight<int rank, string shape> : Type<
    And<[Mohd_Tensor<rank, Mohd_Float, "">.predicate, AllDimsAreStatic]>,
    "static " # shape # " tensor of f32, bf16 or f16", "::mlir::RankedTensorType">;
def Mohd_VectorWeight : Mohd_Weight<1, "[width]">;
def Mohd_MatrixWeight : Mohd_Weight<2, "[rows, columns]">;
def Mohd_GroupWeight : Mohd_Weight<3, "[groups, rows, columns]">;
def Mohd_PlainWeight : AnyTypeOf<[Mohd_MatrixWeight, Mohd_GroupWeight], "", "::mlir::RankedTensorType">;
def PanelIsWhole : CPred<
    "::mlir::cast<::mlir::RankedTensorType>($_self).getDimSize(0) > 0 && "
    "::mlir::cast<::mlir::RankedTensorType>($_self).getDimSize(3) <= 64 && "
    "::llvm::isPowerOf2_64(::mlir::cast<::mlir::RankedTensorType>($_self).getDimSize(3))">;
def Mohd_PanelWeight : Type<
    And<[Mohd_Tensor<4, Mohd_Float, "">.predicate, AllDimsAreStatic, PanelIsWhole]>,
    "static [groups, panels, rows, columns of a panel (a power of two, at most 64)] tensor of f32, bf16 or f16",
    "::mlir::RankedTensorType">;
class Mohd_QuantizedWeight<int rank, string shape> : Type<
    And<[Mohd_Tensor<rank, I8, "">.predicate, AllDimsAreStatic]>, "static " # shape # " tensor of i8", "::mlir::RankedTensorType">;
def Mohd_PlainQuantizedWeight : AnyTypeOf<[Mohd_QuantizedWeight<2, "[rows, columns]">,
                                           Mohd_QuantizedWeight<3, "[groups, rows, columns]">], "", "::mlir::RankedTensorType">;
class Mohd_Scales<int rank, string shape> : Type<
    And<[Mohd_Tensor<rank, F32, "">.predicate, AllDimsAreStatic]>, "static " # shape # " tensor of f32", "::mlir::RankedTensorType">;
def Mohd_PlainScales : AnyTypeOf<[Mohd_Scales<1, "[columns]">, Mohd_Scales<2, "[groups, columns]">], "", "::mlir::RankedTensorType">;
def Mohd_PanelScales : Mohd_Scales<3, "[groups, panels, columns of a panel]">;
def Mohd_QuantizedPanelWeight : Type<
    And<[Mohd_Tensor<4, I8, "">.predicate, AllDimsAreStatic, PanelIsWhole]>,
    "static [groups, panels, rows, columns of a panel (a power of two, at most 64)] tensor of i8", "::mlir::RankedTensorType">;
def Mohd_ProductWeight : AnyTypeOf<[Mohd_PanelWeight, Mohd_QuantizedPanelWeight], "",
                                   "::mlir::RankedTensorType">;

#endif // MOHD_DIALECT_MOHD_IR_MOHDTYPES_TD
