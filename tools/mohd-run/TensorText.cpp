// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors as text: types, constants, and what the command line says of an input.
#include "Failure.h"
#include "Npy.h"
#include "Tensor.h"

#include "mohd/format/json.h"

#include <charconv>
#include <random>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {
namespace {

/// Reads all of `text` as a number; false if anything is left over.
template <typename T> bool parseNumber(std::string_view text, T &value) {
  const char *end = text.data() + text.size();
  auto [last, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && last == end;
}

/// Sets element `index` from its text.
void parseElement(Tensor &tensor, int64_t index, std::string_view text, const std::string &name) {
  bool ok;
  if (isInteger(tensor.type().dtype)) {
    int64_t value = 0;
    ok = parseNumber(text, value) && tensor.setInteger(index, value);
  } else {
    double value = 0;
    ok = parseNumber(text, value);
    tensor.setNumber(index, value);
  }
  if (!ok)
    throw usage("expected a value of type " + std::string(dtypeName(tensor.type().dtype)) +
                " for element " + std::to_string(index) + " of '" + name + "', got '" +
                escapeForMessage(text) + "'");
}

void fillRandom(Tensor &tensor, std::string_view seedText, const std::string &name) {
  uint64_t seed = 0;
  if (!parseNumber(seedText, seed))
    throw usage("expected random:SEED with a non-negative integer for '" + name +
                "', got 'random:" + escapeForMessage(seedText) + "'");
  if (isInteger(tensor.type().dtype))
    throw usage("'" + name + "' has integers, which random: does not make",
                "list the values, or read them from a file");
  std::mt19937_64 generator(seed);
  for (int64_t i = 0, count = tensor.numElements(); i < count; ++i)
    tensor.setNumber(i, static_cast<double>(generator() >> 11) * 0x1p-52 - 1.0);
}

void fillConstants(Tensor &tensor, std::string_view text, const std::string &name) {
  int64_t count = tensor.numElements(), given = 0;
  if (count == 0 && text.empty())
    return;
  std::vector<std::string_view> values;
  for (size_t start = 0, comma; start <= text.size(); start = comma + 1) {
    comma = std::min(text.find(',', start), text.size());
    values.push_back(text.substr(start, comma - start));
  }
  given = static_cast<int64_t>(values.size());
  if (given != 1 && given != count)
    throw usage("expected 1 or " + std::to_string(count) + " values for '" + name + "', got " +
                std::to_string(given));
  for (int64_t i = 0; i < count; ++i)
    parseElement(tensor, i, values[given == 1 ? 0 : i], name);
}

} // namespace

std::string toString(const TensorType &type) {
  std::string text;
  for (int64_t extent : type.shape)
    text += std::to_string(extent) + "x";
  return text + dtypeName(type.dtype);
}

std::optional<TensorType> parseTensorType(std::string_view text) {
  TensorType type;
  for (size_t x; (x = text.find('x')) != std::string_view::npos; text.remove_prefix(x + 1)) {
    int64_t extent = 0;
    if (!parseNumber(text.substr(0, x), extent) || extent < 0 || type.shape.size() == kMaxRank)
      return std::nullopt;
    type.shape.push_back(extent);
  }
  std::optional<DType> dtype = parseDType(text);
  if (!dtype)
    return std::nullopt;
  type.dtype = *dtype;
  return type;
}

Tensor parseTensor(const std::string &name, std::string_view text, std::optional<DType> expected) {
  std::optional<TensorType> type;
  if (size_t equals = text.find('=');
      text.substr(0, 1) != "@" && equals != std::string_view::npos) {
    type = parseTensorType(text.substr(0, equals));
    if (!type)
      throw usage("expected a type such as 4x64xf32 for '" + name + "', got '" +
                  escapeForMessage(text.substr(0, equals)) + "'");
    text.remove_prefix(equals + 1);
  }
  if (text.substr(0, 1) == "@") {
    std::string path(text.substr(1));
    Tensor tensor = readNpy(path, type ? std::optional<DType>(type->dtype) : expected);
    if (type && !(tensor.type() == *type))
      throw usage("'" + name + "' is said to be " + toString(*type) + ", but " + path + " holds " +
                  toString(tensor.type()));
    return tensor;
  }
  if (!type)
    throw usage("the type of '" + name + "' is missing",
                "write it as in --input " + name + "=4x64xf32=0, or read it from a file: --input " +
                    name + "=@FILE.npy");
  Tensor tensor(*type);
  if (text.substr(0, 7) == "random:")
    fillRandom(tensor, text.substr(7), name);
  else
    fillConstants(tensor, text, name);
  return tensor;
}

std::string elementText(const Tensor &tensor, int64_t index) {
  char buffer[64];
  std::to_chars_result end = {};
  if (isInteger(tensor.type().dtype))
    end = std::to_chars(buffer, buffer + sizeof(buffer), tensor.integer(index));
  else if (tensor.type().dtype == DType::F64)
    end = std::to_chars(buffer, buffer + sizeof(buffer), tensor.number(index));
  else // exact in f32, which has the shortest text that reads back
    end = std::to_chars(buffer, buffer + sizeof(buffer), static_cast<float>(tensor.number(index)));
  return std::string(buffer, end.ptr);
}

std::string toString(const Tensor &tensor) {
  std::string text = toString(tensor.type()) + "=";
  for (int64_t i = 0, count = tensor.numElements(); i < count; ++i)
    text += (i ? "," : "") + elementText(tensor, i);
  return text;
}

} // namespace mohdrun
