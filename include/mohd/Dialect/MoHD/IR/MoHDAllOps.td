// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every op of the mohd dialect, for code generation.
#ifndef MOHD_DIALECT_MOHD_IR_MOHDALLOPS_TD
#define MOHD_DIALECT_MOHD_IR_MOHDALLOPS_TD

include "mohd/Dialect/MoHD/IR/BucketOps.td"
include "mohd/Dialect/MoHD/IR/CacheGradientOps.td"
include "mohd/Dialect/MoHD/IR/GradientOps.td"
include "mohd/Dialect/MoHD/IR/ProgramOps.td"
include "mohd/Dialect/MoHD/IR/TiledOps.td"
include "mohd/Dialect/MoHD/IR/TransformerOps.td"

#endif // MOHD_DIALECT_MOHD_IR_MOHDALLOPS_TD
