// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs every point of the command line and prints its rows.
#ifndef MOHD_TOOLS_MOHD_BENCH_BENCH_H
#define MOHD_TOOLS_MOHD_BENCH_BENCH_H

#include "Options.h"

namespace mohdbench {

/// Throws a Failure; rows printed before it stay, and the output is finished.
void runBenchmarks(const Options &options, const std::vector<std::string> &command);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_BENCH_H
