// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Fuzz entry point: any bytes as JSON. What is accepted reads back the same from both written forms.

#include "mohd/format/json.h"

#include <cstdlib>

using namespace mohdrt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  JsonLimits limits;
  limits.maxMemory = 1 << 20;
  const std::string_view text(reinterpret_cast<const char *>(data), size);
  Result<JsonValue> value = parseJson(text, limits);
  if (!value.ok()) {
    if (value.status().message() != escapeForMessage(value.status().message(), 4096))
      std::abort(); // control characters reached a message
    return 0;
  }
  const std::string compact = writeCompactJson(*value);
  for (const std::string &written : {compact, writePrettyJson(*value)}) {
    Result<JsonValue> again = parseJson(written);
    if (!again.ok() || writeCompactJson(*again) != compact)
      std::abort();
  }
  Result<std::string> canonical = writeCanonicalJson(*value);
  if (canonical.ok() && !isCanonicalJson(*value, *canonical))
    std::abort();
  return 0;
}
