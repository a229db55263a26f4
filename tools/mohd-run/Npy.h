// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// NumPy's .npy files, read strictly:
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#ifndef MOHD_TOOLS_MOHD_RUN_NPY_H
#define MOHD_TOOLS_MOHD_RUN_NPY_H

#include "Tensor.h"

#include <optional>
#include <string>

namespace mohdrun {

/// Reads a little-endian, C-ordered array of f32, f64, f16, i8, i32 or i64, or bf16 as two-byte
/// void (|V2); u2 is read as bf16 if that is `expected`. Throws a Failure: NOT_FOUND, IO,
/// MALFORMED, OUT_OF_MEMORY.
Tensor readNpy(const std::string &path, std::optional<mohdrt::DType> expected = std::nullopt);

/// Writes a version 1.0 file that is complete or not there at all; bf16 as |V2. Throws a Failure
/// (IO).
void writeNpy(const std::string &path, const Tensor &tensor);

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_NPY_H
