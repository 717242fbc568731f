"""On which line of a TOML document each key and list element stands.

`tomllib` keeps no positions. This scans a text that `tomllib` has accepted, so it need not tell
valid from invalid: only where keys, strings, lists and tables begin and end.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from typing import TypeAlias

Key: TypeAlias = tuple[str | int, ...]
"""Keys of tables and indices of lists, from the top: ("small", "weights", 2)."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"'[^']*'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:""(?!")|"(?!"))?', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'''(?:''(?!')|'(?!'))?", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def line_of_each_key(text: str) -> Mapping[Key, int]:
    """The line, from 1, of every table, key and list element of a valid TOML document.

    A table that is only implied stands where it is first implied; a list where it begins.
    """
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._lines: dict[Key, int] = {}
        self._last: dict[Key, int] = {}
        """Index of the newest table of every list of tables."""

    def scan(self) -> dict[Key, int]:
        table: Key = ()
        while self._skip(_BLANK) < len(self._text):
            line = self._line()
            if self._take("[["):
                table = self._array_table(self._key(), line)
                self._take("]]")
            elif self._take("["):
                table = self._table(self._key())
                self._lines[table] = line
                self._take("]")
            else:
                self._pair(table)
        return self._lines

    def _table(self, parts: list[str]) -> Key:
        key: Key = ()
        for part in parts:
            key = (*key, part)
            self._lines.setdefault(key, self._line())
            if key in self._last:
                key = (*key, self._last[key])
        return key

    def _array_table(self, parts: list[str], line: int) -> Key:
        key: Key = (*self._table(parts[:-1]), parts[-1])
        self._lines.setdefault(key, line)
        self._last[key] = self._last.get(key, -1) + 1
        key = (*key, self._last[key])
        self._lines[key] = line
        return key

    def _pair(self, table: Key) -> None:
        line = self._line()
        key = table
        for part in self._key():
            key = (*key, part)
            self._lines.setdefault(key, line)
        self._skip(_SPACE)
        self._take("=")
        self._skip(_SPACE)
        self._value(key)

    def _value(self, key: Key) -> None:
        if self._take("["):
            self._list(key)
        elif self._take("{"):
            self._inline_table(key)
        else:
            for pattern in (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL, _SCALAR):
                if self._match(pattern):
                    return

    def _list(self, key: Key) -> None:
        index = 0
        while True:
            self._skip(_BLANK)
            if self._take("]"):
                return
            element: Key = (*key, index)
            self._lines[element] = self._line()
            self._value(element)
            self._skip(_BLANK)
            self._take(",")
            index += 1

    def _inline_table(self, key: Key) -> None:
        while True:
            self._skip(_BLANK)
            if self._take("}"):
                return
            self._pair(key)
            self._skip(_BLANK)
            self._take(",")

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            if quoted := self._match(_BASIC):
                parts.append(str(tomllib.loads(f"key = {quoted}")["key"]))
            elif quoted := self._match(_LITERAL):
                parts.append(quoted[1:-1])
            else:
                parts.append(self._match(_BARE_KEY))
            self._skip(_SPACE)
            if not self._take("."):
                return parts

    def _skip(self, pattern: re.Pattern[str]) -> int:
        self._match(pattern)
        return self._at

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)
