/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 * The C interface of libmohd_rt: load a bundle, make a context, run an entry point. C99 and C++11.
 *
 * Common to every function:
 * - Whatever can fail returns a mohd_status_t; then mohd_last_error() says why.
 * - No exception leaves the library, and it never ends the process because of its input.
 * - Structs begin with `struct_size`, set by the caller to sizeof of the struct it knows. A size
 *   smaller than this header's first version is MOHD_ERROR_INVALID_ARGUMENT.
 * - A null pointer where none is allowed is MOHD_ERROR_INVALID_ARGUMENT.
 * - Strings are UTF-8 and end with a zero byte.
 *
 * Variables, for contexts whose options leave it to them: MOHD_THREADS, the number of threads, and
 * MOHD_PIN_THREADS, 1 to pin workers to CPUs. MOHD_EMULATOR_SEED, a number, chooses the schedule of
 * the device "emulate"; 0 by default. MOHD_LIBCUDA is the CUDA driver's library, libcuda.so.1 by
 * default; not looked at in programs that run with rights of their own (AT_SECURE).
 * MOHD_CUDA_SYNCHRONIZE, 1 to wait for each kernel on "cuda", so that errors name it.
 */
#ifndef MOHD_RUNTIME_H
#define MOHD_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define MOHD_API __attribute__((visibility("default")))
#else
#define MOHD_API
#endif

/* Enumerations are 32 bits wide and may hold any value: later versions add some. */
#ifdef __cplusplus
#define MOHD_ENUM_BASE : int32_t
#else
#define MOHD_ENUM_BASE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version and errors --------------------------------------------------------------- */

/* The ABI this header describes. Changes only when an existing caller would break. */
#define MOHD_ABI_VERSION 1

/* Shapes hold at most this many extents. */
#define MOHD_MAX_RANK 8

/* Status codes; the comment gives the exit code of the command line tools. */
typedef enum mohd_status MOHD_ENUM_BASE {
  MOHD_OK = 0,                     /* 0 */
  MOHD_ERROR_INVALID_ARGUMENT = 1, /* 2: the call itself is wrong */
  MOHD_ERROR_MALFORMED = 2,        /* 3: a file is damaged or not what it claims to be */
  MOHD_ERROR_INCOMPATIBLE = 3,     /* 4: another version, architecture or CPU feature is needed */
  MOHD_ERROR_NOT_FOUND = 4,        /* 7: no such file, or no such entry point */
  MOHD_ERROR_IO = 5,               /* 7: reading failed */
  MOHD_ERROR_OUT_OF_MEMORY = 6,    /* 6 */
  MOHD_ERROR_DEVICE = 7,           /* 5: device or driver */
  MOHD_ERROR_OUT_OF_RANGE = 8,     /* 3: a value in an input tensor is outside its range */
  MOHD_ERROR_UNSUPPORTED = 9,      /* 4: this build cannot do it, or the caller forbade it */
  MOHD_ERROR_INTERNAL = 10         /* 70: a defect in the library */
} mohd_status_t;

/* Returns the ABI version of the library. Callers that load it at run time compare it with
 * MOHD_ABI_VERSION. Thread-safe, does not block. */
MOHD_API uint32_t mohd_abi_version(void);

/* Returns a line such as "mohd 0.1.0 (bundle format 1.0, ABI 1)". The library owns it, for ever.
 * Thread-safe, does not block. */
MOHD_API const char *mohd_version_string(void);

/* Returns the name of a status, e.g. "MALFORMED", or "UNKNOWN". The library owns it, for ever.
 * Thread-safe, does not block. */
MOHD_API const char *mohd_status_name(mohd_status_t status);

/* Returns the exit code of the command line tools for a status (the comments above).
 * Thread-safe, does not block. */
MOHD_API int mohd_status_exit_code(mohd_status_t status);

/* Returns the message of the last call that failed on this thread; "" if none has. At most 2047
 * bytes, one line, no control characters. Valid until the next failing call on the same thread.
 * Thread-safe, does not block. */
MOHD_API const char *mohd_last_error(void);

/* ---- Modules -------------------------------------------------------------------------- */

/* A loaded bundle: entry points, weights and kernels. Immutable, so any number of threads and
 * contexts may use one module at once. Counted references. */
typedef struct mohd_module mohd_module_t;

/* mohd_load_options_t::flags */
enum {
  /* Refuse a bundle that holds host (CPU) code: MOHD_ERROR_UNSUPPORTED. Loading host code is
   * running it; without it a bundle is only data. */
  MOHD_LOAD_NO_HOST_CODE = 1,
  /* Do not compare weights, code and manifest with their sha256. Bounds are checked all the same.
   */
  MOHD_LOAD_SKIP_HASHES = 2,
  /* Map weights instead of reading them: starts faster and shares memory between processes, but a
   * file that is truncated or a network disk that fails while mapped ends the process (SIGBUS).
   * Weights whose place in the file is not a multiple of 64 are read. Ignored for bundles in
   * memory. */
  MOHD_LOAD_MMAP = 4,
  /* Load weights and code for the CPU with the first context there, as for other devices: for
   * programs that run on a GPU. What is wrong with them is an error then. */
  MOHD_LOAD_DEFER_CPU = 8
};

typedef struct mohd_load_options {
  size_t struct_size;
  uint32_t flags;                /* MOHD_LOAD_... */
  const char *weights_directory; /* where external weights are; NULL: the bundle's folder, and none
                                    for a bundle in memory */
} mohd_load_options_t;

/* Loads the bundle in the file `path`, and its weights and kernels for this machine's CPU. Those that
 * only other devices use are loaded with the first context on such a device.
 *
 * On success `*out_module` is a new reference, to be given back with mohd_module_destroy(). On
 * failure it is NULL. `options` may be NULL. If the bundle has CPU code but none that fits this
 * machine, the module still loads, so that it can be looked at, and mohd_context_create() fails.
 * External weight files are opened by base name in the weights directory, never through a symbolic
 * link. At most the sizes of the files plus 48 MiB are allocated. A file with code for GPUs stays open
 * and must not change.
 * Thread-safe. Blocks on the disk. Runs initialisers of the bundle's code. Weights in several
 * segments are loaded by several threads, which end before this returns unless contexts share them.
 *
 * Returns:
 *   MOHD_OK
 *   MOHD_ERROR_INVALID_ARGUMENT
 *   MOHD_ERROR_NOT_FOUND      no such file, or an external weight file is missing
 *   MOHD_ERROR_IO             cannot be read, or is no regular file
 *   MOHD_ERROR_MALFORMED      not a bundle, or damaged
 *   MOHD_ERROR_INCOMPATIBLE   of another format or ABI; the message names both versions
 *   MOHD_ERROR_UNSUPPORTED    has host code, and MOHD_LOAD_NO_HOST_CODE was given
 *   MOHD_ERROR_OUT_OF_MEMORY
 */
MOHD_API mohd_status_t mohd_module_load_file(const char *path, const mohd_load_options_t *options,
                                             mohd_module_t **out_module);

/* The same for `size` bytes at `data`, which may be freed as soon as the call returns; a bundle with
 * code for GPUs is copied. External weights need `weights_directory`. Statuses as above. */
MOHD_API mohd_status_t mohd_module_load_memory(const void *data, size_t size,
                                               const mohd_load_options_t *options,
                                               mohd_module_t **out_module);

/* Adds a reference. Thread-safe, does not block. NULL is ignored. */
MOHD_API void mohd_module_retain(mohd_module_t *module);

/* Gives a reference back; the last one frees the module. Contexts hold references of their own.
 * Thread-safe. NULL is ignored. */
MOHD_API void mohd_module_destroy(mohd_module_t *module);

/* Returns the manifest as canonical JSON (docs/formats.md) and, unless `out_length` is NULL, its
 * length in bytes. The module owns the text. NULL for a NULL module. Thread-safe, does not block.
 */
MOHD_API const char *mohd_module_manifest(const mohd_module_t *module, size_t *out_length);

/* ---- Entry points --------------------------------------------------------------------- */

/* Element types. */
typedef enum mohd_dtype MOHD_ENUM_BASE {
  MOHD_DTYPE_F32 = 0,
  MOHD_DTYPE_BF16 = 1,
  MOHD_DTYPE_F16 = 2,
  MOHD_DTYPE_F64 = 3,
  MOHD_DTYPE_I8 = 4,
  MOHD_DTYPE_I32 = 5,
  MOHD_DTYPE_I64 = 6
} mohd_dtype_t;

/* Returns the bytes of one element, or 0 for an unknown type. Thread-safe, does not block. */
MOHD_API size_t mohd_dtype_size(mohd_dtype_t dtype);

/* Returns the name, e.g. "bf16", or NULL for an unknown type. Owned by the library. Thread-safe. */
MOHD_API const char *mohd_dtype_name(mohd_dtype_t dtype);

typedef struct mohd_entry_info {
  size_t struct_size;
  const char *name; /* owned by the module, as is every string below */
  uint32_t input_count;
  uint32_t output_count;
} mohd_entry_info_t;

typedef struct mohd_tensor_info {
  size_t struct_size;
  const char *name;
  mohd_dtype_t dtype;
  uint32_t rank;
  int64_t shape[MOHD_MAX_RANK];          /* -1 where it depends on the call */
  const char *shape_text[MOHD_MAX_RANK]; /* then the dim or expression, else NULL */
  const char *range_low;                 /* values are in [range_low, range_high), expressions */
  const char *range_high;                /* over the call's dims; NULL without a range */
  int32_t is_mutable;                    /* 1: an input that the run updates in place */
} mohd_tensor_info_t;

/* Returns the number of entry points; 0 for NULL. Entry points are named by an index below it.
 * Thread-safe, does not block. */
MOHD_API uint32_t mohd_module_entry_count(const mohd_module_t *module);

/* Finds the entry point called `name`.
 * Thread-safe, does not block.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT, MOHD_ERROR_NOT_FOUND (the message lists the names)
 */
MOHD_API mohd_status_t mohd_module_find_entry(const mohd_module_t *module, const char *name,
                                              uint32_t *out_entry);

/* Describes an entry point, its inputs and its outputs. The caller sets `struct_size` first.
 * Strings in the result live as long as the module.
 * Thread-safe, do not block.
 * Return: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT (also for an index that is too large) */
MOHD_API mohd_status_t mohd_entry_info(const mohd_module_t *module, uint32_t entry,
                                       mohd_entry_info_t *out_info);
MOHD_API mohd_status_t mohd_entry_input_info(const mohd_module_t *module, uint32_t entry,
                                             uint32_t input, mohd_tensor_info_t *out_info);
MOHD_API mohd_status_t mohd_entry_output_info(const mohd_module_t *module, uint32_t entry,
                                              uint32_t output, mohd_tensor_info_t *out_info);

/* A tensor of the caller's: contiguous, row-major. */
typedef struct mohd_tensor {
  size_t struct_size;
  void *data; /* a multiple of 64; may be NULL when the tensor has no elements. Inputs that are not
                 mutable are only read. */
  mohd_dtype_t dtype;
  uint32_t rank;
  int64_t shape[MOHD_MAX_RANK];
  size_t byte_size; /* of the buffer at `data`; at least what the shape needs */
} mohd_tensor_t;

/* Computes the shape of an output for inputs of these shapes (their `data` is not looked at).
 * `out_shape` has room for MOHD_MAX_RANK extents.
 * Thread-safe, does not block or allocate.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT (shapes that do not fit the entry point: the
 * message names the input, what was expected and what was given), MOHD_ERROR_MALFORMED (the
 * bundle's expression has no value) */
MOHD_API mohd_status_t mohd_entry_output_shape(const mohd_module_t *module, uint32_t entry,
                                               const mohd_tensor_t *inputs, uint32_t input_count,
                                               uint32_t output, uint32_t *out_rank,
                                               int64_t *out_shape);

/* ---- Contexts ------------------------------------------------------------------------- */

/* What a run needs besides the module: a device, threads and workspace. A context belongs to one
 * thread at a time: a call that begins while another one of the same context is under way is refused
 * with MOHD_ERROR_INVALID_ARGUMENT. Different contexts run in parallel, also with one module. */
typedef struct mohd_context mohd_context_t;

/* The caller's memory for workspace, on the context's device. `allocate` returns `size` bytes aligned
 * to `alignment`, or NULL; `deallocate` gets the same size back. Called by mohd_context_reserve() and
 * mohd_context_destroy() only, on their thread. */
typedef struct mohd_allocator {
  size_t struct_size;
  void *user;
  void *(*allocate)(void *user, size_t size, size_t alignment);
  void (*deallocate)(void *user, void *memory, size_t size, size_t alignment);
} mohd_allocator_t;

/* mohd_context_options_t::flags */
enum {
  /* On "cuda": refuse PTX, which the driver compiles when it is loaded; MOHD_ERROR_INCOMPATIBLE if
   * the bundle has no cubin for the GPU. */
  MOHD_CONTEXT_REQUIRE_CUBIN = 1
};

typedef struct mohd_context_options {
  size_t struct_size;
  const char *device; /* "cpu" (also NULL); "cuda" or "cuda:N", GPU 0 or N of the driver; "emulate",
                         or "emulate:sm_90a" if the bundle has several: kernels for GPUs run on the
                         CPU and are checked. One is never taken for another. */
  uint32_t threads;   /* 0: MOHD_THREADS, else the CPUs this process may use (affinity
                         and cgroup quota); at most 1024. On "cuda" it is always 1 */
  const mohd_allocator_t *allocator; /* NULL: the library's own; copied */
  int32_t pin_threads; /* 1: pin each worker to a CPU of its own, -1: do not ask for it,
                          0: MOHD_PIN_THREADS decides. Added later: a struct that ends before it
                          is read as 0. */
  uint64_t flags;      /* MOHD_CONTEXT_...; added later, as above */
} mohd_context_options_t;

/* Makes a context for `module`, which it keeps a reference to. `options` may be NULL.
 *
 * The first context on another device than the CPU loads the weights that programs for it use, and
 * its kernels; they go with the last context there.
 *
 * On success `*out_context` is owned by the caller; free it with mohd_context_destroy(). On failure
 * it is NULL. All contexts of a process share one pool of worker threads.
 *
 * Pinned workers are each on a CPU of the process's affinity mask, and stay there until the last
 * context has gone, also for contexts that did not ask for it. The caller's threads belong to the
 * caller and are not pinned; the CPU this call is made on is left to them.
 * Thread-safe. Starts threads if the pool has too few.
 *
 * Returns:
 *   MOHD_OK
 *   MOHD_ERROR_INVALID_ARGUMENT   bad options; MOHD_THREADS is no number from 1 to 1024, or
 *                                 MOHD_PIN_THREADS neither 0 nor 1; fewer CPUs than threads to pin
 *   MOHD_ERROR_UNSUPPORTED        a device this library does not know
 *   MOHD_ERROR_INCOMPATIBLE       no code for this machine; the message names the missing features
 *   MOHD_ERROR_OUT_OF_MEMORY      on "cuda" the message tells what is free and what we use
 *   MOHD_ERROR_DEVICE             no driver, an old one, no such GPU, a child forked after CUDA was
 *                                 started, or what the driver says
 *   and those of mohd_module_load_file(), of devices other than the CPU
 */
MOHD_API mohd_status_t mohd_context_create(mohd_module_t *module,
                                           const mohd_context_options_t *options,
                                           mohd_context_t **out_context);

/* Frees a context and the workspace it reserved. Not while it runs; on "cuda" not before its streams
 * have done what they were given. NULL is ignored. */
MOHD_API void mohd_context_destroy(mohd_context_t *context);

/* Returns the number of threads the context runs on; 0 for NULL. */
MOHD_API uint32_t mohd_context_threads(const mohd_context_t *context);

/* Returns the target in use, e.g. "cpu:x86-64-v3", "cuda:sm_90a" or "cuda:ptx". Owned by the context. NULL for NULL. */
MOHD_API const char *mohd_context_target(const mohd_context_t *context);

/* Computes the bytes of workspace that `entry` needs for inputs of these shapes (their `data` is
 * not looked at).
 * One thread at a time per context. Does not block or allocate.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT as mohd_entry_output_shape(),
 * MOHD_ERROR_MALFORMED as mohd_run(), MOHD_ERROR_UNSUPPORTED (no program for the entry point) */
MOHD_API mohd_status_t mohd_context_workspace_size(mohd_context_t *context, uint32_t entry,
                                                   const mohd_tensor_t *inputs,
                                                   uint32_t input_count, size_t *out_size);

/* Makes the context's own workspace at least `size` bytes large, for runs without a workspace of
 * the caller's. Never shrinks it.
 * One thread at a time per context.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT, MOHD_ERROR_OUT_OF_MEMORY (the message says how
 * much was asked for; the old workspace stays) */
MOHD_API mohd_status_t mohd_context_reserve(mohd_context_t *context, size_t size);

typedef struct mohd_run_options {
  size_t struct_size;
  void *workspace;       /* a multiple of 64; NULL: the context's own, see mohd_context_reserve() */
  size_t workspace_size; /* bytes */
  void *stream;          /* a CUstream; NULL: the legacy default stream, and on devices that have
                            none. Added later: a struct that ends before it is read as NULL. */
} mohd_run_options_t;

/* Runs an entry point: `inputs` and `outputs` in the order of the manifest, all of them. Outputs
 * have the shapes that mohd_entry_output_shape() gives. Outputs and inputs updated in place share no
 * memory with any other tensor of the call. `options` may be NULL.
 *
 * On "cuda" tensors and workspace are in the GPU's memory. The call only launches kernels in the
 * stream and does not wait for them, so that it may be captured in a CUDA graph; errors of a kernel
 * come with a later call. The values of integer inputs are not read: kernels keep to the range by
 * themselves. After an error that leaves the GPU's context unusable every call on that GPU fails with
 * it, until all contexts there are destroyed.
 *
 * Before the first kernel starts, shapes, types, alignment, buffer sizes, ranges of integer inputs
 * and every buffer range a kernel will see are checked; a call that fails has changed nothing.
 * One thread at a time per context. Blocks until the results are there, but on "cuda". Does not
 * allocate, but on "emulate". The values do not depend on the number of threads.
 *
 * Returns:
 *   MOHD_OK
 *   MOHD_ERROR_INVALID_ARGUMENT   counts, types, shapes, alignment, shared memory, or too little
 *                                 workspace
 *   MOHD_ERROR_OUT_OF_RANGE       an integer input has a value outside its range; the message names
 *                                 input, element, value and range
 *   MOHD_ERROR_MALFORMED          the bundle's own sizes do not fit: a binding outside its buffer
 *   MOHD_ERROR_UNSUPPORTED        the target has no program for the entry point
 *   MOHD_ERROR_DEVICE             on "emulate" a kernel is wrong, on "cuda" the driver refuses; the
 *                                 message has the first error. What was written until then stays
 */
MOHD_API mohd_status_t mohd_run(mohd_context_t *context, uint32_t entry,
                                const mohd_tensor_t *inputs, uint32_t input_count,
                                const mohd_tensor_t *outputs, uint32_t output_count,
                                const mohd_run_options_t *options);

/* ---- Devices -------------------------------------------------------------------------- */

typedef struct mohd_device_info {
  size_t struct_size;
  char name[256];        /* such as "NVIDIA H100 80GB HBM3" */
  uint32_t units;        /* multiprocessors, or CPUs this process may use */
  int32_t compute_major; /* compute capability; 0 for the CPU */
  int32_t compute_minor;
  int32_t driver_version; /* of CUDA: 12040 is 12.4; 0 for the CPU */
  uint64_t memory_bytes;
} mohd_device_info_t;

/* Counts the devices of a kind, "cpu", "emulate" or "cuda". Of the first two there is one each.
 * Thread-safe. May start CUDA's driver, but makes nothing on a GPU.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT, MOHD_ERROR_UNSUPPORTED (another kind),
 * MOHD_ERROR_DEVICE (no GPU can be used; the message says why) */
MOHD_API mohd_status_t mohd_device_count(const char *kind, uint32_t *out_count);

/* Describes a device by the name that contexts know it by, e.g. "cuda:1". The caller sets
 * `struct_size` first.
 * Thread-safe. May start CUDA's driver, but makes nothing on a GPU.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT, MOHD_ERROR_UNSUPPORTED (no such kind),
 * MOHD_ERROR_DEVICE (no such GPU) */
MOHD_API mohd_status_t mohd_device_describe(const char *device, mohd_device_info_t *out_info);

/* Allocates `size` bytes for tensors where the context's kernels find them, aligned to 64 bytes; NULL
 * for size 0. Given back with mohd_context_free(), at the latest when the context is destroyed.
 * One thread at a time per context.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT, MOHD_ERROR_OUT_OF_MEMORY, MOHD_ERROR_DEVICE */
MOHD_API mohd_status_t mohd_context_allocate(mohd_context_t *context, size_t size,
                                             void **out_memory);

/* Gives memory of mohd_context_allocate() of the same context back. NULL is ignored.
 * One thread at a time per context.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT (other memory) */
MOHD_API mohd_status_t mohd_context_free(mohd_context_t *context, void *memory);

/* Copy `size` bytes from the host's memory to the device's, and back. Done when they return; on the
 * CPU a memcpy.
 * One thread at a time per context. Block.
 * Return: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT, MOHD_ERROR_DEVICE */
MOHD_API mohd_status_t mohd_context_upload(mohd_context_t *context, void *to, const void *from,
                                           size_t size);
MOHD_API mohd_status_t mohd_context_download(mohd_context_t *context, void *to, const void *from,
                                             size_t size);

/* Waits until the device has done what `stream` was given (NULL: the default one). Returns at once on
 * devices whose runs block.
 * One thread at a time per context. Blocks.
 * Returns: MOHD_OK, MOHD_ERROR_INVALID_ARGUMENT, MOHD_ERROR_DEVICE */
MOHD_API mohd_status_t mohd_context_synchronize(mohd_context_t *context, void *stream);

#ifdef __cplusplus
}
#endif

#endif /* MOHD_RUNTIME_H */
