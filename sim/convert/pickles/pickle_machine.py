"""A reader of the pickle format that cannot call anything but a table of our own functions.

`pickle.Unpickler` imports what a file names and calls what a file pushes, and its restricted forms
hand out real classes whose attributes a file may still set. This machine has no import, no
attribute access and no real class at all: a global is a name in a table or it is refused, and a
call runs the table's function, which builds a plain stand-in. Opcodes: CPython's
`Lib/pickletools.py`, protocols 0 to 5, without sets, persistent ids, the extension registry and
out-of-band buffers, which no pandas pickle needs.

Long strings of bytes stay in the file as a `FileSlice`, so that a file of many images needs memory
for its rows and not for its pixels.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from gearshift.sim.convert.pickles.pickle_parts import (
    FileSlice,
    Global,
    PickleMemoryError,
    RefusedPickleError,
    Restored,
)

LAZY_BYTES: Final = 512
"""Strings longer than this are left in the file."""
OBJECT_BYTES: Final = 64
"""Rough memory of one object that an opcode makes; a data frame's rows take less on the whole."""
POINTER_BYTES: Final = 16
"""The same of opcodes that push what exists already: small integers, constants, the memo's."""
_CHEAP: Final = frozenset(
    (pickle.BININT1 + pickle.NONE + pickle.NEWTRUE + pickle.NEWFALSE + pickle.MARK + pickle.POP)
    + (pickle.BINGET + pickle.LONG_BINGET + pickle.GET + pickle.APPEND + pickle.APPENDS)
)


Table = Mapping[str, Callable[..., object]]
"""What may stand for `module.name`."""

_MARK: Final = object()
_FORBIDDEN: Final = {
    "PERSID": "persistent ids",
    "BINPERSID": "persistent ids",
    "EXT1": "the extension registry",
    "EXT2": "the extension registry",
    "EXT4": "the extension registry",
    "NEXT_BUFFER": "buffers outside of the file",
    "READONLY_BUFFER": "buffers outside of the file",
    "EMPTY_SET": "sets",
    "ADDITEMS": "sets",
    "FROZENSET": "sets",
    "OBJ": "old-style classes",
}
_NAMES: Final = {ord(op.code): op.name for op in pickletools.opcodes}
_CONSTANTS: Final = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "MARK": _MARK,
}
# Opcodes that differ in nothing but how they write a number, and what is done with it.
_FAMILIES: Final = {
    "_push": {"BININT": "<i", "BININT1": "<B", "BININT2": "<H", "BINFLOAT": ">d"},
    "_bytes": {"SHORT_BINBYTES": "<B", "BINBYTES": "<I", "BINBYTES8": "<Q", "BYTEARRAY8": "<Q"},
    "_text": {"SHORT_BINUNICODE": "<B", "BINUNICODE": "<I", "BINUNICODE8": "<Q"},
    "_put": {"BINPUT": "<B", "LONG_BINPUT": "<I"},
    "_get": {"BINGET": "<B", "LONG_BINGET": "<I"},
}

# What Python 2's repr of a string escapes.
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 3:
        return chr(int(code[1:], 16))
    if code not in _ESCAPED:
        raise RefusedPickleError("a string with an unknown escape")
    return _ESCAPED[code]


class PickleMachine:
    """Runs one pickle over a table.

    path: where slices are read from later. stream: that file, open at its start. memory: limit on
    what the objects may take [B].
    """

    def __init__(self, path: Path, stream: BinaryIO, table: Table, memory: int) -> None:
        self._path = path
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        self._table = table
        self._left = memory
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> object:
        """What the pickle holds; raises RefusedPickleError, PickleMemoryError."""
        actions = self._actions()
        while True:
            code = self._read(1)[0]
            if code == pickle.STOP[0]:
                return self._pop()
            action = actions.get(code)
            if action is None:
                self._refuse_opcode(code)
            self._left -= POINTER_BYTES if code in _CHEAP else OBJECT_BYTES
            if self._left < 0:
                raise PickleMemoryError
            try:
                action()
            except (ValueError, TypeError, IndexError, KeyError, struct.error) as error:
                raise RefusedPickleError(
                    f"{_NAMES[code]} before byte {self._stream.tell()}: {str(error)[:120]}"
                ) from error

    def _actions(self) -> dict[int, Callable[[], None]]:
        named: dict[str, Callable[[], None]] = {}
        for name in _NAMES.values():
            if name in _CONSTANTS:
                named[name] = partial(self._push, _CONSTANTS[name])
            elif action := getattr(self, f"_op_{name.lower()}", None):
                named[name] = action
        for method, layouts in _FAMILIES.items():
            for name, layout in layouts.items():
                named[name] = partial(self._with_number, getattr(self, method), layout)
        return {code: named[name] for code, name in _NAMES.items() if name in named}

    def _with_number(self, action: Callable[[Any], None], layout: str) -> None:
        action(self._number(layout))

    def _refuse_opcode(self, code: int) -> NoReturn:
        name = _NAMES.get(code, "")
        if name in _FORBIDDEN:
            raise RefusedPickleError(f"it uses {_FORBIDDEN[name]} ({name})")
        raise RefusedPickleError(
            f"byte {self._stream.tell() - 1} is no pickle opcode ({code:#04x})"
        )

    # Bytes of the file.

    def _read(self, count: int) -> bytes:
        # A length beyond the file is refused before anything of that size is allocated.
        if not 0 <= count <= self._size:
            raise RefusedPickleError(f"it is cut short: {count} bytes wanted of {self._size}")
        data = self._stream.read(count)
        if len(data) < count:
            raise RefusedPickleError("it is cut short")
        self._left -= count
        return data

    def _line(self) -> str:
        data = self._stream.readline()
        if not data.endswith(b"\n"):
            raise RefusedPickleError("it is cut short")
        self._left -= len(data)
        return data[:-1].decode("latin-1")

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._read(struct.calcsize(layout)))[0]

    def _slice(self, length: int) -> bytes | FileSlice:
        if length <= LAZY_BYTES:
            return self._read(length)
        start = self._stream.tell()
        if start + length > self._size:
            raise RefusedPickleError(f"it is cut short: {length} bytes wanted at byte {start}")
        self._stream.seek(start + length)
        return FileSlice(self._path, start, length)

    def _bytes(self, length: int) -> None:
        self._push(self._slice(length))

    def _text(self, length: int) -> None:
        data = self._slice(length)
        if isinstance(data, FileSlice):
            # numpy's bytes as protocol 0 to 2 write them: Latin-1 text, encoded as UTF-8.
            self._push(FileSlice(data.path, data.start, data.length, text=True))
        else:
            self._push(data.decode("utf-8", "surrogatepass"))

    # The stack.

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise RefusedPickleError("its stack runs empty")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _pop_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise RefusedPickleError("its stack has no mark")

    def _push(self, value: object) -> None:
        self._stack.append(value)

    # Calls: the only place where anything is run, and it is ours.

    def _global(self, module: object, name: object) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedPickleError("a global without a name")
        full = f"{module}.{name}"
        make = self._table.get(full)
        if make is None:
            raise RefusedPickleError(f"it asks for {full[:120]!r}, which no data frame needs")
        return Global(full, make)

    def _call(self, function: object, arguments: object) -> object:
        if not isinstance(function, Global):
            raise RefusedPickleError(f"it calls a {type(function).__name__}")
        if not isinstance(arguments, tuple):
            raise RefusedPickleError(f"{function.name} is called without a tuple of arguments")
        try:
            return function.make(*arguments)
        except RefusedPickleError as error:
            raise RefusedPickleError(f"{function.name}: {error}") from error
        except (TypeError, ValueError) as error:
            raise RefusedPickleError(f"{function.name} is called wrongly") from error

    def _op_global(self) -> None:
        self._push(self._global(self._line(), self._line()))

    def _op_stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._push(self._global(module, name))

    def _op_reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(self._call(function, arguments))

    _op_newobj = _op_reduce

    def _op_newobj_ex(self) -> None:
        if self._pop() != {}:
            raise RefusedPickleError("it calls with keywords")
        self._op_reduce()

    def _op_inst(self) -> None:
        made = self._global(self._line(), self._line())
        self._push(self._call(made, tuple(self._pop_mark())))

    def _op_build(self) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, Restored):
            raise RefusedPickleError(f"it sets the state of a {type(target).__name__}")
        target.build(state)

    # Values.

    def _op_proto(self) -> None:
        version = self._number("<B")
        if version > pickle.HIGHEST_PROTOCOL:
            raise RefusedPickleError(f"pickle protocol {version} is newer than this Python")

    def _op_frame(self) -> None:
        self._read(8)  # a hint for buffering

    def _op_pop(self) -> None:
        if not self._stack:
            raise RefusedPickleError("its stack runs empty")
        self._stack.pop()

    def _op_pop_mark(self) -> None:
        self._pop_mark()

    def _op_dup(self) -> None:
        self._push(self._top())

    def _op_int(self) -> None:
        line = self._line()
        self._push({"00": False, "01": True}[line] if line in ("00", "01") else int(line))

    def _op_long(self) -> None:
        self._push(int(self._line().removesuffix("L")))

    def _op_long1(self) -> None:
        self._push(int.from_bytes(self._read(self._number("<B")), "little", signed=True))

    def _op_long4(self) -> None:
        self._push(int.from_bytes(self._read(self._number("<i")), "little", signed=True))

    def _op_float(self) -> None:
        self._push(float(self._line()))

    def _op_string(self) -> None:
        line = self._line()
        if len(line) < 2 or line[0] not in "'\"" or line[-1] != line[0]:
            raise RefusedPickleError("a string without quotes")
        self._push(_ESCAPE.sub(_unescape, line[1:-1]))

    def _op_unicode(self) -> None:
        self._push(self._line().encode("latin-1").decode("raw-unicode-escape"))

    def _op_binstring(self) -> None:
        data = self._slice(self._number("<i"))
        # Python 2 wrote bytes and text alike; Latin-1 keeps both.
        self._push(data if isinstance(data, FileSlice) else data.decode("latin-1"))

    def _op_short_binstring(self) -> None:
        self._push(self._read(self._number("<B")).decode("latin-1"))

    # Containers. Keys are text, so that nothing of the file's making is ever hashed.

    def _op_empty_list(self) -> None:
        self._push([])

    def _op_list(self) -> None:
        self._push(self._pop_mark())

    def _op_append(self) -> None:
        value = self._pop()
        self._extend([value])

    def _op_appends(self) -> None:
        self._extend(self._pop_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise RefusedPickleError(f"it appends to a {type(target).__name__}")
        target.extend(values)

    def _op_tuple(self) -> None:
        self._push(tuple(self._pop_mark()))

    def _op_tuple1(self) -> None:
        self._push((self._pop(),))

    def _op_tuple2(self) -> None:
        b, a = self._pop(), self._pop()
        self._push((a, b))

    def _op_tuple3(self) -> None:
        c, b, a = self._pop(), self._pop(), self._pop()
        self._push((a, b, c))

    def _op_empty_dict(self) -> None:
        self._push({})

    def _op_dict(self) -> None:
        items = self._pop_mark()
        self._push({})
        self._set(items)

    def _op_setitem(self) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def _op_setitems(self) -> None:
        self._set(self._pop_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise RefusedPickleError(f"it sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise RefusedPickleError(f"a key is a {type(key).__name__}, not text")
            target[key] = value

    # The memo.

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise RefusedPickleError(f"memo {index} was never written")
        self._push(self._memo[index])

    def _op_memoize(self) -> None:
        self._put(len(self._memo))

    def _op_put(self) -> None:
        self._put(int(self._line()))

    def _op_get(self) -> None:
        self._get(int(self._line()))
