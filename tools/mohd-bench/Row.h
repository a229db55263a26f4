// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A line of results, and what is derived from it.
#ifndef MOHD_TOOLS_MOHD_BENCH_ROW_H
#define MOHD_TOOLS_MOHD_BENCH_ROW_H

#include "Point.h"
#include "Statistics.h"
#include "Subject.h"

#include "mohd/format/json.h"

#include <string>
#include <vector>

namespace mohdbench {

struct Row {
  Point point;
  bool isDense = false;    // the baseline of the row before it
  int64_t unionGroups = 0; // of the routing; 0: the case has none of its own
  double coverage = 1;
  Work work;
  Verified verified;
  size_t copies = 1; // of weights, read in turn
  double compileSeconds = 0;
  std::vector<double> seconds, peak, bandwidth; // samples
  double denseSeconds = 0;                      // median of the baseline; 0: none
  int64_t warmup = 0;

  double median() const { return summarize(seconds).median; }
  double flopsPerSecond() const;
  double shareOfPeak() const;
  /// Of active weights, bytes per second.
  double weightBandwidth() const;
  double shareOfBandwidth() const;
  /// Seconds that arithmetic or memory traffic need at least, whichever needs more.
  double floorSeconds() const;
  double shareOfFloor() const;
  double speedup() const; // over the baseline; 0: none
  double tokensPerSecond() const;
  /// "2048x5632 16,6,2", or a model's name.
  std::string shape() const;
};

/// Every value of a row, samples included.
mohdrt::JsonValue toJson(const Row &row);

/// Titles and cells of the table; `exact` cells are unrounded, for programs.
std::vector<std::string> columnTitles(bool exact);
std::vector<std::string> cells(const Row &row, bool exact);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_ROW_H
