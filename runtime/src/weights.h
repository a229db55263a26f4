// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The weights of a module in memory: read, or mapped on request.
#ifndef MOHD_SRC_WEIGHTS_H
#define MOHD_SRC_WEIGHTS_H

#include "mohd/format/bundle.h"

#include <string>
#include <vector>

namespace mohdrt {

struct WeightOptions {
  std::string directory; // of external files; empty: none may be opened
  bool checkHashes = true;
  bool map = false;
};

/// Owns the memory; every weight starts at a multiple of 64. Immutable once loaded.
class WeightStore {
public:
  WeightStore() = default;
  ~WeightStore();
  WeightStore(const WeightStore &) = delete;

  /// Loads all weights of `manifest`. `bundleFile` is the bundle as a file, or null when it is in
  /// memory (then nothing of it is mapped).
  Status load(const Manifest &manifest, const ByteSource &bundle, const FileSource *bundleFile,
              const WeightOptions &options);

  void *data(size_t weight) const { return data_[weight]; }

private:
  struct Range; // the bytes of one segment or file, and the weights in it
  Status loadExternal(const ExternalFile &file, Range range, const WeightOptions &options);
  Status loadRange(const ByteSource &source, const FileSource *file, const Range &range,
                   const WeightOptions &options);
  Status mapRange(const FileSource &file, const Range &range, bool checkHash);
  Status readRange(const ByteSource &source, const Range &range, bool checkHash);

  std::vector<void *> data_; // one for each weight
  std::vector<void *> allocations_;
  std::vector<std::pair<void *, size_t>> mappings_;
};

} // namespace mohdrt

#endif // MOHD_SRC_WEIGHTS_H
