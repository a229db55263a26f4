// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which groups each token uses: made by a named distribution from a seed, or read from a trace.
#ifndef MOHD_TOOLS_MOHD_BENCH_ROUTING_H
#define MOHD_TOOLS_MOHD_BENCH_ROUTING_H

#include <cstdint>
#include <string>
#include <vector>

namespace mohdbench {

/// N, K_s and K_r of docs/semantics.md.
struct Groups {
  int64_t total = 0, shared = 0, routed = 0;

  int64_t active() const { return shared + routed; }
  bool operator==(const Groups &other) const {
    return total == other.total && shared == other.shared && routed == other.routed;
  }
};

/// "16,6,2".
std::string toString(const Groups &groups);

/// The active groups of each token: `indices` [tokens, K], ascending, beginning with the shared ones.
struct TokenRouting {
  Groups groups;
  int64_t tokens = 0;
  std::vector<int32_t> indices;

  /// The groups that any token uses, ascending.
  std::vector<int32_t> unionGroups() const;
  /// Multiply-adds that are wanted over those that are done when each token computes the whole union: K / |union|; 1
  /// without tokens.
  double coverage() const;
};

/// Draws the routed groups of each token:
/// - `uniform`: K_r different ones, all equally likely;
/// - `zipf`: the same with probability 1/(rank + 1) for the groups in a random order of popularity (exponent 1);
/// - `identical`: one uniform draw for all tokens;
/// - `disjoint`: neighbouring tokens have none in common, as far as there are enough.
/// The same arguments give the same routing on every machine. Throws a Failure (usage) for any other name.
TokenRouting makeRouting(const std::string &distribution, const Groups &groups, int64_t tokens,
                         uint64_t seed);

/// A routing from i32 [S, K] `indices`, its rows repeated until there are enough tokens. Throws a Failure (usage) if a row is no
/// active set of `groups`.
TokenRouting traceRouting(const std::vector<int32_t> &indices, int64_t rowLength,
                          const Groups &groups, int64_t tokens, const std::string &path);

/// Checks a distribution's name; "trace:FILE.npy" is one. Throws a Failure (usage).
void checkDistribution(const std::string &distribution);

/// makeRouting(), or traceRouting() of the file that "trace:FILE.npy" names.
TokenRouting findRouting(const std::string &distribution, const Groups &groups, int64_t tokens,
                         uint64_t seed);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_ROUTING_H
