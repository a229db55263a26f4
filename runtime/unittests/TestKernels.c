// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels written by hand, so that the runtime is tested without the compiler.
#include <stdint.h>

#if TEST_VARIANT == 2
#define SIGN (-1.0f)
#else
#define SIGN (1.0f)
#endif

// y[t] = x[t] * factor[0]; a task is 16 rows. params: T
void test_scale(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const float *x = bindings[0], *factor = bindings[1];
  float *y = bindings[2];
  for (int64_t t = begin * 16; t < end * 16 && t < params[0]; ++t)
    y[t] = x[t] * factor[0] * SIGN;
}

// y[i] = x[i] * x[i]; a task is one row.
void test_square(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const float *x = bindings[0];
  float *y = bindings[1];
  (void)params;
  for (int64_t i = begin; i < end; ++i)
    y[i] = x[i] * x[i];
}

// y[r] = x[rows[r]]; a task is one row.
void test_gather(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const float *x = bindings[0];
  const int32_t *rows = bindings[1];
  float *y = bindings[2];
  (void)params;
  for (int64_t r = begin; r < end; ++r)
    y[r] = x[rows[r]];
}
