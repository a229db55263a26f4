// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes on the mohd dialect: planning and scheduling.
#ifndef MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_TD
#define MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// Phase import
//===----------------------------------------------------------------------===//

def DifferentiatePass : Pass<"mohd-differentiate", "::mlir::ModuleOp"> {
  let summary = "make backward functions";
  let description = [{
    For a function with the attribute `mohd.backward = "name"` makes the function of that name, which computes the gradients of the function's floating point arguments from
    those of its floating point results, by the rule of each op (docs/differentiation.md). Its arguments are those arguments and results of the
    function that it needs, then the gradient of each floating point result, in the function's order; its results are the gradients of the arguments that have one. Arguments and
    results marked `mohd.frozen` are left out: the latter are what the function saves for its backward function alone. A gradient is called `grad_` and the name of what it is of.

    What the function returns is taken from there and not computed again: whoever writes the function says by its results what is saved. Everything else that a
    rule needs is computed again. Of a `mohd.sddmm` the function may return the active groups (`mohd.gather_groups`), which are put back (`mohd.scatter_groups`).

    Runs: last in phase import.
    Leaves alone: functions without the attribute, which is removed.
    Statistics: number of functions differentiated.

    Before and after: see test/Docs/differentiate.mlir.
  }];
  let statistics = [Statistic<"numDifferentiated", "num-differentiated", "Functions differentiated">];
  let dependentDialects = ["::mlir::mohd::MohdDialect", "::mlir::func::FuncDialect"];
}

//===----------------------------------------------------------------------===//
// Phase plan
//===----------------------------------------------------------------------===//

def FoldScalePass : Pass<"mohd-fold-scale", "::mlir::func::FuncOp"> {
  let summary = "fold activation scaling into the gates of the routing";
  let description = [{
    A token's activation scaling is one scalar and the SpMM that consumes it is linear, so `spmm(scale(x))` with gates g is
    `spmm(x)` with gates a*g. This pass gives the `mohd.route` that scaling and drops the `mohd.scale`, which saves a pass over the activations.

    Runs: in phase plan, before `mohd-plan-sparsity`.
    Leaves alone: a routing whose gates anything else reads, a scaled value that anything but an SpMM over the same routing
    uses, and routings that no `mohd.route` made.
    Statistics: number of scalings folded.

    Before and after: see test/Docs/fold-scale.mlir.
  }];
  let statistics = [Statistic<"numFolded", "num-folded", "Activation scalings folded into gates">];
}

def QuantizeWeightsPass : Pass<"mohd-quantize-weights", "::mlir::func::FuncOp"> {
  let summary = "let int8 values and scales stand for the weights of projections";
  let description = [{
    The weight of a `mohd.linear`, `mohd.spmm` or `mohd.sddmm` that comes from the model's files becomes a `mohd.dequantize` of its quantised values
    and their scales, one for each group and output column. That is a quarter of the bytes of f32; nothing else changes, so that the
    reference lowering computes with the same numbers, rounded to the weight's elements.

    Runs: in phase plan, if asked for (`mohd-compile --quantize=int8`).
    Leaves alone: weights that are arguments, and those of other ops: embeddings, norms, routers, fusions.
    Statistics: number of weights quantised.

    Before and after: see test/Docs/quantize-weights.mlir.
  }];
  let statistics = [Statistic<"numQuantized", "num-quantized", "Weights that were quantised">];
  let dependentDialects = ["::mlir::mohd::MohdDialect"];
}

def PlanSparsityPass : Pass<"mohd-plan-sparsity", "::mlir::func::FuncOp"> {
  let summary = "choose how each product walks its groups";
  let description = [{
    Gives every `mohd.linear`, `mohd.spmm` and `mohd.sddmm` without a plan one, so that lowerings decide nothing: `dense` if all groups are active, else
    `grouped`, and up to which number of tokens `gather` is faster by the cost model (CostModel.h), or the option says. On GPUs the plan is `bucket` in place of
    `grouped`, and `gather` is for the few tokens whose rows fit one tile of the tensor units.

    Runs: last in phase plan.
    Leaves alone: ops that carry a plan.
    Statistics: number of ops planned.

    Before and after: see test/Docs/plan-sparsity.mlir.
  }];
  let options = [
    Option<"lanes", "lanes", "int64_t", /*default=*/"8", "Lanes of an f32 vector of the target.">,
    Option<"gatherTokens", "gather-tokens", "int64_t", /*default=*/"-1",
           "Tokens up to which every plan gathers, instead of what the cost model says; negative: as the model says.">,
    Option<"gpu", "gpu", "bool", /*default=*/"false", "The target is a GPU.">,
    Option<"remarks", "remarks", "bool", /*default=*/"false", "Explain every choice in a remark.">,
  ];
  let statistics = [Statistic<"numPlanned", "num-planned", "Products that were given a plan">];
  let dependentDialects = ["::mlir::mohd::MohdDialect"];
}

//===----------------------------------------------------------------------===//
// Phase schedule
//===----------------------------------------------------------------------===//

def TileProductsPass : Pass<"mohd-tile-products", "::mlir::func::FuncOp"> {
  let summary = "cut products into tiles and lay out what they read";
  let description = [{
    Every `mohd.linear`, `mohd.spmm` and `mohd.sddmm` becomes its tiled form, with tiles that fit the registers and blocks of tokens that fit the
    second-level cache of the target. The weight is laid out in panels: a `mohd.weight` by an attribute, when the bundle is written, any other by a
    `mohd.pack_weight`. Of a `mohd.dequantize` the product takes the values and the scales. Tokens are listed by routed group (`mohd.group_tokens`) and, on
    the contraction side, packed (`mohd.pack_tokens`); CSE then leaves one list and one packing for the projections of a sub-layer.

    A Monarch `mohd.group_fusion` becomes the product of its right factor, tiled like an sddmm, and a `mohd.mix_groups`. If both factors cut the middle into the
    same blocks, the second one skips inactive groups too.

    A product computes the `mohd.swiglu` that it makes the right side of, and any of these the `mohd.add` that it makes a side of (the residual stream), if all is f32
    and nothing else uses the product's result.

    Runs: first in phase schedule.
    Leaves alone: other ops, and fusions of other kinds.
    Statistics: number of products and fusions tiled.

    Before and after: see test/Docs/tile-products.mlir.
  }];
  let options = [
    Option<"lanes", "lanes", "int64_t", /*default=*/"8", "Lanes of an f32 vector of the target.">,
    Option<"registers", "registers", "int64_t", /*default=*/"16", "Vector registers of the target.">,
    Option<"l2Bytes", "l2-bytes", "int64_t", /*default=*/"262144", "Bytes of the second-level data cache of the target.">,
    Option<"remarks", "remarks", "bool", /*default=*/"false", "Tell the sizes of tiles and blocks in a remark.">,
  ];
  let statistics = [Statistic<"numTiled", "num-tiled", "Products and fusions that were tiled">];
  let dependentDialects = ["::mlir::mohd::MohdDialect"];
}

def BucketProductsPass : Pass<"mohd-bucket-products", "::mlir::func::FuncOp"> {
  let summary = "order tokens by routed set for a GPU's products";
  let description = [{
    Every `mohd.linear`, `mohd.spmm` and `mohd.sddmm` becomes its form on tokens in bucket order (`mohd.bucket_spmm`, `mohd.bucket_sddmm`): a routing's tokens are
    ordered once (`mohd.bucket_order`), and what a product reads is laid out in that order, rounded to the weight's 16 bits, by `mohd.bucket_tokens`, which takes a
    `mohd.rms_norm` in, as the router does (`mohd.norm_route`). Weights become K-major: a `mohd.weight` by an attribute, when the bundle is written, any other by
    a `mohd.transpose_weight`. Of a `mohd.dequantize` of parts of one `mohd.weight` a product takes the values and the scales.

    Between the two products of a feed-forward layer tokens stay in bucket order, with the `mohd.swiglu` in the second one of the first pair. A Monarch
    `mohd.group_fusion` takes its tokens in bucket order, too, and brings them back, with the `mohd.add` of the residual stream in it.

    Runs: first in phase schedule, for GPUs.
    Leaves alone: other ops, and fusions of other kinds.
    Statistics: number of products and fusions replaced.

    Before and after: see test/Docs/bucket-products.mlir.
  }];
  let statistics = [Statistic<"numBucketed", "num-bucketed", "Products and fusions that were replaced">];
  let dependentDialects = ["::mlir::mohd::MohdDialect"];
}

def OutlineDispatchesPass : Pass<"mohd-outline-dispatches", "::mlir::ModuleOp"> {
  let summary = "turn entry points into lists of dispatches of kernels";
  let description = [{
    Each public function becomes a `mohd.program`: every op becomes a dispatch of a kernel, a function with the scalar interface of docs/formats.md
    whose body is still the op, on tensors that view its buffers. Ops that differ only in their layer or their weight share a kernel. Intermediate
    values are placed in one workspace whose size is an expression over the dims; a place is used again when its value is dead. `mohd.weight` ops become
    entries of the module's attribute `mohd.weights`. KV caches are updated in place.

    For a GPU (option `chip`) kernels are written here, with their bodies: how they are launched depends on how they are written.

    Runs: in phase schedule, after `mohd-tile-products` or `mohd-bucket-products`.
    Leaves alone: private functions.
    Statistics: number of dispatches and of kernels.

    Before and after: see test/Docs/outline-dispatches.mlir.
  }];
  let options = [
    Option<"reference", "reference", "bool", /*default=*/"false",
           "Give every dispatch a grid of one task, as kernels of the reference lowering do all work in it.">,
    Option<"lanes", "lanes", "int64_t", /*default=*/"8", "Lanes of an f32 vector of the target.">,
    Option<"chip", "chip", "std::string", /*default=*/"\"\"", "Make kernels for this GPU (sm_80, sm_90a or ptx); empty: for a CPU.">,
  ];
  let statistics = [Statistic<"numDispatches", "num-dispatches", "Dispatches made">,
                    Statistic<"numKernels", "num-kernels", "Kernels made">];
  let dependentDialects = ["::mlir::mohd::MohdDialect", "::mlir::mohd::tile::TileDialect",
                           "::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect", "::mlir::func::FuncDialect",
                           "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::LLVM::LLVMDialect"];
}

def FuseLaunchesPass : Pass<"mohd-fuse-launches", "::mlir::ModuleOp"> {
  let summary = "run the launches that few tokens take as one";
  let description = [{
    A GPU is faster than the launches of a layer for a few tokens. For up to 16 tokens a run of dispatches becomes one of a cooperative kernel: its blocks
    walk the grids of the old kernels, the stages, one after the other. They wait for each other (`tile.grid_sync`) before a stage that touches what an unfinished
    one writes, or writes what one touches; so projections of the same tokens go on side by side. For more tokens there are the old dispatches.

    A stage of fewer threads than the kernel is run by parts of a block, each with a barrier and shared memory of its own. Where a run repeats itself,
    layer by layer, one kernel is made for what repeats. A program begins with a launch that clears the counter of `tile.grid_sync`.

    Runs: in phase schedule for GPUs, after `mohd-outline-dispatches`.
    Leaves alone: kernels with tensor maps, mbarriers or barriers of their own, with more than 256 threads, runs of one dispatch, and programs with gradients of
    weights, which are for many tokens.
    Statistics: number of launches made, and of the dispatches in them.

    Before and after: see test/Docs/fuse-launches.mlir.
  }];
  let options = [
    Option<"except", "except", "std::string", /*default=*/"\"prefill\"",
           "Leave the program of this name alone: prompts have more tokens, and kernels take time and room.">,
  ];
  let statistics = [Statistic<"numLaunches", "num-launches", "Launches made">,
                    Statistic<"numStages", "num-stages", "Dispatches in them">];
  let dependentDialects = ["::mlir::mohd::MohdDialect", "::mlir::mohd::tile::TileDialect", "::mlir::arith::ArithDialect",
                           "::mlir::scf::SCFDialect", "::mlir::LLVM::LLVMDialect"];
}

#endif // MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_TD
