// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What devices with the host's memory have in common.
#include "device/device.h"

#include <cstdlib>
#include <cstring>

namespace mohdrt {

void *addressOf(const Call &call, const CompiledBinding &binding, int64_t offset,
                const std::vector<void *> &weights) {
  void *base = call.workspace;
  if (binding.kind == Binding::Kind::Input)
    base = call.inputs[binding.index].data;
  else if (binding.kind == Binding::Kind::Output)
    base = call.outputs[binding.index].data;
  else if (binding.kind == Binding::Kind::Weight)
    base = weights[binding.index];
  return base ? static_cast<uint8_t *>(base) + offset : nullptr;
}

Result<void *> Executor::allocate(size_t size, MemoryUse) {
  void *memory = nullptr;
  if (::posix_memalign(&memory, kBufferAlign, size) != 0)
    return Status(StatusCode::OutOfMemory, "cannot allocate " + std::to_string(size) + " bytes");
  return memory;
}

void Executor::deallocate(void *memory, size_t, MemoryUse) { std::free(memory); }

Status Executor::upload(void *to, const void *from, size_t size) {
  if (size != 0)
    std::memcpy(to, from, size);
  return Status();
}

Status Executor::download(void *to, const void *from, size_t size) {
  return upload(to, from, size);
}

Status Executor::synchronize(void *) { return Status(); }

} // namespace mohdrt
