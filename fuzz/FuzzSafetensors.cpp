// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Fuzz entry point: any bytes as a safetensors file. What is accepted must keep the reader's
// promises.

#include "mohd/Model/Safetensors.h"

#include <cstdlib>

using namespace mlir::mohd;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view file(reinterpret_cast<const char *>(data), size);
  Result<std::vector<StoredTensor>> tensors = parseSafetensors(file, "fuzz.safetensors");
  if (!tensors.ok())
    return 0;
  uint64_t end = tensors->empty() ? size : tensors->front().offset;
  for (const StoredTensor &tensor : *tensors) {
    if (tensor.offset != end || tensor.shape.size() > kMaxSafetensorsRank)
      std::abort();
    end += tensor.size;
  }
  if (end != size)
    std::abort();
  return 0;
}
