// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of GPU kernels around TMA, which needs sm_90: barriers in shared memory that count bytes, copies of tiles, registers.
#ifndef MOHD_DIALECT_TILE_IR_BULKOPS_TD
#define MOHD_DIALECT_TILE_IR_BULKOPS_TD

include "mohd/Dialect/Tile/IR/GpuTypes.td"

//===----------------------------------------------------------------------===//
// Barriers in shared memory: 8 bytes at a multiple of 8. Phase 0, 1, 2, ... of one ends when all arrivals and all bytes that it expects have come.
//===----------------------------------------------------------------------===//

def Tile_MbarrierInitOp : Tile_Op<"mbarrier_init"> {
  let summary = "set up a barrier in shared memory";
  let description = [{
    Starts phase 0; each phase takes `count` arrivals. `tile.fence mbarrier_init` and a barrier come before its first use.

    Example:
    ```mlir
    tile.mbarrier_init %barrier, %count
    ```
  }];
  let arguments = (ins Tile_SharedPointer:$barrier, I32:$count);
  let assemblyFormat = "$barrier `,` $count attr-dict";
}

def Tile_MbarrierArriveOp : Tile_Op<"mbarrier_arrive"> {
  let summary = "arrive at a barrier in shared memory";
  let description = [{
    What the thread wrote before is seen by those that waited for the phase.

    Example:
    ```mlir
    tile.mbarrier_arrive %empty
    ```
  }];
  let arguments = (ins Tile_SharedPointer:$barrier);
  let assemblyFormat = "$barrier attr-dict";
}

def Tile_MbarrierExpectOp : Tile_Op<"mbarrier_expect"> {
  let summary = "arrive at a barrier and announce bytes";
  let description = [{
    `mbarrier.arrive.expect_tx`: the phase waits for `bytes` more bytes of `tile.tma_load`, and counts one arrival.

    Example:
    ```mlir
    tile.mbarrier_expect %full, %bytes
    ```
  }];
  let arguments = (ins Tile_SharedPointer:$barrier, I32:$bytes);
  let assemblyFormat = "$barrier `,` $bytes attr-dict";
}

def Tile_MbarrierWaitOp : Tile_Op<"mbarrier_wait"> {
  let summary = "wait until a phase of a barrier has ended";
  let description = [{
    `mbarrier.try_wait.parity` until it is true: waits for the end of the phase of this parity, 0 or 1. The phase before the first counts as one of parity 1 that has ended.

    Example:
    ```mlir
    tile.mbarrier_wait %full, %parity
    ```
  }];
  let arguments = (ins Tile_SharedPointer:$barrier, I32:$parity);
  let assemblyFormat = "$barrier `,` $parity attr-dict";
}

//===----------------------------------------------------------------------===//
// TMA
//===----------------------------------------------------------------------===//

def Tile_TmaLoadOp : Tile_Op<"tma_load"> {
  let summary = "start the copy of a tile of a tensor to shared memory";
  let description = [{
    `cp.async.bulk.tensor`: copies the tile at `coordinates` (elements, innermost dimension first) of the tensor that `map` describes, and tells `barrier` how many bytes
    came. What is outside of the tensor is zero, and counts. `to` is a multiple of 128, with a swizzle of 8 of its rows. One thread does it for all.

    Constraints:
    - (C1) there are 1 to 5 coordinates.
    - (C2) `map` is a parameter with the attribute `tile.tensor_map` of the function.

    Example:
    ```mlir
    llvm.func @kernel(%map: !llvm.ptr {tile.tensor_map}, %k: i32, %row: i32) attributes {tile.kernel, tile.shared_bytes = 16392 : i64} {
      %to = tile.shared[0]
      %barrier = tile.shared[16384]
      tile.tma_load %to, %map[%k, %row], %barrier
      llvm.return
    }
    ```
  }];
  let arguments = (ins Tile_SharedPointer:$to, Tile_MapPointer:$map, Variadic<I32>:$coordinates, Tile_SharedPointer:$barrier);
  let assemblyFormat = "$to `,` $map `[` $coordinates `]` `,` $barrier attr-dict";
  let hasVerifier = 1;
}

def Tile_TmaStoreOp : Tile_Op<"tma_store"> {
  let summary = "start the copy of a tile from shared memory to a tensor";
  let description = [{
    `cp.async.bulk.tensor`: the other direction of `tile.tma_load`; what is outside of the tensor is not written. `tile.fence proxy_async` comes between the threads' writes to
    `from` and this op.

    Constraints:
    - (C1) there are 1 to 5 coordinates.
    - (C2) `map` is a parameter with the attribute `tile.tensor_map` of the function.

    Example:
    ```mlir
    llvm.func @kernel(%map: !llvm.ptr {tile.tensor_map}, %column: i32, %row: i32) attributes {tile.kernel, tile.shared_bytes = 16384 : i64} {
      %from = tile.shared[0]
      tile.tma_store %map[%column, %row], %from
      llvm.return
    }
    ```
  }];
  let arguments = (ins Tile_MapPointer:$map, Variadic<I32>:$coordinates, Tile_SharedPointer:$from);
  let assemblyFormat = "$map `[` $coordinates `]` `,` $from attr-dict";
  let hasVerifier = 1;
}

def Tile_TmaStoreCommitOp : Tile_Op<"tma_store_commit"> {
  let summary = "make a group of this thread's stores of tiles";
  let description = [{
    `cp.async.bulk.commit_group`.

    Example:
    ```mlir
    tile.tma_store_commit
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Tile_TmaStoreWaitOp : Tile_Op<"tma_store_wait"> {
  let summary = "wait until few groups of stores are under way";
  let description = [{
    `cp.async.bulk.wait_group`: waits until at most `pending` of this thread's newest groups are not finished; with `read` only until they have read the shared memory, so that
    it may be written again.

    Constraints:
    - (C1) `pending` is not negative.

    Example:
    ```mlir
    tile.tma_store_wait 0 read
    ```
  }];
  let arguments = (ins I32Attr:$pending, UnitAttr:$read);
  let assemblyFormat = "$pending (`read` $read^)? attr-dict";
  let hasVerifier = 1;
}

def Tile_SetMaxRegistersOp : Tile_Op<"set_max_registers"> {
  let summary = "change how many registers this warp's threads have";
  let description = [{
    `setmaxnreg`: gives registers back, or with `increase` waits for some that others gave back. All warps of a warpgroup do it.

    Constraints:
    - (C1) `registers` is a multiple of 8 from 24 to 256.

    Examples:
    ```mlir
    tile.set_max_registers 40
    tile.set_max_registers 232 increase
    ```
  }];
  let arguments = (ins I32Attr:$registers, UnitAttr:$increase);
  let assemblyFormat = "$registers (`increase` $increase^)? attr-dict";
  let hasVerifier = 1;
}

#endif // MOHD_DIALECT_TILE_IR_BULKOPS_TD
