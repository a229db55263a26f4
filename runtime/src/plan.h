// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// An entry point's expressions evaluated for one set of dims, with every binding and tensor map
// checked against its buffer. Kept between runs: a decoding loop evaluates nothing.
#ifndef MOHD_SRC_PLAN_H
#define MOHD_SRC_PLAN_H

#include "call.h"

namespace mohdrt {

/// A tensor map's numbers, innermost dimension first.
struct MapPlan {
  int64_t extents[kMaxMapRank] = {};     // elements
  int64_t strides[kMaxMapRank - 1] = {}; // bytes

  bool operator==(const MapPlan &other) const {
    return std::equal(extents, extents + kMaxMapRank, other.extents) &&
           std::equal(strides, strides + kMaxMapRank - 1, other.strides);
  }
};

/// All arrays have their final size from resize() on, so that evaluation allocates nothing.
class EntryPlan {
public:
  /// Makes room for what the program has. The arguments outlive the plan.
  void resize(const Manifest &manifest, const CompiledEntry &entry, const CompiledProgram &program);

  /// Evaluates everything for the inputs' dims, unless that is what the plan has.
  Status update(const TensorList &inputs);

  int64_t workspaceBytes = 0;
  std::vector<int64_t> inputBytes, outputBytes;
  std::vector<int64_t> outputShapes;               // [outputs, kMaxRank]
  std::vector<std::pair<int64_t, int64_t>> ranges; // [inputs], where they have one
  std::vector<int64_t> grids;                      // [dispatches]
  // Of all dispatches, one after the other.
  std::vector<int64_t> params, offsets, sizes; // offsets and sizes of bindings, in bytes
  std::vector<MapPlan> maps;

private:
  Status evaluateAll(const TensorList &inputs);
  Status evaluateDispatch(const CompiledDispatch &dispatch, int64_t *grid, int64_t *params,
                          int64_t *offsets, int64_t *sizes, MapPlan *maps) const;
  Status evaluateBinding(const CompiledDispatch &dispatch, size_t index, int64_t *offset,
                         int64_t *size) const;
  Status evaluateMap(const CompiledDispatch &dispatch, size_t index, int64_t offset, int64_t size,
                     MapPlan *plan) const;

  const Manifest *manifest_ = nullptr;
  const CompiledEntry *entry_ = nullptr;
  const CompiledProgram *program_ = nullptr;
  bool valid_ = false;
  DimValues dims_{};
};

} // namespace mohdrt

#endif // MOHD_SRC_PLAN_H
