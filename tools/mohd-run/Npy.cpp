// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reader and writer of .npy files. The header is a Python dict literal of exactly three keys;
// everything else is refused.
#include "Npy.h"

#include "Failure.h"

#include "mohd/format/bytes.h"
#include "mohd/format/json.h"
#include "mohd/format/output_file.h"

#include <charconv>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr int64_t kMaxHeaderBytes = 1 << 16;

struct TypeName {
  const char *descr;
  DType dtype;
};
// The first name of a type is the one that is written.
constexpr TypeName kTypeNames[] = {{"<f4", DType::F32},  {"<f8", DType::F64}, {"<f2", DType::F16},
                                   {"<i4", DType::I32},  {"<i8", DType::I64}, {"|i1", DType::I8},
                                   {"|V2", DType::BF16}, {"<V2", DType::BF16}};

/// A cursor over the header's text.
struct HeaderParser {
  std::string_view text;
  std::string path;

  [[noreturn]] void fail(const std::string &expected) const {
    throw failure(StatusCode::Malformed,
                  "expected " + expected + " in the .npy header, got '" +
                      escapeForMessage(text, 40) + "'",
                  path);
  }
  void skipBlanks() {
    while (!text.empty() && text[0] == ' ')
      text.remove_prefix(1);
  }
  bool take(std::string_view token) {
    skipBlanks();
    if (text.substr(0, token.size()) != token)
      return false;
    text.remove_prefix(token.size());
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token))
      fail("'" + std::string(token) + "'");
  }
  std::string string() {
    expect("'");
    size_t end = text.find('\'');
    if (end == std::string_view::npos)
      fail("a string");
    std::string value(text.substr(0, end));
    text.remove_prefix(end + 1);
    return value;
  }
  std::vector<int64_t> shape() {
    std::vector<int64_t> shape;
    expect("(");
    while (!take(")")) {
      skipBlanks();
      int64_t extent = 0;
      auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), extent);
      if (error != std::errc() || extent < 0)
        fail("an extent");
      text.remove_prefix(static_cast<size_t>(end - text.data()));
      shape.push_back(extent);
      if (shape.size() > kMaxRank)
        fail("at most 8 extents");
      // (3,) has a comma; (3) is a number, which numpy does not write
      bool comma = take(",");
      if (!comma && shape.size() == 1)
        fail("','");
      if (!comma && text.substr(0, 1) != ")")
        fail("',' or ')'");
    }
    return shape;
  }
};

struct Header {
  std::string descr;
  std::vector<int64_t> shape;
};

Header parseHeader(std::string_view text, const std::string &path) {
  HeaderParser parser{text, path};
  Header header;
  bool seen[3] = {};
  parser.expect("{");
  while (!parser.take("}")) {
    std::string key = parser.string();
    size_t number = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : 3;
    if (number == 3 || seen[number])
      parser.fail("each of the keys 'descr', 'fortran_order', 'shape' once, not '" +
                  escapeForMessage(key) + "'");
    seen[number] = true;
    parser.expect(":");
    if (number == 0)
      header.descr = parser.string();
    else if (number == 2)
      header.shape = parser.shape();
    else if (parser.take("True"))
      throw failure(StatusCode::Malformed, "expected an array in C order, got Fortran order", path,
                    "save numpy.ascontiguousarray(array)");
    else
      parser.expect("False");
    if (!parser.take(",") && parser.text.substr(0, 1) != "}")
      parser.fail("',' or '}'");
  }
  if (!seen[0] || !seen[1] || !seen[2])
    parser.fail("the keys 'descr', 'fortran_order' and 'shape'");
  if (parser.take("\n"); !parser.text.empty())
    parser.fail("the end");
  return header;
}

DType findType(const std::string &descr, std::optional<DType> expected, const std::string &path) {
  for (const TypeName &name : kTypeNames)
    if (descr == name.descr)
      return name.dtype;
  if (descr == "<u2" && expected == DType::BF16)
    return DType::BF16;
  throw failure(StatusCode::Malformed,
                "expected elements <f4, <f8, <f2, <i4, <i8, |i1 or |V2 (bf16), got '" +
                    escapeForMessage(descr) + "'",
                path, "convert it with array.astype(...)");
}

/// Checks magic and version; returns where the dict starts and its length in bytes.
std::pair<int64_t, int64_t> readPreamble(const FileSource &file, const std::string &path) {
  uint8_t bytes[12] = {};
  size_t available = static_cast<size_t>(std::min<int64_t>(file.size(), sizeof(bytes)));
  check(file.read(0, bytes, available), path);
  std::string_view magic(reinterpret_cast<const char *>(bytes), kMagic.size());
  if (available < 10 || magic != kMagic)
    throw failure(StatusCode::Malformed, "expected a .npy file, which starts with \\x93NUMPY",
                  path);
  if (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0)
    throw failure(StatusCode::Malformed,
                  "expected .npy version 1.0, 2.0 or 3.0, got " + std::to_string(bytes[6]) + "." +
                      std::to_string(bytes[7]),
                  path);
  int64_t length = bytes[8] | bytes[9] << 8, start = bytes[6] == 1 ? 10 : 12;
  if (start == 12)
    length |= int64_t(bytes[10]) << 16 | int64_t(bytes[11]) << 24;
  if (length > kMaxHeaderBytes || start + length > file.size())
    throw failure(StatusCode::Malformed,
                  "expected a .npy header within the file and at most 65536 bytes long, got " +
                      std::to_string(length),
                  path);
  return {start, length};
}

} // namespace

Tensor readNpy(const std::string &path, std::optional<DType> expected) {
  Result<std::unique_ptr<FileSource>> opened = FileSource::open(path);
  check(opened.status(), path);
  const FileSource &file = **opened;
  auto [start, length] = readPreamble(file, path);
  std::string text(static_cast<size_t>(length), ' ');
  check(file.read(start, text.data(), text.size()), path);
  Header header = parseHeader(text, path);
  TensorType type{findType(header.descr, expected, path), header.shape};
  std::optional<int64_t> bytes = tensorBytes(type.dtype, type.shape.data(), type.shape.size());
  int64_t present = file.size() - start - length;
  if (!bytes || *bytes != present) // before anything of that size is allocated
    throw failure(StatusCode::Malformed,
                  "expected " + (bytes ? std::to_string(*bytes) : "fewer than 2^63") +
                      " bytes of data for " + toString(type) + ", got " + std::to_string(present),
                  path);
  Tensor tensor(type);
  check(file.read(start + length, tensor.data(), tensor.numBytes()), path);
  return tensor;
}

void writeNpy(const std::string &path, const Tensor &tensor) {
  std::string descr, shape;
  for (const TypeName &name : kTypeNames)
    if (descr.empty() && name.dtype == tensor.type().dtype)
      descr = name.descr;
  for (int64_t extent : tensor.type().shape)
    shape += std::to_string(extent) + (tensor.type().shape.size() == 1 ? "," : ", ");
  if (tensor.type().shape.size() > 1)
    shape.resize(shape.size() - 2);
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11,
                ' '); // the data starts at a multiple of 64
  header += "\n";
  std::string preamble(kMagic);
  preamble +=
      {1, 0, static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  Result<OutputFile> file = OutputFile::create(path);
  check(file.status(), path);
  preamble += header;
  check(file->append(preamble.data(), preamble.size()), path);
  check(file->append(tensor.data(), tensor.numBytes()), path);
  check(file->commit(), path);
}

} // namespace mohdrun
