/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 * Embedding libmohd_rt in a C program: continues a prompt greedily with a byte-level model.
 *
 *   cc -Iruntime/include examples/embed/generate.c -Lbuild/lib -lmohd_rt -Wl,-rpath,build/lib -o build/generate
 *   build/generate build/demo.mohdb "The function returns" 64
 */
#include "mohd/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with the library's message and the exit code that goes with the status. */
static void check(mohd_status_t status) {
  if (status != MOHD_OK) {
    fprintf(stderr, "error: %s\n", mohd_last_error());
    exit(mohd_status_exit_code(status));
  }
}

/* A zeroed tensor; its data is 64-byte aligned, as the library asks. */
static mohd_tensor_t make_tensor(mohd_dtype_t dtype, uint32_t rank, const int64_t *shape) {
  mohd_tensor_t tensor = {sizeof(tensor), NULL, dtype, rank, {0}, mohd_dtype_size(dtype)};
  for (uint32_t i = 0; i < rank; ++i) {
    tensor.shape[i] = shape[i];
    tensor.byte_size *= (size_t)shape[i];
  }
  size_t allocated = (tensor.byte_size + 64) / 64 * 64;
  tensor.data = aligned_alloc(64, allocated);
  if (!tensor.data) {
    fprintf(stderr, "error: out of memory for %zu bytes\n", allocated);
    exit(6);
  }
  memset(tensor.data, 0, allocated);
  return tensor;
}

static mohd_tensor_t make_vector(int64_t size) { return make_tensor(MOHD_DTYPE_I32, 1, &size); }

/* Reserves the workspace for a call and runs it. */
static void run(mohd_context_t *context, uint32_t entry, const mohd_tensor_t *inputs,
                uint32_t count, const mohd_tensor_t *logits) {
  size_t size;
  check(mohd_context_workspace_size(context, entry, inputs, count, &size));
  check(mohd_context_reserve(context, size));
  check(mohd_run(context, entry, inputs, count, logits, 1, NULL));
}

static int32_t argmax(const float *logits, int64_t count) {
  int32_t best = 0;
  for (int32_t i = 1; i < count; ++i)
    if (logits[i] > logits[best])
      best = i;
  return best;
}

int main(int argc, char **argv) {
  if (argc != 4 || !argv[2][0] || atoi(argv[3]) < 1) {
    fprintf(stderr, "usage: generate BUNDLE PROMPT NEW_TOKENS\n");
    return 2;
  }
  int64_t prompt = (int64_t)strlen(argv[2]), steps = atoi(argv[3]);

  mohd_module_t *module;
  mohd_context_t *context;
  check(mohd_module_load_file(argv[1], NULL, &module));
  check(mohd_context_create(module, NULL, &context));
  uint32_t prefill, decode;
  check(mohd_module_find_entry(module, "prefill", &prefill));
  check(mohd_module_find_entry(module, "decode", &decode));

  /* The caches are ours: [layers, sequences, positions, width], here one sequence. */
  mohd_tensor_info_t cache = {.struct_size = sizeof(cache)},
                     output = {.struct_size = sizeof(output)};
  check(mohd_entry_input_info(module, prefill, 4, &cache));
  check(mohd_entry_output_info(module, prefill, 0, &output));
  int64_t cache_shape[] = {cache.shape[0], 1, prompt + steps, cache.shape[3]};
  int64_t logits_shape[] = {1, output.shape[1]};
  mohd_tensor_t keys = make_tensor(cache.dtype, 4, cache_shape);
  mohd_tensor_t values = make_tensor(cache.dtype, 4, cache_shape);
  mohd_tensor_t logits = make_tensor(MOHD_DTYPE_F32, 2, logits_shape);

  /* The whole prompt in one call; only the last token's logits are wanted. */
  mohd_tensor_t tokens = make_vector(prompt), sequence = make_vector(prompt);
  mohd_tensor_t position = make_vector(prompt), rows = make_vector(1);
  for (int32_t i = 0; i < prompt; ++i) {
    ((int32_t *)tokens.data)[i] = (unsigned char)argv[2][i];
    ((int32_t *)position.data)[i] = i;
  }
  ((int32_t *)rows.data)[0] = (int32_t)(prompt - 1);
  mohd_tensor_t first[] = {tokens, sequence, position, rows, keys, values};
  run(context, prefill, first, 6, &logits);

  /* Then one token at a time. */
  mohd_tensor_t token = make_vector(1), place = make_vector(1);
  mohd_tensor_t next[] = {token, place, keys, values};
  for (int64_t step = 0; step < steps; ++step) {
    int32_t chosen = argmax(logits.data, logits_shape[1]);
    putchar(chosen);
    ((int32_t *)token.data)[0] = chosen;
    ((int32_t *)place.data)[0] = (int32_t)(prompt + step);
    if (step + 1 < steps)
      run(context, decode, next, 4, &logits);
  }
  putchar('\n');

  mohd_tensor_t all[] = {tokens, sequence, position, rows, token, place, keys, values, logits};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); ++i)
    free(all[i].data);
  mohd_context_destroy(context);
  mohd_module_destroy(module);
  return 0;
}
