// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Fuzz entry point: any bytes as a config.json. What is accepted must be legal, have countable
// tensors and costs, and come back the same after being written.

#include "mohd/Model/Cost.h"
#include "mohd/Model/Tensors.h"

#include <cstdlib>

using namespace mlir::mohd;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view text(reinterpret_cast<const char *>(data), size);
  Result<ParsedConfig> parsed = parseConfig(text, "config.json");
  if (!parsed.ok())
    return 0;
  uint64_t parameters = 0;
  for (const TensorSpec &spec : expectedTensors(parsed->config))
    parameters += static_cast<uint64_t>(spec.numElements());
  if (computeCost(parsed->config, 2).total().parameters != parameters)
    std::abort();
  std::string written = writeConfig(parsed->config);
  Result<ParsedConfig> again = parseConfig(written, "config.json");
  if (!again.ok() || writeConfig(again->config) != written)
    std::abort();
  return 0;
}
