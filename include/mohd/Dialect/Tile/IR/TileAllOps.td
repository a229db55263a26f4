// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// All of the tile dialect: the root that TableGen reads.
#ifndef MOHD_DIALECT_TILE_IR_TILEALLOPS_TD
#define MOHD_DIALECT_TILE_IR_TILEALLOPS_TD

include "mohd/Dialect/Tile/IR/BulkOps.td"
include "mohd/Dialect/Tile/IR/GpuOps.td"
include "mohd/Dialect/Tile/IR/MatrixOps.td"
include "mohd/Dialect/Tile/IR/TileOps.td"

#endif // MOHD_DIALECT_TILE_IR_TILEALLOPS_TD
