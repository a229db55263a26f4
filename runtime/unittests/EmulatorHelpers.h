// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels as C++ lambdas that call the emulator's table, and what they need all the time.
#ifndef MOHD_UNITTESTS_EMULATORHELPERS_H
#define MOHD_UNITTESTS_EMULATORHELPERS_H

#include "mohd/emulator/emulator.h"
#include "mohd/format/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

namespace mohdemu {

inline const mohd_emu_table &gpu = *table();

/// Runs `body` as every thread of a launch.
inline Result emulate(Launch launch, const std::function<void()> &body) {
  const void *arguments[] = {&body};
  launch.kernel = [](const void *const *values) {
    (*static_cast<const std::function<void()> *>(values[0]))();
  };
  launch.arguments = arguments;
  if (launch.name.empty())
    launch.name = "test";
  return mohdemu::launch(launch);
}

/// A launch of one block.
inline Launch oneBlock(uint32_t threads, uint32_t sharedBytes, uint64_t seed = 0) {
  Launch launch;
  launch.block.x = threads;
  launch.sharedBytes = sharedBytes;
  launch.seed = seed;
  return launch;
}

template <typename T>
Allocation allocationOf(const std::vector<T> &values, const char *name, bool writable = false) {
  return {values.data(), values.size() * sizeof(T), name, writable};
}

/// Nothing was wrong.
inline ::testing::AssertionResult isClean(const Result &result) {
  if (result.errors.empty())
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << toString(result);
}

/// The first error is of `kind` and says `part`.
inline ::testing::AssertionResult finds(const Result &result, ErrorKind kind,
                                        const std::string &part) {
  if (result.errors.empty())
    return ::testing::AssertionFailure() << "no error";
  if (result.errors[0].kind != kind || result.errors[0].message.find(part) == std::string::npos)
    return ::testing::AssertionFailure() << toString(result);
  return ::testing::AssertionSuccess();
}

// Inside kernels.
inline uint32_t threadIndex() { return gpu.special_register(MOHD_EMU_TID_X); }
inline uint32_t blockIndex() { return gpu.special_register(MOHD_EMU_CTAID_X); }
template <typename T = uint8_t> T *shared(uint32_t offset) {
  return reinterpret_cast<T *>(static_cast<uint8_t *>(gpu.shared_base()) + offset);
}
template <typename T> T load(const T *from, uint32_t space, const char *site = "load") {
  gpu.check_load(from, sizeof(T), space, site);
  return *from;
}
template <typename T>
void store(T *to, const T &value, uint32_t space, const char *site = "store") {
  gpu.check_store(to, sizeof(T), space, site);
  *to = value;
}
template <typename T> T loadShared(uint32_t offset, const char *site = "load shared") {
  return load(shared<T>(offset), MOHD_EMU_SHARED, site);
}
template <typename T>
void storeShared(uint32_t offset, T value, const char *site = "store shared") {
  store(shared<T>(offset), value, MOHD_EMU_SHARED, site);
}
template <typename T> void storeGlobal(T &to, T value) { store(&to, value, MOHD_EMU_GLOBAL); }
template <typename T> T loadGlobal(const T &from) { return load(&from, MOHD_EMU_GLOBAL); }
inline void syncBlock() { gpu.barrier_sync(0, 0, "sync"); }

/// Elements of `kind` (MOHD_EMU_BF16 or MOHD_EMU_F16), small multiples of 1/8: products are exact.
inline std::vector<uint16_t> randomHalves(size_t count, uint32_t type, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<uint16_t> values(count);
  for (uint16_t &value : values) {
    const float number = static_cast<float>(static_cast<int>(engine() % 33) - 16) / 8;
    value = type == MOHD_EMU_BF16 ? mohdrt::narrowBf16(number) : mohdrt::narrowF16(number);
  }
  return values;
}
inline double valueOf(uint16_t bits, uint32_t type) {
  return type == MOHD_EMU_BF16 ? mohdrt::widenBf16(bits) : mohdrt::widenF16(bits);
}

/// The descriptor of a matrix in shared memory.
inline uint64_t descriptorOf(uint32_t offset, uint32_t leading, uint32_t stride, uint32_t mode) {
  static const uint64_t codes[] = {0, 3, 2, 1};
  return uint64_t(offset >> 4 & 0x3fff) | uint64_t(leading >> 4) << 16 |
         uint64_t(stride >> 4) << 32 | codes[mode] << 62;
}

/// A tensor map of `extents` elements, packed, innermost first.
inline mohd_emu_tensor_map mapOf(const void *base, uint8_t elementBytes,
                                 const std::vector<uint32_t> &extents,
                                 const std::vector<uint16_t> &box, uint8_t swizzle = 0) {
  mohd_emu_tensor_map map = {};
  map.base = reinterpret_cast<uint64_t>(base);
  map.rank = static_cast<uint8_t>(extents.size());
  map.element_bytes = elementBytes;
  map.swizzle = swizzle;
  uint64_t stride = elementBytes;
  for (size_t i = 0; i < extents.size(); ++i) {
    map.extents[i] = extents[i];
    map.box[i] = box[i];
    stride *= extents[i];
    if (i < 4)
      map.strides[i] = stride;
  }
  return map;
}

} // namespace mohdemu

#endif // MOHD_UNITTESTS_EMULATORHELPERS_H
