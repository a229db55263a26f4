// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels for the emulator, as the compiler would make them: every access is announced.
#include "mohd/emulator/operations.h"

const struct mohd_emu_table *mohd_emulator;

#define POINTER(type, i) (*(type *const *)arguments[i])
#define PARAM(i) (*(const int64_t *)arguments[i])

static int64_t globalThread(void) {
  return (int64_t)mohd_emulator->special_register(MOHD_EMU_CTAID_X) *
             mohd_emulator->special_register(MOHD_EMU_NTID_X) +
         mohd_emulator->special_register(MOHD_EMU_TID_X);
}

static float load(const float *from, const char *site) {
  mohd_emulator->check_load(from, sizeof(*from), MOHD_EMU_GLOBAL, site);
  return *from;
}

static void store(float *to, float value, const char *site) {
  mohd_emulator->check_store(to, sizeof(*to), MOHD_EMU_GLOBAL, site);
  *to = value;
}

// y[t] = x[t] * factor[0]. params: T
void gpu_scale(const void *const *arguments) {
  const int64_t t = globalThread();
  if (t < PARAM(3))
    store(&POINTER(float, 2)[t],
          load(&POINTER(float, 0)[t], "load x") * load(POINTER(float, 1), "load factor"),
          "store y");
}

// The same without a look at T.
void gpu_overrun(const void *const *arguments) {
  const int64_t t = globalThread();
  store(&POINTER(float, 2)[t], load(&POINTER(float, 0)[t], "load x"), "store y");
}

// Writes what is only to be read: factor[0] = x[0], x[0] = 0.
void gpu_overwrite(const void *const *arguments) {
  if (globalThread() == 0)
    store(POINTER(float, 1), load(POINTER(float, 0), "load x"), "store factor");
  if (globalThread() == 1)
    store(POINTER(float, 0), 0, "store x");
}

// w[t] = x[t] * x[t]. params: T
void gpu_square(const void *const *arguments) {
  const int64_t t = globalThread();
  if (t >= PARAM(2))
    return;
  const float x = load(&POINTER(float, 0)[t], "load x");
  store(&POINTER(float, 1)[t], x * x, "store w");
}

// y[r] = w[rows[r]], 0 for a row outside. params: R, T
void gpu_gather(const void *const *arguments) {
  const int64_t r = globalThread();
  if (r >= PARAM(3))
    return;
  const int32_t *rows = POINTER(int32_t, 1);
  mohd_emulator->check_load(&rows[r], sizeof(*rows), MOHD_EMU_GLOBAL, "load rows");
  const int32_t row = rows[r];
  const int isInside = row >= 0 && row < PARAM(4);
  store(&POINTER(float, 2)[r], isInside ? load(&POINTER(float, 0)[row], "load w") : 0, "store y");
}

// y = x * factor in tiles of 8 rows of 16, by tensor maps. params: factor
void gpu_tiles(const void *const *arguments) {
  const struct mohd_emu_table *gpu = mohd_emulator;
  const uint32_t thread = gpu->special_register(MOHD_EMU_TID_X);
  const int32_t row = (int32_t)gpu->special_register(MOHD_EMU_CTAID_X) * 8;
  float *tile = gpu->shared_base();
  void *barrier = (char *)gpu->shared_base() + 512;
  if (thread == 0) {
    gpu->mbarrier_init(barrier, 1, "init");
    gpu->fence(MOHD_EMU_FENCE_MBARRIER_INIT, "fence init");
    gpu->fence(MOHD_EMU_FENCE_PROXY_ASYNC, "fence init");
  }
  gpu->barrier_sync(0, 0, "sync");
  if (thread == 0) {
    gpu->mbarrier_expect(barrier, 512, "expect");
    gpu->tma_load(tile, arguments[2], barrier, 2, 0, row, 0, 0, 0, "load tile");
  }
  gpu->mbarrier_wait(barrier, 0, "wait");
  for (uint32_t i = thread; i < 128; i += 32) {
    gpu->check_load(&tile[i], 4, MOHD_EMU_SHARED, "read tile");
    const float value = tile[i];
    gpu->check_store(&tile[i], 4, MOHD_EMU_SHARED, "write tile");
    tile[i] = value * (float)PARAM(4);
  }
  gpu->fence(MOHD_EMU_FENCE_PROXY_ASYNC, "fence tile");
  gpu->barrier_sync(0, 0, "sync");
  if (thread == 0) {
    gpu->tma_store(arguments[3], tile, 2, 0, row, 0, 0, 0, "store tile");
    gpu->tma_store_commit("commit");
    gpu->tma_store_wait(0, 0, "wait for the store");
  }
}
