// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Work in a child process, whose death is an error and not ours.
#ifndef MOHD_TARGET_ISOLATEDPROCESS_H
#define MOHD_TARGET_ISOLATEDPROCESS_H

#include "mohd/format/status.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <string>
#include <vector>

namespace mlir::mohd {

/// Runs `body` in a copy of this process and returns its strings, or its error. A fatal error of LLVM, a signal, an exit, and taking more than
/// `seconds` are errors (`Internal`) that say what happened, with the end of what the child wrote to stderr.
///
/// The child has this thread only: `body` must not use thread pools (an MLIRContext, say) nor wait for anything that another
/// thread does. What it changes in memory is lost.
::mohdrt::Result<std::vector<std::string>>
runIsolated(llvm::function_ref<::mohdrt::Result<std::vector<std::string>>()> body,
            unsigned seconds);

} // namespace mlir::mohd

#endif // MOHD_TARGET_ISOLATEDPROCESS_H
