// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the readers of this library add to the format library's JSON reader: memory limits and
// values in messages.

#ifndef MOHD_LIB_MODEL_JSONHELPERS_H
#define MOHD_LIB_MODEL_JSONHELPERS_H

#include "mohd/format/json.h"

#include <string>
#include <string_view>

namespace mlir::mohd {

/// Parses `text`, holding at most 16 MiB besides it; errors begin with `fileName`.
::mohdrt::Result<::mohdrt::JsonValue> parseBounded(std::string_view text,
                                                   const std::string &fileName);

/// Records at `node`: "expected WHAT, got VALUE" with the value itself, shortened.
void failValue(const ::mohdrt::JsonNode &node, const std::string &expected);

/// The string at `node`; another kind of value is an error.
std::string readString(const ::mohdrt::JsonNode &node);

/// The integer at `node`, at least `low`; anything else is an error and gives 0.
int64_t readInteger(const ::mohdrt::JsonNode &node, int64_t low);

/// The members of the object at `node`; none, and an error, if it is no object.
const ::mohdrt::JsonValue::Object &membersOf(const ::mohdrt::JsonNode &node);

} // namespace mlir::mohd

#endif // MOHD_LIB_MODEL_JSONHELPERS_H
