# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The functions and structs of libmohd_rt (runtime/include/mohd/runtime.h) for ctypes, and its errors as exceptions."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import numpy as np

from mohd import find

ABI_VERSION = 1
ALIGNMENT = 64
MAX_RANK = 8
DTYPES = [("f32", np.float32), ("bf16", np.uint16), ("f16", np.float16), ("f64", np.float64), ("i8", np.int8),
          ("i32", np.int32), ("i64", np.int64)]
"""Name and NumPy type of each mohd_dtype_t."""
Shape = ctypes.c_int64 * MAX_RANK


class MohdError(Exception):
    """A call that failed; `status` is the name of its status, such as "MALFORMED"."""

    def __init__(self, status: str, message: str):
        super().__init__(f"{status}: {message}")
        self.status = status


class LoadOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("weights_directory", ctypes.c_char_p)]


class EntryInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("input_count", ctypes.c_uint32),
                ("output_count", ctypes.c_uint32)]


class TensorInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("dtype", ctypes.c_int), ("rank", ctypes.c_uint32),
        ("shape", Shape), ("shape_text", ctypes.c_char_p * MAX_RANK), ("range_low", ctypes.c_char_p),
        ("range_high", ctypes.c_char_p), ("is_mutable", ctypes.c_int32),
    ]


class TensorStruct(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("data", ctypes.c_void_p), ("dtype", ctypes.c_int),
                ("rank", ctypes.c_uint32), ("shape", Shape), ("byte_size", ctypes.c_size_t)]


class RunOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("workspace", ctypes.c_void_p), ("workspace_size", ctypes.c_size_t),
                ("stream", ctypes.c_void_p)]


class DeviceInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("name", ctypes.c_char * 256), ("units", ctypes.c_uint32), ("compute_major", ctypes.c_int32),
                ("compute_minor", ctypes.c_int32), ("driver_version", ctypes.c_int32), ("memory_bytes", ctypes.c_uint64)]


class ContextOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("device", ctypes.c_char_p), ("threads", ctypes.c_uint32),
                ("allocator", ctypes.c_void_p), ("pin_threads", ctypes.c_int32), ("flags", ctypes.c_uint64)]


_u32, _size, _handle, _text = ctypes.c_uint32, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
_to = ctypes.POINTER
_SIGNATURES = {  # function: (result, arguments)
    "mohd_abi_version": (_u32, []),
    "mohd_version_string": (_text, []),
    "mohd_status_name": (_text, [ctypes.c_int]),
    "mohd_last_error": (_text, []),
    "mohd_module_load_file": (ctypes.c_int, [_text, _to(LoadOptions), _to(_handle)]),
    "mohd_module_load_memory": (ctypes.c_int, [_text, _size, _to(LoadOptions), _to(_handle)]),
    "mohd_module_destroy": (None, [_handle]),
    "mohd_module_manifest": (_handle, [_handle, _to(_size)]),
    "mohd_module_entry_count": (_u32, [_handle]),
    "mohd_entry_info": (ctypes.c_int, [_handle, _u32, _to(EntryInfo)]),
    "mohd_entry_input_info": (ctypes.c_int, [_handle, _u32, _u32, _to(TensorInfo)]),
    "mohd_entry_output_info": (ctypes.c_int, [_handle, _u32, _u32, _to(TensorInfo)]),
    "mohd_entry_output_shape": (
        ctypes.c_int, [_handle, _u32, _to(TensorStruct), _u32, _u32, _to(_u32), Shape]),
    "mohd_context_create": (ctypes.c_int, [_handle, _to(ContextOptions), _to(_handle)]),
    "mohd_context_destroy": (None, [_handle]),
    "mohd_context_threads": (_u32, [_handle]),
    "mohd_context_target": (_text, [_handle]),
    "mohd_context_workspace_size": (ctypes.c_int, [_handle, _u32, _to(TensorStruct), _u32, _to(_size)]),
    "mohd_context_reserve": (ctypes.c_int, [_handle, _size]),
    "mohd_context_allocate": (ctypes.c_int, [_handle, _size, _to(_handle)]),
    "mohd_context_free": (ctypes.c_int, [_handle, _handle]),
    "mohd_context_upload": (ctypes.c_int, [_handle, _handle, _handle, _size]),
    "mohd_context_download": (ctypes.c_int, [_handle, _handle, _handle, _size]),
    "mohd_context_synchronize": (ctypes.c_int, [_handle, _handle]),
    "mohd_run": (ctypes.c_int, [_handle, _u32, _to(TensorStruct), _u32, _to(TensorStruct), _u32, _to(RunOptions)]),
    "mohd_device_describe": (ctypes.c_int, [_text, _to(DeviceInfo)]),
}


@functools.cache
def library() -> ctypes.CDLL:
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


def version() -> str:
    """The library's line on itself, such as "mohd 0.1.0 (bundle format 1.0, ABI 1)"."""
    return library().mohd_version_string().decode()


def check(status: int) -> None:
    """Raises MohdError for any status but MOHD_OK."""
    if status:
        lib = library()
        raise MohdError(lib.mohd_status_name(status).decode(), lib.mohd_last_error().decode())


def new(kind: Any, **values: Any) -> Any:
    """A struct of the C interface with its struct_size set."""
    return kind(struct_size=ctypes.sizeof(kind), **values)


def device_info(device: str) -> dict[str, Any]:
    """What the library knows of a device such as "cuda:0": name, units, compute_major, compute_minor, driver_version, memory_bytes."""
    info = new(DeviceInfo)
    check(library().mohd_device_describe(device.encode(), info))
    found = {name: getattr(info, name) for name, *_ in DeviceInfo._fields_[1:]}
    return found | {"name": info.name.decode(errors="replace")}
