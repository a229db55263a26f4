// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The reference way through phase schedule: kernels on tensors become plain loops.
#ifndef MOHD_PIPELINES_REFERENCE_H
#define MOHD_PIPELINES_REFERENCE_H

namespace mlir {
class OpPassManager;
}

namespace mlir::mohd {

/// Adds the passes that take outlined kernels to loops on memrefs by the reference lowering
/// (convert-mohd-to-linalg). `passes` runs on a module whose functions have the scalar interface of
/// docs/formats.md and bodies of mohd ops between `bufferization.to_tensor` and
/// `bufferization.materialize_in_destination` of their bindings. Afterwards no tensor is left, and
/// whatever a kernel allocates it frees; buildLowerToLLVM takes the result.
void buildReferencePipeline(OpPassManager &passes);

} // namespace mlir::mohd

#endif // MOHD_PIPELINES_REFERENCE_H
