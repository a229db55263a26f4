// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Fuzz entry point: any bytes as a manifest, and as a whole bundle whose hash over header and manifest
// is put right first, as random bytes never get past it. What is accepted can be described.

#include "mohd/format/bundle.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

using namespace mohdrt;

namespace {

/// A copy of the bytes that starts as a bundle of this length does.
std::string repaired(const uint8_t *data, size_t size) {
  std::string bytes(reinterpret_cast<const char *>(data), size);
  if (size < kHeaderBytes)
    return bytes;
  std::memcpy(&bytes[0], "MOHDBNDL", 8);
  const uint64_t length = size;
  std::memcpy(&bytes[16], &length, 8);
  uint32_t manifest = 0;
  std::memcpy(&manifest, &bytes[12], 4);
  Sha256 hash;
  hash.update(bytes.data(), 32);
  hash.update(bytes.data() + kHeaderBytes, std::min<size_t>(manifest, size - kHeaderBytes));
  const Sha256Digest digest = hash.finish();
  std::memcpy(&bytes[32], digest.data(), digest.size());
  return bytes;
}

/// Header and, as the manifest, the bytes.
std::string wrapped(const uint8_t *data, size_t size) {
  std::string bytes(kHeaderBytes, '\0');
  bytes[8] = 1; // format 1.0
  const uint32_t length = static_cast<uint32_t>(size);
  std::memcpy(&bytes[12], &length, 4);
  bytes.append(reinterpret_cast<const char *>(data), size);
  return repaired(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
}

void validate(const std::string &bytes) {
  ValidateOptions options;
  options.hashSegments = false;
  Result<BundleInfo> bundle = validateBundle(MemorySource(bytes.data(), bytes.size()), options);
  if (!bundle.ok())
    return;
  Result<std::string> manifest = writeCanonicalJson(toJson(bundle->manifest));
  const bool newer = bundle->manifest.formatMinor > kFormatMinor; // may have keys we do not know
  if (describeBundle(*bundle).empty() || !manifest.ok() ||
      (!newer && *manifest != bundle->manifestText))
    std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  validate(repaired(data, size));
  // Seeds are text files, which end with a line feed.
  validate(wrapped(data, size > 0 && data[size - 1] == '\n' ? size - 1 : size));
  return 0;
}
