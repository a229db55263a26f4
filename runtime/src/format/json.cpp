// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// JSON values, writers and the typed reader.
#include "mohd/format/json.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace mohdrt {
namespace {

auto lowerBound(const JsonValue::Object &members, std::string_view key) {
  return std::lower_bound(members.begin(), members.end(), key,
                          [](const JsonMember &m, std::string_view k) { return m.key < k; });
}

/// Receives the canonical text piece by piece; false stops the writer.
struct TextSink {
  virtual ~TextSink() = default;
  virtual bool append(std::string_view text) = 0;
};

struct StringSink final : TextSink {
  std::string text;
  bool append(std::string_view piece) override {
    text += piece;
    return true;
  }
};

struct CompareSink final : TextSink {
  std::string_view rest;
  bool append(std::string_view piece) override {
    if (rest.substr(0, piece.size()) != piece)
      return false;
    rest.remove_prefix(piece.size());
    return true;
  }
};

bool writeString(TextSink &sink, std::string_view text) {
  if (!sink.append("\""))
    return false;
  size_t plain = 0; // start of the run that needs no escape
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char c = text[i];
    if (c >= 0x20 && c != '"' && c != '\\')
      continue;
    char escape[8];
    if (c == '"' || c == '\\')
      std::snprintf(escape, sizeof(escape), "\\%c", c);
    else
      std::snprintf(escape, sizeof(escape), "\\u%04x", c);
    if (!sink.append(text.substr(plain, i - plain)) || !sink.append(escape))
      return false;
    plain = i + 1;
  }
  return sink.append(text.substr(plain)) && sink.append("\"");
}

/// Returns the shortest text that reads back as the same double.
std::string formatDouble(double value) {
  if (!std::isfinite(value))
    return "null";
  char text[40];
  for (int digits = 15; digits <= 17; ++digits) {
    std::snprintf(text, sizeof(text), "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value)
      break;
  }
  std::string result(text);
  return result.find_first_of(".e") == std::string::npos ? result + ".0" : result;
}

/// Writes values; `indent` < 0 means on one line. Recursion is bounded by parseJson's depth or by
/// what the program itself built.
class JsonWriter {
public:
  JsonWriter(TextSink &sink, bool allowFloat, bool pretty)
      : sink_(sink), allowFloat_(allowFloat), pretty_(pretty) {}

  bool write(const JsonValue &value, int level = 0) {
    if (const bool *b = value.asBool())
      return sink_.append(*b ? "true" : "false");
    if (const int64_t *i = value.asInteger())
      return sink_.append(std::to_string(*i));
    if (const double *d = value.asFloat())
      return allowFloat_ && sink_.append(formatDouble(*d));
    if (const std::string *s = value.asString())
      return writeString(sink_, *s);
    if (const JsonValue::Array *items = value.asArray())
      return writeSequence(*items, "[", "]", level,
                           [&](const JsonValue &item) { return write(item, level + 1); });
    if (const JsonValue::Object *members = value.asObject())
      return writeSequence(*members, "{", "}", level, [&](const JsonMember &member) {
        return writeString(sink_, member.key) && sink_.append(pretty_ ? ": " : ":") &&
               write(member.value, level + 1);
      });
    return sink_.append("null");
  }

private:
  template <typename Sequence, typename WriteItem>
  bool writeSequence(const Sequence &sequence, const char *open, const char *close, int level,
                     WriteItem writeItem) {
    if (!sink_.append(open))
      return false;
    bool first = true;
    for (const auto &item : sequence) {
      if ((!first && !sink_.append(",")) || !newLine(level + 1) || !writeItem(item))
        return false;
      first = false;
    }
    return (first || newLine(level)) && sink_.append(close);
  }

  bool newLine(int level) {
    return !pretty_ || (sink_.append("\n") && sink_.append(std::string(2 * level, ' ')));
  }

  TextSink &sink_;
  bool allowFloat_, pretty_;
};

/// Appends the JSON pointer of `target` below `value` to `pointer`; false if it is not there.
bool findPointer(const JsonValue &value, const JsonValue *target, std::string &pointer) {
  if (&value == target)
    return true;
  const size_t length = pointer.size();
  if (const JsonValue::Array *items = value.asArray()) {
    for (size_t i = 0; i < items->size(); ++i) {
      pointer += "/" + std::to_string(i);
      if (findPointer((*items)[i], target, pointer))
        return true;
      pointer.resize(length);
    }
  } else if (const JsonValue::Object *members = value.asObject()) {
    for (const JsonMember &member : *members) {
      pointer += "/" + escapeForMessage(member.key, 60);
      if (findPointer(member.value, target, pointer))
        return true;
      pointer.resize(length);
    }
  }
  return false;
}

const JsonValue *findFloat(const JsonValue &value) {
  if (value.asFloat())
    return &value;
  if (const JsonValue::Array *items = value.asArray())
    for (const JsonValue &item : *items)
      if (const JsonValue *found = findFloat(item))
        return found;
  if (const JsonValue::Object *members = value.asObject())
    for (const JsonMember &member : *members)
      if (const JsonValue *found = findFloat(member.value))
        return found;
  return nullptr;
}

/// Returns the length of the well-formed UTF-8 sequence at `text`, or 0.
size_t utf8Length(std::string_view text) {
  auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < text.size() && uint8_t(text[i]) >= low && uint8_t(text[i]) <= high;
  };
  const uint8_t c = text[0];
  if (c < 0x80)
    return 1;
  if (c >= 0xc2 && c <= 0xdf)
    return continues(1) ? 2 : 0;
  if (c >= 0xe0 && c <= 0xef) // no overlong forms, no surrogates
    return continues(1, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf) && continues(2) ? 3 : 0;
  if (c >= 0xf0 && c <= 0xf4)
    return continues(1, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf) && continues(2) &&
                   continues(3)
               ? 4
               : 0;
  return 0;
}

std::string writeText(const JsonValue &value, bool pretty) {
  StringSink sink;
  JsonWriter(sink, /*allowFloat=*/true, pretty).write(value);
  return std::move(sink.text);
}

} // namespace

const char *JsonValue::kindName() const {
  static const char *const names[] = {"null",   "boolean", "integer", "fraction",
                                      "string", "array",   "object"};
  return names[value_.index()];
}

void JsonValue::push(JsonValue value) {
  if (!asArray())
    value_ = Array();
  std::get_if<Array>(&value_)->push_back(std::move(value));
}

void JsonValue::set(std::string_view key, JsonValue value) {
  if (!asObject())
    value_ = Object();
  Object &members = *std::get_if<Object>(&value_);
  auto place = members.begin() + (lowerBound(members, key) - members.cbegin());
  if (place != members.end() && place->key == key)
    place->value = std::move(value);
  else
    members.insert(place, {std::string(key), std::move(value)});
}

const JsonValue *JsonValue::find(std::string_view key) const {
  const Object *members = asObject();
  if (!members)
    return nullptr;
  auto place = lowerBound(*members, key);
  return place != members->end() && place->key == key ? &place->value : nullptr;
}

Result<std::string> writeCanonicalJson(const JsonValue &value) {
  StringSink sink;
  if (JsonWriter(sink, /*allowFloat=*/false, /*pretty=*/false).write(value))
    return std::move(sink.text);
  std::string pointer;
  findPointer(value, findFloat(value), pointer);
  return Status(StatusCode::InvalidArgument,
                "at '" + pointer + "': a fraction has no canonical form, write it as a string");
}

bool isCanonicalJson(const JsonValue &value, std::string_view text) {
  CompareSink sink;
  sink.rest = text;
  return JsonWriter(sink, /*allowFloat=*/false, /*pretty=*/false).write(value) && sink.rest.empty();
}

std::string writePrettyJson(const JsonValue &value) { return writeText(value, /*pretty=*/true); }

std::string writeCompactJson(const JsonValue &value) { return writeText(value, /*pretty=*/false); }

std::string escapeForMessage(std::string_view text, size_t limit) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    if (result.size() >= limit)
      return result + "...";
    const uint8_t c = text[i];
    const size_t length = utf8Length(text.substr(i, 4));
    // C1 controls (U+0080..U+009F) steer terminals as well.
    const bool control =
        c < 0x20 || c == 0x7f || (c == 0xc2 && length == 2 && uint8_t(text[i + 1]) < 0xa0);
    if (length == 0 || control) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x",
                    control && length == 2 ? uint8_t(text[i + 1]) : c);
      result += escape;
      i += length == 0 ? 1 : length;
      continue;
    }
    result += text.substr(i, length);
    i += length;
  }
  return result;
}

size_t findInvalidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8Length(text.substr(i, 4));
    if (length == 0)
      return i;
    i += length;
  }
  return std::string_view::npos;
}

JsonNode JsonDocument::root() { return JsonNode(this, &root_); }

void JsonDocument::fail(const JsonValue *at, const std::string &message) {
  if (status_.ok())
    status_ = Status(StatusCode::Malformed, name_ + ": at '" + pointerTo(at) + "': " + message);
}

std::string JsonDocument::pointerTo(const JsonValue *value) const {
  std::string pointer;
  findPointer(root_, value, pointer);
  return pointer;
}

void JsonNode::fail(const std::string &message) const {
  if (value_)
    document_->fail(value_, message);
}

void JsonNode::failKind(const char *expected) const {
  if (value_)
    fail(std::string("expected ") + expected + ", got " + value_->kindName());
}

const JsonValue::Object *JsonNode::object() const {
  if (!value_ || !document_->ok())
    return nullptr;
  if (!value_->asObject())
    failKind("object");
  return value_->asObject();
}

JsonNode JsonNode::member(std::string_view key) const {
  if (!object())
    return JsonNode(document_, nullptr);
  const JsonValue *value = value_->find(key);
  if (!value)
    fail("missing key '" + std::string(key) + "'");
  return JsonNode(document_, value);
}

JsonNode JsonNode::optional(std::string_view key) const {
  return JsonNode(document_, object() ? value_->find(key) : nullptr);
}

size_t JsonNode::size() const {
  if (!value_ || !document_->ok())
    return 0;
  const JsonValue::Array *items = value_->asArray();
  if (!items)
    failKind("array");
  return items ? items->size() : 0;
}

JsonNode JsonNode::at(size_t index) const {
  return JsonNode(document_, index < size() ? &(*value_->asArray())[index] : nullptr);
}

std::string JsonNode::string() const {
  if (!value_ || !document_->ok())
    return {};
  const std::string *text = value_->asString();
  if (!text)
    failKind("string");
  return text ? *text : std::string();
}

bool JsonNode::boolean() const {
  if (!value_ || !document_->ok())
    return false;
  const bool *flag = value_->asBool();
  if (!flag)
    failKind("boolean");
  return flag && *flag;
}

int64_t JsonNode::integer(int64_t min, int64_t max) const {
  if (!value_ || !document_->ok())
    return 0;
  const int64_t *number = value_->asInteger();
  if (!number) {
    failKind("integer");
    return 0;
  }
  if (*number >= min && *number <= max)
    return *number;
  std::string range = "in [" + std::to_string(min) + ", " + std::to_string(max) + "]";
  if (max == std::numeric_limits<int64_t>::max())
    range = "of at least " + std::to_string(min);
  fail("expected an integer " + range + ", got " + std::to_string(*number));
  return 0;
}

double JsonNode::number() const {
  if (!value_ || !document_->ok())
    return 0;
  if (const int64_t *number = value_->asInteger())
    return static_cast<double>(*number);
  if (const double *number = value_->asFloat())
    return *number;
  failKind("number");
  return 0;
}

void JsonNode::refuseUnknownKeys(std::initializer_list<std::string_view> known) const {
  if (document_->allowUnknownKeys_)
    return;
  if (const JsonValue::Object *members = object())
    for (const JsonMember &member : *members)
      if (std::find(known.begin(), known.end(), member.key) == known.end())
        return document_->fail(&member.value, "unknown key");
}

} // namespace mohdrt
