// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one registration function of every tool.
#ifndef MOHD_INITALL_H
#define MOHD_INITALL_H

namespace mlir {
class DialectRegistry;
}

namespace mlir::mohd {

/// Registers the project's dialects, the upstream dialects that its pipelines meet, and their interfaces.
void registerAllDialects(DialectRegistry &registry);

/// Registers the project's passes and pipelines, and the upstream passes useful beside them.
void registerAllPasses();

} // namespace mlir::mohd

#endif // MOHD_INITALL_H
