// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SHA-256 (FIPS 180-4). Written here because libcrypto is several times larger than the whole
// runtime, and the runtime's only dependencies are the C and C++ libraries.
#ifndef MOHD_FORMAT_SHA256_H
#define MOHD_FORMAT_SHA256_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mohdrt {

using Sha256Digest = std::array<uint8_t, 32>;

/// Incremental hash: any number of update() calls, then finish() once.
class Sha256 {
public:
  /// `portable` keeps from the CPU's SHA instructions (for tests: digests are the same).
  explicit Sha256(bool portable = false);
  void update(const void *data, size_t size);
  Sha256Digest finish();

private:
  void (*const compress_)(uint32_t *state, const uint8_t *data, size_t blocks);
  uint32_t state_[8];
  uint64_t length_ = 0; // bytes hashed so far
  uint8_t block_[64];   // the last, incomplete block
};

/// Returns the digest of `size` bytes at `data`.
Sha256Digest sha256(const void *data, size_t size);

/// Returns 64 lower-case hexadecimal digits.
std::string toHex(const Sha256Digest &digest);

/// Parses what toHex() writes, and nothing else.
std::optional<Sha256Digest> parseSha256(std::string_view hex);

} // namespace mohdrt

#endif // MOHD_FORMAT_SHA256_H
