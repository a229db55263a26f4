/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 * The header is C99, and the shared library answers to it. */
#include "mohd/runtime.h"

#include <stdio.h>
#include <string.h>

int main(void) {
  mohd_module_t *module = NULL;
  mohd_load_options_t options = {sizeof(options), MOHD_LOAD_NO_HOST_CODE, NULL};
  if (mohd_abi_version() != MOHD_ABI_VERSION)
    return 1;
  if (mohd_module_load_memory("text", 4, &options, &module) != MOHD_ERROR_MALFORMED || module)
    return 2;
  if (strstr(mohd_last_error(), "not a bundle") == NULL)
    return 3;
  return puts(mohd_version_string()) < 0;
}
