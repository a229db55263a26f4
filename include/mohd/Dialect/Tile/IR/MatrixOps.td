// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ops of GPU kernels that move and multiply matrices with the threads of a warp or a warpgroup (four warps, 128 threads).
#ifndef MOHD_DIALECT_TILE_IR_MATRIXOPS_TD
#define MOHD_DIALECT_TILE_IR_MATRIXOPS_TD

include "mlir/Interfaces/InferTypeOpInterface.td"
include "mohd/Dialect/Tile/IR/GpuTypes.td"

// Fragments: matrices are spread over the threads of a warp. In the tables q = lane / 4 and r = lane mod 4.

//===----------------------------------------------------------------------===//
// Copies that a thread does not wait for
//===----------------------------------------------------------------------===//

def Tile_CopyAsyncOp : Tile_Op<"copy_async"> {
  let summary = "start a copy from global to shared memory";
  let description = [{
    `cp.async`: copies `bytes` bytes; both addresses are multiples of it. With `source_bytes` only so many are read and the rest is written as zero.
    16 bytes go past the first-level cache. The data are there after a `tile.copy_async_wait` of this thread, for other threads after a barrier as well.

    Constraints:
    - (C1) `bytes` is 4, 8 or 16.

    Examples:
    ```mlir
    tile.copy_async %to, %from bytes 16
    tile.copy_async %to, %from bytes 16 source_bytes %rest
    ```
  }];
  let arguments = (ins Tile_SharedPointer:$to, Tile_GlobalPointer:$from, I32Attr:$bytes, Optional<I32>:$sourceBytes);
  let assemblyFormat = "$to `,` $from `bytes` $bytes (`source_bytes` $sourceBytes^)? attr-dict";
  let hasVerifier = 1;
}

def Tile_CopyAsyncCommitOp : Tile_Op<"copy_async_commit"> {
  let summary = "make a group of this thread's copies since the last one";
  let description = [{
    `cp.async.commit_group`; a group may be empty.

    Example:
    ```mlir
    tile.copy_async_commit
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Tile_CopyAsyncWaitOp : Tile_Op<"copy_async_wait"> {
  let summary = "wait until few groups of copies are under way";
  let description = [{
    `cp.async.wait_group`: waits until at most `pending` of this thread's newest groups are not finished.

    Constraints:
    - (C1) `pending` is not negative.

    Example:
    ```mlir
    tile.copy_async_wait 2
    ```
  }];
  let arguments = (ins I32Attr:$pending);
  let assemblyFormat = "$pending attr-dict";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Products of a warp
//===----------------------------------------------------------------------===//

def Tile_LoadMatrixOp : Tile_Op<"load_matrix"> {
  let summary = "read 8x8 matrices as fragments";
  let description = [{
    `ldmatrix.m8n8.b16`: reads as many 8x8 matrices of 16-bit elements as the result has words. Lane 8 * m + i has the address of row i of matrix m,
    16 bytes at a multiple of 16. All threads of the warp do it together.

    | word of a thread | lower half | upper half |
    |---|---|---|
    | m | matrix m, row q, column 2r | row q, column 2r + 1 |
    | m, with `transposed` | matrix m, row 2r, column q | row 2r + 1, column q |

    where q = lane / 4 and r = lane mod 4.

    Constraints:
    - (C1) the result is a vector of 1, 2 or 4 i32.

    Example:
    ```mlir
    %a = tile.load_matrix %row : vector<4xi32>
    %b = tile.load_matrix %row transposed : vector<2xi32>
    ```
  }];
  let arguments = (ins Arg<Tile_SharedPointer, "", [MemRead]>:$row, UnitAttr:$transposed);
  let results = (outs Tile_Fragments:$result); // load_matrix_c1
  let assemblyFormat = "$row (`transposed` $transposed^)? attr-dict `:` type($result)";
}

def Tile_StoreMatrixOp : Tile_Op<"store_matrix"> {
  let summary = "write fragments as 8x8 matrices";
  let description = [{
    `stmatrix.m8n8.b16`: the other direction of `tile.load_matrix`, with the same fragments. Needs sm_90.

    Constraints:
    - (C1) `fragments` is a vector of 1, 2 or 4 i32.

    Example:
    ```mlir
    tile.store_matrix %fragments, %row : vector<4xi32>
    ```
  }];
  let arguments = (ins Tile_Fragments:$fragments, /*store_matrix_c1*/
                       Arg<Tile_SharedPointer, "", [MemWrite]>:$row, UnitAttr:$transposed);
  let assemblyFormat = "$fragments `,` $row (`transposed` $transposed^)? attr-dict `:` type($fragments)";
}

def Tile_MmaOp : Tile_Op<"mma", [Pure, AllTypesMatch<["c", "d"]>]> {
  let summary = "multiply two small matrices with a warp and add a third";
  let description = [{
    `mma.sync`: D = A B + C with A [16, K], B [K, 8], C and D [16, 8].

    | kind | K | elements of A and B | C and D |
    |---|---|---|---|
    | `bf16`, `f16` | 16 | two in a word, the lower half first | f32 |
    | `tf32` | 8 | f32 in a word, of which the upper 19 bits count | f32 |
    | `s8` | 32 | four in a word, the lowest byte first | i32 |

    With q = lane / 4, r = lane mod 4 and e elements in a word (2, 1, 4), word i of a thread begins at

    | | row | column |
    |---|---|---|
    | A, 4 words | q + 8 (i mod 2) | e r + 4 e (i / 2) |
    | B, 2 words | e r + 4 e i, going down | q |
    | C and D, 4 elements | q + 8 (i / 2) | 2 r + i mod 2 |

    All threads of the warp do it together.

    Constraints:
    - (C1) C and D are i32 for `s8`, else f32.

    Example:
    ```mlir
    %d = tile.mma bf16 %a, %b, %c : vector<4xf32>
    ```
  }];
  let arguments = (ins Tile_MmaKindAttr:$kind, Tile_FourWords:$a, Tile_TwoWords:$b, Tile_MmaSums:$c);
  let results = (outs Tile_MmaSums:$d);
  let assemblyFormat = "$kind $a `,` $b `,` $c attr-dict `:` type($c)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Products of a warpgroup
//===----------------------------------------------------------------------===//

def Tile_MatrixDescriptorOp : Tile_Op<"matrix_descriptor", [Pure]> {
  let summary = "describe a matrix in shared memory to the tensor units";
  let description = [{
    The 64-bit descriptor that `tile.wgmma` takes:

    | bits | value |
    |---|---|
    | 0..13 | address of `start` / 16, of which the lower 18 bits count |
    | 16..29 | `leading` / 16 |
    | 32..45 | `stride` / 16 |
    | 62..63 | `swizzle` |

    A matrix is made of cores of 8 rows of 16 bytes, or with a swizzle of 8 rows of as many bytes as its name says, in which
    16-byte chunk c of row i stands at chunk c xor i (modulo the row's chunks). `stride` is the distance in bytes from 8 rows to the next 8; `leading` is that
    of a core from the next along a row, which a swizzled K-major matrix does not use. In a transposed matrix without a swizzle the two change places. Adding
    k / 16 to a descriptor moves it k bytes on.

    Constraints:
    - (C1) `leading` and `stride` are multiples of 16 from 0 to 262128.

    Example:
    ```mlir
    %b = tile.matrix_descriptor %weights swizzle_128 leading 16 stride 1024
    ```
  }];
  let arguments = (ins Tile_SharedPointer:$start, Tile_SwizzleAttr:$swizzle, I32Attr:$leading, I32Attr:$stride);
  let results = (outs I64:$result);
  let assemblyFormat = "$start $swizzle `leading` $leading `stride` $stride attr-dict";
  let hasVerifier = 1;
}

def Tile_WgmmaInitOp : Tile_Op<"wgmma_init"> {
  let summary = "start sums at zero";
  let description = [{
    New sums, all zero. Not a constant: each op makes its own, and those it made before are no longer used.

    Example:
    ```mlir
    %sums = tile.wgmma_init : !tile.sums<64x128>
    ```
  }];
  let results = (outs Res<Tile_SumsType, "", [MemAlloc]>:$result);
  let assemblyFormat = "attr-dict `:` qualified(type($result))";
}

def Tile_WgmmaFenceOp : Tile_Op<"wgmma_fence"> {
  let summary = "order registers and shared memory before a warpgroup's products";
  let description = [{
    `wgmma.fence`: needed before the first `tile.wgmma`, and whenever the thread has written sums or registers of A.

    Example:
    ```mlir
    tile.wgmma_fence
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Tile_WgmmaOp : Tile_Op<"wgmma", [AllTypesMatch<["sums", "result"]>]> {
  let summary = "start a product of a warpgroup";
  let description = [{
    `wgmma.mma_async.m64nNk16`: adds A B to the sums, or writes it where `accumulates` is false, with A [64, 16], B [16, N] of bf16 or f16.
    A and B are `tile.matrix_descriptor`s; A may be registers instead. Rows of a descriptor are rows of A, or columns of B, of 16 values of k
    (K-major). With `transposed` they are values of k, of 64 or N elements.

    A in registers: warp w of the warpgroup has rows 16 w to 16 w + 15, as fragments of `tile.mma`.

    All 128 threads do it together. The product is done when a `tile.wgmma_wait` has returned the sums; until then what it reads stays as it is.

    Constraints:
    - (C1) A is a descriptor (i64) or vector<4xi32>.
    - (C2) `a_transposed` goes with a descriptor.

    Examples:
    ```mlir
    %1 = tile.wgmma bf16 %a, %b, %0 accumulates %more : i64, !tile.sums<64x128>
    %2 = tile.wgmma bf16 %words, %b transposed, %1 accumulates %true : vector<4xi32>, !tile.sums<64x128>
    ```
  }];
  let arguments = (ins Tile_HalfAttr:$kind,
                       AnyTypeOf<[I64, Tile_FourWords], "i64 or vector<4xi32>">:$a, /*wgmma_c1*/
                       I64:$b, Tile_SumsType:$sums, I1:$accumulates, UnitAttr:$a_transposed, UnitAttr:$b_transposed);
  let results = (outs Tile_SumsType:$result);
  let assemblyFormat = [{
    $kind $a (`transposed` $a_transposed^)? `,` $b (`transposed` $b_transposed^)? `,` $sums `accumulates` $accumulates
    attr-dict `:` type($a) `,` qualified(type($sums))
  }];
  let hasVerifier = 1;
}

def Tile_WgmmaCommitOp : Tile_Op<"wgmma_commit"> {
  let summary = "make a group of the warpgroup's products since the last one";
  let description = [{
    `wgmma.commit_group`.

    Example:
    ```mlir
    tile.wgmma_commit
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Tile_WgmmaWaitOp : Tile_Op<"wgmma_wait", [InferTypeOpAdaptor]> {
  let summary = "wait until few groups of products are under way";
  let description = [{
    `wgmma.wait_group`: waits until at most `pending` of the newest groups are not finished. It returns the sums it takes, so that what reads them comes after it;
    those of groups that are still pending may not be read.

    Constraints:
    - (C1) `pending` is from 0 to 7.

    Example:
    ```mlir
    %done = tile.wgmma_wait 0, %sums : !tile.sums<64x128>
    ```
  }];
  let arguments = (ins I32Attr:$pending, Variadic<Tile_SumsType>:$sums);
  let results = (outs Variadic<Tile_SumsType>:$results);
  let assemblyFormat = "$pending (`,` $sums^ `:` type($sums))? attr-dict";
  let hasVerifier = 1;
}

def Tile_WgmmaReadOp : Tile_Op<"wgmma_read"> {
  let summary = "read one of this thread's sums";
  let description = [{
    With thread t of the warpgroup, w = t / 32, q = (t mod 32) / 4 and r = t mod 4, element i of its N / 2 is

    | row | column |
    |---|---|
    | 16 w + q + 8 (i / 2 mod 2) | 8 (i / 4) + 2 r + i mod 2 |

    Constraints:
    - (C1) `index` is one of the thread's N / 2 elements.

    Example:
    ```mlir
    %x = tile.wgmma_read %done[3] : !tile.sums<64x128>
    ```
  }];
  let arguments = (ins Tile_SumsType:$sums, I32Attr:$index);
  let results = (outs F32:$result);
  let assemblyFormat = "$sums `[` $index `]` attr-dict `:` qualified(type($sums))";
  let hasVerifier = 1;
}

#endif // MOHD_DIALECT_TILE_IR_MATRIXOPS_TD
