// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of GPU kernels: special registers, memory, synchronisation, exchange within a warp, conversions.
#ifndef MOHD_DIALECT_TILE_IR_GPUOPS_TD
#define MOHD_DIALECT_TILE_IR_GPUOPS_TD

include "mohd/Dialect/Tile/IR/GpuTypes.td"

def Tile_SpecialRegisterOp : Tile_Op<"special_register", [Pure]> {
  let summary = "where this thread is in its block and in the grid";
  let description = [{
    `tid` is the thread's index in its block, `ntid` the block's size, `ctaid` the block's index in the grid, `nctaid` the grid's size, `lane` the thread's
    index in its warp, 0 to 31.

    Example:
    ```mlir
    %thread = tile.special_register tid_x
    ```
  }];
  let arguments = (ins Tile_RegisterAttr:$which);
  let results = (outs I32:$result);
  let assemblyFormat = "$which attr-dict";
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

def Tile_SharedOp : Tile_Op<"shared", [Pure]> {
  let summary = "a place in the block's shared memory";
  let description = [{
    The kernel's shared memory, `offset` bytes on. It is as large as the kernel's attribute `tile.shared_bytes` says and starts at a multiple of 1024.

    Constraints:
    - (C1) the op is in a function with the attribute `tile.shared_bytes`.
    - (C2) `offset` is in the kernel's shared memory.

    Example:
    ```mlir
    llvm.func @kernel() attributes {tile.kernel, tile.shared_bytes = 32768 : i64} {
      %tile = tile.shared[16384]
      llvm.return
    }
    ```
  }];
  let arguments = (ins I64Attr:$offset);
  let results = (outs Tile_SharedPointer:$result);
  let assemblyFormat = "`[` $offset `]` attr-dict";
  let hasVerifier = 1;
}

def Tile_LoadOp : Tile_Op<"load"> {
  let summary = "read memory in one access";
  let description = [{
    Reads a scalar or a vector, whose address is a multiple of its size. With `streaming` the data do not stay in the first-level cache: for what is read once
    (`ld.global.L1::no_allocate`).

    Constraints:
    - (C1) `result` has 1, 2, 4, 8 or 16 bytes.
    - (C2) `streaming` goes with global memory and 4, 8 or 16 bytes.

    Example:
    ```mlir
    %w = tile.load %weights streaming : !llvm.ptr<1> -> vector<8xbf16>
    ```
  }];
  let arguments = (ins Arg<Tile_MemoryPointer, "", [MemRead]>:$pointer, UnitAttr:$streaming);
  let results = (outs Tile_Value:$result);
  let assemblyFormat = "$pointer (`streaming` $streaming^)? attr-dict `:` qualified(type($pointer)) `->` type($result)";
  let hasVerifier = 1;
}

def Tile_StoreOp : Tile_Op<"store"> {
  let summary = "write memory in one access";
  let description = [{
    Writes a scalar or a vector, whose address is a multiple of its size.

    Constraints:
    - (C1) `value` has 1, 2, 4, 8 or 16 bytes.

    Example:
    ```mlir
    tile.store %words, %place : vector<4xi32>, !llvm.ptr<3>
    ```
  }];
  let arguments = (ins Tile_Value:$value, Arg<Tile_MemoryPointer, "", [MemWrite]>:$pointer);
  let assemblyFormat = "$value `,` $pointer attr-dict `:` type($value) `,` qualified(type($pointer))";
  let hasVerifier = 1;
}

def Tile_AtomicOp : Tile_Op<"atomic"> {
  let summary = "change a word of memory at once and return what it was";
  let description = [{
    Replaces the word at `pointer` by `add`, `min` or `max` (of unsigned numbers), `and`, `or` of it and `value`, or by `value` (`exchange`); no other access
    comes between. Relaxed: it orders no other memory.

    Example:
    ```mlir
    %ticket = tile.atomic add %one, %counter : !llvm.ptr<1>
    ```
  }];
  let arguments = (ins Tile_AtomicAttr:$kind, I32:$value, Arg<Tile_MemoryPointer, "", [MemRead, MemWrite]>:$pointer);
  let results = (outs I32:$result);
  let assemblyFormat = "$kind $value `,` $pointer attr-dict `:` qualified(type($pointer))";
}

//===----------------------------------------------------------------------===//
// Synchronisation
//===----------------------------------------------------------------------===//

def Tile_BarrierSyncOp : Tile_Op<"barrier_sync"> {
  let summary = "wait for the block's other threads";
  let description = [{
    `bar.sync`: waits until `threads` threads, in whole warps, have come to the barrier with this number, 0 to 15; without a number until all threads of the
    block have come to barrier 0. What they wrote to memory before is then seen. All threads of a warp do it together.

    Constraints:
    - (C1) `threads` goes with `barrier`.
    - (C2) `threads` is a multiple of 32 from 32 to 1024.

    Examples:
    ```mlir
    tile.barrier_sync
    tile.barrier_sync barrier %consumers threads 256
    ```
  }];
  let arguments = (ins Optional<I32>:$barrier, OptionalAttr<I32Attr>:$threads);
  // The word keeps a result on the next line from being read as the operand.
  let assemblyFormat = "(`barrier` $barrier^ `threads` $threads)? attr-dict";
  let hasVerifier = 1;
}

def Tile_BarrierArriveOp : Tile_Op<"barrier_arrive"> {
  let summary = "count in at a barrier without waiting";
  let description = [{
    `bar.arrive`: as `tile.barrier_sync`, for threads that do not wait; they count among `threads`.

    Constraints:
    - (C1) `threads` is a multiple of 32 from 32 to 1024.

    Example:
    ```mlir
    tile.barrier_arrive %ready threads 256
    ```
  }];
  let arguments = (ins I32:$barrier, I32Attr:$threads);
  let assemblyFormat = "$barrier `threads` $threads attr-dict";
  let hasVerifier = 1;
}

def Tile_GridSyncOp : Tile_Op<"grid_sync"> {
  let summary = "wait for all threads of the grid";
  let description = [{
    Waits until all threads of all blocks have come to it. What they wrote to memory before is then seen. `counter` is a word of its own that all blocks give,
    0 before the first time; a launch leaves it as the next one needs it: of its bits only the highest changes from one time to the next.

    Block 0 adds 2^31 less the number of the other blocks, each other block 1, so that the highest bit flips with the last one. One thread of a block adds and
    waits (`atom.relaxed.gpu`, `ld.acquire.gpu`, between `fence.acq_rel.gpu`), the others wait for it.

    Constraints:
    - (C1) the op is in a kernel with the attribute `tile.cooperative`.

    Example:
    ```mlir
    llvm.func @kernel(%counter: !llvm.ptr<1>) attributes {tile.cooperative, tile.kernel} {
      tile.grid_sync %counter
      llvm.return
    }
    ```
  }];
  let arguments = (ins Arg<Tile_GlobalPointer, "", [MemRead, MemWrite]>:$counter);
  let assemblyFormat = "$counter attr-dict";
  let hasVerifier = 1;
}

def Tile_FenceOp : Tile_Op<"fence"> {
  let summary = "order this thread's accesses to memory";
  let description = [{
    | kind | orders |
    |---|---|
    | `block` | accesses before it and after it, as the block sees them (`membar.cta`) |
    | `device` | the same, as the device sees them (`membar.gl`) |
    | `proxy_async` | ordinary accesses to shared memory before it and those of the tensor units and of TMA after it |
    | `mbarrier_init` | `tile.mbarrier_init` before it and TMA after it |

    Example:
    ```mlir
    tile.fence proxy_async
    ```
  }];
  let arguments = (ins Tile_FenceAttr:$kind);
  let assemblyFormat = "$kind attr-dict";
}

//===----------------------------------------------------------------------===//
// Within a warp. `mask` has a bit for each thread that takes part, all 32 without it. They do it together.
//===----------------------------------------------------------------------===//

def Tile_WarpSyncOp : Tile_Op<"warp_sync"> {
  let summary = "wait for the warp's other threads";
  let description = [{
    `bar.warp.sync`: waits until the threads of `mask` (without it, all) are here, and sees what they wrote.

    Example:
    ```mlir
    tile.warp_sync
    ```
  }];
  let arguments = (ins Optional<I32>:$mask);
  let assemblyFormat = "(`mask` $mask^)? attr-dict";
}

def Tile_ShuffleOp : Tile_Op<"shuffle", [AllTypesMatch<["value", "result"]>]> {
  let summary = "get the value of another thread of the warp";
  let description = [{
    `shfl.sync`: the warp is cut into segments of `width` threads. A thread at position p of its segment gets the value of the one at

    | kind | position | if that is outside |
    |---|---|---|
    | `up` | p - `lane` | its own |
    | `down` | p + `lane` | its own |
    | `bfly` | p xor `lane` | its own |
    | `idx` | `lane` mod `width` | |

    Constraints:
    - (C1) `width` is a power of two from 1 to 32.

    Example:
    ```mlir
    %other = tile.shuffle bfly %sum, %distance width 32 : f32
    ```
  }];
  let arguments = (ins Tile_ShuffleAttr:$kind, Tile_Word:$value, I32:$lane, I32Attr:$width, Optional<I32>:$mask);
  let results = (outs Tile_Word:$result);
  let assemblyFormat = "$kind $value `,` $lane `width` $width (`mask` $mask^)? attr-dict `:` type($value)";
  let hasVerifier = 1;
}

def Tile_BallotOp : Tile_Op<"ballot"> {
  let summary = "collect a bit of each thread of the warp";
  let description = [{
    `vote.sync.ballot`: bit i of the result is the predicate of thread i, 0 for threads outside `mask`.

    Example:
    ```mlir
    %chosen = tile.ballot %is_mine
    ```
  }];
  let arguments = (ins I1:$predicate, Optional<I32>:$mask);
  let results = (outs I32:$result);
  let assemblyFormat = "$predicate (`mask` $mask^)? attr-dict";
}

def Tile_ElectOp : Tile_Op<"elect"> {
  let summary = "choose one thread of the warp";
  let description = [{
    `elect.sync`: true for one of the threads, always the same one. Needs sm_90.

    Example:
    ```mlir
    %leads = tile.elect
    ```
  }];
  let arguments = (ins Optional<I32>:$mask);
  let results = (outs I1:$result);
  let assemblyFormat = "(`mask` $mask^)? attr-dict";
}

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

def Tile_Exp2Op : Tile_Op<"exp2", [Pure]> {
  let summary = "raise two to a power, approximately";
  let description = [{
    `ex2.approx.ftz.f32`: 2^x within 2 ulp; results that are not normal numbers become 0.

    Example:
    ```mlir
    %y = tile.exp2 %x
    ```
  }];
  let arguments = (ins F32:$x);
  let results = (outs F32:$result);
  let assemblyFormat = "$x attr-dict";
}

def Tile_PackOp : Tile_Op<"pack", [Pure]> {
  let summary = "round two f32 to 16 bits each, side by side";
  let description = [{
    The lower half of the result is `low`, the upper half `high`, rounded to nearest even.

    Example:
    ```mlir
    %pair = tile.pack bf16 %low, %high
    ```
  }];
  let arguments = (ins Tile_HalfAttr:$kind, F32:$low, F32:$high);
  let results = (outs I32:$result);
  let assemblyFormat = "$kind $low `,` $high attr-dict";
}

def Tile_UnpackOp : Tile_Op<"unpack", [Pure]> {
  let summary = "widen two numbers of 16 bits to f32";
  let description = [{
    `low` is the lower half of the word, `high` the upper half.

    Example:
    ```mlir
    %low, %high = tile.unpack bf16 %pair
    ```
  }];
  let arguments = (ins Tile_HalfAttr:$kind, I32:$pair);
  let results = (outs F32:$low, F32:$high);
  let assemblyFormat = "$kind $pair attr-dict";
}

def Tile_TrapOp : Tile_Op<"trap"> {
  let summary = "end the kernel with an error";
  let description = [{
    Stops the whole grid; the launch fails.

    Example:
    ```mlir
    tile.trap
    ```
  }];
  let assemblyFormat = "attr-dict";
}

#endif // MOHD_DIALECT_TILE_IR_GPUOPS_TD
