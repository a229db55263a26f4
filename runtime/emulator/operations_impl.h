// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The functions behind the table, one for each operation.
#ifndef MOHD_EMULATOR_OPERATIONS_IMPL_H
#define MOHD_EMULATOR_OPERATIONS_IMPL_H

#include "mohd/emulator/operations.h"

namespace mohdemu {
namespace ops {

#define MOHD_EMU_DECLARE(name, result, arguments, parameters)                                      \
  MOHD_EMU_TYPE_##result name parameters;
MOHD_EMULATOR_OPERATIONS(MOHD_EMU_DECLARE)
#undef MOHD_EMU_DECLARE

} // namespace ops
} // namespace mohdemu

#endif // MOHD_EMULATOR_OPERATIONS_IMPL_H
