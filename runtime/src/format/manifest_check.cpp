// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a manifest's fields must mean together: names, indices, sizes, expressions.
#include "mohd/format/bundle.h"
#include "mohd/format/expr.h"

#include <algorithm>
#include <new>
#include <tuple>

namespace mohdrt {
namespace {

Status malformed(const std::string &message) { return Status(StatusCode::Malformed, message); }

/// "weights[3] 'model.norm.weight'"
std::string place(const char *list, size_t index, const std::string &name) {
  return std::string(list) + "[" + std::to_string(index) + "] '" + escapeForMessage(name, 60) + "'";
}

bool isIdentifier(std::string_view name) {
  auto isLetter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  auto isDigit = [](char c) { return c >= '0' && c <= '9'; };
  return !name.empty() && name.size() <= kMaxNameBytes && isLetter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return isLetter(c) || isDigit(c); });
}

/// Names are not empty, not long, and free of control characters.
Status checkName(const char *list, size_t index, const std::string &name) {
  if (name.empty() || name.size() > kMaxNameBytes ||
      escapeForMessage(name, name.size() + 1) != name)
    return malformed(place(list, index, name) + ": a name must have 1 to " +
                     std::to_string(kMaxNameBytes) + " bytes of UTF-8 without control characters");
  return Status();
}

/// Every item of `items` has a proper name, and no two the same.
template <typename T> Status checkNames(const char *list, const std::vector<T> &items) {
  std::vector<std::string_view> names;
  names.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    MOHDRT_TRY(checkName(list, i, items[i].name));
    names.push_back(items[i].name);
  }
  std::sort(names.begin(), names.end());
  auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end())
    return malformed(std::string(list) + ": the name '" + std::string(*twin) + "' occurs twice");
  return Status();
}

Status checkIndex(const std::string &where, const char *what, int64_t index, size_t count) {
  if (index >= 0 && static_cast<uint64_t>(index) < count)
    return Status();
  return malformed(where + ": " + what + " " + std::to_string(index) + " of " +
                   std::to_string(count));
}

Status checkExpr(const std::string &where, const char *what, const std::string &text,
                 const std::vector<std::string> &dims) {
  Result<Expr> expr = Expr::parse(text, dims);
  return expr.ok() ? Status() : expr.status().withPrefix(where + ": " + what);
}

Status checkWeight(const Manifest &manifest, size_t index) {
  const WeightInfo &weight = manifest.weights[index];
  const std::string where = place("weights", index, weight.name);
  const size_t count = weight.external ? manifest.files.size() : manifest.segments.size();
  MOHDRT_TRY(checkIndex(where, weight.external ? "file" : "segment", weight.container, count));
  if (weight.shape.size() > kMaxRank)
    return malformed(where + ": rank " + std::to_string(weight.shape.size()) +
                     ", at most 8 is allowed");
  std::optional<int64_t> bytes =
      tensorBytes(weight.dtype, weight.shape.data(), weight.shape.size());
  if (!bytes || *bytes != weight.size)
    return malformed(where + ": size " + std::to_string(weight.size) + ", but its shape needs " +
                     (bytes ? std::to_string(*bytes) : "more than 2^63") + " bytes");
  const int64_t container = weight.external ? manifest.files[weight.container].size
                                            : manifest.segments[weight.container].size;
  if (weight.offset < 0 || weight.offset > container || weight.size > container - weight.offset)
    return malformed(where + ": bytes [" + std::to_string(weight.offset) + ", +" +
                     std::to_string(weight.size) + ") are outside its " +
                     (weight.external ? "file" : "segment") + " of " + std::to_string(container));
  if (!weight.external && weight.offset % kBufferAlign != 0)
    return malformed(where + ": offset " + std::to_string(weight.offset) +
                     " in a segment must be a multiple of 64");
  return Status();
}

/// Two weights must not share bytes, so that loading needs no more memory than the files have
/// bytes.
Status checkWeightOverlap(const Manifest &manifest) {
  std::vector<const WeightInfo *> order;
  for (const WeightInfo &weight : manifest.weights)
    if (weight.size > 0)
      order.push_back(&weight);
  std::sort(order.begin(), order.end(), [](const WeightInfo *a, const WeightInfo *b) {
    return std::tie(a->external, a->container, a->offset) <
           std::tie(b->external, b->container, b->offset);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const WeightInfo &a = *order[i - 1], &b = *order[i];
    if (a.external == b.external && a.container == b.container && b.offset < a.offset + a.size)
      return malformed("weights '" + a.name + "' and '" + b.name + "' overlap");
  }
  return Status();
}

Status checkTensor(const std::string &entry, const char *list, size_t index, bool isInput,
                   const TensorSpec &tensor, const std::vector<std::string> &dims) {
  const std::string where = entry + ": " + place(list, index, tensor.name);
  if (tensor.shape.size() > kMaxRank)
    return malformed(where + ": rank " + std::to_string(tensor.shape.size()) +
                     ", at most 8 is allowed");
  for (const Extent &extent : tensor.shape) {
    if (extent.isStatic() && extent.value < 0)
      return malformed(where + ": negative extent " + std::to_string(extent.value));
    if (extent.isStatic())
      continue;
    if (isInput && std::find(dims.begin(), dims.end(), extent.text) == dims.end())
      return malformed(where + ": extent '" + escapeForMessage(extent.text, 60) +
                       "' is no dim of the entry point");
    MOHDRT_TRY(checkExpr(where, "extent", extent.text, dims));
  }
  if (tensor.range && !isInteger(tensor.dtype))
    return malformed(where + ": only integer inputs have a range");
  if (tensor.range) {
    MOHDRT_TRY(checkExpr(where, "range", tensor.range->first, dims));
    MOHDRT_TRY(checkExpr(where, "range", tensor.range->second, dims));
  }
  return Status();
}

/// Every dim gets its value from an input.
bool isBound(const EntryPoint &entry, const std::string &dim) {
  for (const TensorSpec &input : entry.inputs)
    for (const Extent &extent : input.shape)
      if (extent.text == dim)
        return true;
  return false;
}

Status checkEntry(const EntryPoint &entry, size_t index) {
  const std::string where = place("entry_points", index, entry.name);
  if (entry.dims.size() > kMaxDims)
    return malformed(where + ": " + std::to_string(entry.dims.size()) + " dims, at most " +
                     std::to_string(kMaxDims) + " are allowed");
  for (const std::string &dim : entry.dims) {
    if (!isIdentifier(dim) || std::count(entry.dims.begin(), entry.dims.end(), dim) != 1)
      return malformed(where + ": dim '" + escapeForMessage(dim, 60) +
                       "' must be an identifier and occur once");
    if (!isBound(entry, dim))
      return malformed(where + ": no input's shape names the dim '" + dim + "'");
  }
  MOHDRT_TRY(checkNames("inputs", entry.inputs).withPrefix(where));
  MOHDRT_TRY(checkNames("outputs", entry.outputs).withPrefix(where));
  for (size_t i = 0; i < entry.inputs.size(); ++i)
    MOHDRT_TRY(checkTensor(where, "inputs", i, true, entry.inputs[i], entry.dims));
  for (size_t i = 0; i < entry.outputs.size(); ++i)
    MOHDRT_TRY(checkTensor(where, "outputs", i, false, entry.outputs[i], entry.dims));
  return Status();
}

/// What the hardware refuses in a tensor map, as far as it does not depend on the call.
Status checkMap(const std::string &where, const TensorMap &map, const Kernel &kernel,
                const std::vector<std::string> &dims) {
  MOHDRT_TRY(checkIndex(where, "binding", map.binding, static_cast<size_t>(kernel.bindings)));
  const int64_t bytes = dtypeSize(map.dtype);
  if (bytes > 4)
    return malformed(where + ": expects elements of 1, 2 or 4 bytes, got " + dtypeName(map.dtype));
  const size_t rank = map.extents.size();
  if (rank < 1 || rank > kMaxMapRank || map.strides.size() != rank - 1 || map.box.size() != rank)
    return malformed(where +
                     ": expects 1 to 5 extents, as many of the box and one stride less, got " +
                     std::to_string(rank) + ", " + std::to_string(map.box.size()) + " and " +
                     std::to_string(map.strides.size()));
  const int64_t row = map.box[0] * bytes;
  if (row % 16 != 0 || (map.swizzle != 0 && row > map.swizzle))
    return malformed(where + ": expects rows of the box of a multiple of 16 bytes" +
                     (map.swizzle ? " up to the swizzle's " + std::to_string(map.swizzle) : "") +
                     ", got " + std::to_string(row));
  for (const std::string &extent : map.extents)
    MOHDRT_TRY(checkExpr(where, "extent", extent, dims));
  for (const std::string &stride : map.strides)
    MOHDRT_TRY(checkExpr(where, "stride", stride, dims));
  return Status();
}

Status checkMaps(const std::string &where, const Dispatch &dispatch, const Target &target,
                 const EntryPoint &entry) {
  const Kernel &kernel = target.kernels[dispatch.kernel];
  if (dispatch.maps.size() != static_cast<size_t>(kernel.maps))
    return malformed(where + ": " + std::to_string(dispatch.maps.size()) + " maps, kernel '" +
                     kernel.name + "' has " + std::to_string(kernel.maps));
  for (size_t i = 0; i < dispatch.maps.size(); ++i)
    MOHDRT_TRY(
        checkMap(where + ".maps[" + std::to_string(i) + "]", dispatch.maps[i], kernel, entry.dims));
  return Status();
}

Status checkDispatch(const std::string &program, size_t index, const Dispatch &dispatch,
                     const Manifest &manifest, const Target &target, const EntryPoint &entry) {
  const std::string where = program + ".dispatches[" + std::to_string(index) + "]";
  MOHDRT_TRY(checkIndex(where, "kernel", dispatch.kernel, target.kernels.size()));
  const Kernel &kernel = target.kernels[dispatch.kernel];
  if (dispatch.bindings.size() != static_cast<size_t>(kernel.bindings) ||
      dispatch.params.size() != static_cast<size_t>(kernel.params))
    return malformed(where + ": " + std::to_string(dispatch.bindings.size()) + " bindings and " +
                     std::to_string(dispatch.params.size()) + " params, kernel '" + kernel.name +
                     "' has " + std::to_string(kernel.bindings) + " and " +
                     std::to_string(kernel.params));
  MOHDRT_TRY(checkExpr(where, "grid", dispatch.grid, entry.dims));
  for (const std::string &param : dispatch.params)
    MOHDRT_TRY(checkExpr(where, "param", param, entry.dims));
  for (const Binding &binding : dispatch.bindings) {
    if (binding.kind == Binding::Kind::Input)
      MOHDRT_TRY(checkIndex(where, "input", binding.index, entry.inputs.size()));
    if (binding.kind == Binding::Kind::Output)
      MOHDRT_TRY(checkIndex(where, "output", binding.index, entry.outputs.size()));
    if (binding.kind == Binding::Kind::Weight)
      MOHDRT_TRY(checkIndex(where, "weight", binding.index, manifest.weights.size()));
    MOHDRT_TRY(checkExpr(where, "offset", binding.offset, entry.dims));
    MOHDRT_TRY(checkExpr(where, "size", binding.size, entry.dims));
  }
  return checkMaps(where, dispatch, target, entry);
}

/// Kind, architectures and features go together.
Status checkKind(const std::string &where, const Target &target) {
  if (target.kind == "cpu")
    return Status();
  if (target.kind != "cuda" && target.kind != "emulate")
    return malformed(where + ": expects kind cpu, cuda or emulate, got '" +
                     escapeForMessage(target.kind, 60) + "'");
  const bool isCuda = target.kind == "cuda", isPtx = isCuda && target.arch == "ptx";
  const std::optional<GpuArch> arch = parseGpuArch(target.arch);
  if (!isPtx && !arch)
    return malformed(where + ": expects an arch such as sm_80 or sm_90a" +
                     (isCuda ? ", or ptx" : ""));
  if (isCuda && target.code != (isPtx ? "ptx" : "cubin"))
    return malformed(where + ": expects code '" + (isPtx ? "ptx" : "cubin") + "', got '" +
                     escapeForMessage(target.code, 60) + "'");
  if (isCuda && !target.features.empty())
    return malformed(where + ": expects no features of a CPU, got " +
                     std::to_string(target.features.size()));
  if (!isCuda)
    MOHDRT_TRY(checkName("host", 0, target.host).withPrefix(where));
  for (const Kernel &kernel : target.kernels)
    if (kernel.maps > 0 && (isPtx || arch->major < 9))
      return malformed(where + ": kernel '" + escapeForMessage(kernel.name, 60) +
                       "' has tensor maps, which expect sm_90 or later");
  return Status();
}

Status checkTarget(const Manifest &manifest, size_t index) {
  const Target &target = manifest.targets[index];
  const std::string where = place("targets", index, target.name());
  MOHDRT_TRY(checkName("targets", index, target.arch));
  MOHDRT_TRY(checkKind(where, target));
  for (const std::string &feature : target.features)
    MOHDRT_TRY(checkName("features", 0, feature).withPrefix(where));
  MOHDRT_TRY(checkIndex(where, "segment", target.segment, manifest.segments.size()));
  MOHDRT_TRY(checkNames("kernels", target.kernels).withPrefix(where));
  for (const Kernel &kernel : target.kernels)
    if (!isIdentifier(kernel.name))
      return malformed(where + ": kernel '" + kernel.name + "' is no C identifier");
  std::vector<bool> hasProgram(manifest.entryPoints.size());
  for (size_t p = 0; p < target.programs.size(); ++p) {
    const Program &program = target.programs[p];
    const std::string name = where + ".programs[" + std::to_string(p) + "]";
    MOHDRT_TRY(checkIndex(name, "entry", program.entry, manifest.entryPoints.size()));
    if (hasProgram[program.entry])
      return malformed(name + ": a second program for entry " + std::to_string(program.entry));
    hasProgram[program.entry] = true;
    const EntryPoint &entry = manifest.entryPoints[program.entry];
    MOHDRT_TRY(checkExpr(name, "workspace", program.workspace, entry.dims));
    for (size_t d = 0; d < program.dispatches.size(); ++d)
      MOHDRT_TRY(checkDispatch(name, d, program.dispatches[d], manifest, target, entry));
  }
  return Status();
}

Status checkAll(const Manifest &manifest) {
  MOHDRT_TRY(checkNames("segments", manifest.segments));
  MOHDRT_TRY(checkNames("files", manifest.files));
  MOHDRT_TRY(checkNames("weights", manifest.weights));
  MOHDRT_TRY(checkNames("entry_points", manifest.entryPoints));
  for (size_t i = 0; i < manifest.files.size(); ++i)
    if (!isBaseName(manifest.files[i].name))
      return malformed(place("files", i, manifest.files[i].name) +
                       ": expected a base name of [A-Za-z0-9._-]");
  for (size_t i = 0; i < manifest.weights.size(); ++i)
    MOHDRT_TRY(checkWeight(manifest, i));
  MOHDRT_TRY(checkWeightOverlap(manifest));
  for (size_t i = 0; i < manifest.entryPoints.size(); ++i)
    MOHDRT_TRY(checkEntry(manifest.entryPoints[i], i));
  for (size_t i = 0; i < manifest.targets.size(); ++i)
    MOHDRT_TRY(checkTarget(manifest, i));
  return Status();
}

} // namespace

bool isBaseName(std::string_view name) noexcept {
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), allowed);
}

std::optional<GpuArch> parseGpuArch(std::string_view arch) noexcept {
  GpuArch result;
  if (arch.substr(0, 3) != "sm_")
    return std::nullopt;
  arch.remove_prefix(3);
  result.isExact = !arch.empty() && arch.back() == 'a';
  if (result.isExact)
    arch.remove_suffix(1);
  if (arch.size() < 2 || arch.size() > 3 || arch[0] == '0')
    return std::nullopt;
  int number = 0;
  for (char c : arch) {
    if (c < '0' || c > '9')
      return std::nullopt;
    number = number * 10 + (c - '0');
  }
  if (number < 80)
    return std::nullopt;
  result.major = number / 10;
  result.minor = number % 10;
  return result;
}

Status checkManifest(const Manifest &manifest) {
  try {
    return checkAll(manifest).withPrefix("manifest");
  } catch (const std::bad_alloc &) {
    return Status(StatusCode::OutOfMemory, "out of memory while checking the manifest");
  }
}

} // namespace mohdrt
