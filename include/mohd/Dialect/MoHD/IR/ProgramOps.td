// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of the mohd dialect that scheduling produces: an entry point as a list of dispatches.
#ifndef MOHD_DIALECT_MOHD_IR_PROGRAMOPS_TD
#define MOHD_DIALECT_MOHD_IR_PROGRAMOPS_TD

include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mohd/Dialect/MoHD/IR/MoHDOps.td"

def Mohd_ProgramOp : Mohd_Op<"program", [IsolatedFromAbove, Symbol, SingleBlock, NoTerminator]> {
  let summary = "an entry point as a list of dispatches";
  let description = [{
    `interface` describes the entry point as the bundle's manifest does (docs/formats.md): `dims`, `inputs`, `outputs`. `workspace` is the size in bytes of
    the workspace, an expression over the dims. The body holds `mohd.dispatch` ops, run in order.

    Constraints:
    - (C1) the body holds only `mohd.dispatch` ops.

    Example:
    ```mlir
    mohd.program @double interface {dims = ["T"],
        inputs = [{name = "x", dtype = "f32", shape = ["T", "64"]} ],
        outputs = [{name = "y", dtype = "f32", shape = ["T", "64"]} ]} workspace "0" {
      mohd.dispatch @add_0 grid "T" params ["T"] bindings
        [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">]
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$interface, StrAttr:$workspace);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `interface` $interface `workspace` $workspace $body attr-dict";
  let hasRegionVerifier = 1;
}

def Mohd_DispatchOp : Mohd_Op<"dispatch", [HasParent<"ProgramOp">, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "run a kernel over a grid of tasks";
  let description = [{
    Runs tasks 0..`grid`-1 of `kernel`, in any order and on any number of threads. `params` are 64-bit scalars; both are expressions over the
    program's dims. Of a GPU's kernel `grid` is the number of blocks, and `maps` are the tensor maps that it gets between bindings and params.

    Constraints:
    - (C1) `kernel` names a function of the module.

    Example: see `mohd.program`.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, StrAttr:$grid, StrArrayAttr:$params, Mohd_BindingArrayAttr:$bindings,
                       OptionalAttr<Mohd_TensorMapArrayAttr>:$maps);
  let assemblyFormat = "$kernel `grid` $grid `params` $params `bindings` $bindings (`maps` $maps^)? attr-dict";
}

#endif // MOHD_DIALECT_MOHD_IR_PROGRAMOPS_TD
