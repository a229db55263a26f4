# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The arrays that runs take and give: NumPy's, a device's, and those of other libraries."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from mohd import dlpack
from mohd.binding import ALIGNMENT, DTYPES, MAX_RANK, Shape, TensorInfo, TensorStruct, check, library, new
from mohd.dlpack import BFloat16Array

if TYPE_CHECKING:
    from mohd.runtime import Context

_TYPES = {name: np.dtype(kind) for name, kind in DTYPES}
_NAMES = {"float32": "f32", "bfloat16": "bf16", "uint16": "bf16", "float16": "f16", "float64": "f64", "int8": "i8", "int32": "i32", "int64": "i64"}
_STRUCT_SIZE = ctypes.sizeof(TensorStruct)


def empty(shape: int | Sequence[int], dtype: Any) -> np.ndarray:
    """An uninitialised C-contiguous array that begins at a multiple of 64 bytes. `dtype`: NumPy's, or "bf16" for a BFloat16Array."""
    bfloat16 = isinstance(dtype, str) and dtype == "bf16"
    kind = _TYPES["bf16"] if bfloat16 else np.dtype(dtype)
    size = (math.prod(shape) if isinstance(shape, (tuple, list)) else int(np.prod(shape, dtype=np.int64))) * kind.itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -_address(buffer) % ALIGNMENT
    array = np.ndarray(shape, kind, buffer, start)
    return array.view(BFloat16Array) if bfloat16 else array


def zeros(shape: int | Sequence[int], dtype: Any) -> np.ndarray:
    """The same, filled with zeros."""
    out = empty(shape, dtype)
    out.fill(0)
    return out


def _address(array: np.ndarray) -> int:
    """Where an array of the host begins; quicker than `array.ctypes.data`."""
    return array.__array_interface__["data"][0]


def _is_usable(array: np.ndarray) -> bool:
    """Whether the library can use the array's memory as it is."""
    return array.flags.c_contiguous and (array.size == 0 or _address(array) % ALIGNMENT == 0)


class Placed:
    """An array in a device's memory as its maker describes it; None of `of` if the array is on the host."""

    def __init__(self, owner: Any, address: int, shape: Sequence[int], dtype: str):
        self.owner, self.address, self.shape, self.dtype = owner, address, tuple(shape), _NAMES.get(dtype, dtype)
        self.is_cuda = not isinstance(owner, DeviceArray)  # memory of the library's own is where its context wants it

    @staticmethod
    def of(array: Any) -> Placed | None:
        if isinstance(array, np.ndarray):
            return None
        if isinstance(array, DeviceArray) or getattr(array, "is_cuda", False):
            if not getattr(array, "is_contiguous", lambda: True)():
                raise TypeError("expects tensors on a GPU to be contiguous, got strides")
            return Placed(array, array.data_ptr(), array.shape, str(array.dtype).removeprefix("torch."))
        interface = None if hasattr(array, "is_cuda") else getattr(array, "__cuda_array_interface__", None)
        if interface is None:
            return None
        if interface.get("strides") is not None:
            raise TypeError("expects arrays on a GPU to be contiguous, got strides")
        return Placed(array, interface["data"][0], interface["shape"], np.dtype(interface["typestr"]).name)


class DeviceArray:
    """An array in the memory of a context's device: `shape`, `dtype` by the library's name, `type` as NumPy's, `nbytes`. Freed with the object.

    Other libraries use it in place by DLPack: `torch.from_dlpack(array)`.
    """

    shape: tuple[int, ...]
    dtype: str
    type: np.dtype
    nbytes: int

    def __init__(self, context: Context, shape: Sequence[int], dtype: str):
        self._describe(shape, dtype)
        self._owner: Context | DeviceArray = context
        self._memory = ctypes.c_void_p()
        check(library().mohd_context_allocate(context._handle, self.nbytes, self._memory))

    def _describe(self, shape: Sequence[int], dtype: str) -> None:
        if dtype not in _TYPES:
            raise TypeError(f"expects dtype to be one of {', '.join(_TYPES)}, got '{dtype}'")
        self.shape, self.dtype, self.type = tuple(shape), dtype, _TYPES[dtype]
        self.nbytes = math.prod(self.shape) * self.type.itemsize

    def __del__(self) -> None:
        if getattr(self, "_memory", None) and not isinstance(self._owner, DeviceArray):
            library().mohd_context_free(self._owner._handle, self._memory)

    @property
    def _context(self) -> Context:
        return self._owner._context if isinstance(self._owner, DeviceArray) else self._owner

    def part(self, begin: int, shape: Sequence[int], dtype: str) -> DeviceArray:
        """What lies from byte `begin` on as an array of its own; it keeps this one alive."""
        made = DeviceArray.__new__(DeviceArray)
        made._describe(shape, dtype)
        if begin < 0 or begin + made.nbytes > self.nbytes:
            raise ValueError(f"expects a part of {self.nbytes} bytes, got {begin} to {begin + made.nbytes}")
        made._owner, made._memory = self, ctypes.c_void_p(self.data_ptr() + begin)
        return made

    def data_ptr(self) -> int:
        """The address on the device; 0 without elements."""
        return self._memory.value or 0

    def write(self, array: Any) -> DeviceArray:
        """Copies an array of the same shape and type here, and waits for it; returns self."""
        array = np.ascontiguousarray(array)
        if array.shape != self.shape or array.dtype != self.type:
            raise TypeError(f"expects an array {self.shape} of {self.type}, got {array.shape} of {array.dtype}")
        check(library().mohd_context_upload(self._context._handle, self._memory, _address(array), self.nbytes))
        return self

    def read(self) -> np.ndarray:
        """A copy on the host; the caller waits for what writes here (`Context.synchronize`)."""
        array = np.empty(self.shape, self.type)
        check(library().mohd_context_download(self._context._handle, _address(array), self._memory, self.nbytes))
        return array.view(BFloat16Array) if self.dtype == "bf16" else array

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._context._dlpack_device

    def __dlpack__(self, *, stream: Any = None, **request: Any) -> Any:
        """A capsule of this memory. On a GPU it first waits for the default stream, but with `stream` -1."""
        device = self.__dlpack_device__()
        if device[0] == dlpack.CUDA and stream != -1:
            self._context.synchronize()
        return dlpack.capsule_of(self, self.data_ptr(), self.shape, self.type, self.dtype == "bf16", device, request)


class Tensor:
    """What an entry point says of one input or output: name, dtype, shape (a number, or the dim's text), mutable."""

    name: str
    dtype: str
    type: np.dtype
    shape: tuple[int | str, ...]
    mutable: bool

    def __init__(self, info: TensorInfo):
        self.name = info.name.decode()
        self.dtype = DTYPES[info.dtype][0]
        self.type = _TYPES[self.dtype]
        self._kind = info.dtype
        texts = [info.shape_text[i] for i in range(info.rank)]
        self.shape = tuple(info.shape[i] if text is None else text.decode() for i, text in enumerate(texts))
        self.mutable = bool(info.is_mutable)

    def __repr__(self) -> str:
        return f"{self.name}: {'x'.join(map(str, self.shape + (self.dtype,)))}{' mutable' * self.mutable}"

    def _on_host(self, array: Any) -> np.ndarray:
        """An array of the host as NumPy's, where it lies if NumPy or DLPack can say it. Raises TypeError for another type."""
        if not isinstance(array, np.ndarray):
            if hasattr(array, "__dlpack__") and not isinstance(array, np.generic):
                try:
                    array = dlpack.array_of(array)
                except (BufferError, TypeError) as error:
                    raise TypeError(f"'{self.name}': {error}") from error
            else:
                array = np.asarray(array)
        if array.dtype != self.type or (self.dtype != "bf16" and isinstance(array, BFloat16Array)):
            if self.dtype == "bf16" and array.dtype.name == "bfloat16":
                return array.view(np.uint16)
            found = "bf16" if isinstance(array, BFloat16Array) and array.dtype == _TYPES["bf16"] else array.dtype
            raise TypeError(f"expects '{self.name}' to be {self.dtype}, got {found}")
        return array

    def accept(self, array: Any) -> Any:
        """`array`, or an aligned copy of it, as this tensor's type; a Placed of one on a device. Raises TypeError for another type."""
        placed = Placed.of(array)
        if placed:
            if placed.dtype != self.dtype:
                raise TypeError(f"expects '{self.name}' to be {self.dtype}, got {placed.dtype}")
            return placed
        array = self._on_host(array)
        if _is_usable(array) and (not self.mutable or array.flags.writeable):
            return array
        if self.mutable:
            raise TypeError(f"expects '{self.name}' to be writeable, contiguous and 64-byte aligned; mohd.zeros makes such arrays")
        copy = empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def accept_output(self, array: Any) -> Any:
        """`array` to write into: as it is, NumPy's or a Placed. Raises TypeError where it cannot be written in place."""
        if Placed.of(array):
            return self.accept(array)
        try:
            made = self._on_host(array)
        except TypeError:
            made = None
        if made is None or not _is_usable(made) or not made.flags.writeable:
            raise TypeError(f"expects output '{self.name}' to be {self.dtype}, writeable, contiguous and 64-byte aligned")
        return made

    def describe(self, array: Any) -> TensorStruct:
        """The C struct for an array that `accept` gave."""
        shape = array.shape
        if len(shape) > MAX_RANK:
            raise TypeError(f"expects '{self.name}' to have at most {MAX_RANK} dims, got {len(shape)}")
        if isinstance(array, Placed):
            address, size = array.address, math.prod(shape) * self.type.itemsize
        else:
            size = array.nbytes
            address = _address(array) if size else 0
        return TensorStruct(_STRUCT_SIZE, address or None, self._kind, len(shape), Shape(*shape), size)
