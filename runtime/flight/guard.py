"""A network that does not return: left behind in its thread, so that the flight can go on.

A thread cannot be ended from outside. So when a network takes too long, the watchdog starts another
inference thread; what the first one finally brings is thrown away, and until then the network
counts as failed and the other one answers. That works where the engine lets go of Python's
interpreter lock while it computes or waits (ONNX Runtime, LiteRT, a serial port); an engine that
keeps it stops the whole process, which only systemd's watchdog ends.
"""

from __future__ import annotations

import threading
import time

from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import EngineError
from gearshift.runtime.types import FloatArray, Image


class AbandonedError(BaseException):
    """Unwinds a thread that was left behind.

    No Exception: the scheduler takes those for a failed network and would go on in a thread that
    is no longer meant to.
    """


class GuardedEngine:
    """An engine that can be left behind while it runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._since_ns = 0
        self._abandoned = False

    @property
    def network(self) -> Network:
        """See `Engine.network`."""
        return self._engine.network

    def run(self, image: Image) -> FloatArray:
        """See `Engine.run`; raises EngineError while a run that was left behind goes on, and
        AbandonedError at the end of that run."""
        if self._since_ns:
            seconds = (time.monotonic_ns() - self._since_ns) / 1e9
            raise EngineError(f"has not returned for {seconds:.1f} s")
        self._since_ns = time.monotonic_ns()
        try:
            return self._engine.run(image)
        finally:
            with self._lock:
                self._since_ns = 0
                abandoned, self._abandoned = self._abandoned, False
            if abandoned:
                raise AbandonedError

    def abandon(self, limit_ns: int) -> bool:
        """Leave the run behind that has been going on for more than `limit_ns`; whether there was
        one."""
        with self._lock:
            since = self._since_ns
            if not since or self._abandoned or time.monotonic_ns() - since <= limit_ns:
                return False
            self._abandoned = True
            return True

    def close(self) -> None:
        """See `Engine.close`; a run that was left behind keeps its engine open."""
        if not self._since_ns:
            self._engine.close()
