"""Pickled pandas data frames without pandas: stand-ins that absorb what such files push.

Layouts: pandas 0.13 to 3 (`_data` or `_mgr`, BlockManager as a state tuple or as blocks and axes,
`pandas.core.index`, `pandas.indexes.base`, `pandas.core.indexes.base`), NumPy 1 and 2
(`numpy.core`, `numpy._core`). Sources: `pandas/core/internals/managers.py` (`__getstate__` of 0.14
to 1.2, `__reduce__` since 1.3), `pandas/compat/pickle_compat.py`, `numpy/core/numeric.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError, RecordingError
from gearshift.sim.convert.pickles.pickle_machine import PickleMachine
from gearshift.sim.convert.pickles.pickle_parts import (
    FileSlice,
    Global,
    PickleMemoryError,
    RefusedPickleError,
)
from gearshift.sim.convert.pickles.pickled_arrays import (
    Array,
    Dtype,
    from_buffer,
    reconstruct,
    scalar,
)
from gearshift.sim.convert.pickles.pickled_text import (
    ArrowArray,
    ArrowBuffer,
    ArrowChunks,
    ArrowType,
)


class State:
    """Anything of pandas that is only state: it keeps what it was made of and given."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: object = None

    def build(self, state: object) -> None:
        """Keep the state."""
        self.state = state


class DataFrame(State):
    """pandas.DataFrame."""


class BlockManager(State):
    """pandas' BlockManager: columns of one kind stand together as rows of a block."""


class Index(State):
    """Row or column labels."""


class StringArray(State):
    """The text behind the column labels of pandas 3."""


class ArrowStringArray(State):
    """The same where pyarrow is installed."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """values: (columns, rows), or an extension type's; placement: the columns' numbers."""

    values: Array | State
    placement: object


@dataclass(frozen=True, slots=True)
class Slice:
    """Python's slice, as state."""

    start: object
    stop: object
    step: object = None


def _encode(text: object, encoding: object = "latin1") -> object:
    if encoding not in ("latin1", "latin-1"):
        raise RefusedPickleError("only Latin-1 stands for bytes")
    if isinstance(text, FileSlice):
        return text
    if not isinstance(text, str):
        raise RefusedPickleError("no text")
    return text.encode("latin-1")


def _empty_bytes(*arguments: object) -> object:
    if not arguments:
        return b""
    if isinstance(arguments[0], bytes | FileSlice) and len(arguments) == 1:
        return arguments[0]
    return _encode(*arguments)


def _reconstructor(kind: object, _base: object, _state: object) -> object:
    make = getattr(kind, "make", None)
    if make not in (DataFrame, BlockManager, Index, ArrowStringArray):
        raise RefusedPickleError("an object that is no part of a data frame")
    return make()


def _no_call(*_: object) -> object:
    raise RefusedPickleError("it is a type and not called")


def _new_index(_kind: object, state: object) -> Index:
    index = Index()
    index.build(state)
    return index


def _block(values: object, placement: object, _ndim: object = 2) -> Block:
    if not isinstance(values, Array | State):
        raise RefusedPickleError("a block without values")
    return Block(values, placement)


class BlockPartial(Global):
    """functools.partial(new_block, ndim=...), as pandas 1.3 pickles its blocks; of nothing else."""

    def build(self, state: object) -> None:
        """(function, arguments, keywords, attributes): only the number of dimensions."""
        if (
            not isinstance(state, tuple)
            or len(state) != 4
            or state[1] != ()
            or not isinstance(state[0], Global)
            or state[0].make is not _block
            or not (isinstance(state[2], dict) and set(state[2]) <= {"ndim"})
            or state[3] is not None
        ):
            raise RefusedPickleError("functools.partial of more than a block's dimensions")


def _partial(function: object, *arguments: object) -> object:
    if arguments or not isinstance(function, Global) or function.make is not _block:
        raise RefusedPickleError("of anything but a block of columns")
    return BlockPartial(function.name, _block)


def _placement(value: object) -> object:
    return value


def _table() -> Mapping[str, Callable[..., object]]:
    table: dict[str, Callable[..., object]] = {
        "_codecs.encode": _encode,
        "functools.partial": _partial,
        "numpy.ndarray": _no_call,
        "numpy.dtype": Dtype,
        "pandas._libs.internals._unpickle_block": _block,
        "pandas._libs.internals.BlockPlacement": _placement,
        "pandas.core.internals.blocks.new_block": _block,
        "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked": StringArray,
        "pandas.arrays.ArrowStringArray": ArrowStringArray,
        "pandas.core.arrays.string_arrow.ArrowStringArray": ArrowStringArray,
        "pyarrow.lib._restore_array": ArrowArray,
        "pyarrow.lib.chunked_array": ArrowChunks,
        "pyarrow.lib.type_for_alias": ArrowType,
        "pyarrow.lib.py_buffer": ArrowBuffer,
        "pandas.StringDtype": State,
        "pandas.core.arrays.string_.StringDtype": State,
    }
    for module in ("builtins", "__builtin__"):
        table[f"{module}.slice"] = Slice
        table[f"{module}.object"] = _no_call
        table[f"{module}.bytes"] = _empty_bytes
        table[f"{module}.bytearray"] = _empty_bytes
    for module in ("copyreg", "copy_reg"):
        table[f"{module}._reconstructor"] = _reconstructor
    for module in ("numpy.core", "numpy._core"):
        table[f"{module}.multiarray._reconstruct"] = reconstruct
        table[f"{module}.multiarray.scalar"] = scalar
        table[f"{module}.numeric._frombuffer"] = from_buffer
    for module in ("pandas", "pandas.core.frame", "pandas.core.api"):
        table[f"{module}.DataFrame"] = DataFrame
    for module in ("pandas.core.internals", "pandas.core.internals.managers"):
        table[f"{module}.BlockManager"] = BlockManager
    for module in ("pandas.arrays", "pandas.core.arrays.string_"):
        table[f"{module}.StringArray"] = _no_call
    kinds = ("Index", "RangeIndex", "Int64Index", "UInt64Index", "Float64Index")
    places = ("core.index", "indexes.base", "core.indexes.base", "indexes.range")
    for place in (*places, "core.indexes.range", "indexes.numeric", "core.indexes.numeric"):
        for kind in kinds:
            table[f"pandas.{place}.{kind}"] = Index
        table[f"pandas.{place}._new_Index"] = _new_index
    for kind in kinds:
        table[f"pandas.{kind}"] = Index
    return table


TABLE: Final = _table()


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns of a data frame by name; a column's elements are numbers, text or stand-ins."""

    rows: int
    columns: Mapping[str, NDArray[Any]]


def read_frame(path: Path, memory: int) -> Columns:
    """The data frame that a pickle holds; nothing of the file's choosing runs.

    memory: limit on what the objects of the frame may take [B]; pixels stay in the file and are
    read by `Array.values`. Raises RecordingError, ConfigurationError.
    """
    try:
        with path.open("rb") as stream:
            frame = PickleMachine(path, stream, TABLE, memory).load()
        if not isinstance(frame, DataFrame):
            raise RefusedPickleError("it holds no data frame")
        return _columns(_manager(frame))
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror}") from error
    except PickleMemoryError:
        raise ConfigurationError(
            f"{path}: its objects need more than {memory / 1e9:g} GB of memory; "
            "give more with --memory, or split the file"
        ) from None
    except RefusedPickleError as error:
        raise RecordingError(f"{path} is refused: {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordingError(f"{path} is refused: a damaged data frame") from error


def _manager(frame: DataFrame) -> BlockManager:
    state = frame.state if frame.state is not None else next(iter(frame.arguments), None)
    if isinstance(state, dict):
        state = state.get("_mgr", state.get("_data"))
    if not isinstance(state, BlockManager):
        raise RefusedPickleError("a data frame of an unknown layout")
    return state


def _columns(manager: BlockManager) -> Columns:
    axes, blocks = _blocks(manager)
    if len(axes) != 2:
        raise RefusedPickleError(f"a frame with {len(axes)} axes")
    names = _labels(axes[0])
    found: dict[str, NDArray[Any]] = {}
    rows: int | None = None
    for block in blocks:
        if not isinstance(block.values, Array):
            continue  # text of pandas 3, which is no column of a data set's
        values = block.values.values()
        if values.ndim != 2 or rows not in (None, values.shape[1]):
            raise RefusedPickleError("a block of columns with a wrong shape")
        rows = values.shape[1]
        numbers = _numbers(block.placement, names)
        if len(numbers) != len(values):
            raise RefusedPickleError(f"{len(values)} columns for {len(numbers)} places")
        for number, column in zip(numbers, values, strict=True):
            if not 0 <= number < len(names):
                raise RefusedPickleError(f"column {number} of {len(names)}")
            found[names[number]] = column
    return Columns(rows or 0, found)


def _blocks(manager: BlockManager) -> tuple[Sequence[object], list[Block]]:
    if len(manager.arguments) == 2:  # since pandas 1.3: (blocks, axes)
        blocks, axes = manager.arguments
        if not isinstance(blocks, tuple | list) or not isinstance(axes, list | tuple):
            raise RefusedPickleError("a block manager of an unknown layout")
        if not all(isinstance(block, Block) for block in blocks):
            raise RefusedPickleError("a block manager without blocks")
        return axes, list(blocks)
    state = manager.state
    if not isinstance(state, tuple) or len(state) not in (3, 4):
        raise RefusedPickleError("a block manager of an unknown layout")
    axes, values, items = state[:3]
    if len(state) == 4 and isinstance(state[3], dict) and "0.14.1" in state[3]:
        extra = state[3]["0.14.1"]
        try:
            axes = extra["axes"]
            pairs = [(block["values"], block["mgr_locs"]) for block in extra["blocks"]]
        except (KeyError, TypeError):
            raise RefusedPickleError("a block manager with a damaged state") from None
    elif isinstance(values, list) and isinstance(items, list) and len(values) == len(items):
        pairs = list(zip(values, items, strict=True))
    else:
        raise RefusedPickleError("a block manager with a damaged state")
    if not isinstance(axes, list):
        raise RefusedPickleError("a block manager without axes")
    return axes, [_block(array, place) for array, place in pairs]


def _labels(axis: object) -> list[str]:
    """Column names; numbers become text."""
    data: object = axis
    for _ in range(4):  # an Index of an array of text: each wraps the next
        if isinstance(data, Array):
            return [str(n) if isinstance(n, int | str) else "?" for n in data.values().flat]
        if isinstance(data, ArrowStringArray):
            arrow = data.state.get("_pa_array") if isinstance(data.state, dict) else None
            if isinstance(arrow, ArrowArray | ArrowChunks):
                return arrow.texts()
            break
        if isinstance(data, Index):
            state = data.state if data.state is not None else data.arguments
            data = state.get("data") if isinstance(state, dict) else state
        elif isinstance(data, StringArray):
            data = data.state if data.state is not None else data.arguments
        elif isinstance(data, tuple):
            data = next((part for part in data if isinstance(part, Array | tuple)), None)
    raise RefusedPickleError("columns without names")


def _numbers(placement: object, names: Sequence[str]) -> Sequence[int]:
    if isinstance(placement, Index):
        return [names.index(label) if label in names else -1 for label in _labels(placement)]
    if isinstance(placement, Array):
        array = placement.values()
        if array.dtype.kind == "O":
            return [names.index(label) if label in names else -1 for label in _labels(placement)]
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise RefusedPickleError("columns in no order")
        return [int(n) for n in array]
    if isinstance(placement, Slice):
        start, stop, step = placement.start, placement.stop, placement.step
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int | None):
            return range(len(names))[start:stop:step]
    raise RefusedPickleError("columns in no order")
