// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The writer. Sizes are known before any segment is produced, and hashes have a fixed length as
// text, so the layout is fixed first, each segment is streamed to its place once, and header and
// manifest are written last.
#include "bundle_header.h"

#include "mohd/format/output_file.h"

#include <cerrno>
#include <cstring>
#include <new>

#include <unistd.h>

namespace mohdrt {
namespace {

int64_t alignUp(int64_t value, int64_t align) { return (value + align - 1) / align * align; }

/// Places the segments after a manifest of `manifestBytes`; returns the file's length.
int64_t placeSegments(Manifest &manifest, size_t manifestBytes) {
  int64_t end = static_cast<int64_t>(kHeaderBytes + manifestBytes);
  for (SegmentInfo &segment : manifest.segments) {
    segment.offset = alignUp(end, segment.align);
    end = segment.offset + segment.size;
  }
  return end;
}

/// Fixes the segments' offsets, which depend on the manifest's length, which depends on the
/// offsets' digits. Offsets only grow, so this ends after a few rounds.
Result<int64_t> layOut(Manifest &manifest, const std::vector<SegmentData> &segments,
                       size_t *manifestBytes) {
  manifest.segments.clear();
  for (const SegmentData &data : segments) {
    SegmentInfo info;
    info.name = data.name, info.size = data.size, info.align = data.align;
    if (data.align <= 0 || data.size < 0)
      return Status(StatusCode::InvalidArgument, "segment '" + data.name + "': align " +
                                                     std::to_string(data.align) + ", size " +
                                                     std::to_string(data.size));
    manifest.segments.push_back(std::move(info));
  }
  *manifestBytes = 0;
  while (true) {
    const int64_t fileBytes = placeSegments(manifest, *manifestBytes);
    Result<std::string> text = writeCanonicalJson(toJson(manifest));
    if (!text.ok())
      return text.status().withPrefix("manifest");
    if (text->size() > kMaxManifestBytes)
      return Status(StatusCode::InvalidArgument, "manifest of " + std::to_string(text->size()) +
                                                     " bytes, at most 16 MiB are allowed");
    if (text->size() == *manifestBytes)
      return fileBytes;
    *manifestBytes = text->size();
  }
}

/// Puts bytes at a place of the bundle, wherever that is.
using PlaceWriter = std::function<Status(int64_t offset, const void *data, size_t size)>;

Status writeSegment(const PlaceWriter &put, const SegmentData &data, SegmentInfo &info) {
  Sha256 hash;
  int64_t written = 0;
  const ByteSink sink = [&](const void *bytes, size_t size) {
    if (size > static_cast<uint64_t>(info.size - written))
      return Status(StatusCode::Internal, "segment '" + info.name + "' is longer than the " +
                                              std::to_string(info.size) + " bytes announced");
    hash.update(bytes, size);
    Status status = put(info.offset + written, bytes, size);
    written += static_cast<int64_t>(size);
    return status;
  };
  MOHDRT_TRY(data.produce(sink));
  if (written != info.size)
    return Status(StatusCode::Internal, "segment '" + info.name + "' has " +
                                            std::to_string(written) + " bytes instead of the " +
                                            std::to_string(info.size) + " announced");
  info.sha256 = hash.finish();
  return Status();
}

Status writeHeaderAndManifest(const PlaceWriter &put, const Manifest &manifest, int64_t fileBytes,
                              size_t manifestBytes) {
  Result<std::string> text = writeCanonicalJson(toJson(manifest));
  if (!text.ok())
    return text.status();
  Header header{};
  header.major = kFormatMajor;
  header.minor = kFormatMinor;
  header.manifestBytes = manifestBytes;
  header.fileBytes = static_cast<uint64_t>(fileBytes);
  uint8_t bytes[kHeaderBytes];
  encodeHeader(header, bytes);
  const Sha256Digest digest = hashManifest(bytes, *text);
  std::memcpy(bytes + kHashedHeaderBytes, digest.data(), digest.size());
  MOHDRT_TRY(put(0, bytes, kHeaderBytes));
  return put(kHeaderBytes, text->data(), text->size());
}

/// Segments in order, then header and manifest, which hold their hashes.
Status writeParts(const PlaceWriter &put, Manifest &manifest,
                  const std::vector<SegmentData> &segments, int64_t fileBytes,
                  size_t manifestBytes) {
  for (size_t i = 0; i < segments.size(); ++i)
    MOHDRT_TRY(writeSegment(put, segments[i], manifest.segments[i]));
  return writeHeaderAndManifest(put, manifest, fileBytes, manifestBytes);
}

/// Runs the validator over what was written; the hashes are those just computed.
Status validateBytes(const ByteSource &source) {
  ValidateOptions options;
  options.hashSegments = false;
  return validateBundle(source, options).status();
}

Status validateFile(const OutputFile &file, const std::string &path) {
  int copy = ::dup(file.descriptor());
  if (copy < 0)
    return systemError("read back", path, errno);
  Result<std::unique_ptr<FileSource>> source = FileSource::adopt(copy, path);
  return source.ok() ? validateBytes(**source) : source.status();
}

Status write(const std::string &path, Manifest manifest, const std::vector<SegmentData> &segments) {
  size_t manifestBytes = 0;
  Result<int64_t> fileBytes = layOut(manifest, segments, &manifestBytes);
  if (!fileBytes.ok())
    return fileBytes.status();
  // Refuse a bad manifest before gigabytes are written.
  MOHDRT_TRY(checkManifest(manifest));
  Result<OutputFile> file = OutputFile::create(path);
  if (!file.ok())
    return file.status();
  PlaceWriter put = [&](int64_t offset, const void *data, size_t size) {
    return file->writeAt(offset, data, size);
  };
  MOHDRT_TRY(writeParts(put, manifest, segments, *fileBytes, manifestBytes));
  if (::ftruncate(file->descriptor(), *fileBytes) != 0) // an empty last segment after a gap
    return systemError("write", path, errno);
  MOHDRT_TRY(validateFile(*file, path));
  return file->commit();
}

Result<std::string> serialize(Manifest manifest, const std::vector<SegmentData> &segments) {
  size_t manifestBytes = 0;
  Result<int64_t> fileBytes = layOut(manifest, segments, &manifestBytes);
  if (!fileBytes.ok())
    return fileBytes.status();
  MOHDRT_TRY(checkManifest(manifest));
  std::string bytes(static_cast<size_t>(*fileBytes), '\0');
  PlaceWriter put = [&](int64_t offset, const void *data, size_t size) {
    if (size != 0) // an empty piece may have no address
      std::memcpy(bytes.data() + offset, data, size);
    return Status();
  };
  MOHDRT_TRY(writeParts(put, manifest, segments, *fileBytes, manifestBytes));
  MOHDRT_TRY(validateBytes(MemorySource(bytes.data(), bytes.size())));
  return bytes;
}

} // namespace

SegmentData SegmentData::fromBytes(std::string name, std::string bytes, int64_t align) {
  SegmentData segment;
  segment.name = std::move(name);
  segment.size = static_cast<int64_t>(bytes.size());
  segment.align = align;
  segment.produce = [bytes = std::move(bytes)](const ByteSink &sink) {
    return sink(bytes.data(), bytes.size());
  };
  return segment;
}

Status writeBundle(const std::string &path, Manifest manifest,
                   const std::vector<SegmentData> &segments) {
  try {
    return write(path, std::move(manifest), segments);
  } catch (const std::bad_alloc &) {
    return Status(StatusCode::OutOfMemory, "out of memory while writing the bundle");
  }
}

Result<std::string> serializeBundle(Manifest manifest, const std::vector<SegmentData> &segments) {
  try {
    return serialize(std::move(manifest), segments);
  } catch (const std::bad_alloc &) {
    return Status(StatusCode::OutOfMemory, "out of memory while writing the bundle");
  }
}

} // namespace mohdrt
