"""Reports on their way to a sink: bounded, and never waiting for the slower side.

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
    """Items from producers to one consumer, in order.

    When full, `put` drops the oldest item; a lossless channel makes the producer wait instead. The
    consumer is woken when `batch` items are there: fewer wake-ups cost less of a processor.
    """

    def __init__(self, capacity: int, *, batch: int = 1, lossless: bool = False) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._batch = batch
        self._mutex = threading.Lock()
        self._closed = False
        # Used as binary semaphores: free while there is a batch to take, or room for more.
        self._ready = threading.Lock()
        self._ready.acquire()
        self._room: threading.Lock | None = threading.Lock() if lossless else None

    def put(self, item: T) -> int:
        """Add an item and return how many were dropped for it; a closed channel drops the item."""
        if self._room is not None:
            return self._put_when_there_is_room(item, self._room)
        with self._mutex:
            if self._closed:
                return 1
            items = self._items
            dropped = 0
            if len(items) >= self._capacity:
                items.popleft()
                dropped = 1
            items.append(item)
            if len(items) >= self._batch and self._ready.locked():
                self._ready.release()
            return dropped

    def _put_when_there_is_room(self, item: T, room: threading.Lock) -> int:
        while True:
            room.acquire()
            with self._mutex:
                if self._closed:
                    self._settle()
                    return 1
                if len(self._items) < self._capacity:
                    self._items.append(item)
                    self._settle()
                    return 0
                # Another producer was let in first.

    def take(self, timeout_s: float = -1) -> list[T]:
        """All items, oldest first, once there is a batch, and after the time-out whatever there is.

        -1 waits for ever. Raises ChannelClosedError when the channel is closed and empty.
        """
        self._ready.acquire(timeout=timeout_s)
        with self._mutex:
            items = list(self._items)
            if not items and self._closed:
                self._settle()
                raise ChannelClosedError
            self._items.clear()
            self._settle()
            return items

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
        items, room = len(self._items), self._room
        if (self._closed or items >= self._batch) and self._ready.locked():
            self._ready.release()
        free = self._closed or items < self._capacity
        if free and room is not None and room.locked():
            room.release()
