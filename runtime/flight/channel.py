"""Hand-over between two threads of a flight: bounded, and never waits for the slower side.

Built on plain locks, which Python waits for in the kernel: no polling, and one wake-up per item.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ChannelClosedError(Exception):
    """Nothing more will come out of a channel."""


class Channel(Generic[T]):
    """Items from producers to a consumer, oldest first.

    When full, `put` drops the oldest item, so that with a capacity of 1 the newest wins; a lossless
    channel makes the producer wait instead.
    """

    def __init__(self, capacity: int, *, lossless: bool = False) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._mutex = threading.Lock()
        self._closed = False
        # Used as binary semaphores: free while there is something to take, or room for more.
        self._ready = threading.Lock()
        self._ready.acquire()
        self._room: threading.Lock | None = threading.Lock() if lossless else None

    def put(self, item: T) -> int:
        """Add an item and return how many were dropped for it; a closed channel drops the item."""
        room = self._room
        while True:
            if room is not None:
                room.acquire()
            with self._mutex:
                if self._closed:
                    self._settle()
                    return 1
                dropped = 0
                if len(self._items) >= self._capacity:
                    if room is not None:
                        continue  # another producer was let in first
                    self._items.popleft()
                    dropped = 1
                self._items.append(item)
                self._settle()
                return dropped

    def take(self, timeout_s: float = -1) -> T | None:
        """The oldest item, or None when none came in time; -1 waits for ever.

        Raises ChannelClosedError when the channel is closed and empty.
        """
        while self._ready.acquire(timeout=timeout_s):
            with self._mutex:
                if not self._items and not self._closed:
                    continue  # it was put and taken between the two locks
                item = self._items.popleft() if self._items else None
                self._settle()
                if item is None:
                    raise ChannelClosedError
                return item
        return None

    def close(self, *, discard: bool = False) -> int:
        """Let nothing more in; with `discard`, throw away what is left and return how much it
        was."""
        with self._mutex:
            discarded = len(self._items) if discard else 0
            if discard:
                self._items.clear()
            self._closed = True
            self._settle()
            return discarded

    def __len__(self) -> int:
        return len(self._items)

    def _settle(self) -> None:
        """Free the semaphores that should be free; the mutex is held."""
        if (self._items or self._closed) and self._ready.locked():
            self._ready.release()
        room = self._room
        if room is not None and room.locked():
            if self._closed or len(self._items) < self._capacity:
                room.release()
