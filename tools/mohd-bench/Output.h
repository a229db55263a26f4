// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rows on stdout, each as soon as it is there.
#ifndef MOHD_TOOLS_MOHD_BENCH_OUTPUT_H
#define MOHD_TOOLS_MOHD_BENCH_OUTPUT_H

#include "Row.h"

#include <string>

namespace mohdbench {

enum class Format { Markdown, Csv, Json, JsonLines };

/// What begins, follows and separates rows is written in between, so that the text is whole whenever finish() is called.
class Output {
public:
  /// `about` describes the run: an object that JSON has once and JSON lines have in each line.
  Output(Format format, mohdrt::JsonValue about) : format_(format), about_(std::move(about)) {}

  void add(const Row &row);
  void finish();

private:
  void begin();

  Format format_;
  mohdrt::JsonValue about_;
  bool begun_ = false, first_ = true;
};

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_OUTPUT_H
