// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Limits and messages on top of the format library's JSON reader.

#include "JsonHelpers.h"

namespace mlir::mohd {

using ::mohdrt::JsonNode;
using ::mohdrt::JsonValue;

::mohdrt::Result<JsonValue> parseBounded(std::string_view text, const std::string &fileName) {
  ::mohdrt::JsonLimits limits;
  // The estimate counts final sizes; growing vectors hold up to twice as much again for a moment.
  limits.maxMemory = size_t(6) << 20;
  ::mohdrt::Result<JsonValue> value = ::mohdrt::parseJson(text, limits);
  if (!value.ok())
    return value.status().withPrefix(fileName);
  return value;
}

void failValue(const JsonNode &node, const std::string &expected) {
  const JsonValue *value = node.value();
  if (!value)
    return;
  bool container = value->asArray() || value->asObject();
  std::string text = container ? std::string("an ") + value->kindName()
                               : ::mohdrt::escapeForMessage(::mohdrt::writeCompactJson(*value));
  node.fail("expected " + expected + ", got " + text);
}

std::string readString(const JsonNode &node) {
  if (node.isString())
    return node.string();
  failValue(node, "a string");
  return {};
}

int64_t readInteger(const JsonNode &node, int64_t low) {
  const int64_t *value = node.value() ? node.value()->asInteger() : nullptr;
  if (value && *value >= low)
    return *value;
  failValue(node,
            low == INT64_MIN ? "an integer" : "an integer of at least " + std::to_string(low));
  return 0;
}

const JsonValue::Object &membersOf(const JsonNode &node) {
  static const JsonValue::Object none;
  const JsonValue::Object *members = node.value() ? node.value()->asObject() : nullptr;
  if (members)
    return *members;
  failValue(node, "an object");
  return none;
}

} // namespace mlir::mohd
