// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Element conversion and blocked permutation. A piece of the source that fits the staging buffer is
// read, narrowed, and scattered to its place; the transposed pair of axes is walked in blocks so
// that both sides stay in the cache.

#include "mohd/Model/TensorCopy.h"

#include "mohd/Model/Quantize.h"
#include "mohd/format/float16.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>

namespace mlir::mohd {

namespace {

constexpr int64_t kPieceElements = 1 << 20; // 4 MiB of f32, and 2 MiB more when narrowed
constexpr int64_t kBlock = 32;              // edge of a transposed block, elements
constexpr size_t kMaxRank = 8;

/// Turns source elements [first, first + count) into the target's type; empty if that is f32.
using ElementConverter =
    std::function<void(int64_t first, int64_t count, const float *source, void *target)>;

/// An axis of the source: how many elements, and how far apart they lie in source and target.
struct AxisStep {
  int64_t extent, source, target;
};

/// Checks `layout` against `shape` and returns the product of the extents in `count`.
Status checkLayout(const std::vector<int64_t> &shape, const TensorLayout &layout, int64_t &count) {
  const std::vector<int64_t> &view = layout.expanded.empty() ? shape : layout.expanded;
  auto product = [](const std::vector<int64_t> &extents, int64_t &result) {
    result = 1;
    for (int64_t extent : extents)
      if (extent < 0 || __builtin_mul_overflow(result, extent, &result))
        return false;
    return true;
  };
  int64_t viewCount = 0;
  if (!product(shape, count) || !product(view, viewCount) || count != viewCount ||
      view.size() > kMaxRank || count > std::numeric_limits<int64_t>::max() / 4)
    return Status(StatusCode::Internal, "layout does not have the tensor's elements");
  std::vector<int64_t> sorted = layout.permutation;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i)
    if (sorted.size() != view.size() || sorted[i] != static_cast<int64_t>(i))
      return Status(StatusCode::Internal, "layout's permutation is not one");
  return Status();
}

/// The source's axes, outermost first, with those merged that stay together in the target. Never
/// empty.
std::vector<AxisStep> planAxes(const std::vector<int64_t> &shape, const TensorLayout &layout) {
  const std::vector<int64_t> &view = layout.expanded.empty() ? shape : layout.expanded;
  size_t rank = view.size();
  std::vector<int64_t> targetStrides(rank);
  int64_t stride = 1;
  for (size_t i = rank; i-- > 0;) {
    size_t axis = layout.permutation.empty() ? i : static_cast<size_t>(layout.permutation[i]);
    targetStrides[axis] = stride;
    stride *= view[axis];
  }
  std::vector<AxisStep> axes; // built innermost first
  int64_t source = 1;
  for (size_t i = rank; i-- > 0;) {
    if (view[i] == 1)
      continue;
    if (!axes.empty() && targetStrides[i] == axes.back().target * axes.back().extent)
      axes.back().extent *= view[i];
    else
      axes.push_back({view[i], source, targetStrides[i]});
    source *= view[i];
  }
  if (axes.empty())
    axes.push_back({1, 1, 1});
  std::reverse(axes.begin(), axes.end());
  return axes;
}

/// Copies the plane of `row` (near in the target) by `column` (near in the source), block by block.
template <typename T>
void copyPlane(const T *source, T *target, const AxisStep &row, const AxisStep &column) {
  for (int64_t c0 = 0; c0 < column.extent; c0 += kBlock)
    for (int64_t r0 = 0; r0 < row.extent; r0 += kBlock) {
      int64_t c1 = std::min(c0 + kBlock, column.extent), r1 = std::min(r0 + kBlock, row.extent);
      for (int64_t c = c0; c < c1; ++c)
        for (int64_t r = r0; r < r1; ++r)
          target[c * column.target + r * row.target] = source[r * row.source + c * column.source];
    }
}

/// Copies a box of the source, whose elements begin at `source`, to its place from `target` on.
template <typename T> void copyBox(const T *source, T *target, std::vector<AxisStep> axes) {
  AxisStep column = axes.back(); // nearest in the source
  axes.pop_back();
  AxisStep row{1, 0, 0}; // nearest in the target, unless that is `column`
  size_t nearest = axes.size();
  for (size_t i = 0; i < axes.size(); ++i)
    if (axes[i].extent > 1 && axes[i].target < column.target &&
        (nearest == axes.size() || axes[i].target < axes[nearest].target))
      nearest = i;
  if (nearest != axes.size()) {
    row = axes[nearest];
    axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(nearest));
  }
  std::vector<int64_t> index(axes.size(), 0);
  while (true) {
    if (row.extent == 1 && column.target == 1 && column.source == 1)
      std::memcpy(target, source, static_cast<size_t>(column.extent) * sizeof(T));
    else
      copyPlane(source, target, row, column);
    size_t i = axes.size();
    for (; i-- > 0;) {
      source += axes[i].source;
      target += axes[i].target;
      if (++index[i] < axes[i].extent)
        break;
      source -= axes[i].source * axes[i].extent;
      target -= axes[i].target * axes[i].extent;
      index[i] = 0;
    }
    if (i == static_cast<size_t>(-1))
      return;
  }
}

/// Walks the source in pieces: whole inner axes, a range of axis `cut`, one index of each axis
/// before it.
class PieceCopier {
public:
  PieceCopier(std::vector<AxisStep> axes, DType type, const ElementReader &read,
              const ElementConverter &convert, char *target)
      : axes(std::move(axes)), elementSize(::mohdrt::dtypeSize(type)), read(read), convert(convert),
        target(target) {
    while (this->axes[cut].source > kPieceElements)
      ++cut;
    step = std::min(this->axes[cut].extent, kPieceElements / this->axes[cut].source);
    int64_t elements = step * this->axes[cut].source;
    staging.reset(new float[static_cast<size_t>(elements)]);
    if (convert) // to at most 16 bits
      converted.reset(new uint16_t[static_cast<size_t>(elements)]);
  }

  Status copyAll() { return copyFrom(0, 0, 0); }

private:
  Status copyFrom(size_t axis, int64_t source, int64_t offset) {
    int64_t advance = axis == cut ? step : 1;
    for (int64_t i = 0; i < axes[axis].extent; i += advance) {
      int64_t at = source + i * axes[axis].source, to = offset + i * axes[axis].target;
      Status status = axis == cut ? copyPiece(std::min(step, axes[axis].extent - i), at, to)
                                  : copyFrom(axis + 1, at, to);
      if (!status.ok())
        return status;
    }
    return Status();
  }

  Status copyPiece(int64_t extent, int64_t source, int64_t offset) {
    int64_t count = extent * axes[cut].source;
    MOHDRT_TRY(read(source, count, staging.get()));
    std::vector<AxisStep> box(axes.begin() + static_cast<std::ptrdiff_t>(cut), axes.end());
    box.front().extent = extent;
    if (!convert) {
      copyBox(staging.get(), reinterpret_cast<float *>(target) + offset, std::move(box));
      return Status();
    }
    convert(source, count, staging.get(), converted.get());
    if (elementSize == 1)
      copyBox(reinterpret_cast<char *>(converted.get()), target + offset, std::move(box));
    else
      copyBox(converted.get(), reinterpret_cast<uint16_t *>(target) + offset, std::move(box));
    return Status();
  }

  std::vector<AxisStep> axes;
  int64_t elementSize;
  const ElementReader &read;
  const ElementConverter &convert;
  char *target;
  size_t cut = 0;
  int64_t step = 1;
  std::unique_ptr<float[]> staging;
  std::unique_ptr<uint16_t[]> converted;
};

} // namespace

void widen(DType type, const void *source, float *target, int64_t count) {
  if (type == DType::F32 && count > 0) {
    std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const char *bytes = static_cast<const char *>(source);
  for (int64_t i = 0; i < count; ++i) {
    uint16_t element;
    std::memcpy(&element, bytes + 2 * i, sizeof(element));
    target[i] = type == DType::BF16 ? ::mohdrt::widenBf16(element) : ::mohdrt::widenF16(element);
  }
}

void narrow(DType type, const float *source, void *target, int64_t count) {
  if (type == DType::F32 && count > 0) {
    std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  char *bytes = static_cast<char *>(target);
  for (int64_t i = 0; i < count; ++i) {
    uint16_t element =
        type == DType::BF16 ? ::mohdrt::narrowBf16(source[i]) : ::mohdrt::narrowF16(source[i]);
    std::memcpy(bytes + 2 * i, &element, sizeof(element));
  }
}

/// `layout`, which cuts whole panels from the result's last axis, as an expansion and a permutation.
static TensorLayout splitPanels(const std::vector<int64_t> &view, TensorLayout layout) {
  std::vector<int64_t> permutation = layout.permutation;
  for (size_t i = 0; permutation.size() < view.size(); ++i)
    permutation.push_back(static_cast<int64_t>(i));
  const int64_t cut = permutation.back(); // becomes axes `cut` and `cut` + 1
  layout.expanded = view;
  layout.expanded[static_cast<size_t>(cut)] /= layout.panel;
  layout.expanded.insert(layout.expanded.begin() + cut + 1, layout.panel);
  for (int64_t &axis : permutation)
    axis += axis > cut ? 1 : 0;
  permutation.insert(permutation.end() - 2, cut); // [.., panels, R, P]
  permutation.back() = cut + 1;
  layout.permutation = std::move(permutation);
  layout.panel = 0;
  return layout;
}

/// Cuts the last axis of `plain` [G, R, C] into panels, with zeros behind column C.
static void padPanels(const std::vector<char> &plain, const int64_t (&extents)[3], int64_t panel,
                      int64_t elementSize, char *target) {
  const auto [groups, rows, columns] = extents;
  const int64_t panels = (columns + panel - 1) / panel;
  const char *from = plain.data();
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; column += panel) {
        const int64_t width = std::min(panel, columns - column);
        char *to =
            target + (((group * panels + column / panel) * rows + row) * panel) * elementSize;
        std::memcpy(to, from, static_cast<size_t>(width * elementSize));
        std::memset(to + width * elementSize, 0,
                    static_cast<size_t>((panel - width) * elementSize));
        from += width * elementSize;
      }
}

static Status copyConverted(const std::vector<int64_t> &shape, const TensorLayout &layout,
                            const ElementReader &read, const ElementConverter &convert,
                            void *target, size_t targetBytes);

/// copyConverted for a layout with panels; `count` is the tensor's number of elements.
static Status copyPanels(const std::vector<int64_t> &shape, const TensorLayout &layout,
                         int64_t count, const ElementReader &read, const ElementConverter &convert,
                         void *target, size_t targetBytes) {
  const std::vector<int64_t> &view = layout.expanded.empty() ? shape : layout.expanded;
  if (view.size() != 3 || layout.panel < 1)
    return Status(StatusCode::Internal, "only a view of rank 3 has panels");
  int64_t extents[3];
  for (size_t i = 0; i < 3; ++i)
    extents[i] = view[layout.permutation.empty() ? i : static_cast<size_t>(layout.permutation[i])];
  if (extents[2] % layout.panel == 0)
    return copyConverted(shape, splitPanels(view, layout), read, convert, target, targetBytes);
  const int64_t elementSize = ::mohdrt::dtypeSize(layout.type);
  int64_t padded, paddedBytes;
  if (__builtin_add_overflow(extents[2], layout.panel - extents[2] % layout.panel, &padded) ||
      __builtin_mul_overflow(extents[0] * extents[1] * elementSize, padded, &paddedBytes) ||
      static_cast<size_t>(paddedBytes) != targetBytes)
    return Status(StatusCode::Internal, "target does not have the padded tensor's size");
  TensorLayout whole = layout;
  whole.panel = 0;
  std::vector<char> plain(static_cast<size_t>(count * elementSize));
  MOHDRT_TRY(copyConverted(shape, whole, read, convert, plain.data(), plain.size()));
  padPanels(plain, extents, layout.panel, elementSize, static_cast<char *>(target));
  return Status();
}

/// copyTensor with the conversion given.
static Status copyConverted(const std::vector<int64_t> &shape, const TensorLayout &layout,
                            const ElementReader &read, const ElementConverter &convert,
                            void *target, size_t targetBytes) {
  int64_t count = 0;
  MOHDRT_TRY(checkLayout(shape, layout, count));
  if (layout.panel != 0)
    return copyPanels(shape, layout, count, read, convert, target, targetBytes);
  if (static_cast<size_t>(count * ::mohdrt::dtypeSize(layout.type)) != targetBytes)
    return Status(StatusCode::Internal, "target does not have the tensor's size");
  if (count == 0)
    return Status();
  return PieceCopier(planAxes(shape, layout), layout.type, read, convert,
                     static_cast<char *>(target))
      .copyAll();
}

/// copyTensor for a quantised part.
static Status copyQuantized(const std::vector<int64_t> &shape, const TensorLayout &layout,
                            const ElementReader &read, void *target, size_t targetBytes,
                            QuantizationError *error) {
  const bool isScales = layout.part == TensorPart::Scales;
  int64_t count = 0;
  MOHDRT_TRY(checkLayout(shape, layout, count));
  if (layout.type != (isScales ? DType::F32 : DType::I8))
    return Status(StatusCode::Internal, "quantised values are i8, their scales f32");
  Result<Quantizer> quantizer = Quantizer::create(shape, layout, read);
  if (!quantizer.ok())
    return quantizer.status();
  if (!isScales) {
    QuantizationError lost;
    auto convert = [&](int64_t first, int64_t length, const float *source, void *values) {
      quantizer->quantize(first, length, source, static_cast<int8_t *>(values), lost);
    };
    MOHDRT_TRY(copyConverted(shape, layout, read, convert, target, targetBytes));
    if (error)
      *error += lost;
    return Status();
  }
  // The scales are a tensor [G, 1, C] of their own.
  const std::vector<float> &scales = quantizer->scales();
  const int64_t columns = quantizer->columns();
  std::vector<int64_t> rows = {columns > 0 ? static_cast<int64_t>(scales.size()) / columns : 0, 1,
                               columns};
  auto readScales = [&](int64_t first, int64_t length, float *to) {
    std::memcpy(to, scales.data() + first, static_cast<size_t>(length) * sizeof(float));
    return Status();
  };
  return copyTensor(rows, {DType::F32, {}, {}, layout.panel, TensorPart::Whole}, readScales, target,
                    targetBytes);
}

Status copyTensor(const std::vector<int64_t> &shape, const TensorLayout &layout,
                  const ElementReader &read, void *target, size_t targetBytes,
                  QuantizationError *error) {
  if (layout.part != TensorPart::Whole)
    return copyQuantized(shape, layout, read, target, targetBytes, error);
  ElementConverter convert;
  if (layout.type != DType::F32)
    convert = [&](int64_t, int64_t count, const float *source, void *narrowed) {
      narrow(layout.type, source, narrowed, count);
    };
  return copyConverted(shape, layout, read, convert, target, targetBytes);
}

} // namespace mlir::mohd
