"""Renders many flights in parallel into recordings; resumable, and clean when interrupted."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from gearshift.models.evaluating.dataset import NOMINAL_CAMERA
from gearshift.runtime.errors import ConfigurationError, GearshiftError
from gearshift.runtime.files.whole_file import make_folder
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import POSE_COMPONENTS
from gearshift.sim.flights.drawing.camera_units import NOMINAL
from gearshift.sim.flights.drawing.himax import CAMERA
from gearshift.sim.flights.flight import FlightMaker, FlightPlan

_LOG = logging.getLogger(__name__)

GENERATOR_VERSION = "2"
"""Recorded with each flight; raise when the same plan gives other frames."""

# Several processes use the cores better than one threaded renderer (llvmpipe: 0 extra threads).
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LP_NUM_THREADS": "0"}


class InterruptedFlightError(GearshiftError):
    """A flight was given up because the user stopped the making of flights."""


@dataclass(frozen=True, slots=True)
class Made:
    """One finished flight: its file, frames and the seconds its process spent on it."""

    path: Path
    frames: int
    seconds: float


def attributes(plan: FlightPlan) -> dict[str, str]:
    """What a flight's recording says about itself.

    A board that is not the nominal one adds the camera that it is a unit of, and its mounting [rad]
    (see `Board`).
    """
    board = plan.board
    varied = {
        NOMINAL_CAMERA: json.dumps(asdict(CAMERA)),
        "mounting_roll": f"{board.roll:.6f}",
        "mounting_pitch": f"{board.pitch:.6f}",
        "mounting_yaw": f"{board.yaw:.6f}",
    }
    return {
        "split": plan.split,
        "room": plan.room_name,
        "person": plan.person_name,
        "seed": str(plan.seed),
        "index": str(plan.index),
        "frames": str(plan.frames),
        "rate": str(plan.rate),
        "generator": f"gearshift flights {GENERATOR_VERSION}",
        **({} if board == NOMINAL else varied),
    }


def make_flight(
    maker: FlightMaker, plan: FlightPlan, path: Path, stop: Event | None = None
) -> None:
    """Render one flight into a recording; nothing is left behind when it is interrupted."""
    with RecordingWriter(
        path, camera=plan.board.camera, components=POSE_COMPONENTS, attributes=attributes(plan)
    ) as writer:
        for item in maker.frames(plan):
            if stop is not None and stop.is_set():
                raise InterruptedFlightError("interrupted; finished flights are kept")
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


def is_made(plan: FlightPlan, folder: Path) -> bool:
    """Whether `folder` holds this flight; raises ConfigurationError where it holds another one."""
    path = folder / plan.file_name
    if not path.exists():
        return False
    found = RecordingReader(path).header.attributes
    generator = attributes(plan)["generator"]
    if found.get("generator") != generator:
        raise ConfigurationError(
            f"{path} was made by {found.get('generator')}, and {generator} makes other frames: "
            "delete the folder's flights or choose another folder"
        )
    for name, wanted in attributes(plan).items():
        if found.get(name) != wanted:
            raise ConfigurationError(
                f"{path} was made with {name} {found.get(name)}, not {wanted}: "
                "delete it or choose another folder"
            )
    return True


def make_flights(
    plans: Sequence[FlightPlan], folder: Path, cache: Path, jobs: int
) -> Iterator[Made]:
    """Render the flights that `folder` lacks, in about the order of `plans`; yields as they finish.

    On Ctrl-C the processes stop cleanly before KeyboardInterrupt is passed on.
    """
    make_folder(folder)
    missing = [plan for plan in plans if not is_made(plan, folder)]
    if not missing:
        return
    os.environ.update(_ONE_THREAD)  # inherited by the processes, read when they load the libraries
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
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
