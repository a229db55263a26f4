// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is said of a list of samples.
#ifndef MOHD_TOOLS_MOHD_BENCH_STATISTICS_H
#define MOHD_TOOLS_MOHD_BENCH_STATISTICS_H

#include <vector>

namespace mohdbench {

struct Summary {
  double mean = 0, deviation = 0; // of the samples: divided by n - 1
  double median = 0, p5 = 0, p95 = 0;
};

/// The value below which a share `fraction` of the samples lies, linear between neighbours. 0 without samples.
double quantile(std::vector<double> samples, double fraction);

/// All of a Summary; zeros without samples.
Summary summarize(const std::vector<double> &samples);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_STATISTICS_H
