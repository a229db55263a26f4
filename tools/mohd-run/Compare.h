// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Comparison of an output with what it must be.
#ifndef MOHD_TOOLS_MOHD_RUN_COMPARE_H
#define MOHD_TOOLS_MOHD_RUN_COMPARE_H

#include "Tensor.h"

#include <optional>
#include <string>

namespace mohdrun {

/// Says how `actual` differs from `expected`: shape, or how many elements, the first and the worst;
/// nothing if each element has |actual - expected| <= atol + rtol * |expected|. NaN equals NaN.
/// Integers and floats are never equal; float types may differ, their values are compared in f64.
std::optional<std::string> findDifference(const Tensor &actual, const Tensor &expected, double atol,
                                          double rtol);

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_COMPARE_H
