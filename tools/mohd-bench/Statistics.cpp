// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Mean, deviation and quantiles.
#include "Statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mohdbench {

double quantile(std::vector<double> samples, double fraction) {
  if (samples.empty())
    return 0;
  std::sort(samples.begin(), samples.end());
  double place = fraction * static_cast<double>(samples.size() - 1);
  size_t below = static_cast<size_t>(place), above = std::min(below + 1, samples.size() - 1);
  return samples[below] + (place - static_cast<double>(below)) * (samples[above] - samples[below]);
}

Summary summarize(const std::vector<double> &samples) {
  Summary summary;
  if (samples.empty())
    return summary;
  double count = static_cast<double>(samples.size());
  summary.mean = std::accumulate(samples.begin(), samples.end(), 0.0) / count;
  double squares = 0;
  for (double sample : samples)
    squares += (sample - summary.mean) * (sample - summary.mean);
  summary.deviation = samples.size() > 1 ? std::sqrt(squares / (count - 1)) : 0;
  summary.median = quantile(samples, 0.5);
  summary.p5 = quantile(samples, 0.05);
  summary.p95 = quantile(samples, 0.95);
  return summary;
}

} // namespace mohdbench
