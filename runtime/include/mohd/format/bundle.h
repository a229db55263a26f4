// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The bundle file (.mohdb): its manifest as structs, the one validator, and the writer.
// docs/formats.md is the authority for every field.
#ifndef MOHD_FORMAT_BUNDLE_H
#define MOHD_FORMAT_BUNDLE_H

#include "mohd/format/bytes.h"
#include "mohd/format/dtype.h"
#include "mohd/format/json.h"
#include "mohd/format/sha256.h"
#include "mohd/format/status.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mohdrt {

inline constexpr int kFormatMajor = 1;
inline constexpr int kFormatMinor = 0;
inline constexpr int kAbiVersion = 1;
inline constexpr size_t kMaxManifestBytes = size_t(16) << 20;
inline constexpr size_t kHeaderBytes = 64;
inline constexpr int64_t kSegmentAlign = 64;
inline constexpr int64_t kWeightsSegmentAlign = 4096;
/// Alignment in bytes of weights, workspace and the caller's buffers.
inline constexpr int64_t kBufferAlign = 64;
/// Caps that let the runtime hold a call's values in fixed arrays.
inline constexpr size_t kMaxDims = 64;       // of an entry point
inline constexpr size_t kMaxBindings = 192;  // of a dispatch
inline constexpr size_t kMaxParams = 64;     // of a dispatch
inline constexpr size_t kMaxMaps = 16;       // of a dispatch: its arguments then fit in 4 KiB
inline constexpr size_t kMaxMapRank = 5;     // of a tensor map
inline constexpr size_t kMaxNameBytes = 255; // of anything that has a name

/// One extent of a shape: a number, or the name of a dim (inputs) or an expression (outputs).
struct Extent {
  Extent(int64_t value) : value(value) {}
  Extent(std::string text) : text(std::move(text)) {}
  bool isStatic() const { return text.empty(); }

  int64_t value = 0; // when static
  std::string text;
};

struct InputHash {
  std::string name;
  Sha256Digest sha256{};
};

struct Producer {
  std::string name, version, llvm;
  std::string ptxas; // version of the assembler that made the cubins; empty if there are none
  std::vector<std::string> flags;
  std::vector<InputHash> inputs;
};

struct ModelInfo {
  std::string type;
  int64_t vocabSize = 0, maxPositions = 0, numLayers = 0;
  int64_t kvWidth = 0;                  // kv_heads * head_dim
  std::optional<std::string> tokenizer; // "bytes" or none
  JsonValue config = JsonValue::object();
};

struct SegmentInfo {
  std::string name;
  int64_t offset = 0, size = 0, align = kSegmentAlign; // bytes
  Sha256Digest sha256{};
};

/// A file of weights beside the bundle, by base name.
struct ExternalFile {
  std::string name;
  int64_t size = 0; // bytes
  Sha256Digest sha256{};
};

struct WeightInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  bool external = false; // `container` counts files, not segments
  int64_t container = 0; // index into segments or files
  int64_t offset = 0;    // bytes in the container; a multiple of 64 in a segment
  int64_t size = 0;      // bytes, shape x element size
};

/// An input or output of an entry point.
struct TensorSpec {
  std::string name;
  DType dtype = DType::F32;
  std::vector<Extent> shape;
  std::optional<std::pair<std::string, std::string>> range; // inputs: values in [first, second)
  bool isMutable = false;                                   // inputs: updated in place
};

struct EntryPoint {
  std::string name;
  std::vector<std::string> dims;
  std::vector<TensorSpec> inputs, outputs;
};

struct Kernel {
  std::string name; // of the exported function
  int64_t bindings = 0, params = 0;
  // cuda and emulate; 0 for cpu:
  int64_t maps = 0;
  int64_t threads = 0;      // of a block, all in x
  int64_t sharedBytes = 0;  // dynamic shared memory of a block
  bool cooperative = false; // all blocks run at once: the grid is cut to what the device holds
  // cubins, as the assembler tells; 0 elsewhere:
  int64_t registers = 0;         // of a thread
  int64_t staticSharedBytes = 0; // of a block
  int64_t blocksPerSm = 0;       // that a multiprocessor holds at a time
};

struct Binding {
  enum class Kind { Input, Output, Weight, Workspace };
  Kind kind = Kind::Input;
  int64_t index = 0;        // of the input, output or weight
  std::string offset = "0"; // expression, bytes
  std::string size;         // expression, bytes
};

/// A tensor as the tensor memory accelerator of sm_90 sees it: tiles of it, zeros outside. The
/// innermost dimension comes first.
struct TensorMap {
  int64_t binding = 0;              // of the dispatch; its bytes hold the tensor
  DType dtype = DType::BF16;        // of 1, 2 or 4 bytes
  std::vector<std::string> extents; // expressions, elements; one for each of 1 to 5 dimensions
  std::vector<std::string> strides; // expressions, bytes, multiples of 16; not for the first one
  std::vector<int64_t> box;         // elements of a tile, 1 to 256 in each dimension
  int64_t swizzle = 0;              // bytes: 0 (none), 32, 64 or 128
};

struct Dispatch {
  int64_t kernel = 0;
  std::string grid;                // expression: tasks (cpu), or blocks in x (cuda, emulate)
  std::vector<std::string> params; // expressions
  std::vector<Binding> bindings;
  std::vector<TensorMap> maps; // cuda and emulate
};

/// What a target does for one entry point.
struct Program {
  int64_t entry = 0;
  std::string workspace = "0"; // expression, bytes
  std::vector<Dispatch> dispatches;
};

struct Target {
  std::string kind; // "cpu", "cuda" or "emulate"
  std::string arch; // "x86-64-v3"; of a GPU "sm_90a", or "ptx" for PTX that any from sm_80 on runs
  std::vector<std::string> features; // of the CPU that runs the code; none for cuda
  std::string code;                  // cuda: "cubin" or, with the arch "ptx" only, "ptx"; else ""
  std::string host;    // emulate: arch of the CPU that runs the code, "x86-64-v3"; else ""
  int64_t segment = 0; // index of the code segment
  std::vector<Kernel> kernels;
  std::vector<Program> programs;

  bool isGpu() const { return kind != "cpu"; } // also an emulated one
  bool isCubin() const { return code == "cubin"; }
  /// "cuda:sm_90a"
  std::string name() const { return kind + ":" + arch; }
};

struct Manifest {
  int64_t formatMajor = kFormatMajor, formatMinor = kFormatMinor;
  std::vector<std::string> requiredFeatures;
  int64_t abiMin = kAbiVersion, abiMax = kAbiVersion;
  Producer producer;
  std::optional<ModelInfo> model;
  std::vector<SegmentInfo> segments; // filled in by writeBundle()
  std::vector<ExternalFile> files;
  std::vector<WeightInfo> weights;
  std::vector<EntryPoint> entryPoints;
  std::vector<Target> targets;
};

/// Returns the manifest as JSON, exactly the keys of docs/formats.md.
JsonValue toJson(const Manifest &manifest);

/// Reads what toJson() writes: kinds, required keys and unknown keys are checked here, meaning is
/// not (checkManifest does). Failures carry a JSON pointer.
Result<Manifest> manifestFromJson(const JsonValue &json);

/// Checks what the fields mean: indices, names, sizes of weights, expressions, counts of bindings.
Status checkManifest(const Manifest &manifest);

/// The compute capability in the arch of a GPU's target.
struct GpuArch {
  int major = 0, minor = 0;
  bool isExact = false; // "sm_90a": runs on this capability only
};

/// Returns what "sm_90a" says, or nothing for a text that is no arch of a GPU from sm_80 on.
std::optional<GpuArch> parseGpuArch(std::string_view arch) noexcept;

/// A bundle that passed the validator.
struct BundleInfo {
  int64_t fileBytes = 0;
  std::string manifestText; // canonical JSON
  Manifest manifest;
};

struct ValidateOptions {
  /// Hash every segment (reads the whole file). The runtime hashes while it loads instead. The hash
  /// over header and manifest is checked as long as `checkManifestHash` is set.
  bool hashSegments = true;
  bool checkManifestHash = true;
};

/// The one validator, used by writer, reader and inspector: header, version, manifest, layout,
/// gaps, hashes. MALFORMED, INCOMPATIBLE (version, required feature, ABI), IO or OUT_OF_MEMORY.
/// Allocates at most the manifest's length plus 48 MiB. Does not throw.
Result<BundleInfo> validateBundle(const ByteSource &source,
                                  const ValidateOptions &options = ValidateOptions());

/// MALFORMED, naming `what` ("segment 'code'"), unless the digests are equal.
Status checkDigest(const std::string &what, const Sha256Digest &expected,
                   const Sha256Digest &actual);

/// Returns a readable account of a bundle, for `mohd-run --inspect`.
std::string describeBundle(const BundleInfo &bundle);

/// Receives a segment's bytes in order.
using ByteSink = std::function<Status(const void *data, size_t size)>;

/// A segment to be written: `produce` hands exactly `size` bytes to the sink, in any number of
/// pieces, and is called once.
struct SegmentData {
  std::string name;
  int64_t size = 0;              // bytes
  int64_t align = kSegmentAlign; // 64, or 4096 for weights
  std::function<Status(const ByteSink &sink)> produce;

  static SegmentData fromBytes(std::string name, std::string bytes, int64_t align = kSegmentAlign);
};

/// Writes a bundle to `path` by way of a temporary file (see OutputFile): `manifest` with its
/// segments replaced by `segments`, in that order, so that `manifest`'s segment indices count
/// `segments`. The result has passed validateBundle(). The same arguments give the same bytes. A
/// failure leaves nothing behind: IO, OUT_OF_MEMORY, what `produce` returned, or MALFORMED for a
/// manifest that the validator refuses. Does not throw (unless `produce` does).
Status writeBundle(const std::string &path, Manifest manifest,
                   const std::vector<SegmentData> &segments);

/// The same bundle as bytes in memory.
Result<std::string> serializeBundle(Manifest manifest, const std::vector<SegmentData> &segments);

/// The validator for a name that becomes a file beside the bundle: [A-Za-z0-9._-]+, not "." or
/// "..", at most 255 bytes.
bool isBaseName(std::string_view name) noexcept;

} // namespace mohdrt

#endif // MOHD_FORMAT_BUNDLE_H
