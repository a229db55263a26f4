// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Attributes of the mohd dialect: the option values of docs/semantics.md, plans, and bindings of dispatches.
#ifndef MOHD_DIALECT_MOHD_IR_MOHDATTRIBUTES_TD
#define MOHD_DIALECT_MOHD_IR_MOHDATTRIBUTES_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/IR/EnumAttr.td"
include "mohd/Dialect/MoHD/IR/MoHDDialect.td"

class Mohd_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::mlir::mohd";
  let genSpecializedAttr = 0;
}
class Mohd_EnumAttr<EnumInfo info, string mnemonic> : EnumAttr<Mohd_Dialect, info, mnemonic> {
  let assemblyFormat = "$value";
}

def Mohd_Gate : Mohd_Enum<"Gate", "how a group's score becomes its gate", [
    I32EnumAttrCase<"Softmax", 0, "softmax">, I32EnumAttrCase<"SharedOne", 1, "shared_one">,
    I32EnumAttrCase<"Renormalized", 2, "renormalized">, I32EnumAttrCase<"Binary", 3, "binary">]>;
def Mohd_GateAttr : Mohd_EnumAttr<Mohd_Gate, "gate">;

def Mohd_Scaling : Mohd_Enum<"Scaling", "activation scaling: the factor of a token", [
    I32EnumAttrCase<"SqrtNkOverMass", 0, "sqrt_nk_over_mass">, I32EnumAttrCase<"NTimesMass", 1, "n_times_mass">,
    I32EnumAttrCase<"KOverMass", 2, "k_over_mass">, I32EnumAttrCase<"SqrtNOverK", 3, "sqrt_n_over_k">,
    I32EnumAttrCase<"NOverK", 4, "n_over_k">, I32EnumAttrCase<"None", 5, "none">]>;
def Mohd_ScalingAttr : Mohd_EnumAttr<Mohd_Scaling, "scaling">;

def Mohd_Score : Mohd_Enum<"Score", "how logits become scores", [
    I32EnumAttrCase<"SoftmaxAll", 0, "softmax_all">, I32EnumAttrCase<"SoftmaxRouted", 1, "softmax_routed">,
    I32EnumAttrCase<"Sigmoid", 2, "sigmoid">]>;
def Mohd_ScoreAttr : Mohd_EnumAttr<Mohd_Score, "score">;

def Mohd_Fusion : Mohd_Enum<"Fusion", "how active groups are mixed back over the full width", [
    I32EnumAttrCase<"Monarch", 0, "monarch">, I32EnumAttrCase<"BlockDiagonal", 1, "block_diagonal">,
    I32EnumAttrCase<"None", 2, "none">]>;
def Mohd_FusionAttr : Mohd_EnumAttr<Mohd_Fusion, "fusion">;

def Mohd_Balance : Mohd_Enum<"Balance", "router balance loss", [
    I32EnumAttrCase<"DeepSeek", 0, "deepseek">, I32EnumAttrCase<"Switch", 1, "switch">,
    I32EnumAttrCase<"None", 2, "none">]>;
def Mohd_BalanceAttr : Mohd_EnumAttr<Mohd_Balance, "balance">;

def Mohd_QuantizedPart : Mohd_Enum<"QuantizedPart", "what stands for a weight in int8", [
    I32EnumAttrCase<"Values", 0, "values">, I32EnumAttrCase<"Scales", 1, "scales">,
    I32EnumAttrCase<"KMajorValues", 2, "k_major_values">]>;
def Mohd_QuantizedPartAttr : Mohd_EnumAttr<Mohd_QuantizedPart, "quantized">;

def Mohd_Strategy : Mohd_Enum<"Strategy", "how a sparse op walks its groups", [
    I32EnumAttrCase<"Grouped", 0, "grouped">, I32EnumAttrCase<"Dense", 1, "dense">, I32EnumAttrCase<"Bucket", 2, "bucket">]>;

def Mohd_PlanAttr : AttrDef<Mohd_Dialect, "Plan"> {
  let mnemonic = "plan";
  let summary = "the sparsity plan of a sparse op: data that lowerings obey and never decide";
  let description = [{
    What a block of tokens does, by its size. `gather` (up to `gatherTokens` tokens): one group after the other, each weight read once and from front to back, for
    the tokens that have the group; the time is that of reading. Beyond: `grouped`, one column tile after the other, with the common groups of
    all tokens in one sum and then the tokens of each other group, or `dense`, the same where all groups are active. On GPUs `bucket`: tiles of tokens in the order of
    their routed sets, each with the groups that one of its tokens has.

    Examples: `#mohd.plan<gather to 40, grouped>`, `#mohd.plan<dense>`, `#mohd.plan<gather to 16, bucket>`
  }];
  let parameters = (ins DefaultValuedParameter<"int64_t", "0">:$gatherTokens, EnumParameter<Mohd_Strategy>:$strategy);
  let assemblyFormat = "`<` (`gather` `to` $gatherTokens^ `,`)? $strategy `>`";
  let genVerifyDecl = 1;
}

def Mohd_BindingKind : Mohd_Enum<"BindingKind", "what a kernel's pointer points into", [
    I32EnumAttrCase<"Input", 0, "input">, I32EnumAttrCase<"Output", 1, "output">,
    I32EnumAttrCase<"Weight", 2, "weight">, I32EnumAttrCase<"Workspace", 3, "workspace">]>;

def Mohd_BindingAttr : AttrDef<Mohd_Dialect, "Binding"> {
  let mnemonic = "binding";
  let summary = "a byte range that a dispatch hands to its kernel";
  let description = [{
    `offset` and `size` are expressions in bytes over the program's dims (docs/formats.md). `index` counts inputs, outputs or
    weights; it is 0 for the workspace.

    Example: `#mohd.binding<workspace 0, "T*64", "T*128">`
  }];
  let parameters = (ins EnumParameter<Mohd_BindingKind>:$kind, "int64_t":$index, "StringAttr":$offset,
                        "StringAttr":$size);
  let assemblyFormat = "`<` $kind $index `,` $offset `,` $size `>`";
}
def Mohd_BindingArrayAttr : TypedArrayAttrBase<Mohd_BindingAttr, "array of #mohd.binding">;

def Mohd_TensorMapAttr : AttrDef<Mohd_Dialect, "TensorMap"> {
  let mnemonic = "tensor_map";
  let summary = "how a GPU's TMA copies tiles of a binding";
  let description = [{
    `binding` counts the dispatch's bindings. `extents`, innermost first, and `strides`, in bytes and of the second dimension on, are expressions over the program's dims;
    `box` are the extents of a tile, `swizzle` is 0, 32, 64 or 128.

    Example: `#mohd.tensor_map<0, bf16, ["64", "T"], ["128"], [64, 64], 128>`
  }];
  let parameters = (ins "int64_t":$binding, "Type":$element, "ArrayAttr":$extents, "ArrayAttr":$strides, "DenseI64ArrayAttr":$box,
                        "int64_t":$swizzle);
  let assemblyFormat = "`<` $binding `,` $element `,` $extents `,` $strides `,` $box `,` $swizzle `>`";
}
def Mohd_TensorMapArrayAttr : TypedArrayAttrBase<Mohd_TensorMapAttr, "array of #mohd.tensor_map">;

#endif // MOHD_DIALECT_MOHD_IR_MOHDATTRIBUTES_TD
