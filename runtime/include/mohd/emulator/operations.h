/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * What an emulated GPU kernel calls: the one definition shared by the compiler, which lowers the tile dialect to these calls, and the emulator, which
 * implements them. A kernel's object needs nothing: it exports the variable `mohd_emulator`, a pointer to the table of functions, which the emulator
 * sets after loading. docs/emulator.md says what is modelled and what is not. Compiles as C and as C++. */
#ifndef MOHD_EMULATOR_OPERATIONS_H
#define MOHD_EMULATOR_OPERATIONS_H

#include <stdint.h>

/* clang-format off */

#ifdef __cplusplus
extern "C" {
#endif

/* Types of results and arguments: V none, I 32-bit integer, L 64-bit integer, F binary32, P pointer. Pointers to shared memory are host pointers into the
 * block's window of 256 KiB, which is aligned to its size, so that the lower 18 bits are the shared address. The last argument of most functions, `site`, is a
 * string that lives as long as the object: "kernel: op" and, if it is known, the place in the source. Errors show it. */

/* clang-format off */
/* X(name, result, arguments, C parameters): in the table's order, which is part of bundles; new entries go to the end. */
#define MOHD_EMULATOR_OPERATIONS(X)                                                                                            \
  /* Special registers, MOHD_EMU_TID_X to MOHD_EMU_LANE. */                                                                    \
  X(special_register, I, "I", (uint32_t which))                                                                                \
  /* Says that `bytes` at `address` are about to be read or written by ordinary instructions; space is MOHD_EMU_GLOBAL or MOHD_EMU_SHARED. */ \
  X(check_load, V, "PIIP", (const void *address, uint32_t bytes, uint32_t space, const char *site))                            \
  X(check_store, V, "PIIP", (void *address, uint32_t bytes, uint32_t space, const char *site))                                 \
  /* atom.{global,shared}: operation is MOHD_EMU_ADD to MOHD_EMU_EXCHANGE; returns the old value. */                           \
  X(atomic, I, "IPIIP", (uint32_t operation, void *address, uint32_t value, uint32_t space, const char *site))                 \
  /* bar.sync, bar.arrive: named barrier 0..15, threads a multiple of 32, 0 for all of the block. */                           \
  X(barrier_sync, V, "IIP", (uint32_t barrier, uint32_t threads, const char *site))                                            \
  X(barrier_arrive, V, "IIP", (uint32_t barrier, uint32_t threads, const char *site))                                          \
  X(warp_sync, V, "IP", (uint32_t mask, const char *site))                                                                     \
  /* shfl.sync: mode MOHD_EMU_SHFL_UP to MOHD_EMU_SHFL_IDX; `clamp` as PTX has it, segment mask in bits 8..12. */              \
  X(shuffle, I, "IIIIIP", (uint32_t mode, uint32_t mask, uint32_t value, uint32_t lane, uint32_t clamp, const char *site))     \
  X(vote_ballot, I, "IIP", (uint32_t mask, uint32_t predicate, const char *site))                                              \
  X(elect, I, "IP", (uint32_t mask, const char *site))                                                                         \
  /* MOHD_EMU_FENCE_BLOCK to MOHD_EMU_FENCE_MBARRIER_INIT. */                                                                  \
  X(fence, V, "IP", (uint32_t kind, const char *site))                                                                         \
  /* cp.async: `source_bytes` of `bytes` (4, 8 or 16) are read, the rest is zero. */                                           \
  X(copy_async, V, "PPIIP", (void *to, const void *from, uint32_t bytes, uint32_t source_bytes, const char *site))             \
  X(copy_async_commit, V, "P", (const char *site))                                                                             \
  X(copy_async_wait, V, "IP", (uint32_t pending, const char *site))                                                            \
  /* ldmatrix, stmatrix of 1, 2 or 4 8x8 matrices of 16-bit elements: `fragments` are as many 32-bit words of this thread. */  \
  X(load_matrix, V, "PIIPP", (const void *row, uint32_t count, uint32_t transposed, void *fragments, const char *site))        \
  X(store_matrix, V, "PIIPP", (void *row, uint32_t count, uint32_t transposed, const void *fragments, const char *site))       \
  /* mma.sync: fragments of this thread; kind is MOHD_EMU_MMA_BF16 to MOHD_EMU_MMA_S8. */                                      \
  X(mma, V, "IPPPPP", (uint32_t kind, const void *a, const void *b, const void *c, void *d, const char *site))                 \
  /* wgmma.mma_async m64 n `n` k16 of bf16 or f16 with f32 sums. Operand A is a descriptor, or 4 words of this thread if `a_words` is not null. `sums`, n / 2 \
   * floats of this thread, are read and written at the wait, at the latest legal time; they start as 0 where `accumulates` is 0. */ \
  X(wgmma, V, "IILPLIIIPP",                                                                                                    \
    (uint32_t kind, uint32_t n, uint64_t a, const void *a_words, uint64_t b, uint32_t a_transposed, uint32_t b_transposed,     \
     uint32_t accumulates, void *sums, const char *site))                                                                      \
  X(wgmma_fence, V, "P", (const char *site))                                                                                   \
  X(wgmma_commit, V, "P", (const char *site))                                                                                  \
  X(wgmma_wait, V, "IP", (uint32_t pending, const char *site))                                                                 \
  /* Says that `sums` of wgmma are about to be read or written by the thread. */                                               \
  X(wgmma_check, V, "PIP", (const void *sums, uint32_t bytes, const char *site))                                               \
  X(mbarrier_init, V, "PIP", (void *barrier, uint32_t count, const char *site))                                                \
  X(mbarrier_arrive, V, "PP", (void *barrier, const char *site))                                                               \
  /* mbarrier.arrive.expect_tx. */                                                                                             \
  X(mbarrier_expect, V, "PIP", (void *barrier, uint32_t bytes, const char *site))                                              \
  X(mbarrier_wait, V, "PIP", (void *barrier, uint32_t parity, const char *site))                                               \
  /* cp.async.bulk.tensor: tiles of a tensor map (struct mohd_emu_tensor_map), at `rank` coordinates, innermost first. */      \
  X(tma_load, V, "PPPIIIIIIP",                                                                                                 \
    (void *to, const void *map, void *barrier, uint32_t rank, int32_t c0, int32_t c1, int32_t c2, int32_t c3, int32_t c4,      \
     const char *site))                                                                                                        \
  X(tma_store, V, "PPIIIIIIP",                                                                                                 \
    (const void *map, const void *from, uint32_t rank, int32_t c0, int32_t c1, int32_t c2, int32_t c3, int32_t c4,             \
     const char *site))                                                                                                        \
  X(tma_store_commit, V, "P", (const char *site))                                                                              \
  /* cp.async.bulk.wait_group; with `read` only until the shared memory was read. */                                           \
  X(tma_store_wait, V, "IIP", (uint32_t pending, uint32_t read, const char *site))                                             \
  X(set_max_registers, V, "IIP", (uint32_t registers, uint32_t increases, const char *site))                                   \
  /* ex2.approx.ftz.f32, and conversions of two f32 to packed 16-bit elements (MOHD_EMU_BF16 or MOHD_EMU_F16), the first in the lower half. */ \
  X(exp2, F, "F", (float x))                                                                                                   \
  X(pack, I, "IFF", (uint32_t type, float low, float high))                                                                    \
  X(unpack, F, "II", (uint32_t type, uint32_t bits))                                                                           \
  X(trap, V, "P", (const char *site))                                                                                          \
  X(shared_base, P, "", (void))                                                                                                \
  /* tile.grid_sync, of a cooperative launch: all threads of all blocks. */                                                    \
  X(grid_sync, V, "PP", (void *counter, const char *site))

enum {
  MOHD_EMU_TID_X, MOHD_EMU_TID_Y, MOHD_EMU_TID_Z, MOHD_EMU_NTID_X, MOHD_EMU_NTID_Y, MOHD_EMU_NTID_Z,
  MOHD_EMU_CTAID_X, MOHD_EMU_CTAID_Y, MOHD_EMU_CTAID_Z, MOHD_EMU_NCTAID_X, MOHD_EMU_NCTAID_Y, MOHD_EMU_NCTAID_Z,
  MOHD_EMU_LANE
};
enum { MOHD_EMU_GLOBAL, MOHD_EMU_SHARED };
enum { MOHD_EMU_ADD, MOHD_EMU_MIN, MOHD_EMU_MAX, MOHD_EMU_AND, MOHD_EMU_OR, MOHD_EMU_EXCHANGE };
enum { MOHD_EMU_SHFL_UP, MOHD_EMU_SHFL_DOWN, MOHD_EMU_SHFL_BFLY, MOHD_EMU_SHFL_IDX };
enum { MOHD_EMU_FENCE_BLOCK, MOHD_EMU_FENCE_DEVICE, MOHD_EMU_FENCE_PROXY_ASYNC, MOHD_EMU_FENCE_MBARRIER_INIT };
/* m16n8k16, m16n8k16, m16n8k8, m16n8k32. */
enum { MOHD_EMU_MMA_BF16, MOHD_EMU_MMA_F16, MOHD_EMU_MMA_TF32, MOHD_EMU_MMA_S8 };
enum { MOHD_EMU_BF16, MOHD_EMU_F16 };
enum { MOHD_EMU_SWIZZLE_NONE, MOHD_EMU_SWIZZLE_32, MOHD_EMU_SWIZZLE_64, MOHD_EMU_SWIZZLE_128 };

/* Stands where CUDA has its 128-byte CUtensorMap; passed to kernels by value. Innermost dimension first. */
struct mohd_emu_tensor_map {
  uint64_t base;           /* address of the tensor */
  uint64_t strides[4];     /* bytes, of dimensions 1.. */
  uint32_t extents[5];     /* elements */
  uint16_t box[5];         /* elements of a tile */
  uint8_t rank;            /* 1..5 */
  uint8_t element_bytes;   /* 1, 2 or 4 */
  uint8_t swizzle;         /* MOHD_EMU_SWIZZLE_* */
  uint8_t reserved[128 - 8 - 32 - 20 - 10 - 3];
};

#define MOHD_EMU_TYPE_V void
#define MOHD_EMU_TYPE_I uint32_t
#define MOHD_EMU_TYPE_F float
#define MOHD_EMU_TYPE_P void *
#define MOHD_EMU_FIELD(name, result, arguments, parameters) MOHD_EMU_TYPE_##result(*name) parameters;
struct mohd_emu_table {
  MOHD_EMULATOR_OPERATIONS(MOHD_EMU_FIELD)
};
#undef MOHD_EMU_FIELD
/* clang-format on */

/* The body of a kernel for one thread: `arguments[i]` points to the value of parameter i, a tensor map included. */
typedef void (*mohd_emu_kernel)(const void *const *arguments);

/* clang-format on */

#ifdef __cplusplus
}
#endif

#endif /* MOHD_EMULATOR_OPERATIONS_H */
