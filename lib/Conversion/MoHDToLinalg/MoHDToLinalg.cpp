// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The pass convert-mohd-to-linalg: the executable form of docs/semantics.md, against which fast
// lowerings are checked.
//
// Before and after: see Routing.cpp, Sparse.cpp, Transformer.cpp and Gradients.cpp beside this file.
// Test: test/Conversion/MoHDToLinalg/
#include "mohd/Conversion/MoHDToLinalg/MoHDToLinalg.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/DialectConversion.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_CONVERTMOHDTOLINALGPASS
#include "mohd/Conversion/Passes.h.inc"

namespace {

struct ConvertMohdToLinalgPass : impl::ConvertMohdToLinalgPassBase<ConvertMohdToLinalgPass> {
  using Base::Base;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    FunctionType signature = function.getFunctionType();
    auto isRouting = [](Type type) { return isa<RoutingType>(type); };
    if (llvm::any_of(signature.getInputs(), isRouting) ||
        llvm::any_of(signature.getResults(), isRouting)) {
      function.emitError(
          "expects no routing in the signature of a function; pass its tensors and use "
          "mohd.make_routing and mohd.unpack_routing");
      return signalPassFailure();
    }

    TypeConverter converter;
    converter.addConversion([](Type type) { return type; });
    addRoutingConversion(converter);
    RewritePatternSet patterns(&getContext());
    populateRoutingToLinalgPatterns(converter, patterns);
    populateSparseToLinalgPatterns(converter, patterns);
    populateTransformerToLinalgPatterns(converter, patterns);
    populateGradientsToLinalgPatterns(converter, patterns);
    populateCacheGradientsToLinalgPatterns(converter, patterns);

    ConversionTarget target(getContext());
    target.addIllegalDialect<MohdDialect>();
    target.addLegalOp<WeightOp>(); // external data stays a reference
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    ConversionConfig config;
    config.allowPatternRollback = false;
    if (failed(applyPartialConversion(function, target, std::move(patterns), config)))
      signalPassFailure();
  }
};

} // namespace
} // namespace mlir::mohd
