// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading of weights: first all memory, then one pass over each segment or file that puts the bytes
// where they belong and hashes them there, so that what was checked is what is used. A digest is
// one long chain, so segments are what the CPUs share.
#include "weights.h"

#include "cpu_count.h"
#include "thread_pool.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include <sys/mman.h>
#include <unistd.h>

namespace mohdrt {

struct WeightStore::Range {
  std::string what; // "segment 'weights'"
  const ByteSource *source = nullptr;
  const FileSource *file = nullptr; // the same as a file, if it is one
  int64_t offset = 0, size = 0;
  Sha256Digest sha256{};
  std::vector<size_t> weights; // indices, in the order of their offsets
  const Manifest *manifest = nullptr;
  enum class Way { ReadInPlace, ReadAndCopy, Map } way = Way::ReadInPlace;
  uint8_t *memory = nullptr; // the range's bytes; with ReadAndCopy one weight after the other

  const WeightInfo &weight(size_t i) const { return manifest->weights[weights[i]]; }
};

namespace {

constexpr int64_t kHugePage = 2 << 20;
constexpr int64_t kPieceBytes = 256 << 10;  // read at once: less than a CPU's own cache
constexpr int64_t kThreadBytes = 512 << 10; // a thread is worth starting for so much

int64_t alignUp(int64_t value) { return (value + kBufferAlign - 1) / kBufferAlign * kBufferAlign; }

} // namespace

WeightStore::~WeightStore() {
  for (void *memory : allocations_)
    std::free(memory);
  for (auto [memory, size] : mappings_)
    ::munmap(memory, size);
}

Status WeightStore::load(const Manifest &manifest, const ByteSource &bundle,
                         const FileSource *bundleFile, const WeightOptions &options,
                         const std::vector<bool> &needed) {
  data_.assign(manifest.weights.size(), nullptr);
  struct Container {
    std::vector<size_t> weights;
    bool isNeeded = false;
  };
  std::vector<Container> segments(manifest.segments.size()), files(manifest.files.size());
  std::vector<Range> ranges;
  for (size_t i = 0; i < manifest.weights.size(); ++i) {
    const WeightInfo &weight = manifest.weights[i];
    Container &container = (weight.external ? files : segments)[weight.container];
    container.weights.push_back(i);
    container.isNeeded |= needed[i];
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    const SegmentInfo &segment = manifest.segments[i];
    if (segments[i].isNeeded)
      ranges.push_back({"segment '" + segment.name + "'", &bundle, bundleFile, segment.offset,
                        segment.size, segment.sha256, std::move(segments[i].weights), &manifest});
  }
  std::vector<std::unique_ptr<FileSource>> opened;
  for (size_t i = 0; i < files.size(); ++i) {
    const ExternalFile &file = manifest.files[i];
    if (!files[i].isNeeded)
      continue;
    Result<std::unique_ptr<FileSource>> source = openExternal(file, options);
    if (!source.ok())
      return source.status();
    opened.push_back(std::move(*source));
    ranges.push_back({"file '" + file.name + "'", opened.back().get(), opened.back().get(), 0,
                      file.size, file.sha256, std::move(files[i].weights), &manifest});
  }
  for (Range &range : ranges)
    MOHDRT_TRY(findPlace(range, options.map));
  return fillAll(ranges, options.checkHashes);
}

Result<std::unique_ptr<FileSource>> WeightStore::openExternal(const ExternalFile &file,
                                                              const WeightOptions &options) {
  if (options.directory.empty())
    return Status(StatusCode::InvalidArgument,
                  "the bundle's weights are in the file '" + file.name +
                      "', and no weights directory was given for a bundle in memory");
  Result<std::unique_ptr<FileSource>> source =
      FileSource::open(options.directory + "/" + file.name, /*followLinks=*/false);
  if (source.ok() && (*source)->size() != file.size)
    return Status(StatusCode::Malformed,
                  "file '" + file.name + "' has " + std::to_string((*source)->size()) +
                      " bytes, the bundle expects " + std::to_string(file.size));
  return source;
}

Status WeightStore::findPlace(Range &range, bool map) {
  std::sort(range.weights.begin(), range.weights.end(), [&](size_t a, size_t b) {
    return range.manifest->weights[a].offset < range.manifest->weights[b].offset;
  });
  bool aligned = range.size > 0;
  int64_t total = 0;
  for (size_t i = 0; i < range.weights.size(); ++i) {
    aligned &= (range.offset + range.weight(i).offset) % kBufferAlign == 0;
    total += alignUp(range.weight(i).size);
  }
  if (!aligned)
    range.way = Range::Way::ReadAndCopy;
  else if (map && range.file)
    range.way = Range::Way::Map;
  const bool copies = range.way == Range::Way::ReadAndCopy;
  MOHDRT_TRY(range.way == Range::Way::Map ? mapRange(range)
                                          : allocate(copies ? total : range.size, range));
  uint8_t *next = range.memory;
  for (size_t i = 0; i < range.weights.size(); ++i) {
    data_[range.weights[i]] = copies ? next : range.memory + range.weight(i).offset;
    next += alignUp(range.weight(i).size);
  }
  return Status();
}

Status WeightStore::mapRange(Range &range) {
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  const int64_t begin = range.offset / page * page;
  const size_t size = static_cast<size_t>(range.offset + range.size - begin);
  mappings_.reserve(mappings_.size() + 1);
  void *memory =
      ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, range.file->descriptor(), off_t(begin));
  if (memory == MAP_FAILED)
    return systemError("map", range.what, errno);
  mappings_.emplace_back(memory, size);
  range.memory = static_cast<uint8_t *>(memory) + (range.offset - begin);
  return Status();
}

Status WeightStore::allocate(int64_t size, Range &range) {
  allocations_.reserve(allocations_.size() + 1);
  const int64_t align = size >= kHugePage ? kHugePage : kBufferAlign;
  void *memory = nullptr;
  if (::posix_memalign(&memory, size_t(align), size_t(std::max(size, kBufferAlign))) != 0)
    return Status(StatusCode::OutOfMemory, "cannot allocate " + std::to_string(size) +
                                               " bytes for the weights in " + range.what);
  allocations_.push_back(memory);
  // Fewer page faults now and misses of the TLB in every run; the kernel may say no.
  if (size >= kHugePage)
    ::madvise(memory, size_t(size / kHugePage * kHugePage), MADV_HUGEPAGE);
  range.memory = static_cast<uint8_t *>(memory);
  return Status();
}

Status WeightStore::fillAll(const std::vector<Range> &ranges, bool checkHashes) const {
  struct Shared {
    const WeightStore *store;
    const std::vector<Range> *ranges;
    bool checkHashes;
    std::vector<Status> statuses;
  } shared{this, &ranges, checkHashes, std::vector<Status>(ranges.size())};
  auto task = [](void *const *bindings, const int64_t *, int64_t begin, int64_t end) {
    Shared &shared = *static_cast<Shared *>(bindings[0]);
    for (int64_t i = begin; i < end; ++i)
      try {
        shared.statuses[i] = shared.store->fill((*shared.ranges)[i], shared.checkHashes);
      } catch (const std::bad_alloc &) { // must not end a worker
        shared.statuses[i] = Status(StatusCode::OutOfMemory, "out of memory");
      }
  };
  int64_t bytes = 0;
  for (const Range &range : ranges)
    bytes += range.size;
  const uint32_t threads = threadsFor(bytes, ranges.size());
  void *bindings[] = {&shared};
  ThreadPool::Lease(*ThreadPool::acquire(threads), threads)
      .run({task, bindings, nullptr, int64_t(ranges.size())});
  for (Status &status : shared.statuses)
    MOHDRT_TRY(std::move(status));
  return Status();
}

uint32_t WeightStore::threadsFor(int64_t bytes, size_t ranges) {
  const int64_t useful = std::min<int64_t>(bytes / kThreadBytes, int64_t(ranges));
  if (useful < 2)
    return 1;
  Result<uint32_t> threads = resolveThreadCount(0);
  return threads.ok() ? std::min(*threads, uint32_t(useful)) : 1;
}

Status WeightStore::fill(const Range &range, bool checkHash) const {
  if (range.way == Range::Way::ReadAndCopy)
    return readAndCopy(range, checkHash);
  Sha256 hash;
  const bool reads = range.way == Range::Way::ReadInPlace;
  for (int64_t at = 0; at < range.size && (reads || checkHash); at += kPieceBytes) {
    const size_t size = size_t(std::min(kPieceBytes, range.size - at));
    if (reads)
      MOHDRT_TRY(range.source->read(range.offset + at, range.memory + at, size));
    if (checkHash) // while the cache has it
      hash.update(range.memory + at, size);
  }
  return checkHash ? checkDigest(range.what, range.sha256, hash.finish()) : Status();
}

Status WeightStore::readAndCopy(const Range &range, bool checkHash) const {
  Sha256 hash;
  size_t first = 0; // the first weight that does not end before the current piece
  MOHDRT_TRY(forEachChunk(
      *range.source, range.offset, range.size, [&](int64_t at, const uint8_t *data, size_t size) {
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
