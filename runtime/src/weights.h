// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The weights of a module in memory: read, or mapped on request.
#ifndef MOHD_SRC_WEIGHTS_H
#define MOHD_SRC_WEIGHTS_H

#include "mohd/format/bundle.h"

#include <memory>
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

  /// Loads the segments and files that hold a weight marked in `needed` (one for each weight).
  /// `bundleFile` is the bundle as a file, or null when it is in memory (then nothing of it is
  /// mapped).
  Status load(const Manifest &manifest, const ByteSource &bundle, const FileSource *bundleFile,
              const WeightOptions &options, const std::vector<bool> &needed);

  /// Of all weights, in the manifest's order; null for those that were not loaded.
  const std::vector<void *> &addresses() const { return data_; }

private:
  struct Range; // the bytes of one segment or file, and the weights in it
  static Result<std::unique_ptr<FileSource>> openExternal(const ExternalFile &file,
                                                          const WeightOptions &options);
  /// Gives a range its memory and its weights their places in it.
  Status findPlace(Range &range, bool map);
  Status mapRange(Range &range);
  Status allocate(int64_t size, Range &range);
  /// Reads and hashes the ranges, several at once; the first failure in their order is returned.
  Status fillAll(const std::vector<Range> &ranges, bool checkHashes) const;
  static uint32_t threadsFor(int64_t bytes, size_t ranges);
  Status fill(const Range &range, bool checkHash) const;
  Status readAndCopy(const Range &range, bool checkHash) const;

  std::vector<void *> data_; // one for each weight
  std::vector<void *> allocations_;
  std::vector<std::pair<void *, size_t>> mappings_;
};

} // namespace mohdrt

#endif // MOHD_SRC_WEIGHTS_H
