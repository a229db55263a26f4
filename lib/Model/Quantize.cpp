// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scales and values of int8 weights. The source is walked as it lies, in runs along its innermost axis: along a
// row of the contraction all elements of a run share a scale.

#include "mohd/Model/Quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>

namespace mlir::mohd {

namespace {

constexpr int64_t kPieceElements = 1 << 20;
constexpr float kLargest = 127.0f;

/// The integer nearest to `value`, of magnitude below 2^22; ties to even.
int32_t roundToEven(float value) {
  // In f32 an integer lies in the low bits of a number between 2^23 and 2^24.
  const float biased = value + 12582912.0f; // 1.5 * 2^23
  int32_t bits;
  std::memcpy(&bits, &biased, sizeof(bits));
  return bits - 0x4b400000;
}

int8_t quantizeOne(float value, float scale) {
  if (scale == 0)
    return 0;
  return static_cast<int8_t>(roundToEven(std::clamp(value / scale, -kLargest, kLargest)));
}

} // namespace

double QuantizationError::relative() const {
  return squaredWeights > 0 ? std::sqrt(squaredErrors / squaredWeights) : 0.0;
}

Quantizer::Quantizer(const std::vector<int64_t> &view, const std::vector<int64_t> &permutation)
    : extents(view), steps(view.size()) {
  const size_t rank = view.size();
  numColumns = view[static_cast<size_t>(permutation[rank - 1])];
  steps[static_cast<size_t>(permutation[rank - 1])] = 1;
  steps[static_cast<size_t>(permutation[rank - 2])] = 0; // the rows share a scale
  int64_t numScales = numColumns;
  if (rank == 3) {
    steps[static_cast<size_t>(permutation[0])] = numColumns;
    numScales *= view[static_cast<size_t>(permutation[0])];
  }
  table.assign(static_cast<size_t>(numScales), 0.0f);
}

template <typename Body>
void Quantizer::forRuns(int64_t first, int64_t count, const Body &body) const {
  for (int64_t offset = 0; offset < count;) {
    const int64_t inner = (first + offset) % extents.back();
    int64_t rest = (first + offset) / extents.back();
    int64_t place = inner * steps.back();
    for (size_t axis = extents.size() - 1; axis-- > 0; rest /= extents[axis])
      place += rest % extents[axis] * steps[axis];
    const int64_t length = std::min(extents.back() - inner, count - offset);
    body(offset, length, place, steps.back());
    offset += length;
  }
}

Result<Quantizer> Quantizer::create(const std::vector<int64_t> &shape, const TensorLayout &layout,
                                    const ElementReader &read) {
  const std::vector<int64_t> &view = layout.expanded.empty() ? shape : layout.expanded;
  if (view.size() != 2 && view.size() != 3)
    return Status(StatusCode::Internal, "only weights of rank 2 or 3 are quantised");
  std::vector<int64_t> permutation = layout.permutation;
  if (permutation.empty()) {
    permutation.resize(view.size());
    std::iota(permutation.begin(), permutation.end(), 0);
  }
  if (layout.part == TensorPart::KMajorValues) // the scales' order is nobody's concern
    std::swap(permutation[view.size() - 2], permutation[view.size() - 1]);
  Quantizer result(view, permutation);
  const int64_t total =
      std::accumulate(view.begin(), view.end(), int64_t(1), std::multiplies<int64_t>());
  std::unique_ptr<float[]> piece(new float[static_cast<size_t>(std::min(total, kPieceElements))]);
  bool isFinite = true;
  float *table = result.table.data();
  for (int64_t first = 0; first < total; first += kPieceElements) {
    const int64_t count = std::min(kPieceElements, total - first);
    MOHDRT_TRY(read(first, count, piece.get()));
    result.forRuns(first, count, [&](int64_t offset, int64_t length, int64_t place, int64_t step) {
      for (int64_t i = 0; i < length; ++i) {
        const float magnitude = std::fabs(piece[offset + i]);
        isFinite &= magnitude <= std::numeric_limits<float>::max();
        float &largest = table[place + i * step];
        largest = std::max(largest, magnitude);
      }
    });
    if (!isFinite)
      return Status(StatusCode::Malformed, "expects finite weights, which int8 can stand for, got "
                                           "an infinity or a NaN");
  }
  for (float &scale : result.table) {
    scale /= kLargest;
    if (scale < std::numeric_limits<float>::min())
      scale = 0;
  }
  return result;
}

void Quantizer::quantize(int64_t first, int64_t count, const float *source, int8_t *target,
                         QuantizationError &error) const {
  double squaredErrors = 0, squaredWeights = 0;
  forRuns(first, count, [&](int64_t offset, int64_t length, int64_t place, int64_t step) {
    for (int64_t i = 0; i < length; ++i) {
      const float scale = table[static_cast<size_t>(place + i * step)], weight = source[offset + i];
      const int8_t value = quantizeOne(weight, scale);
      target[offset + i] = value;
      const double missed = double(weight) - double(value) * scale;
      squaredErrors += missed * missed;
      squaredWeights += double(weight) * weight;
    }
  });
  error += {squaredErrors, squaredWeights};
}

} // namespace mlir::mohd
