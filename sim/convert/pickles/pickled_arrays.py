"""Pickled numpy arrays without numpy's own reconstructors: numbers, text and objects only.

Sources: `numpy/core/src/multiarray/methods.c` (`array_setstate`), `descriptor.c`
(`arraydescr_setstate`), `numpy/core/numeric.py` (`_frombuffer`), NumPy 1 and 2 alike.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.sim.convert.pickles.pickle_parts import FileSlice, RefusedPickleError

_DTYPE: Final = re.compile(r"[<>|=]?([biufSU])(\d{1,4})|[<>|=]?(O)8?|([?bBhHiIlLqQefd])")
_MAX_DIMENSIONS: Final = 8


class Dtype:
    """numpy.dtype of numbers, text or objects; anything else (structured, dates) is refused."""

    def __init__(self, kind: object, _align: object = 0, _copy: object = 0) -> None:
        if not isinstance(kind, str) or _DTYPE.fullmatch(kind) is None:
            raise RefusedPickleError("an array of neither numbers, text nor objects")
        self._kind = "O" if kind.lstrip("<>|=") == "O8" else kind
        self.dtype = np.dtype(self._kind)

    def build(self, state: object) -> None:
        """(version, byte order, sub-array, names, fields, item size, alignment, flags)."""
        if not isinstance(state, tuple) or len(state) < 8 or state[1] not in ("<", ">", "|", "="):
            raise RefusedPickleError("a dtype with a damaged state")
        if any(part is not None for part in state[2:5]):
            raise RefusedPickleError("a structured array")
        if self.dtype.kind in "biufU" and state[1] != "|":
            self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """numpy.ndarray whose bytes may still be in the file; also an Index of very old pandas."""

    __slots__ = ("_data", "_dtype", "_fortran", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self._dtype: np.dtype[Any] = np.dtype(np.uint8)
        self._fortran = False
        self._data: bytes | FileSlice | list[object] = b""

    @property
    def is_object(self) -> bool:
        """Whether its elements are objects rather than numbers."""
        return self._dtype.kind == "O"

    def build(self, state: object) -> None:
        """(version, shape, dtype, Fortran order, bytes or list), or that and an Index's own."""
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], tuple):
            state = state[0]
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise RefusedPickleError("an array with a damaged state")
        shape, dtype, fortran, data = state[-4:]
        if isinstance(data, str):
            data = data.encode("latin-1")  # numpy's bytes as Python 2 wrote them
        self.fill(shape, dtype, bool(fortran), data)

    def fill(self, shape: object, dtype: object, fortran: bool, data: object) -> None:
        """Check that the data fits the shape; raises RefusedPickleError."""
        if (
            not isinstance(shape, tuple)
            or len(shape) > _MAX_DIMENSIONS
            or not all(isinstance(n, int) and n >= 0 for n in shape)
        ):
            raise RefusedPickleError("an array of no valid shape")
        if not isinstance(dtype, Dtype):
            raise RefusedPickleError("an array without a dtype")
        self.shape, self._dtype, self._fortran = shape, dtype.dtype, fortran
        count = math.prod(shape)
        if self.is_object:
            if not isinstance(data, list) or len(data) != count:
                raise RefusedPickleError(f"an array of {count} objects without them")
            self._data = data
            return
        if not isinstance(data, bytes | FileSlice):
            raise RefusedPickleError("an array of numbers without bytes")
        wanted = count * self._dtype.itemsize
        length = data.length if isinstance(data, FileSlice) else len(data)
        # Latin-1 text takes one or two bytes of UTF-8 per byte; `values` counts exactly.
        fits = length == wanted or (
            isinstance(data, FileSlice) and data.text and wanted <= length <= 2 * wanted
        )
        if not fits:
            raise RefusedPickleError(f"an array of shape {shape} with {length} bytes")
        self._data = data

    def values(self) -> NDArray[Any]:
        """The array, read from the file now; of objects, one-dimensional or as shaped."""
        order = "F" if self._fortran else "C"
        if isinstance(self._data, list):
            objects = np.empty(len(self._data), dtype=object)
            for index, value in enumerate(self._data):
                objects[index] = value
            return objects.reshape(self.shape, order=order)  # type: ignore[call-overload,no-any-return]
        data = self._data.read() if isinstance(self._data, FileSlice) else self._data
        if len(data) != math.prod(self.shape) * self._dtype.itemsize:
            raise RefusedPickleError(f"an array of shape {self.shape} with {len(data)} bytes")
        flat = np.frombuffer(data, dtype=self._dtype)
        return flat.reshape(self.shape, order=order)  # type: ignore[call-overload,no-any-return]


def reconstruct(subtype: object, _shape: object = (), _code: object = b"b") -> object:
    """numpy.core.multiarray._reconstruct: an array that waits for its state."""
    del subtype  # numpy.ndarray, or an Index of pandas before 0.14
    return Array()


def from_buffer(data: object, dtype: object, shape: object, order: object, *_: object) -> Array:
    """numpy.core.numeric._frombuffer, of protocol 5."""
    array = Array()
    array.fill(shape, dtype, order == "F", data)
    return array


def scalar(dtype: object, data: object) -> object:
    """numpy.core.multiarray.scalar: one number or text."""
    array = Array()
    array.fill((), dtype, False, data.encode("latin-1") if isinstance(data, str) else data)
    return array.values().item()
