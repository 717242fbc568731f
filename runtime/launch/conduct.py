"""One flight from take-off to landing, as the main thread of `gearshift run` sees it."""

from __future__ import annotations

import ctypes
import gc
import getpass
import logging
import math
import os
import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.flight.pipeline import Flight
from gearshift.runtime.launch.configuration import FlightConfig
from gearshift.runtime.launch.feasibility import check_flight
from gearshift.runtime.launch.setup import build_flight
from gearshift.runtime.status.display import LINE_EVERY_S, StatusLine, StatusLog, status_mode
from gearshift.runtime.status.notify import Supervisor
from gearshift.runtime.status.signals import ENDED, Wakeups
from gearshift.runtime.status.status import StatusReader

logger = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0005
"""How long a thread that serves a sink may keep the interpreter from inference; Python's own
default is 5 ms, which is what the slowest frames would then take longer."""
LONGEST_NAP_S = 1.0
M_ARENA_MAX = -8
"""glibc's number for the most heaps."""

UNIT = """\
[Unit]
Description=Gearshift flight ({name})
StartLimitIntervalSec=0

[Service]
Type=notify
User={user}
ExecStart={command}
WorkingDirectory={folder}
# A camera that is not there yet, or a flight that the watchdog ended; not one that was stopped.
Restart=on-failure
RestartSec=1
WatchdogSec=10
TimeoutStopSec=5
Nice=-5
# Estimates go to sinks; stdout and stderr to the journal.
StandardOutput=journal
StandardError=journal

[Install]
WantedBy=multi-user.target
"""


def conduct(config: FlightConfig, *, seconds: float | None = None) -> int:
    """Fly until the source ends, `seconds` have passed or a signal comes; the exit code.

    Raises GearshiftError when the flight cannot begin or its source failed for good. Leaves the
    process at once, after everything is closed, when a thread cannot be ended.
    """
    root = logging.getLogger()
    if root.level >= logging.WARNING:  # else the command line asked for more
        root.setLevel(config.sections.log.level.upper())
    prepare_process()
    for note in check_flight(config):
        logger.warning("%s", note)
    supervisor = Supervisor()
    with Wakeups() as wakeups, ExitStack() as stack:
        stack.callback(supervisor.close)
        ready = build_flight(config, on_end=wakeups.end)
        stack.callback(ready.close)
        flight = ready.flight
        keep_for_the_flight()
        stack.callback(gc.unfreeze)
        if config.sections.prometheus is not None:
            # Not every flight needs a web server's modules.
            from gearshift.runtime.status.prometheus import MetricsServer

            # Before take-off: a port that is taken must not end a flight that has begun.
            server = MetricsServer(flight, config.sections.prometheus.port)
            stack.callback(server.close)
        began = flight.start(lambda: _over(wakeups.wait(0.0)))
        try:
            if began:
                supervisor.ready()
                _attend(flight, config, wakeups, supervisor, seconds)
        finally:
            supervisor.stopping()
            clean = flight.stop()
    if flight.error is not None:
        raise flight.error
    if not clean:
        _leave(0)
    return 0


def prepare_process() -> None:
    """Settings of the process that a flight wants; to be made before there are threads.

    glibc gives every thread a heap of its own; as frames are made in one thread and freed in
    another, those heaps grow by megabytes within an hour, where a single one stays as it is.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def keep_for_the_flight() -> None:
    """Spare the garbage collector what is there now and stays."""
    gc.collect()
    gc.freeze()


def _attend(
    flight: Flight,
    config: FlightConfig,
    wakeups: Wakeups,
    supervisor: Supervisor,
    seconds: float | None,
) -> None:
    """Show the status, reassure systemd, and wait for the end."""
    log = config.sections.log
    stdout = any(getattr(sink.options, "path", None) == "-" for sink in config.sinks)
    mode = status_mode(log.status, estimates_on_stdout=stdout)
    display = StatusLine() if mode == "line" else StatusLog()
    show_every_s = LINE_EVERY_S if mode == "line" else log.every_s
    nap_s = min(show_every_s, LONGEST_NAP_S, supervisor.watchdog_s or LONGEST_NAP_S)
    reader = StatusReader(flight)
    now = time.monotonic()
    until = math.inf if seconds is None else now + seconds
    shown = told = now
    try:
        while now < until and not _over(wakeups.wait(min(nap_s, until - now))):
            now = time.monotonic()
            if flight.healthy:
                supervisor.alive()
            if not flight.live and flight.outboxes and all(b.stopped for b in flight.outboxes):
                return  # nobody is left to read the rest of the recording
            if now - shown >= show_every_s:
                shown = now
                text = reader.read().line()
                if mode != "off":
                    display.show(text)
                if now - told >= log.every_s:
                    told = now
                    supervisor.status(text)
    finally:
        if mode != "off":
            display.close()


def _over(numbers: bytes) -> bool:
    """Whether what woke the main thread ends the flight."""
    if signal.SIGHUP in numbers:
        logger.warning("the terminal went away; the flight goes on")
    return any(number in (ENDED, signal.SIGTERM, signal.SIGINT) for number in numbers)


def _leave(code: int) -> None:
    """End the process although a thread is stuck; waiting for it could take for ever."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, GearshiftError):
            continue
    os._exit(code)


def systemd_unit(path: Path, overrides: list[str]) -> str:
    """A unit by which whoever asks for it flies `path`, from the folder that it is in."""
    words = [sys.argv[0] if sys.argv[0].startswith("/") else "gearshift", "run", str(path)]
    for assignment in overrides:
        words += ["--set", assignment]
    command = " ".join(_quoted(word) for word in words)
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    return UNIT.format(name=path.name, command=command, folder=path.parent, user=user)


def _quoted(word: str) -> str:
    """As systemd splits it: % and $ stand for themselves when doubled."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word and not any(c in word for c in " \t\"'\\;"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
