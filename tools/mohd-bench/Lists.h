// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Options that take several values: lists, and ranges of whole numbers.
#ifndef MOHD_TOOLS_MOHD_BENCH_LISTS_H
#define MOHD_TOOLS_MOHD_BENCH_LISTS_H

#include <cstdint>
#include <string>
#include <vector>

namespace mohdbench {

/// The pieces of `text` between separators; none for an empty text.
std::vector<std::string> split(const std::string &text, char separator);

/// The whole numbers of `text`, each in [low, high]: "3", "1-8" (all of them), "8-32+8" (in steps), "1-64*2" (each the
/// double of the last), and any of these separated by commas. At most 10000 of them. `option` is for messages. Throws a
/// Failure (usage).
std::vector<int64_t> parseIntegers(const std::string &option, const std::string &text, int64_t low,
                                   int64_t high);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_LISTS_H
