// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a text must be before MLIR's parser may see it.
#ifndef MOHD_LIB_COMPILER_MLIRTEXT_H
#define MOHD_LIB_COMPILER_MLIRTEXT_H

#include "mohd/format/status.h"

#include "llvm/ADT/StringRef.h"

namespace mlir::mohd {

/// Refuses (MALFORMED) what would end the process inside MLIR's parser, which recurses without a limit: brackets or
/// minus signs nested deeper than 256, and bytecode. Whatever else is wrong with `text` is left to the parser.
::mohdrt::Status checkMlirText(llvm::StringRef text);

} // namespace mlir::mohd

#endif // MOHD_LIB_COMPILER_MLIRTEXT_H
