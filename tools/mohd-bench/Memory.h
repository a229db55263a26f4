// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Large buffers, in huge pages where the system has them: page walks would be measured otherwise.
#ifndef MOHD_TOOLS_MOHD_BENCH_MEMORY_H
#define MOHD_TOOLS_MOHD_BENCH_MEMORY_H

#include <cstddef>
#include <memory>

namespace mohdbench {

struct Unmap {
  size_t size;
  void operator()(void *memory) const;
};

using Buffer = std::unique_ptr<void, Unmap>;

/// `size` zero bytes. Throws a Failure (OUT_OF_MEMORY).
Buffer allocate(size_t size);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_MEMORY_H
