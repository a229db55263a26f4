// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads lists and ranges.
#include "Lists.h"

#include "Failure.h"

#include "mohd/format/json.h"

#include <charconv>
#include <optional>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdbench {
namespace {

constexpr size_t kMaxValues = 10000;

/// Removes a decimal number from the front of `text`.
std::optional<int64_t> takeNumber(std::string_view &text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc())
    return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

/// A piece without commas.
struct Range {
  int64_t first = 0, last = 0, step = 1;
  bool multiplies = false;
};

std::optional<Range> parseRange(std::string_view text) {
  Range range;
  std::optional<int64_t> first = takeNumber(text);
  if (!first)
    return std::nullopt;
  range.first = range.last = *first;
  if (text.empty())
    return range;
  if (text.front() != '-')
    return std::nullopt;
  text.remove_prefix(1);
  std::optional<int64_t> last = takeNumber(text);
  if (!last)
    return std::nullopt;
  range.last = *last;
  if (text.empty())
    return range;
  range.multiplies = text.front() == '*';
  if (!range.multiplies && text.front() != '+')
    return std::nullopt;
  text.remove_prefix(1);
  std::optional<int64_t> step = takeNumber(text);
  if (!step || !text.empty() || *step < (range.multiplies ? 2 : 1))
    return std::nullopt;
  range.step = *step;
  return range;
}

} // namespace

std::vector<std::string> split(const std::string &text, char separator) {
  std::vector<std::string> pieces;
  for (size_t start = 0; !text.empty() && start <= text.size();) {
    size_t end = std::min(text.find(separator, start), text.size());
    pieces.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return pieces;
}

std::vector<int64_t> parseIntegers(const std::string &option, const std::string &text, int64_t low,
                                   int64_t high) {
  auto refuse = [&](const std::string &piece, const std::string &expected) {
    return usage("expected " + expected + " for " + option + ", got '" + escapeForMessage(piece) +
                     "'",
                 "write numbers as 1,2,8 or 1-8 or 8-32+8 or 1-64*2");
  };
  std::vector<int64_t> values;
  for (const std::string &piece : split(text, ',')) {
    std::optional<Range> range = parseRange(piece);
    if (!range || range->last < range->first)
      throw refuse(piece, "a number or a range");
    if (range->first < low || range->last > high)
      throw refuse(piece, "numbers from " + std::to_string(low) + " to " + std::to_string(high));
    if (range->multiplies && range->first == 0)
      throw refuse(piece, "a range that grows");
    for (int64_t value = range->first;;) {
      if (values.size() == kMaxValues)
        throw refuse(text, "at most " + std::to_string(kMaxValues) + " values");
      values.push_back(value);
      if (range->multiplies ? value > range->last / range->step : value > range->last - range->step)
        break; // the next one may be more than 64 bits hold
      value = range->multiplies ? value * range->step : value + range->step;
    }
  }
  if (values.empty())
    throw refuse(text, "a number or a range");
  return values;
}

} // namespace mohdbench
