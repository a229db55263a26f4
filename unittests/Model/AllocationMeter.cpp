// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A header before each block holds its size; alignment beyond that of malloc is not needed here.

#include "AllocationMeter.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

constexpr size_t kHeader = alignof(std::max_align_t);
size_t heldBytes = 0, peakBytes = 0;

void *allocate(size_t size) {
  if (size > static_cast<size_t>(-1) / 2)
    return nullptr;
  char *block = static_cast<char *>(std::malloc(size + kHeader));
  if (!block)
    return nullptr;
  *reinterpret_cast<size_t *>(block) = size;
  heldBytes += size;
  peakBytes = std::max(peakBytes, heldBytes);
  return block + kHeader;
}

void release(void *pointer) {
  if (!pointer)
    return;
  char *block = static_cast<char *>(pointer) - kHeader;
  heldBytes -= *reinterpret_cast<size_t *>(block);
  std::free(block);
}

} // namespace

void *operator new(size_t size) {
  if (void *pointer = allocate(size))
    return pointer;
  throw std::bad_alloc();
}
void *operator new[](size_t size) { return operator new(size); }
void *operator new(size_t size, const std::nothrow_t &) noexcept { return allocate(size); }
void *operator new[](size_t size, const std::nothrow_t &) noexcept { return allocate(size); }
void operator delete(void *pointer) noexcept { release(pointer); }
void operator delete[](void *pointer) noexcept { release(pointer); }
void operator delete(void *pointer, size_t) noexcept { release(pointer); }
void operator delete[](void *pointer, size_t) noexcept { release(pointer); }
void operator delete(void *pointer, const std::nothrow_t &) noexcept { release(pointer); }
void operator delete[](void *pointer, const std::nothrow_t &) noexcept { release(pointer); }

AllocationMeter::AllocationMeter() : start(heldBytes) { peakBytes = heldBytes; }

size_t AllocationMeter::peak() const { return peakBytes - start; }
