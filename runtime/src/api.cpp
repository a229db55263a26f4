// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The C functions: check pointers and struct sizes, call the C++ classes, report.
#include "context.h"
#include "cpu_count.h"
#include "device/cuda/driver.h"
#include "errors.h"
#include "module.h"

#include <cstddef>
#include <cstdio>
#include <cstring>

#include <unistd.h>

using namespace mohdrt;

namespace {

// The C interface's handles are the classes under an incomplete type.
Module *unwrap(mohd_module_t *module) { return reinterpret_cast<Module *>(module); }
const Module *unwrap(const mohd_module_t *module) {
  return reinterpret_cast<const Module *>(module);
}
Context *unwrap(mohd_context_t *context) { return reinterpret_cast<Context *>(context); }
const Context *unwrap(const mohd_context_t *context) {
  return reinterpret_cast<const Context *>(context);
}

Status requirePointer(const void *pointer, const char *name) {
  return pointer ? Status() : invalidArgument(std::string(name) + " must not be NULL");
}

/// `options` may be null; a struct smaller than its first version, of `smallest` bytes, is an error.
template <typename T>
Status checkStruct(const T *options, const char *name, size_t smallest = sizeof(T)) {
  if (!options || options->struct_size >= smallest)
    return Status();
  return invalidArgument(std::string(name) + ": struct_size " +
                         std::to_string(options->struct_size) + ", expected at least " +
                         std::to_string(smallest));
}

Result<LoadOptions> readLoadOptions(const mohd_load_options_t *options) {
  MOHDRT_TRY(checkStruct(options, "mohd_load_options_t"));
  constexpr uint32_t known =
      MOHD_LOAD_NO_HOST_CODE | MOHD_LOAD_SKIP_HASHES | MOHD_LOAD_MMAP | MOHD_LOAD_DEFER_CPU;
  LoadOptions result;
  if (!options)
    return result;
  if (options->flags & ~known)
    return invalidArgument("unknown load flags " + std::to_string(options->flags & ~known));
  result.flags = options->flags;
  if (options->weights_directory)
    result.weightsDirectory = options->weights_directory;
  return result;
}

std::string folderOf(const std::string &path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

Status give(const Result<Module *> &module, mohd_module_t **out) {
  if (module.ok())
    *out = reinterpret_cast<mohd_module_t *>(*module);
  return module.status();
}

Result<const CompiledEntry *> findEntry(const mohd_module_t *module, uint32_t entry) {
  MOHDRT_TRY(requirePointer(module, "module"));
  if (entry < unwrap(module)->entries().size())
    return &unwrap(module)->entries()[entry];
  return invalidArgument("entry point " + std::to_string(entry) + " of " +
                         std::to_string(unwrap(module)->entries().size()));
}

void describeTensor(const TensorSpec &spec, mohd_tensor_info_t *info) {
  const size_t size = info->struct_size;
  *info = mohd_tensor_info_t();
  info->struct_size = size;
  info->name = spec.name.c_str();
  info->dtype = static_cast<mohd_dtype_t>(spec.dtype);
  info->rank = static_cast<uint32_t>(spec.shape.size());
  for (size_t i = 0; i < spec.shape.size(); ++i) {
    info->shape[i] = spec.shape[i].isStatic() ? spec.shape[i].value : -1;
    info->shape_text[i] = spec.shape[i].isStatic() ? nullptr : spec.shape[i].text.c_str();
  }
  if (spec.range) {
    info->range_low = spec.range->first.c_str();
    info->range_high = spec.range->second.c_str();
  }
  info->is_mutable = spec.isMutable;
}

Status describeOne(const std::vector<TensorSpec> &tensors, const char *what, uint32_t index,
                   mohd_tensor_info_t *info) {
  MOHDRT_TRY(requirePointer(info, "out_info"));
  MOHDRT_TRY(checkStruct(info, "mohd_tensor_info_t"));
  if (index >= tensors.size())
    return invalidArgument(std::string(what) + " " + std::to_string(index) + " of " +
                           std::to_string(tensors.size()));
  describeTensor(tensors[index], info);
  return Status();
}

/// Whether the caller's struct is large enough to have a field that was added later.
template <typename T> bool hasField(const T *options, size_t offset, size_t size) {
  return options->struct_size >= offset + size;
}

/// call(context), as the only call of that context.
template <typename Call> Status claimed(mohd_context_t *context, Call call) {
  MOHDRT_TRY(requirePointer(context, "context"));
  Context::Claim claim(*unwrap(context));
  if (!claim.isGranted)
    return invalidArgument(
        "the context is in use by another call: one thread at a time may use it, "
        "others need contexts of their own");
  return call(*unwrap(context));
}

Status checkCopy(const void *to, const void *from, size_t size) {
  if (size == 0)
    return Status();
  MOHDRT_TRY(requirePointer(to, "to"));
  return requirePointer(from, "from");
}

Result<ContextOptions> readContextOptions(const mohd_context_options_t *options) {
  MOHDRT_TRY(checkStruct(options, "mohd_context_options_t",
                         offsetof(mohd_context_options_t, pin_threads)));
  ContextOptions result;
  if (!options)
    return result;
  if (options->device)
    result.device = options->device;
  MOHDRT_TRY(checkStruct(options->allocator, "mohd_allocator_t"));
  if (options->allocator) {
    MOHDRT_TRY(requirePointer(reinterpret_cast<void *>(options->allocator->allocate), "allocate"));
    MOHDRT_TRY(
        requirePointer(reinterpret_cast<void *>(options->allocator->deallocate), "deallocate"));
    result.allocator = *options->allocator;
  }
  result.threads = options->threads;
  if (hasField(options, offsetof(mohd_context_options_t, pin_threads), sizeof(int32_t)))
    result.pinThreads = options->pin_threads;
  uint64_t flags = 0;
  if (hasField(options, offsetof(mohd_context_options_t, flags), sizeof(uint64_t)))
    flags = options->flags;
  if (flags & ~uint64_t(MOHD_CONTEXT_REQUIRE_CUBIN))
    return invalidArgument("unknown context flags " +
                           std::to_string(flags & ~uint64_t(MOHD_CONTEXT_REQUIRE_CUBIN)));
  result.requireCubin = flags & MOHD_CONTEXT_REQUIRE_CUBIN;
  return result;
}

void describeCpu(mohd_device_info_t *info) {
  std::snprintf(info->name, sizeof(info->name), "CPU");
  info->units = usableCpuCount();
  const long pages = ::sysconf(_SC_PHYS_PAGES), bytes = ::sysconf(_SC_PAGESIZE);
  info->memory_bytes = pages > 0 && bytes > 0 ? uint64_t(pages) * uint64_t(bytes) : 0;
}

Status describeCuda(int ordinal, mohd_device_info_t *info) {
  Result<std::shared_ptr<const cuda::Driver>> driver = cuda::Driver::acquire();
  if (!driver.ok())
    return driver.status();
  Result<cuda::Gpu> gpu = cuda::describeGpu(**driver, ordinal);
  if (!gpu.ok())
    return gpu.status();
  std::snprintf(info->name, sizeof(info->name), "%s", gpu->name.c_str());
  info->units = static_cast<uint32_t>(gpu->multiprocessors);
  info->memory_bytes = gpu->totalBytes;
  info->compute_major = gpu->major;
  info->compute_minor = gpu->minor;
  info->driver_version = (*driver)->version;
  return Status();
}

} // namespace

extern "C" {

mohd_status_t mohd_module_load_file(const char *path, const mohd_load_options_t *options,
                                    mohd_module_t **out_module) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(requirePointer(out_module, "out_module"));
    *out_module = nullptr;
    MOHDRT_TRY(requirePointer(path, "path"));
    Result<LoadOptions> load = readLoadOptions(options);
    if (!load.ok())
      return load.status();
    if (load->weightsDirectory.empty())
      load->weightsDirectory = folderOf(path);
    Result<std::unique_ptr<FileSource>> file = FileSource::open(path);
    if (!file.ok())
      return file.status();
    return give(Module::load(std::move(*file), *load), out_module)
        .withPrefix("'" + escapeForMessage(path, 1000) + "'");
  });
}

mohd_status_t mohd_module_load_memory(const void *data, size_t size,
                                      const mohd_load_options_t *options,
                                      mohd_module_t **out_module) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(requirePointer(out_module, "out_module"));
    *out_module = nullptr;
    MOHDRT_TRY(requirePointer(data, "data"));
    Result<LoadOptions> load = readLoadOptions(options);
    if (!load.ok())
      return load.status();
    return give(Module::load(data, size, *load), out_module);
  });
}

void mohd_module_retain(mohd_module_t *module) {
  if (module)
    unwrap(module)->retain();
}

void mohd_module_destroy(mohd_module_t *module) {
  if (module)
    unwrap(module)->release();
}

const char *mohd_module_manifest(const mohd_module_t *module, size_t *out_length) {
  if (out_length)
    *out_length = module ? unwrap(module)->manifestText().size() : 0;
  return module ? unwrap(module)->manifestText().c_str() : nullptr;
}

size_t mohd_dtype_size(mohd_dtype_t dtype) {
  return mohd_dtype_name(dtype) ? static_cast<size_t>(dtypeSize(static_cast<DType>(dtype))) : 0;
}

const char *mohd_dtype_name(mohd_dtype_t dtype) {
  const int value = static_cast<int>(dtype);
  return value >= 0 && value < kNumDTypes ? dtypeName(static_cast<DType>(value)) : nullptr;
}

uint32_t mohd_module_entry_count(const mohd_module_t *module) {
  return module ? static_cast<uint32_t>(unwrap(module)->entries().size()) : 0;
}

mohd_status_t mohd_module_find_entry(const mohd_module_t *module, const char *name,
                                     uint32_t *out_entry) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(requirePointer(module, "module"));
    MOHDRT_TRY(requirePointer(name, "name"));
    MOHDRT_TRY(requirePointer(out_entry, "out_entry"));
    std::string names;
    for (size_t i = 0; i < unwrap(module)->entries().size(); ++i) {
      const std::string &candidate = unwrap(module)->entries()[i].spec->name;
      if (candidate == name) {
        *out_entry = static_cast<uint32_t>(i);
        return Status();
      }
      names += (i ? ", " : "") + candidate;
    }
    return Status(StatusCode::NotFound, "no entry point '" + escapeForMessage(name, 60) +
                                            "'; the bundle has: " + escapeForMessage(names, 500));
  });
}

mohd_status_t mohd_entry_info(const mohd_module_t *module, uint32_t entry,
                              mohd_entry_info_t *out_info) {
  return guarded([&]() -> Status {
    Result<const CompiledEntry *> found = findEntry(module, entry);
    if (!found.ok())
      return found.status();
    MOHDRT_TRY(requirePointer(out_info, "out_info"));
    MOHDRT_TRY(checkStruct(out_info, "mohd_entry_info_t"));
    out_info->name = (*found)->spec->name.c_str();
    out_info->input_count = static_cast<uint32_t>((*found)->inputs.size());
    out_info->output_count = static_cast<uint32_t>((*found)->outputs.size());
    return Status();
  });
}

mohd_status_t mohd_entry_input_info(const mohd_module_t *module, uint32_t entry, uint32_t input,
                                    mohd_tensor_info_t *out_info) {
  return guarded([&]() -> Status {
    Result<const CompiledEntry *> found = findEntry(module, entry);
    return found.ok() ? describeOne((*found)->spec->inputs, "input", input, out_info)
                      : found.status();
  });
}

mohd_status_t mohd_entry_output_info(const mohd_module_t *module, uint32_t entry, uint32_t output,
                                     mohd_tensor_info_t *out_info) {
  return guarded([&]() -> Status {
    Result<const CompiledEntry *> found = findEntry(module, entry);
    return found.ok() ? describeOne((*found)->spec->outputs, "output", output, out_info)
                      : found.status();
  });
}

mohd_status_t mohd_entry_output_shape(const mohd_module_t *module, uint32_t entry,
                                      const mohd_tensor_t *inputs, uint32_t input_count,
                                      uint32_t output, uint32_t *out_rank, int64_t *out_shape) {
  return guarded([&]() -> Status {
    Result<const CompiledEntry *> found = findEntry(module, entry);
    if (!found.ok())
      return found.status();
    MOHDRT_TRY(requirePointer(out_rank, "out_rank"));
    MOHDRT_TRY(requirePointer(out_shape, "out_shape"));
    if (output >= (*found)->outputs.size())
      return invalidArgument("output " + std::to_string(output) + " of " +
                             std::to_string((*found)->outputs.size()));
    DimValues dims;
    MOHDRT_TRY(bindDims(**found, TensorList(inputs, input_count), &dims));
    const CompiledTensor &tensor = (*found)->outputs[output];
    *out_rank = static_cast<uint32_t>(tensor.shape.size());
    return outputShape(tensor, dims, out_shape).status();
  });
}

mohd_status_t mohd_context_create(mohd_module_t *module, const mohd_context_options_t *options,
                                  mohd_context_t **out_context) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(requirePointer(out_context, "out_context"));
    *out_context = nullptr;
    MOHDRT_TRY(requirePointer(module, "module"));
    Result<ContextOptions> read = readContextOptions(options);
    if (!read.ok())
      return read.status();
    Result<Context *> context = Context::create(*unwrap(module), *read);
    if (!context.ok())
      return context.status();
    *out_context = reinterpret_cast<mohd_context_t *>(*context);
    return Status();
  });
}

void mohd_context_destroy(mohd_context_t *context) { delete unwrap(context); }

uint32_t mohd_context_threads(const mohd_context_t *context) {
  return context ? unwrap(context)->threads() : 0;
}

const char *mohd_context_target(const mohd_context_t *context) {
  return context ? unwrap(context)->target().c_str() : nullptr;
}

mohd_status_t mohd_context_workspace_size(mohd_context_t *context, uint32_t entry,
                                          const mohd_tensor_t *inputs, uint32_t input_count,
                                          size_t *out_size) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(requirePointer(out_size, "out_size"));
    return claimed(context, [&](Context &own) {
      Result<int64_t> bytes = own.workspaceBytes(entry, TensorList(inputs, input_count));
      if (bytes.ok())
        *out_size = static_cast<size_t>(*bytes);
      return bytes.status();
    });
  });
}

mohd_status_t mohd_context_reserve(mohd_context_t *context, size_t size) {
  return guarded([&]() -> Status {
    return claimed(context, [&](Context &own) { return own.reserve(size); });
  });
}

mohd_status_t mohd_run(mohd_context_t *context, uint32_t entry, const mohd_tensor_t *inputs,
                       uint32_t input_count, const mohd_tensor_t *outputs, uint32_t output_count,
                       const mohd_run_options_t *options) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(checkStruct(options, "mohd_run_options_t", offsetof(mohd_run_options_t, stream)));
    RunOptions run;
    if (options)
      run.workspace = options->workspace, run.workspaceSize = options->workspace_size;
    if (options && hasField(options, offsetof(mohd_run_options_t, stream), sizeof(void *)))
      run.stream = options->stream;
    return claimed(context, [&](Context &own) {
      return own.run(entry, TensorList(inputs, input_count), TensorList(outputs, output_count),
                     run);
    });
  });
}

mohd_status_t mohd_device_count(const char *kind, uint32_t *out_count) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(requirePointer(out_count, "out_count"));
    *out_count = 0;
    MOHDRT_TRY(requirePointer(kind, "kind"));
    Result<DeviceName> name = parseDeviceName(kind);
    if (!name.ok())
      return name.status();
    if (name->kind != "cuda") {
      *out_count = 1;
      return Status();
    }
    Result<std::shared_ptr<const cuda::Driver>> driver = cuda::Driver::acquire();
    if (driver.ok())
      *out_count = static_cast<uint32_t>((*driver)->devices);
    return driver.status();
  });
}

mohd_status_t mohd_device_describe(const char *device, mohd_device_info_t *out_info) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(requirePointer(device, "device"));
    MOHDRT_TRY(requirePointer(out_info, "out_info"));
    MOHDRT_TRY(checkStruct(out_info, "mohd_device_info_t"));
    Result<DeviceName> name = parseDeviceName(device);
    if (!name.ok())
      return name.status();
    mohd_device_info_t info = {};
    info.struct_size = out_info->struct_size;
    if (name->kind == "cuda")
      MOHDRT_TRY(describeCuda(name->ordinal, &info));
    else
      describeCpu(&info);
    *out_info = info;
    return Status();
  });
}

mohd_status_t mohd_context_allocate(mohd_context_t *context, size_t size, void **out_memory) {
  return guarded([&]() -> Status {
    MOHDRT_TRY(requirePointer(out_memory, "out_memory"));
    *out_memory = nullptr;
    return claimed(context, [&](Context &own) {
      Result<void *> memory = own.allocateTensor(size);
      if (memory.ok())
        *out_memory = *memory;
      return memory.status();
    });
  });
}

mohd_status_t mohd_context_free(mohd_context_t *context, void *memory) {
  return guarded([&]() -> Status {
    return claimed(context,
                   [&](Context &own) { return memory ? own.freeTensor(memory) : Status(); });
  });
}

mohd_status_t mohd_context_upload(mohd_context_t *context, void *to, const void *from,
                                  size_t size) {
  return guarded([&]() -> Status {
    return claimed(context, [&](Context &own) {
      MOHDRT_TRY(checkCopy(to, from, size));
      return own.executor().upload(to, from, size);
    });
  });
}

mohd_status_t mohd_context_download(mohd_context_t *context, void *to, const void *from,
                                    size_t size) {
  return guarded([&]() -> Status {
    return claimed(context, [&](Context &own) {
      MOHDRT_TRY(checkCopy(to, from, size));
      return own.executor().download(to, from, size);
    });
  });
}

mohd_status_t mohd_context_synchronize(mohd_context_t *context, void *stream) {
  return guarded([&]() -> Status {
    return claimed(context, [&](Context &own) { return own.executor().synchronize(stream); });
  });
}

} // extern "C"
