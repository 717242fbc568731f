"""Renders many flights in parallel into recordings; resumable, and clean when interrupted."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.recording import RecordingWriter
from gearshift.runtime.types import POSE_COMPONENTS
from gearshift.sim.flights.flight import FlightMaker, FlightPlan
from gearshift.sim.flights.himax import CAMERA

_LOG = logging.getLogger(__name__)

GENERATOR_VERSION = "1"
"""Recorded with each flight; raise when the same plan gives other frames."""


class FlightsInterrupted(GearshiftError):  # noqa: N818 - an interruption, not a fault
    """The user stopped the making of flights."""


@dataclass(frozen=True, slots=True)
class Made:
    """One finished flight: its file, frames and the seconds its process spent on it."""

    path: Path
    frames: int
    seconds: float


def make_flight(
    maker: FlightMaker, plan: FlightPlan, path: Path, stop: Event | None = None
) -> None:
    """Render one flight into a recording; nothing is left behind when it is interrupted."""
    attributes = {
        "split": plan.split,
        "room": plan.room_name,
        "person": plan.person_name,
        "seed": str(plan.seed),
        "index": str(plan.index),
        "frames": str(plan.frames),
        "rate": str(plan.rate),
        "generator": f"gearshift flights {GENERATOR_VERSION}",
    }
    with RecordingWriter(
        path, camera=CAMERA, components=POSE_COMPONENTS, attributes=attributes
    ) as writer:
        for item in maker.frames(plan):
            if stop is not None and stop.is_set():
                raise FlightsInterrupted("interrupted; finished flights are kept")
            writer.write_frame(item.frame, item.truth)


class _Worker:
    """What one process keeps between flights."""

    maker: FlightMaker | None = None
    stop: Event | None = None
    cache: Path | None = None


def _start_worker(cache: Path, stop: Event) -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    cv2.setNumThreads(1)
    _Worker.cache, _Worker.stop = cache, stop


def _work(plan: FlightPlan, path: Path) -> Made:
    began = time.monotonic()
    if _Worker.maker is None:
        _Worker.maker = FlightMaker(_Worker.cache)
    make_flight(_Worker.maker, plan, path, _Worker.stop)
    return Made(path, plan.frames, time.monotonic() - began)


def make_flights(
    plans: Sequence[FlightPlan], folder: Path, cache: Path, jobs: int
) -> Iterator[Made]:
    """Render the flights that `folder` lacks, in about the order of `plans`; yields as they finish.

    Raises FlightsInterrupted on Ctrl-C, after the processes have stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [p for p in plans if not (folder / p.file_name).exists()]
    if not missing:
        return
    # One thread a process: several processes use the cores better than one threaded renderer.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"):
        os.environ[name] = "0" if name == "LP_NUM_THREADS" else "1"
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(
        max_workers=max(1, min(jobs, len(missing))),
        mp_context=context,
        initializer=_start_worker,
        initargs=(cache, stop),
    ) as pool:
        futures: list[Future[Made]] = [
            pool.submit(_work, plan, folder / plan.file_name) for plan in missing
        ]
        try:
            for future in as_completed(futures):
                yield future.result()
        except KeyboardInterrupt:
            raise FlightsInterrupted("interrupted; finished flights are kept") from None
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
