// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one validator of bundles, from the first byte to the last.
#include "bundle_header.h"

#include <new>

namespace mohdrt {
namespace {

// With the raw text, the structs and the parsed values alive together, a hostile manifest stays
// within its own length plus 16 MiB.
constexpr size_t kMaxManifestMemory = size_t(40) << 20;
constexpr size_t kMaxManifestToken = size_t(64) << 10;

/// Whether this reader knows the name in required_features. Format 1.0 defines none.
bool isKnownFeature(std::string_view) { return false; }

Status malformed(const std::string &message) { return Status(StatusCode::Malformed, message); }

std::string versionText(uint64_t major, uint64_t minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

Status checkHeader(const ByteSource &source, const uint8_t *bytes, const Header &header) {
  if (std::memcmp(bytes, kMagic, 8) != 0)
    return malformed("not a bundle: it does not start with MOHDBNDL");
  if (header.major != kFormatMajor)
    return Status(
        StatusCode::Incompatible,
        "bundle of format " + versionText(header.major, header.minor) +
            ", this reader knows format " + versionText(kFormatMajor, kFormatMinor) +
            (header.major > kFormatMajor ? "; update the runtime" : "; compile the model again"));
  if (header.flags != 0 || header.reserved != 0)
    return malformed("header flags and reserved bytes must be 0");
  if (header.fileBytes != static_cast<uint64_t>(source.size()))
    return malformed("the header says " + std::to_string(header.fileBytes) +
                     " bytes, the file has " + std::to_string(source.size()));
  if (header.manifestBytes > kMaxManifestBytes ||
      header.manifestBytes > header.fileBytes - kHeaderBytes)
    return malformed("manifest length " + std::to_string(header.manifestBytes) +
                     " is more than the file or the limit of 16 MiB allows");
  return Status();
}

/// Refuses features and versions that this reader does not know, before it looks at the rest.
Status checkCompatible(const JsonValue &json, const Header &header) {
  JsonDocument document(json, "manifest");
  const JsonNode format = document.root().member("format");
  const uint64_t major = format.member("major").integer(0, 65535);
  const uint64_t minor = format.member("minor").integer(0, 65535);
  const JsonNode features = document.root().member("required_features");
  std::string unknown;
  for (size_t i = 0; i < features.size(); ++i) {
    const std::string name = features.at(i).string();
    if (!isKnownFeature(name) && unknown.empty())
      unknown = escapeForMessage(name, 60);
  }
  const JsonNode abi = document.root().member("abi");
  const int64_t abiMin = abi.member("min").integer(0, 65535);
  const int64_t abiMax = abi.member("max").integer(0, 65535);
  if (!document.ok())
    return document.status();
  if (major != header.major || minor != header.minor)
    return malformed("the header says format " + versionText(header.major, header.minor) +
                     ", the manifest " + versionText(major, minor));
  if (!unknown.empty())
    return Status(StatusCode::Incompatible,
                  "bundle of format " + versionText(major, minor) + " needs the feature '" +
                      unknown + "', which this reader of format " +
                      versionText(kFormatMajor, kFormatMinor) + " lacks; update the runtime");
  if (kAbiVersion < abiMin || kAbiVersion > abiMax)
    return Status(StatusCode::Incompatible, "bundle for runtime ABI " + std::to_string(abiMin) +
                                                " to " + std::to_string(abiMax) +
                                                ", this runtime has ABI " +
                                                std::to_string(kAbiVersion));
  return Status();
}

Result<Manifest> parseManifest(const std::string &text, const Header &header) {
  JsonLimits limits;
  limits.maxBytes = kMaxManifestBytes;
  limits.maxMemory = kMaxManifestMemory;
  limits.maxToken = kMaxManifestToken;
  Result<JsonValue> json = parseJson(text, limits);
  if (!json.ok())
    return json.status().withPrefix("manifest");
  MOHDRT_TRY(checkCompatible(*json, header));
  Result<Manifest> manifest = manifestFromJson(*json); // first: its messages say more
  if (manifest.ok() && !isCanonicalJson(*json, text))
    return malformed("manifest: not in canonical form (sorted keys, no white space, no fractions)");
  return manifest;
}

Status checkZero(const ByteSource &source, int64_t begin, int64_t end) {
  return forEachChunk(source, begin, end - begin,
                      [&](int64_t at, const uint8_t *data, size_t size) {
                        for (size_t i = 0; i < size; ++i)
                          if (data[i] != 0)
                            return malformed("byte " + std::to_string(begin + at + int64_t(i)) +
                                             " lies between segments and is not zero");
                        return Status();
                      });
}

Status checkLayout(const ByteSource &source, const Manifest &manifest, int64_t manifestEnd) {
  int64_t end = manifestEnd;
  for (const SegmentInfo &segment : manifest.segments) {
    const std::string where = "segment '" + segment.name + "'";
    if (segment.align < kSegmentAlign || segment.align > kWeightsSegmentAlign ||
        (segment.align & (segment.align - 1)) != 0)
      return malformed(where + ": align " + std::to_string(segment.align) +
                       ", expected a power of two from 64 to 4096");
    if (segment.offset % segment.align != 0)
      return malformed(where + ": offset " + std::to_string(segment.offset) +
                       " is no multiple of its align " + std::to_string(segment.align));
    if (segment.offset < end)
      return malformed(where + ": offset " + std::to_string(segment.offset) + " is before byte " +
                       std::to_string(end) + ", where the part before it ends");
    if (segment.offset > source.size() || segment.size > source.size() - segment.offset)
      return malformed(where + ": bytes [" + std::to_string(segment.offset) + ", +" +
                       std::to_string(segment.size) + ") are outside the file of " +
                       std::to_string(source.size()));
    MOHDRT_TRY(checkZero(source, end, segment.offset));
    end = segment.offset + segment.size;
  }
  if (end != source.size())
    return malformed("the file has " + std::to_string(source.size() - end) +
                     " bytes after its last segment");
  return Status();
}

Result<BundleInfo> validate(const ByteSource &source, const ValidateOptions &options) {
  if (source.size() < static_cast<int64_t>(kHeaderBytes))
    return malformed("not a bundle: " + std::to_string(source.size()) +
                     " bytes, the header alone has 64");
  uint8_t bytes[kHeaderBytes];
  MOHDRT_TRY(source.read(0, bytes, kHeaderBytes));
  const Header header = decodeHeader(bytes);
  MOHDRT_TRY(checkHeader(source, bytes, header));

  BundleInfo bundle;
  bundle.fileBytes = source.size();
  bundle.manifestText.resize(header.manifestBytes);
  MOHDRT_TRY(source.read(kHeaderBytes, bundle.manifestText.data(), header.manifestBytes));
  if (options.checkManifestHash) {
    Sha256Digest expected;
    std::memcpy(expected.data(), bytes + kHashedHeaderBytes, expected.size());
    MOHDRT_TRY(checkDigest("the header with the manifest", expected,
                           hashManifest(bytes, bundle.manifestText)));
  }
  Result<Manifest> manifest = parseManifest(bundle.manifestText, header);
  if (!manifest.ok())
    return manifest.status();
  bundle.manifest = std::move(*manifest);
  MOHDRT_TRY(checkLayout(source, bundle.manifest, kHeaderBytes + header.manifestBytes));
  MOHDRT_TRY(checkManifest(bundle.manifest));
  if (options.hashSegments)
    for (const SegmentInfo &segment : bundle.manifest.segments) {
      Result<Sha256Digest> digest = hashRange(source, segment.offset, segment.size);
      if (!digest.ok())
        return digest.status();
      MOHDRT_TRY(checkDigest("segment '" + segment.name + "'", segment.sha256, *digest));
    }
  return bundle;
}

} // namespace

Status checkDigest(const std::string &what, const Sha256Digest &expected,
                   const Sha256Digest &actual) {
  if (actual == expected)
    return Status();
  return malformed(what + " does not match its sha256: the file is damaged");
}

Result<BundleInfo> validateBundle(const ByteSource &source, const ValidateOptions &options) {
  try {
    return validate(source, options);
  } catch (const std::bad_alloc &) {
    return Status(StatusCode::OutOfMemory, "out of memory while reading the bundle");
  }
}

} // namespace mohdrt
