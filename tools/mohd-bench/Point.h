// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One combination of the parameters of a benchmark.
#ifndef MOHD_TOOLS_MOHD_BENCH_POINT_H
#define MOHD_TOOLS_MOHD_BENCH_POINT_H

#include "Routing.h"

#include "mohd/format/dtype.h"

namespace mohdbench {

/// Symbols are those of docs/semantics.md. What a case does not use stays as it is.
struct Point {
  std::string what;      // "op:spmm", ..., "layer", "prefill" or "decode"
  bool isBundle = false; // `model` is one
  std::string model;     // preset, model folder or bundle; empty for ops
  int64_t width = 0;     // D
  int64_t inner = 0;     // E
  Groups groups;         // of ops
  int64_t heads = 0, kvHeads = 0, headDim = 0;
  int64_t layers = 0;    // of a model; 0: as it has
  int64_t context = 0;   // tokens in the cache of each sequence before the call
  int64_t sequences = 1; // that the tokens belong to, the same number to each
  int64_t tokens = 0;    // T
  mohdrt::DType weightType = mohdrt::DType::F32;
  int64_t gatherTokens = -1; // as mohd-compile has it; -1: what the cost model says
  std::string routing = "uniform";
  uint64_t seed = 0;
  uint32_t threads = 1;
};

/// What a call does, for comparison with what the machine can do. Only what is wanted counts: groups that no token uses
/// cost nothing.
struct Work {
  double flops = 0; // two for each multiply-add
  double weightBytes =
      0; // of weights, or of a cache, that the call reads: groups that any token uses
  double otherBytes = 0; // of activations, read and written once
};

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_POINT_H
