// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Names and exit codes of the status codes.
#include "mohd/format/status.h"

namespace mohdrt {
namespace {

struct StatusEntry {
  const char *name;
  int exitCode;
};

// Indexed by StatusCode.
constexpr StatusEntry kStatusTable[] = {
    {"OK", 0},
    {"INVALID_ARGUMENT", 2},
    {"MALFORMED", 3},
    {"INCOMPATIBLE", 4},
    {"NOT_FOUND", 7},
    {"IO", 7},
    {"OUT_OF_MEMORY", 6},
    {"DEVICE", 5},
    {"OUT_OF_RANGE", 3},
    {"UNSUPPORTED", 4},
    {"INTERNAL", 70},
};
constexpr int kNumStatusCodes = sizeof(kStatusTable) / sizeof(kStatusTable[0]);

bool isKnown(StatusCode code) {
  return static_cast<int>(code) >= 0 && static_cast<int>(code) < kNumStatusCodes;
}

} // namespace

const char *statusName(StatusCode code) noexcept {
  return isKnown(code) ? kStatusTable[static_cast<int>(code)].name : "UNKNOWN";
}

int exitCode(StatusCode code) noexcept {
  return isKnown(code) ? kStatusTable[static_cast<int>(code)].exitCode : 70;
}

} // namespace mohdrt
