// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bundles that writeBundle() refuses to write: any text as a manifest, under a right header and hash.
#ifndef MOHD_UNITTESTS_RAWBUNDLE_H
#define MOHD_UNITTESTS_RAWBUNDLE_H

#include "TestBundle.h"

namespace mohdrt {

/// Puts the sha256 over header and manifest right, so that the validator gets past it.
inline void repairManifestHash(std::string &bytes) {
  uint32_t length = 0;
  std::memcpy(&length, &bytes[12], 4);
  Sha256 hash;
  hash.update(bytes.data(), 32);
  hash.update(bytes.data() + 64, std::min<size_t>(length, bytes.size() - 64));
  const Sha256Digest digest = hash.finish();
  std::memcpy(&bytes[32], digest.data(), digest.size());
}

/// Header, `manifest`, then `tail`.
inline std::string rawBundle(const std::string &manifest, const std::string &tail = "",
                             uint16_t major = 1, uint16_t minor = 0) {
  std::string bytes("MOHDBNDL", 8);
  bytes.resize(64);
  const uint32_t length = static_cast<uint32_t>(manifest.size());
  const uint64_t total = 64 + manifest.size() + tail.size();
  std::memcpy(&bytes[8], &major, 2);
  std::memcpy(&bytes[10], &minor, 2);
  std::memcpy(&bytes[12], &length, 4);
  std::memcpy(&bytes[16], &total, 8);
  bytes += manifest + tail;
  repairManifestHash(bytes);
  return bytes;
}

/// The canonical manifest of a valid bundle without segments, with `from` replaced by `to`.
inline std::string changedManifest(const std::string &from, const std::string &to) {
  Manifest manifest;
  std::string text = *writeCanonicalJson(toJson(manifest));
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << " in " << text;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

} // namespace mohdrt

#endif // MOHD_UNITTESTS_RAWBUNDLE_H
