// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The command line of mohd-bench.
#ifndef MOHD_TOOLS_MOHD_BENCH_OPTIONS_H
#define MOHD_TOOLS_MOHD_BENCH_OPTIONS_H

#include "Output.h"
#include "Point.h"
#include "Subject.h"

#include <string>
#include <vector>

namespace mohdbench {

struct Options {
  enum class Mode { Run, Version, Help };
  Mode mode = Mode::Run;
  std::string helpText;

  std::vector<Point> points; // every combination, in the order of rows
  MeasureOptions measure;
  size_t coldBytes = 0;   // read between two reads of one byte of weights
  int64_t coldTokens = 0; // for calls of up to as many tokens
  size_t memoryBytes = 0; // of copies of one op's weights
  double peakSeconds = 0; // of one measurement of arithmetic
  bool baseline = true, quiet = false;
  std::string target;
  Format format = Format::Markdown;
};

/// Reads the command line. Throws a Failure (exit code 2) for one that makes no sense.
Options parseOptions(int argc, char **argv);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_OPTIONS_H
