// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Measures how much memory the code under test holds at once. The test binary's operator new and
// delete keep count.

#ifndef MOHD_UNITTESTS_MODEL_ALLOCATIONMETER_H
#define MOHD_UNITTESTS_MODEL_ALLOCATIONMETER_H

#include <cstddef>

/// From construction on: the most bytes held above what was held at the start. One at a time, one
/// thread.
class AllocationMeter {
public:
  AllocationMeter();
  size_t peak() const;

private:
  size_t start;
};

#endif // MOHD_UNITTESTS_MODEL_ALLOCATIONMETER_H
