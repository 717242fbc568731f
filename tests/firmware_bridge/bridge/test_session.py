"""At most once, in the firmware's own code: against a model that remembers everything."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.firmware_bridge.emulation.emulator import Build, EmulatedPort, build, missing_tools
from gearshift.firmware_bridge.line.messages import WINDOW

SESSION_BYTES = 1 << 16
PENDING, ANSWERED = 1, 2


class Age(IntEnum):
    """gs_command_age."""

    NEW = 0
    REPEATED = 1
    PENDING = 2
    STALE = 3


class Greeting(IntEnum):
    """gs_hello_age."""

    NEW = 0
    REPEATED = 1
    STALE = 2


class Session:
    """gs_session in memory that is more than it needs; the end of it is watched."""

    def __init__(self, library: ctypes.CDLL, boot: int = 3) -> None:
        self._library = library
        self._library.gs_session_entry.restype = ctypes.c_void_p
        self._memory = ctypes.create_string_buffer(b"\xa5" * SESSION_BYTES, SESSION_BYTES)
        library.gs_session_init(self._memory, ctypes.c_uint32(boot))

    @property
    def number(self) -> int:
        return int.from_bytes(self._memory.raw[4:8], "little")

    def hello(self, nonce: int, sequence: int) -> Greeting:
        return Greeting(
            self._library.gs_session_hello(
                self._memory, ctypes.c_uint32(nonce), ctypes.c_uint16(sequence)
            )
        )

    def take(self, sequence: int) -> Age:
        return Age(self._library.gs_session_take(self._memory, ctypes.c_uint16(sequence)))

    def answer(self, sequence: int) -> bool:
        """Whether there is still somewhere to remember the answer."""
        entry = self._library.gs_session_entry(self._memory, ctypes.c_uint16(sequence))
        if entry is None:
            return False
        state = ctypes.cast(entry, ctypes.POINTER(ctypes.c_int))
        assert state[0] in (PENDING, ANSWERED)
        state[0] = ANSWERED
        return True

    def untouched(self) -> bool:
        return self._memory.raw.endswith(b"\xa5" * 1024)


class Model:
    """What the document says, with no bound on what is remembered."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        self.taken: dict[int, bool] = {}

    def take(self, place: int) -> Age:
        """place: the sequence number without its wrapping."""
        if place <= self.newest - WINDOW:
            return Age.STALE
        self.newest = max(self.newest, place)
        if place not in self.taken:
            self.taken[place] = False
            return Age.NEW
        return Age.REPEATED if self.taken[place] else Age.PENDING

    def answer(self, place: int) -> bool:
        if place not in self.taken or place <= self.newest - WINDOW:
            return False
        self.taken[place] = True
        return True


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    lacking = missing_tools(EmulatedPort.POSIX)
    if lacking:
        pytest.skip(f"building the firmware's core needs {', '.join(lacking)}")
    path: Path = build(Build.LIB)
    return ctypes.CDLL(str(path))


steps = st.lists(
    st.tuples(
        st.one_of(st.integers(-20, 20), st.integers(-300, 30_000), st.integers(-16, 1)),
        st.booleans(),
    ),
    max_size=120,
)


@given(start=st.integers(0, 0xFFFF), moves=steps)
def test_every_command_is_carried_out_at_most_once(
    library: ctypes.CDLL, start: int, moves: list[tuple[int, bool]]
) -> None:
    session = Session(library)
    assert session.hello(1, start) is Greeting.NEW
    model = Model(start)
    for move, answers in moves:
        # Relative to the newest, as a host counts; far behind is what a line brings back.
        place = model.newest + move
        if place < model.newest - 30_000:
            continue
        assert session.take(place & 0xFFFF) is model.take(place)
        if answers:
            assert session.answer(place & 0xFFFF) == model.answer(place)
    assert session.untouched()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(0, 0xFFFFFFFF))
def test_a_nonce_begins_one_session(library: ctypes.CDLL, nonces: list[int], boot: int) -> None:
    session = Session(library, boot)
    assert session.number == 0
    last: list[int] = []
    for nonce in nonces:
        before = session.number
        age = session.hello(nonce, 5)
        if last and last[-1] == nonce:
            assert age is Greeting.REPEATED
        elif nonce in last[-8:]:
            assert age is Greeting.STALE
        else:
            assert age is Greeting.NEW
            last.append(nonce)
            assert session.number not in (0, before)
            assert session.number >> 8 in (boot & 0xFFFFFF, (boot + 1) & 0xFFFFFF)
            continue
        assert session.number == before


def test_a_new_session_knows_nothing_of_the_old_one(library: ctypes.CDLL) -> None:
    session = Session(library)
    session.hello(1, 100)
    assert session.take(101) is Age.NEW
    assert session.answer(101)
    session.hello(2, 100)
    assert session.take(101) is Age.NEW
