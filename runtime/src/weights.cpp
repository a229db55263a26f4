// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading of weights: one pass over each segment or file that hashes the bytes and puts them where
// they belong, so that what was checked is what is used.
#include "weights.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>

namespace mohdrt {

struct WeightStore::Range {
  std::string what; // "segment 'weights'"
  int64_t offset = 0, size = 0;
  Sha256Digest sha256{};
  std::vector<size_t> weights; // indices, in the order of their offsets
  const Manifest *manifest = nullptr;

  const WeightInfo &weight(size_t i) const { return manifest->weights[weights[i]]; }
};

namespace {

int64_t alignUp(int64_t value) { return (value + kBufferAlign - 1) / kBufferAlign * kBufferAlign; }

} // namespace

WeightStore::~WeightStore() {
  for (void *memory : allocations_)
    std::free(memory);
  for (auto [memory, size] : mappings_)
    ::munmap(memory, size);
}

Status WeightStore::load(const Manifest &manifest, const ByteSource &bundle,
                         const FileSource *bundleFile, const WeightOptions &options) {
  data_.assign(manifest.weights.size(), nullptr);
  std::vector<std::vector<size_t>> inSegment(manifest.segments.size());
  std::vector<std::vector<size_t>> inFile(manifest.files.size());
  for (size_t i = 0; i < manifest.weights.size(); ++i) {
    const WeightInfo &weight = manifest.weights[i];
    (weight.external ? inFile : inSegment)[weight.container].push_back(i);
  }
  auto rangeOf = [&](std::string what, int64_t offset, int64_t size, const Sha256Digest &sha256,
                     std::vector<size_t> &weights) {
    std::sort(weights.begin(), weights.end(), [&](size_t a, size_t b) {
      return manifest.weights[a].offset < manifest.weights[b].offset;
    });
    return Range{std::move(what), offset, size, sha256, std::move(weights), &manifest};
  };
  for (size_t i = 0; i < inSegment.size(); ++i) {
    const SegmentInfo &segment = manifest.segments[i];
    if (inSegment[i].empty())
      continue;
    MOHDRT_TRY(loadRange(bundle, bundleFile,
                         rangeOf("segment '" + segment.name + "'", segment.offset, segment.size,
                                 segment.sha256, inSegment[i]),
                         options));
  }
  for (size_t i = 0; i < inFile.size(); ++i) {
    const ExternalFile &file = manifest.files[i];
    if (inFile[i].empty())
      continue;
    MOHDRT_TRY(loadExternal(
        file, rangeOf("file '" + file.name + "'", 0, file.size, file.sha256, inFile[i]), options));
  }
  return Status();
}

Status WeightStore::loadExternal(const ExternalFile &file, Range range,
                                 const WeightOptions &options) {
  if (options.directory.empty())
    return Status(StatusCode::InvalidArgument,
                  "the bundle's weights are in the file '" + file.name +
                      "', and no weights directory was given for a bundle in memory");
  Result<std::unique_ptr<FileSource>> source =
      FileSource::open(options.directory + "/" + file.name, /*followLinks=*/false);
  if (!source.ok())
    return source.status();
  if ((*source)->size() != file.size)
    return Status(StatusCode::Malformed,
                  "file '" + file.name + "' has " + std::to_string((*source)->size()) +
                      " bytes, the bundle expects " + std::to_string(file.size));
  return loadRange(**source, source->get(), range, options);
}

Status WeightStore::loadRange(const ByteSource &source, const FileSource *file, const Range &range,
                              const WeightOptions &options) {
  bool aligned = true;
  for (size_t i = 0; i < range.weights.size(); ++i)
    aligned &= (range.offset + range.weight(i).offset) % kBufferAlign == 0;
  if (options.map && file && aligned && range.size > 0)
    return mapRange(*file, range, options.checkHashes);
  return readRange(source, range, options.checkHashes);
}

Status WeightStore::mapRange(const FileSource &file, const Range &range, bool checkHash) {
  // Mappings start at a page: the whole file is mapped, which costs no memory.
  const size_t size = static_cast<size_t>(file.size());
  mappings_.reserve(mappings_.size() + 1);
  void *memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (memory == MAP_FAILED)
    return systemError("map", range.what, errno);
  mappings_.emplace_back(memory, size);
  uint8_t *begin = static_cast<uint8_t *>(memory) + range.offset;
  if (checkHash)
    MOHDRT_TRY(checkDigest(range.what, range.sha256, sha256(begin, size_t(range.size))));
  for (size_t i = 0; i < range.weights.size(); ++i)
    data_[range.weights[i]] = begin + range.weight(i).offset;
  return Status();
}

Status WeightStore::readRange(const ByteSource &source, const Range &range, bool checkHash) {
  // One block with the weights one after the other, each at a multiple of 64.
  int64_t total = 0;
  for (size_t i = 0; i < range.weights.size(); ++i)
    total += alignUp(range.weight(i).size);
  allocations_.reserve(allocations_.size() + 1);
  void *memory = nullptr;
  if (::posix_memalign(&memory, kBufferAlign, size_t(std::max(total, kBufferAlign))) != 0)
    return Status(StatusCode::OutOfMemory, "cannot allocate " + std::to_string(total) +
                                               " bytes for the weights in " + range.what);
  allocations_.push_back(memory);
  uint8_t *place = static_cast<uint8_t *>(memory);
  for (size_t i = 0; i < range.weights.size(); ++i) {
    data_[range.weights[i]] = place;
    place += alignUp(range.weight(i).size);
  }

  Sha256 hash;
  size_t first = 0; // the first weight that does not end before the current piece
  MOHDRT_TRY(forEachChunk(
      source, range.offset, range.size, [&](int64_t at, const uint8_t *data, size_t size) {
        if (checkHash)
          hash.update(data, size);
        const int64_t end = at + static_cast<int64_t>(size);
        while (first < range.weights.size() &&
               range.weight(first).offset + range.weight(first).size <= at)
          ++first;
        for (size_t i = first; i < range.weights.size() && range.weight(i).offset < end; ++i) {
          const WeightInfo &weight = range.weight(i);
          const int64_t from = std::max(at, weight.offset);
          const int64_t to = std::min(end, weight.offset + weight.size);
          if (from < to)
            std::memcpy(static_cast<uint8_t *>(data_[range.weights[i]]) + (from - weight.offset),
                        data + (from - at), size_t(to - from));
        }
        return Status();
      }));
  return checkHash ? checkDigest(range.what, range.sha256, hash.finish()) : Status();
}

} // namespace mohdrt
