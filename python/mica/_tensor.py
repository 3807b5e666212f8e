"""Arrays in and out: NumPy and DLPack to views of the library, and its tensors back, uncopied."""
from __future__ import annotations

import ctypes
import os
import weakref
from ctypes import byref, c_void_p
from typing import Any, Dict, Union

import numpy as np

from ._library import MAX_RANK, Shape, View, check, created, lib

DTYPES = {0: np.float32, 1: np.float64, 4: np.int8, 5: np.int16, 6: np.int32, 7: np.int64,
          8: np.uint8, 9: np.bool_}
NUMBERS = {np.dtype(t): n for n, t in DTYPES.items()}


def as_array(x: Any) -> np.ndarray:
    """NumPy's look at an array of any library that speaks DLPack, without a copy."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array_interface__"):
        return np.from_dlpack(x)
    return np.asarray(x)


def lent(x: np.ndarray) -> np.ndarray:
    """The array as the library can read it: itself, but where its strides are none of ours."""
    size = x.itemsize
    if x.flags.c_contiguous:
        return x
    rows = x.ndim == 2 and x.strides[1] == size and x.strides[0] % size == 0
    return x if rows and x.strides[0] >= x.shape[1] * size else np.ascontiguousarray(x)


def view_of(x: np.ndarray) -> View:
    """A view of an array from `lent`, which must live as long as the view is in use."""
    if x.ndim > MAX_RANK or x.dtype not in NUMBERS:
        raise TypeError(f"an array of {x.dtype} and {x.ndim} dimensions")
    shape = Shape(x.ndim, (ctypes.c_int64 * MAX_RANK)(*x.shape))
    last = x.shape[-1] if x.ndim else 1
    stride = x.strides[0] // x.itemsize if x.ndim == 2 and not x.flags.c_contiguous else last
    return View(x.ctypes.data, NUMBERS[x.dtype], 0, shape, stride)


class Tensor:
    """A tensor of the library. NumPy and DLPack look at its memory, which lives as long as they do:

    >>> np.asarray(tensor); np.from_dlpack(tensor); torch.from_dlpack(tensor)
    """

    def __init__(self, pointer: c_void_p):
        self.pointer = pointer
        weakref.finalize(self, lib.mica_tensor_free, pointer)

    @property
    def shape(self) -> tuple:
        shape = lib.mica_tensor_shape(self.pointer).contents
        return tuple(shape.dim[: shape.rank])

    @property
    def dtype(self) -> np.dtype:
        number = lib.mica_tensor_dtype(self.pointer)
        if number not in DTYPES:
            raise TypeError("NumPy has no such element type; convert with Tensor.float32()")
        return np.dtype(DTYPES[number])

    @property
    def __array_interface__(self) -> Dict[str, Any]:
        view = lib.mica_tensor_view(self.pointer)
        strides = None
        if len(self.shape) > 1 and view.row_stride != self.shape[-1]:
            strides = [self.dtype.itemsize, view.row_stride * self.dtype.itemsize]
            for size in self.shape[-2:0:-1]:
                strides.append(strides[-1] * size)
            strides = tuple(reversed(strides))
        return {"shape": self.shape, "typestr": self.dtype.str, "version": 3, "strides": strides,
                "data": (view.data or 0, False)}

    def numpy(self) -> np.ndarray:
        """The same memory as an array."""
        return np.asarray(self)

    def float32(self) -> "Tensor":
        """A copy with float32 elements, of any element type (bfloat16 and float16 too)."""
        view = lib.mica_tensor_view(self.pointer)
        return Tensor(created(lib.mica_tensor_from_view, byref(view), 0))

    def __dlpack__(self, **options: Any) -> Any:
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple:
        return (1, 0)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Tensor(shape={self.shape}, dtype={self.dtype})"


def tensor_of(x: np.ndarray) -> Tensor:
    """A tensor with a copy of the array."""
    x = lent(x)
    view = view_of(x)
    return Tensor(created(lib.mica_tensor_from_view, byref(view), view.dtype))


def read_archive(path: Union[str, os.PathLike]) -> Dict[str, Tensor]:
    """All tensors of a .safetensors, .npz, .npy or .pth file (only data: nothing in it is run)."""
    archive = created(lib.mica_archive_open, os.fsencode(path))
    try:
        out = {}
        for i in range(lib.mica_archive_count(archive)):
            name = lib.mica_archive_name(archive, i).decode()
            out[name] = Tensor(created(lib.mica_archive_read, archive, i))
        return out
    finally:
        lib.mica_archive_close(archive)


__all__ = ["Tensor", "as_array", "lent", "read_archive", "tensor_of", "view_of", "check"]
