"""Pickled Arrow arrays of text without pyarrow: column names of pandas 3 where it is installed.

Sources: pyarrow's `lib.pyx`, `array.pxi` (`_restore_array`, `_reduce_array_data`), `io.pxi`
(`Buffer.__reduce_ex__`) and Arrow's columnar format: a text array is an optional validity bitmap,
offsets (int32, of large_string int64) and UTF-8 bytes.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np

from gearshift.sim.convert.pickles.pickle_parts import FileSlice, RefusedPickleError

_OFFSETS: Final = {"string": "<i4", "large_string": "<i8"}
MOST_BYTES: Final = 1 << 20
"""Names of columns are short: no more than this is read of any buffer."""


class ArrowArray:
    """pyarrow.Array: what it was made of, looked at only when its text is wanted."""

    def __init__(self, data: object) -> None:
        self._data = data

    def texts(self) -> list[str]:
        """The elements; raises RefusedPickleError for anything but text without gaps."""
        data = self._data
        if not isinstance(data, tuple) or len(data) < 5 or not isinstance(data[4], list):
            raise RefusedPickleError("an Arrow array of an unknown layout")
        kind, length, _, offset, buffers = data[:5]
        if not isinstance(kind, ArrowType) or kind.name not in _OFFSETS or len(buffers) != 3:
            raise RefusedPickleError("an Arrow array that is no text")
        if not all(type(n) is int and 0 <= n <= MOST_BYTES for n in (length, offset)):
            raise RefusedPickleError("an Arrow array of a wrong length")
        if not length:
            return []
        numbers, content = _read(buffers[1]), _read(buffers[2])
        step = np.dtype(_OFFSETS[kind.name])
        ends = np.frombuffer(numbers, step, len(numbers) // step.itemsize)
        ends = ends[offset : offset + length + 1].astype(np.int64)
        if len(ends) != length + 1 or ends[0] < 0 or ends[-1] > len(content):
            raise RefusedPickleError("an Arrow array that is cut short")
        if (np.diff(ends) < 0).any():
            raise RefusedPickleError("an Arrow array whose text is in no order")
        try:
            return [content[a:b].decode() for a, b in itertools.pairwise(ends)]
        except UnicodeDecodeError:
            raise RefusedPickleError("an Arrow array of text that is not UTF-8") from None


class ArrowChunks:
    """pyarrow.ChunkedArray."""

    def __init__(self, chunks: object, _kind: object = None) -> None:
        self._chunks = chunks

    def texts(self) -> list[str]:
        """The elements of all chunks; raises RefusedPickleError."""
        chunks = self._chunks
        if not isinstance(chunks, list) or not all(isinstance(c, ArrowArray) for c in chunks):
            raise RefusedPickleError("Arrow chunks that are no arrays")
        return [text for chunk in chunks for text in chunk.texts()]


class ArrowType:
    """A pyarrow type by its name."""

    def __init__(self, name: object) -> None:
        if not isinstance(name, str):
            raise RefusedPickleError("an Arrow type without a name")
        self.name = name


class ArrowBuffer:
    """pyarrow.Buffer; its bytes may still be in the file."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, bytes | FileSlice):
            raise RefusedPickleError("an Arrow buffer without bytes")
        self.data = data


def _read(buffer: object) -> bytes:
    if not isinstance(buffer, ArrowBuffer):
        raise RefusedPickleError("an Arrow array without its buffers")
    data = buffer.data
    length = data.length if isinstance(data, FileSlice) else len(data)
    if length > MOST_BYTES:
        raise RefusedPickleError(f"{length} bytes of column names")
    return data.read() if isinstance(data, FileSlice) else data
