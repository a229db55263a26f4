// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The fixed 64 bytes at the start of a bundle (docs/formats.md), shared by writer and validator.
#ifndef MOHD_SRC_FORMAT_BUNDLE_HEADER_H
#define MOHD_SRC_FORMAT_BUNDLE_HEADER_H

#include "mohd/format/bundle.h"

#include <cstring>

namespace mohdrt {

inline constexpr char kMagic[] = "MOHDBNDL"; // 8 bytes and a zero that is not written
/// Bytes at the start that the hash covers, before the hash itself.
inline constexpr size_t kHashedHeaderBytes = 32;

struct Header {
  uint64_t major, minor, manifestBytes, fileBytes, flags, reserved;
};

/// The fields' places; all little-endian.
struct HeaderField {
  size_t offset, size;
  uint64_t Header::*value;
};
inline constexpr HeaderField kHeaderFields[] = {
    {8, 2, &Header::major},      {10, 2, &Header::minor}, {12, 4, &Header::manifestBytes},
    {16, 8, &Header::fileBytes}, {24, 4, &Header::flags}, {28, 4, &Header::reserved},
};

inline void encodeHeader(const Header &header, uint8_t *bytes) {
  std::memcpy(bytes, kMagic, 8);
  for (const HeaderField &field : kHeaderFields)
    for (size_t i = 0; i < field.size; ++i)
      bytes[field.offset + i] = static_cast<uint8_t>(header.*field.value >> (8 * i));
}

inline Header decodeHeader(const uint8_t *bytes) {
  Header header{};
  for (const HeaderField &field : kHeaderFields)
    for (size_t i = 0; i < field.size; ++i)
      header.*field.value |= uint64_t(bytes[field.offset + i]) << (8 * i);
  return header;
}

/// Returns the hash over the header's first 32 bytes and the manifest.
inline Sha256Digest hashManifest(const uint8_t *header, std::string_view manifest) {
  Sha256 hash;
  hash.update(header, kHashedHeaderBytes);
  hash.update(manifest.data(), manifest.size());
  return hash.finish();
}

} // namespace mohdrt

#endif // MOHD_SRC_FORMAT_BUNDLE_HEADER_H
