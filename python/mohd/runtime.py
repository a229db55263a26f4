# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The C interface of libmohd_rt (runtime/include/mohd/runtime.h) from Python: NumPy arrays in and out, nothing copied.

    module = mohd.load("model.mohdb")
    outputs = module.context().run("decode", {"tokens": tokens, ...})

NumPy has no bfloat16: such tensors are uint16 arrays of bit patterns (`mohd.weights` converts), or any 16-bit type
called "bfloat16". Arrays must be C-contiguous and begin at a multiple of 64 bytes; `empty` and `zeros` make such
arrays, other inputs are copied, and other mutable inputs are refused.

On "cuda" arrays of the host are copied to the GPU for each call, and what the call writes is copied back. Arrays that are there
already are used in place, and a call of such arrays alone does not wait: `DeviceArray`, tensors of torch on "cuda", and whatever else
has `__cuda_array_interface__`.
"""

import ctypes
import functools
import json
import os

import numpy as np

from mohd import find

ABI_VERSION = 1
ALIGNMENT = 64
MAX_RANK = 8
DTYPES = [("f32", np.float32), ("bf16", np.uint16), ("f16", np.float16), ("f64", np.float64), ("i8", np.int8),
          ("i32", np.int32), ("i64", np.int64)]
"""Name and NumPy type of each mohd_dtype_t."""


class MohdError(Exception):
    """A call that failed; `status` is the name of its status, such as "MALFORMED"."""

    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status


class _LoadOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("weights_directory", ctypes.c_char_p)]


class _EntryInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("input_count", ctypes.c_uint32),
                ("output_count", ctypes.c_uint32)]


class _TensorInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("dtype", ctypes.c_int), ("rank", ctypes.c_uint32),
        ("shape", ctypes.c_int64 * MAX_RANK), ("shape_text", ctypes.c_char_p * MAX_RANK), ("range_low", ctypes.c_char_p),
        ("range_high", ctypes.c_char_p), ("is_mutable", ctypes.c_int32),
    ]


class _Tensor(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("data", ctypes.c_void_p), ("dtype", ctypes.c_int),
                ("rank", ctypes.c_uint32), ("shape", ctypes.c_int64 * MAX_RANK), ("byte_size", ctypes.c_size_t)]


class _RunOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("workspace", ctypes.c_void_p), ("workspace_size", ctypes.c_size_t),
                ("stream", ctypes.c_void_p)]


class _DeviceInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("name", ctypes.c_char * 256), ("units", ctypes.c_uint32), ("compute_major", ctypes.c_int32),
                ("compute_minor", ctypes.c_int32), ("driver_version", ctypes.c_int32), ("memory_bytes", ctypes.c_uint64)]


class _ContextOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("device", ctypes.c_char_p), ("threads", ctypes.c_uint32),
                ("allocator", ctypes.c_void_p), ("pin_threads", ctypes.c_int32), ("flags", ctypes.c_uint64)]


_u32, _size, _handle, _text = ctypes.c_uint32, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
_to = ctypes.POINTER
_SIGNATURES = {  # function: (result, arguments)
    "mohd_abi_version": (_u32, []),
    "mohd_version_string": (_text, []),
    "mohd_status_name": (_text, [ctypes.c_int]),
    "mohd_last_error": (_text, []),
    "mohd_module_load_file": (ctypes.c_int, [_text, _to(_LoadOptions), _to(_handle)]),
    "mohd_module_load_memory": (ctypes.c_int, [_text, _size, _to(_LoadOptions), _to(_handle)]),
    "mohd_module_destroy": (None, [_handle]),
    "mohd_module_manifest": (_handle, [_handle, _to(_size)]),
    "mohd_module_entry_count": (_u32, [_handle]),
    "mohd_entry_info": (ctypes.c_int, [_handle, _u32, _to(_EntryInfo)]),
    "mohd_entry_input_info": (ctypes.c_int, [_handle, _u32, _u32, _to(_TensorInfo)]),
    "mohd_entry_output_info": (ctypes.c_int, [_handle, _u32, _u32, _to(_TensorInfo)]),
    "mohd_entry_output_shape": (
        ctypes.c_int, [_handle, _u32, _to(_Tensor), _u32, _u32, _to(_u32), ctypes.c_int64 * MAX_RANK]),
    "mohd_context_create": (ctypes.c_int, [_handle, _to(_ContextOptions), _to(_handle)]),
    "mohd_context_destroy": (None, [_handle]),
    "mohd_context_threads": (_u32, [_handle]),
    "mohd_context_target": (_text, [_handle]),
    "mohd_context_workspace_size": (ctypes.c_int, [_handle, _u32, _to(_Tensor), _u32, _to(_size)]),
    "mohd_context_reserve": (ctypes.c_int, [_handle, _size]),
    "mohd_context_allocate": (ctypes.c_int, [_handle, _size, _to(_handle)]),
    "mohd_context_free": (ctypes.c_int, [_handle, _handle]),
    "mohd_context_upload": (ctypes.c_int, [_handle, _handle, _handle, _size]),
    "mohd_context_download": (ctypes.c_int, [_handle, _handle, _handle, _size]),
    "mohd_context_synchronize": (ctypes.c_int, [_handle, _handle]),
    "mohd_run": (ctypes.c_int, [_handle, _u32, _to(_Tensor), _u32, _to(_Tensor), _u32, _to(_RunOptions)]),
    "mohd_device_describe": (ctypes.c_int, [_text, _to(_DeviceInfo)]),
}


@functools.cache
def library():
    """libmohd_rt with its functions typed. Raises MohdError if it is missing or of another ABI."""
    path = find.runtime()
    if path is None:
        raise MohdError("NOT_FOUND", "no libmohd_rt.so: build the project or set MOHD_RUNTIME to its path")
    lib = ctypes.CDLL(os.fspath(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if lib.mohd_abi_version() != ABI_VERSION:
        raise MohdError("INCOMPATIBLE", f"{path}: expects ABI {ABI_VERSION}, got {lib.mohd_abi_version()}")
    return lib


def version():
    """The library's line on itself, such as "mohd 0.1.0 (bundle format 1.0, ABI 1)"."""
    return library().mohd_version_string().decode()


def _check(status):
    """Raises MohdError for any status but MOHD_OK."""
    if status:
        lib = library()
        raise MohdError(lib.mohd_status_name(status).decode(), lib.mohd_last_error().decode())


def _new(kind, **values):
    """A struct of the C interface with its struct_size set."""
    return kind(struct_size=ctypes.sizeof(kind), **values)


def device_info(device):
    """What the library knows of a device such as "cuda:0": name, units, compute_major, compute_minor, driver_version, memory_bytes."""
    info = _new(_DeviceInfo)
    _check(library().mohd_device_describe(device.encode(), info))
    found = {name: getattr(info, name) for name, _ in _DeviceInfo._fields_[1:]}
    return found | {"name": info.name.decode(errors="replace")}


def empty(shape, dtype):
    """An uninitialised C-contiguous array that begins at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def zeros(shape, dtype):
    """The same, filled with zeros."""
    out = empty(shape, dtype)
    out.fill(0)
    return out


def _is_usable(array):
    """Whether the library can use the array's memory as it is."""
    return array.flags.c_contiguous and (array.ctypes.data % ALIGNMENT == 0 or array.size == 0)


_NAMES = {"float32": "f32", "bfloat16": "bf16", "uint16": "bf16", "float16": "f16", "float64": "f64", "int8": "i8", "int32": "i32", "int64": "i64"}


class _Placed:
    """An array in a device's memory as its maker describes it; None of `of` if the array is on the host."""

    def __init__(self, owner, address, shape, dtype):
        self.owner, self.address, self.shape, self.dtype = owner, address, tuple(shape), _NAMES.get(dtype, dtype)
        self.is_cuda = not isinstance(owner, DeviceArray)  # memory of the library's own is where its context wants it

    @staticmethod
    def of(array):
        if isinstance(array, DeviceArray) or getattr(array, "is_cuda", False):
            if not getattr(array, "is_contiguous", lambda: True)():
                raise TypeError("expects tensors on a GPU to be contiguous, got strides")
            return _Placed(array, array.data_ptr(), array.shape, str(array.dtype).removeprefix("torch."))
        interface = None if hasattr(array, "is_cuda") else getattr(array, "__cuda_array_interface__", None)
        if interface is None:
            return None
        if interface.get("strides") is not None:
            raise TypeError("expects arrays on a GPU to be contiguous, got strides")
        return _Placed(array, interface["data"][0], interface["shape"], np.dtype(interface["typestr"]).name)


class DeviceArray:
    """An array in the memory of a context's device: `shape`, `dtype` by the library's name, `nbytes`. Freed with the object."""

    def __init__(self, context, shape, dtype):
        self.shape, self.dtype, self.type = tuple(shape), dtype, np.dtype(dict(DTYPES)[dtype])
        self.nbytes = int(np.prod(self.shape, dtype=np.int64)) * self.type.itemsize
        self._context, self._memory = context, ctypes.c_void_p()
        _check(library().mohd_context_allocate(context._handle, self.nbytes, self._memory))

    def __del__(self):
        if getattr(self, "_memory", None) and not isinstance(self._context, DeviceArray):
            library().mohd_context_free(self._context._handle, self._memory)

    def part(self, begin, shape, dtype):
        """What lies from byte `begin` on as an array of its own, for calls only; it keeps this one alive."""
        made = DeviceArray.__new__(DeviceArray)
        made.shape, made.dtype, made.type = tuple(shape), dtype, np.dtype(dict(DTYPES)[dtype])
        made.nbytes = int(np.prod(shape, dtype=np.int64)) * made.type.itemsize
        if begin < 0 or begin + made.nbytes > self.nbytes:
            raise ValueError(f"expects a part of {self.nbytes} bytes, got {begin} to {begin + made.nbytes}")
        made._context, made._memory = self, ctypes.c_void_p(self.data_ptr() + begin)
        return made

    def data_ptr(self):
        """The address on the device; 0 without elements."""
        return self._memory.value or 0

    def write(self, array):
        """Copies an array of the same shape and type here, and waits for it; returns self."""
        array = np.ascontiguousarray(array)
        if array.shape != self.shape or array.dtype != self.type:
            raise TypeError(f"expects an array {self.shape} of {self.type}, got {array.shape} of {array.dtype}")
        _check(library().mohd_context_upload(self._context._handle, self._memory, array.ctypes.data, self.nbytes))
        return self

    def read(self):
        """A copy on the host; the caller waits for what writes here (`Context.synchronize`)."""
        array = np.empty(self.shape, self.type)
        _check(library().mohd_context_download(self._context._handle, array.ctypes.data, self._memory, self.nbytes))
        return array


class Tensor:
    """What an entry point says of one input or output: name, dtype, shape (a number, or the dim's text), mutable."""

    def __init__(self, info):
        self.name = info.name.decode()
        self.dtype, self.type = DTYPES[info.dtype]
        self.kind = info.dtype
        texts = [info.shape_text[i] for i in range(info.rank)]
        self.shape = tuple(info.shape[i] if text is None else text.decode() for i, text in enumerate(texts))
        self.mutable = bool(info.is_mutable)

    def __repr__(self):
        return f"{self.name}: {'x'.join(map(str, self.shape + (self.dtype,)))}{' mutable' * self.mutable}"

    def accept(self, array):
        """`array`, or an aligned copy of it, as this tensor's type; a _Placed of one on a device. Raises TypeError for another type."""
        placed = _Placed.of(array)
        if placed:
            if placed.dtype != self.dtype:
                raise TypeError(f"expects '{self.name}' to be {self.dtype}, got {placed.dtype}")
            return placed
        array = np.asarray(array)
        if array.dtype.name == "bfloat16":
            array = array.view(np.uint16)
        if array.dtype != self.type:
            raise TypeError(f"expects '{self.name}' to be {self.dtype}, got {array.dtype}")
        if _is_usable(array) and (array.flags.writeable or not self.mutable):
            return array
        if self.mutable:
            raise TypeError(f"expects '{self.name}' to be writeable, contiguous and 64-byte aligned; mohd.zeros makes such arrays")
        copy = empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def describe(self, array):
        """The C struct for an array that `accept` gave."""
        if isinstance(array, _Placed):
            size = int(np.prod(array.shape, dtype=np.int64)) * np.dtype(self.type).itemsize
            return _new(_Tensor, data=array.address or None, dtype=self.kind, rank=len(array.shape),
                        shape=(ctypes.c_int64 * MAX_RANK)(*array.shape[:MAX_RANK]), byte_size=size)
        if array.ndim > MAX_RANK:
            raise TypeError(f"expects '{self.name}' to have at most {MAX_RANK} dims, got {array.ndim}")
        shape = (ctypes.c_int64 * MAX_RANK)(*array.shape)
        data = array.ctypes.data if array.size else None
        return _new(_Tensor, data=data, dtype=self.kind, rank=array.ndim, shape=shape, byte_size=array.nbytes)


class EntryPoint:
    """An entry point: `name`, `inputs` and `outputs` (lists of Tensor)."""

    def __init__(self, handle, index):
        lib, info = library(), _new(_EntryInfo)
        _check(lib.mohd_entry_info(handle, index, info))
        self.index, self.name = index, info.name.decode()
        self.inputs = [self._tensor(lib.mohd_entry_input_info, handle, i) for i in range(info.input_count)]
        self.outputs = [self._tensor(lib.mohd_entry_output_info, handle, i) for i in range(info.output_count)]

    def _tensor(self, function, handle, i):
        info = _new(_TensorInfo)
        _check(function(handle, self.index, i, info))
        return Tensor(info)


class Module:
    """A loaded bundle. Immutable; any number of threads and contexts may use it.

    `source`: a path, or the bundle's bytes. `flags`: NO_HOST_CODE | SKIP_HASHES | MMAP | DEFER_CPU.
    """

    NO_HOST_CODE, SKIP_HASHES, MMAP, DEFER_CPU = 1, 2, 4, 8

    def __init__(self, source, flags=0, weights_directory=None):
        lib, handle = library(), ctypes.c_void_p()
        options = _new(_LoadOptions, flags=flags, weights_directory=weights_directory and os.fsencode(weights_directory))
        self._handle = None
        if isinstance(source, bytes):
            _check(lib.mohd_module_load_memory(source, len(source), options, handle))
        else:
            _check(lib.mohd_module_load_file(os.fsencode(source), options, handle))
        self._handle = handle
        entries = [EntryPoint(handle, i) for i in range(lib.mohd_module_entry_count(handle))]
        self.entry_points = {entry.name: entry for entry in entries}

    def __del__(self):
        if getattr(self, "_handle", None):
            library().mohd_module_destroy(self._handle)

    @functools.cached_property
    def manifest(self):
        """The bundle's manifest (docs/formats.md) as Python objects."""
        size = ctypes.c_size_t()
        text = library().mohd_module_manifest(self._handle, size)
        return json.loads(ctypes.string_at(text, size.value))

    def context(self, threads=0, pin_threads=None, device="cpu"):
        """A new context; `threads` 0: MOHD_THREADS, or the CPUs this process may use.

        `pin_threads` pins the pool's workers, each to a CPU; None: if MOHD_PIN_THREADS is 1. `device`: "cpu", "cuda", "cuda:N",
        or "emulate" for kernels of GPUs on the CPU (docs/emulator.md).
        """
        return Context(self, threads, pin_threads, device)

    def stream(self, tokens, max_new_tokens=128, temperature=0.0, top_k=0, top_p=1.0, seed=0, threads=0, device="cpu"):
        """Yields the tokens that follow the prompt `tokens`, ids, one by one: numbers. Of several prompts, a list of such lists, whose lengths may differ, arrays
        [prompts].

        Temperature 0 takes the largest logit; else tokens are drawn from softmax(logits / temperature), cut to the `top_k` most likely (0: all), then to the
        fewest whose share reaches `top_p`. The same seed gives the same tokens. `threads`, `device`: as of `context`. Raises ValueError if the model has fewer
        positions, MohdError for ids that it does not have.
        """
        from mohd.generate import stream

        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        return stream(self, tokens, max_new_tokens, threads, device, settings)

    def generate(self, tokens, max_new_tokens=128, **settings):
        """What `stream` yields as an array: i32 [max_new_tokens], of several prompts [prompts, max_new_tokens]."""
        return np.array(list(self.stream(tokens, max_new_tokens, **settings)), np.int32).T


class _Staged:
    """A call's arrays of the host, each with memory on the context's device; the structs are made to point there."""

    def __init__(self, context, inputs, outputs):
        """`inputs`, `outputs`: (tensor, array, struct) of each."""
        self.context, self.inputs, self.written, self.memory = context, [], [], []
        for tensor, array, struct in inputs:
            if isinstance(array, _Placed):
                continue
            copy = self._place(struct)
            self.inputs.append(copy)
            if tensor.mutable:
                self.written.append(copy)
        self.written += [self._place(struct) for _, array, struct in outputs if not isinstance(array, _Placed)]

    def _place(self, struct):
        memory = ctypes.c_void_p()
        _check(library().mohd_context_allocate(self.context._handle, struct.byte_size, memory))
        self.memory.append(memory)
        host, struct.data = struct.data, memory
        return memory, host, struct.byte_size

    def upload(self):
        for memory, host, size in self.inputs:
            _check(library().mohd_context_upload(self.context._handle, memory, host, size))

    def download(self, stream):
        lib = library()
        if self.written:
            _check(lib.mohd_context_synchronize(self.context._handle, stream))
        for memory, host, size in self.written:
            _check(lib.mohd_context_download(self.context._handle, host, memory, size))

    def __del__(self):
        for memory in self.memory:
            library().mohd_context_free(self.context._handle, memory)


class Context:
    """A place to run a module: a device, threads and workspace. One thread at a time may use it."""

    def __init__(self, module, threads=0, pin_threads=None, device="cpu"):
        self.module, self._handle, self._reserved = module, None, 0
        handle = ctypes.c_void_p()
        if pin_threads not in (None, True, False):
            raise ValueError(f"expects pin_threads None, True or False, got {pin_threads!r}")
        pins = {None: 0, True: 1, False: -1}[pin_threads]
        options = _new(_ContextOptions, device=device.encode(), threads=threads, pin_threads=pins)
        _check(library().mohd_context_create(module._handle, options, handle))
        self._handle = handle

    def __del__(self):
        if getattr(self, "_handle", None):
            library().mohd_context_destroy(self._handle)

    @property
    def threads(self):
        """The number of threads it runs on."""
        return library().mohd_context_threads(self._handle)

    @property
    def target(self):
        """The target in use, such as "cpu:x86-64-v3"."""
        return library().mohd_context_target(self._handle).decode()

    def empty(self, shape, dtype):
        """A DeviceArray whose elements have no values yet; `dtype` such as "bf16"."""
        return DeviceArray(self, shape, dtype)

    def synchronize(self, stream=None):
        """Waits until the device has done what `stream` was given; see `bind`."""
        _check(library().mohd_context_synchronize(self._handle, getattr(stream, "cuda_stream", stream)))

    def run(self, entry, inputs, outputs=None, stream=None):
        """Runs an entry point on arrays by name; returns its outputs by name.

        `outputs` may hold arrays to write into, of the right shape and usable as they are.
        """
        return self.bind(entry, inputs, outputs, stream)()

    def bind(self, entry, inputs, outputs=None, stream=None):
        """A function that makes the call `run` would make, on the same arrays each time: all checks that are Python's are done
        here, so that it costs little more than the call itself. Valid as long as the context. `stream`: a CUstream as a number, or what
        has it as `cuda_stream`; None is the legacy default stream.
        """
        if entry not in self.module.entry_points:
            raise MohdError("NOT_FOUND", f"no entry point '{entry}', there are {', '.join(self.module.entry_points)}")
        info, outputs = self.module.entry_points[entry], outputs or {}
        for kind, given, known in (("inputs", inputs, info.inputs), ("outputs", outputs, info.outputs)):
            names = {tensor.name for tensor in known}
            if given.keys() - names or (kind == "inputs" and names - given.keys()):
                raise TypeError(f"expects {kind} {', '.join(t.name for t in known)}, got {', '.join(given) or 'none'}")
        used = [tensor.accept(inputs[tensor.name]) for tensor in info.inputs]
        on_cuda = self.target.startswith("cuda:")
        outputs = {name: _Placed.of(array) or array for name, array in outputs.items()}
        for array in [*used, *outputs.values()]:
            if isinstance(array, _Placed) and array.is_cuda and not on_cuda:
                raise TypeError(f"expects arrays of the host on {self.target}, got one on a GPU")
        given = (_Tensor * len(used))(*(t.describe(a) for t, a in zip(info.inputs, used)))
        results = [self._output(info, given, i, outputs) for i in range(len(info.outputs))]
        taken = (_Tensor * len(results))(*(t.describe(a) for t, a in zip(info.outputs, results)))
        self._reserve(info, given)
        named = {tensor.name: getattr(array, "owner", array) for tensor, array in zip(info.outputs, results)}
        function, sizes = library().mohd_run, (len(given), len(taken))
        staged = _Staged(self, zip(info.inputs, used, given), zip(info.outputs, results, taken)) if on_cuda else None
        stream = getattr(stream, "cuda_stream", stream)
        options = _new(_RunOptions, stream=stream) if stream else None

        def call():
            if staged:
                staged.upload()
            _check(function(self._handle, info.index, given, sizes[0], taken, sizes[1], options))
            if staged:
                staged.download(stream)
            return named

        call.arrays = used, results  # what the structs point at stays
        return call

    def _output(self, info, given, i, outputs):
        """The array for output `i`: the caller's, or a new one of the shape that the inputs give."""
        tensor = info.outputs[i]
        if tensor.name in outputs:
            array = outputs[tensor.name]
            if isinstance(array, _Placed):
                return tensor.accept(array.owner)
            if array.dtype != tensor.type or not _is_usable(array) or not array.flags.writeable:
                raise TypeError(f"expects output '{tensor.name}' to be {tensor.dtype}, writeable, contiguous and 64-byte aligned")
            return array
        rank, shape = ctypes.c_uint32(), (ctypes.c_int64 * MAX_RANK)()
        function = library().mohd_entry_output_shape
        _check(function(self.module._handle, info.index, given, len(given), i, rank, shape))
        return empty(tuple(shape[: rank.value]), tensor.type)

    def _reserve(self, info, given):
        """Makes the workspace large enough for this run."""
        size = ctypes.c_size_t()
        _check(library().mohd_context_workspace_size(self._handle, info.index, given, len(given), size))
        if size.value > self._reserved:
            _check(library().mohd_context_reserve(self._handle, size))
            self._reserved = size.value
