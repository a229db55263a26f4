// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The project's only way to read and write JSON. Strict: nesting, size and memory are bounded,
// duplicate keys are refused, and integers come from integer tokens that fit in 64 bits.
#ifndef MOHD_FORMAT_JSON_H
#define MOHD_FORMAT_JSON_H

#include "mohd/format/status.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace mohdrt {

struct JsonMember;

/// A JSON value. Objects keep their members sorted by key (byte order), each key once.
class JsonValue {
public:
  using Array = std::vector<JsonValue>;
  using Object = std::vector<JsonMember>;

  JsonValue() = default; // null
  JsonValue(bool value) : value_(value) {}
  template <typename T,
            std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, int> = 0>
  JsonValue(T value) : value_(static_cast<int64_t>(value)) {}
  JsonValue(double value) : value_(value) {}
  JsonValue(const char *value) : value_(std::string(value)) {}
  JsonValue(std::string_view value) : value_(std::string(value)) {}
  JsonValue(std::string value) : value_(std::move(value)) {}
  static JsonValue array() { return JsonValue(Storage(Array())); }
  static JsonValue object() { return JsonValue(Storage(Object())); }

  bool isNull() const { return std::holds_alternative<std::monostate>(value_); }
  /// Each returns null when the value is of another kind.
  const bool *asBool() const { return std::get_if<bool>(&value_); }
  const int64_t *asInteger() const { return std::get_if<int64_t>(&value_); }
  const double *asFloat() const { return std::get_if<double>(&value_); }
  const std::string *asString() const { return std::get_if<std::string>(&value_); }
  const Array *asArray() const { return std::get_if<Array>(&value_); }
  const Object *asObject() const { return std::get_if<Object>(&value_); }
  /// "null", "boolean", "integer", "fraction", "string", "array" or "object".
  const char *kindName() const;

  /// Appends to an array (a value of another kind becomes an empty array first).
  void push(JsonValue value);
  /// Sets a member of an object (a value of another kind becomes an empty object first).
  void set(std::string_view key, JsonValue value);
  /// The member of an object, or null when there is none or this is no object.
  const JsonValue *find(std::string_view key) const;

private:
  using Storage = std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object>;
  explicit JsonValue(Storage value) : value_(std::move(value)) {}
  friend class JsonBuilder;

  Storage value_;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

struct JsonLimits {
  size_t maxBytes = size_t(100) << 20;  // length of the text
  size_t maxToken = size_t(1) << 20;    // length of one string or number
  size_t maxMemory = size_t(512) << 20; // estimate of the values' memory in bytes
  int maxDepth = 32;                    // nested arrays and objects
};

/// Parses one JSON text. Failures are MALFORMED (OUT_OF_MEMORY when memory runs out); messages hold
/// the byte offset for bad syntax, a JSON pointer otherwise, and no control characters.
Result<JsonValue> parseJson(std::string_view text, const JsonLimits &limits = JsonLimits());

/// Returns the canonical form: keys sorted by byte, no white space. Fractions have no canonical
/// form: INVALID_ARGUMENT names the first one's JSON pointer.
Result<std::string> writeCanonicalJson(const JsonValue &value);

/// Whether `text` is the canonical form of `value`. Needs no memory for a second copy.
bool isCanonicalJson(const JsonValue &value, std::string_view text);

/// Returns the value indented by two spaces, for people and for other tools. Fractions are written
/// so that they read back as the same double; infinities and NaN become null.
std::string writePrettyJson(const JsonValue &value);
/// The same on one line with no white space (JSON lines); fractions allowed.
std::string writeCompactJson(const JsonValue &value);

/// Returns `text` with control characters and bytes that are no UTF-8 as \u00XX, cut to `limit`
/// bytes: fit for an error message.
std::string escapeForMessage(std::string_view text, size_t limit = 120);

/// The place of the first byte of `text` that is no UTF-8, or npos.
size_t findInvalidUtf8(std::string_view text);

class JsonNode;

/// A parsed text and the first complaint about it. Reading goes through nodes; a node that finds
/// something wrong records it here, and every read after that returns an empty value, so that a
/// caller checks status() once at the end.
class JsonDocument {
public:
  /// `name` (a file's name, or "manifest") starts every message. The value must outlive the nodes.
  JsonDocument(const JsonValue &root, std::string name) : root_(root), name_(std::move(name)) {}
  JsonDocument(const JsonDocument &) = delete;

  JsonNode root();
  bool ok() const { return status_.ok(); }
  const Status &status() const { return status_; }
  /// Makes JsonNode::refuseUnknownKeys let every key pass: the text is of a newer minor version.
  void allowUnknownKeys() { allowUnknownKeys_ = true; }

private:
  friend class JsonNode;
  void fail(const JsonValue *at, const std::string &message);
  std::string pointerTo(const JsonValue *value) const;

  const JsonValue &root_;
  std::string name_;
  Status status_;
  bool allowUnknownKeys_ = false;
};

/// A place in a JsonDocument; empty (false) for a missing optional member and after a failure.
class JsonNode {
public:
  explicit operator bool() const { return value_ != nullptr; }
  const JsonValue *value() const { return value_; }
  bool isNull() const { return value_ && value_->isNull(); }
  bool isString() const { return value_ && value_->asString(); }
  bool isInteger() const { return value_ && value_->asInteger(); }

  /// Members of an object: required (absent is an error) and optional (absent gives an empty node).
  JsonNode member(std::string_view key) const;
  JsonNode optional(std::string_view key) const;
  /// Elements of an array; size() is 0 for an empty node, an error for another kind.
  size_t size() const;
  JsonNode at(size_t index) const;

  /// The value itself; another kind or a value outside [min, max] is an error and returns empty.
  std::string string() const;
  bool boolean() const;
  int64_t integer(int64_t min = std::numeric_limits<int64_t>::min(),
                  int64_t max = std::numeric_limits<int64_t>::max()) const;
  double number() const; // an integer or a fraction

  /// Keys of an object outside `known` are errors.
  void refuseUnknownKeys(std::initializer_list<std::string_view> known) const;

  /// Records that this place is wrong: "expected ..., got ...".
  void fail(const std::string &message) const;

private:
  friend class JsonDocument;
  JsonNode(JsonDocument *document, const JsonValue *value) : document_(document), value_(value) {}
  void failKind(const char *expected) const;
  const JsonValue::Object *object() const;

  JsonDocument *document_;
  const JsonValue *value_;
};

} // namespace mohdrt

#endif // MOHD_FORMAT_JSON_H
