// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Element by element, keeping the first and the worst difference.
#include "Compare.h"

#include <cmath>

using namespace mohdrt;

namespace mohdrun {
namespace {

/// The distance of two elements; infinite if only one is NaN, 0 if they are the same infinity.
double distance(const Tensor &actual, const Tensor &expected, int64_t index) {
  if (isInteger(actual.type().dtype)) {
    int64_t a = actual.integer(index), b = expected.integer(index);
    return a == b ? 0 : std::max(1.0, std::fabs(double(a) - double(b)));
  }
  double a = actual.number(index), b = expected.number(index);
  if (a == b || (std::isnan(a) && std::isnan(b)))
    return 0;
  double difference = std::fabs(a - b);
  return std::isnan(difference) ? INFINITY : difference;
}

/// "[1, 5]" of element `index`.
std::string placeOf(int64_t index, const std::vector<int64_t> &shape) {
  std::string text;
  for (size_t axis = shape.size(); axis-- > 0; index /= shape[axis])
    text = std::to_string(index % shape[axis]) + (text.empty() ? "" : ", ") + text;
  return "[" + text + "]";
}

std::string formatNumber(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.6g", value);
  return buffer;
}

} // namespace

std::optional<std::string> findDifference(const Tensor &actual, const Tensor &expected, double atol,
                                          double rtol) {
  const TensorType &type = actual.type();
  if (type.shape != expected.type().shape ||
      isInteger(type.dtype) != isInteger(expected.type().dtype))
    return "expected type " + toString(expected.type()) + ", got " + toString(type);
  int64_t numDifferent = 0, first = -1, worst = -1;
  double worstDistance = -1;
  for (int64_t i = 0, count = actual.numElements(); i < count; ++i) {
    double size = isInteger(type.dtype) ? std::fabs(double(expected.integer(i)))
                                        : std::fabs(expected.number(i));
    double apart = distance(actual, expected, i);
    if (apart == 0 || (std::isfinite(apart) && std::isfinite(size) && apart <= atol + rtol * size))
      continue;
    first = numDifferent++ ? first : i;
    if (apart > worstDistance)
      worstDistance = apart, worst = i;
  }
  if (numDifferent == 0)
    return std::nullopt;
  auto show = [&](int64_t index) {
    return placeOf(index, type.shape) + ": expected " + elementText(expected, index) + ", got " +
           elementText(actual, index);
  };
  return std::to_string(numDifferent) + " of " + std::to_string(actual.numElements()) +
         " elements differ, the first at " + show(first) + ", the worst by " +
         formatNumber(worstDistance) + " at " + show(worst);
}

} // namespace mohdrun
