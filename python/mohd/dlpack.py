# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arrays from and to other libraries by DLPack (https://dmlc.github.io/dlpack/latest/python_spec.html), without copies.

NumPy's own capsules do the work, owners, destructors and versions included; only what NumPy cannot say is written into their structs:
that 16 bits are a bfloat16, and that memory is a GPU's.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

CPU, CUDA = 1, 2
"""Kinds of device."""
_UINT, _BFLOAT = 1, 4
"""Kinds of number."""


class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64)]


class _Versioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64),
                ("tensor", _DLTensor)]


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _tensor(capsule: Any) -> tuple[_DLTensor, bool]:
    """The struct in a capsule that nobody has used yet, and whether the capsule is of the kind that says what may be written."""
    if _is_valid(capsule, b"dltensor_versioned"):
        return _Versioned.from_address(_pointer(capsule, b"dltensor_versioned")).tensor, True
    if _is_valid(capsule, b"dltensor"):
        return _DLTensor.from_address(_pointer(capsule, b"dltensor")), False
    raise TypeError(f"expects a capsule of DLPack, got {capsule!r}")


class _View:
    """What NumPy makes an array of: memory that `owner` keeps, for writing too."""

    def __init__(self, owner: Any, address: int, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...] | None = None):
        self.owner = owner
        self.__array_interface__ = {"version": 3, "data": (address, False), "shape": shape, "typestr": dtype.str, "strides": strides}


class BFloat16Array(np.ndarray):
    """bfloat16 numbers as NumPy has them, uint16 bit patterns, which other libraries get as bfloat16: `torch.from_dlpack(array)`."""

    def __dlpack__(self, **request: Any) -> Any:
        capsule = super().__dlpack__(**request)
        if self.dtype == np.uint16:  # else it is what something was computed to
            _tensor(capsule)[0].code = _BFLOAT
        return capsule


class _Source:
    """Another library's array as np.from_dlpack wants it: bfloat16 as bit patterns."""

    def __init__(self, array: Any):
        self.array, self.tensor, self.bfloat16, self.versioned = array, None, False, False

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, **request: Any) -> Any:
        capsule = self.array.__dlpack__(**request)
        tensor, self.versioned = _tensor(capsule)
        if (tensor.code, tensor.bits) == (_BFLOAT, 16):
            tensor.code, self.bfloat16 = _UINT, True
        return capsule


def array_of(array: Any) -> np.ndarray:
    """The elements of an array of another library as a NumPy array, where they are; bfloat16 as BFloat16Array.

    What the maker says is not to be written is not writeable; makers of before DLPack 1.0 cannot say it. Raises TypeError for memory that
    is not the host's, BufferError for arrays and types that the maker or NumPy cannot give.
    """
    source = _Source(array)
    kind, index = source.__dlpack_device__()
    if kind != CPU:
        raise TypeError(f"expects an array in the memory of the host, got one on device {int(kind)}:{index} of DLPack")
    made = np.from_dlpack(source)
    if not source.versioned and made.size:  # NumPy takes these for read-only
        made = np.asarray(_View(made, made.ctypes.data, made.shape, made.dtype, made.strides))
    return made.view(BFloat16Array) if source.bfloat16 else made


def capsule_of(owner: Any, address: int, shape: tuple[int, ...], dtype: np.dtype, bfloat16: bool, device: tuple[int, int], request: dict[str, Any]) -> Any:
    """A capsule for C-contiguous memory on `device` that `owner` keeps. `request`: the arguments of `__dlpack__` but `stream`."""
    wanted = request.pop("dl_device", None)
    if wanted not in (None, device) or request.pop("copy", None):
        raise BufferError(f"expects to give the array where it is, on device {device} of DLPack, got a request for {wanted or 'a copy'}")
    made = np.asarray(_View(owner, address, shape, dtype)) if address else np.empty(shape, dtype)
    capsule = made.__dlpack__(**request)
    tensor, _ = _tensor(capsule)
    tensor.device_type, tensor.device_id = device
    if bfloat16:
        tensor.code = _BFLOAT
    return capsule
