// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Each op's constructor, and the pieces that ops are made of.
#ifndef MOHD_TOOLS_MOHD_BENCH_OPS_H
#define MOHD_TOOLS_MOHD_BENCH_OPS_H

#include "Op.h"

namespace mohdbench {

std::unique_ptr<Op> makeProjection(const Point &point); // op:spmm and op:sddmm
std::unique_ptr<Op> makeLinear(const Point &point, int64_t rows, int64_t columns);
std::unique_ptr<Op> makeRoute(const Point &point);
std::unique_ptr<Op> makeFusion(const Point &point);
std::unique_ptr<Op> makeAttention(const Point &point);

/// "tensor<?x64xf32>"; a negative extent is dynamic.
std::string tensorText(const std::vector<int64_t> &shape, const std::string &element);
/// "!mohd.routing<16, 6, 2>".
std::string routingText(const Groups &groups);
/// `%name: type {mohd.name = "name"}`.
std::string argumentText(const std::string &name, const std::string &type);

/// A random f32 input.
Input floatInput(const std::string &name, std::vector<int64_t> shape, uint64_t seed);
/// An i32 input.
Input intInput(const std::string &name, std::vector<int64_t> shape,
               const std::vector<int32_t> &values);
/// `indices` and random `gates` of a routing.
std::vector<Input> routingInputs(const TokenRouting &routing, uint64_t seed);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_OPS_H
