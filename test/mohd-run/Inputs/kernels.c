// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the bundles that make_bundle.py writes: a language model that repeats what it read three tokens before, and
// functions for tensors.
#include <stdint.h>

// k_cache[0, sequence[t], position[t], 0] = tokens[t]; params: T, S
void store_prompt(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const int32_t *tokens = bindings[0], *sequence = bindings[1], *position = bindings[2];
  float *cache = bindings[3];
  for (int64_t t = begin; t < end; ++t)
    cache[sequence[t] * params[1] + position[t]] = (float)tokens[t];
}

// The logits of what follows `position`: 4 for the token three positions before the next one, i/V for token i otherwise.
static void predict(const float *cache, int64_t position, int64_t vocabulary, float *logits) {
  for (int64_t i = 0; i < vocabulary; ++i)
    logits[i] = (float)i / (float)vocabulary;
  if (position >= 2)
    logits[(int64_t)cache[position - 2]] = 4.0f;
}

// logits[r]: what follows token rows[r] of sequence 0; params: V
void predict_rows(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const int32_t *rows = bindings[0], *position = bindings[1];
  for (int64_t r = begin; r < end; ++r)
    predict(bindings[2], position[rows[r]], params[0], (float *)bindings[3] + r * params[0]);
}

// As store_prompt and predict_rows in one, token t in sequence t; params: V, S
void decode_step(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const int32_t *tokens = bindings[0], *position = bindings[1];
  for (int64_t t = begin; t < end; ++t) {
    float *cache = (float *)bindings[2] + t * params[1];
    cache[position[t]] = (float)tokens[t];
    predict(cache, position[t], params[0], (float *)bindings[3] + t * params[0]);
  }
}

// logits = NaN; params: count
void not_a_number(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  float *logits = bindings[0];
  for (int64_t i = 0; begin == 0 && i < params[0]; ++i)
    logits[i] = __builtin_nanf("");
}

// token[t] = the first of the largest logits, -1 for NaNs; params: V
void choose_largest(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float *logits = (const float *)bindings[0] + t * params[0];
    int32_t best = logits[0] == logits[0] ? 0 : -1;
    for (int32_t i = 0; best >= 0 && i < params[0]; ++i)
      if (logits[i] > logits[best])
        best = i;
    ((int32_t *)bindings[1])[t] = best;
  }
}

// y[i] = 2 x[i], and state[i] += x[i]
void accumulate(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const float *x = bindings[0];
  float *state = bindings[1], *y = bindings[2];
  for (int64_t i = begin; i < end; ++i) {
    y[i] = 2 * x[i];
    state[i] += x[i];
  }
}

// y = x, bytes; params: count
void copy(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const uint8_t *x = bindings[0];
  uint8_t *y = bindings[1];
  for (int64_t i = begin; i < end; ++i)
    y[i] = x[i];
}
