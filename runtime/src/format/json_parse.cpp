// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Parsing: nlohmann_json's event parser (which does not recurse) feeds a builder that enforces the
// limits while the text is read, so that nothing large or deep is ever built and then refused.
#include "mohd/format/json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <new>

namespace mohdrt {

/// Receives nlohmann_json's events. Each returns false to stop the parser; status() says why.
class JsonBuilder {
public:
  explicit JsonBuilder(const JsonLimits &limits) : limits_(limits) {}

  // NOLINTBEGIN: the names below are nlohmann_json's.
  bool null() { return add(JsonValue()); }
  bool boolean(bool value) { return add(JsonValue(value)); }
  bool number_integer(int64_t value) { return add(JsonValue(value)); }
  bool number_unsigned(uint64_t value) {
    if (value > uint64_t(std::numeric_limits<int64_t>::max()))
      return failInteger(std::to_string(value));
    return add(JsonValue(static_cast<int64_t>(value)));
  }
  bool number_float(double value, const std::string &token) {
    if (token.find_first_of(".eE") == std::string::npos)
      return failInteger(token); // an integer token that overflowed
    return add(JsonValue(value));
  }
  bool string(std::string &value) { return chargeText(value) && add(JsonValue(value)); }
  bool binary(nlohmann::json::binary_t &) { return fail("binary values are not JSON"); }
  bool start_object(size_t) { return open(JsonValue::object()); }
  bool start_array(size_t) { return open(JsonValue::array()); }
  bool end_object() { return sortMembers() && close(); }
  bool end_array() { return shrink(std::get<JsonValue::Array>(stack_.back().value_)) && close(); }
  bool key(std::string &value) {
    if (!chargeText(value))
      return false;
    keys_.back() = value;
    return true;
  }
  bool parse_error(size_t position, const std::string &, const nlohmann::json::exception &error) {
    std::string what = error.what();
    size_t start = what.find("] "); // after "[json.exception.parse_error.101] "
    return fail("invalid JSON at byte " + std::to_string(position) + ": " +
                escapeForMessage(start == std::string::npos ? what : what.substr(start + 2), 200));
  }
  // NOLINTEND

  Status status() const { return status_; }
  JsonValue takeRoot() { return std::move(root_); }

private:
  bool fail(const std::string &message) {
    if (status_.ok())
      status_ = Status(StatusCode::Malformed, message);
    return false;
  }

  bool failInteger(const std::string &token) {
    return fail("at " + pointer() + ": integer " + escapeForMessage(token, 40) +
                " does not fit in 64 bits");
  }

  /// The place of the value that comes next.
  std::string pointer() const {
    std::string text;
    for (size_t i = 0; i < stack_.size(); ++i) {
      const JsonValue::Array *items = stack_[i].asArray();
      text += "/" + (items ? std::to_string(items->size()) : escapeForMessage(keys_[i], 60));
    }
    return "'" + text + "'";
  }

  bool charge(size_t bytes) {
    memory_ += bytes;
    return memory_ <= limits_.maxMemory ||
           fail("at " + pointer() + ": the values need more than the " +
                std::to_string(limits_.maxMemory) + " bytes of memory allowed");
  }

  /// Text is charged twice, as whoever reads the values is going to copy it.
  bool chargeText(const std::string &text) {
    return text.size() < kInlineText || charge(2 * (text.size() + kAllocationOverhead));
  }

  /// Appends, charging for the old and the new block while both are there.
  template <typename T> bool append(std::vector<T> &items, T item) {
    if (items.size() == items.capacity() &&
        !resize(items, items.capacity() + items.capacity() / 2 + 2))
      return false;
    items.push_back(std::move(item));
    return true;
  }

  template <typename T> bool shrink(std::vector<T> &items) {
    return items.size() == items.capacity() || resize(items, items.size());
  }

  template <typename T> bool resize(std::vector<T> &items, size_t capacity) {
    const size_t old = items.capacity() == 0 ? 0 : blockBytes<T>(items.capacity());
    if (!charge(capacity == 0 ? 0 : blockBytes<T>(capacity)))
      return false;
    if (capacity > items.capacity())
      items.reserve(capacity);
    else
      items.shrink_to_fit();
    memory_ -= old;
    return true;
  }

  template <typename T> static size_t blockBytes(size_t capacity) {
    return capacity * sizeof(T) + kAllocationOverhead;
  }

  bool open(JsonValue container) {
    if (stack_.size() >= size_t(limits_.maxDepth))
      return fail("at " + pointer() + ": nested deeper than " + std::to_string(limits_.maxDepth) +
                  " levels");
    stack_.push_back(std::move(container));
    keys_.emplace_back();
    return true;
  }

  bool close() {
    JsonValue container = std::move(stack_.back());
    stack_.pop_back();
    keys_.pop_back();
    return add(std::move(container));
  }

  bool add(JsonValue value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return true;
    }
    if (auto *items = std::get_if<JsonValue::Array>(&stack_.back().value_))
      return append(*items, std::move(value));
    return append(std::get<JsonValue::Object>(stack_.back().value_),
                  {std::move(keys_.back()), std::move(value)});
  }

  bool sortMembers() {
    auto &members = std::get<JsonValue::Object>(stack_.back().value_);
    std::sort(members.begin(), members.end(),
              [](const JsonMember &a, const JsonMember &b) { return a.key < b.key; });
    auto twin =
        std::adjacent_find(members.begin(), members.end(),
                           [](const JsonMember &a, const JsonMember &b) { return a.key == b.key; });
    if (twin != members.end()) {
      keys_.back() = twin->key;
      return fail("at " + pointer() + ": duplicate key");
    }
    return shrink(members);
  }

  static constexpr size_t kAllocationOverhead = 16;
  static constexpr size_t kInlineText = 16; // shorter texts lie inside std::string

  const JsonLimits &limits_;
  Status status_;
  JsonValue root_;
  std::vector<JsonValue> stack_;  // open arrays and objects
  std::vector<std::string> keys_; // the key read last in each
  size_t memory_ = 0;
};

namespace {

/// Refuses a text with a string or number longer than the limit before the parser copies it.
Status checkTokenLengths(std::string_view text, size_t limit) {
  bool inString = false;
  size_t start = 0; // of the current token
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        inString = false, start = i + 1;
    } else if (c == '"') {
      inString = true, start = i;
    } else if (c == ',' || c == ':' || c == '[' || c == ']' || c == '{' || c == '}' || c == ' ' ||
               c == '\n' || c == '\r' || c == '\t') {
      start = i + 1;
    }
    if (i + 1 > start && i + 1 - start > limit)
      return Status(StatusCode::Malformed, "at byte " + std::to_string(start) +
                                               ": a string or number is longer than " +
                                               std::to_string(limit) + " bytes");
  }
  return Status();
}

} // namespace

Result<JsonValue> parseJson(std::string_view text, const JsonLimits &limits) {
  try {
    if (text.size() > limits.maxBytes)
      return Status(StatusCode::Malformed, "JSON text of " + std::to_string(text.size()) +
                                               " bytes, at most " +
                                               std::to_string(limits.maxBytes) + " are allowed");
    MOHDRT_TRY(checkTokenLengths(text, limits.maxToken));
    JsonBuilder builder(limits);
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
      return builder.status().ok() ? Status(StatusCode::Malformed, "invalid JSON")
                                   : builder.status();
    return builder.takeRoot();
  } catch (const std::bad_alloc &) {
    return Status(StatusCode::OutOfMemory, "out of memory while reading JSON");
  } catch (const std::exception &error) {
    return Status(StatusCode::Malformed, escapeForMessage(error.what(), 200));
  }
}

} // namespace mohdrt
