"""Rerun: frames, poses and decisions to look at, live or afterwards."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from gearshift.runtime.errors import SinkError
from gearshift.runtime.plugins import raise_missing_extra
from gearshift.runtime.sinks.sink import FlightInfo, Report, SinkPlugin
from gearshift.runtime.types import Estimate, NetworkRole

NS_PER_S = 1e9
POSE = ("x", "y", "z", "phi")
ARROW_M = 0.5
"""Length of the arrow that shows where the person looks."""


class RerunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """to: spawn starts a viewer here, connect sends to one that runs at `url`, save writes the
    file `path`."""

    to: Literal["spawn", "connect", "save"] = "spawn"
    url: str = "rerun+http://127.0.0.1:9876/proxy"
    path: str = "flight.rrd"


class Rerun:
    """Logs every report on the timeline `capture` (seconds since the flight's first report)."""

    def __init__(self, options: RerunOptions) -> None:
        self._options = options
        self._rerun: Any = None
        self._stream: Any = None
        self._first_ns: int | None = None

    def open(self, info: FlightInfo, /) -> None:
        """See `Sink.open`; raises MissingExtraError without Rerun."""
        try:
            import rerun
        except ModuleNotFoundError as error:
            raise_missing_extra("sink 'rerun'", "viewer", error)

        self.close()
        self._rerun = rerun
        stream = rerun.RecordingStream("gearshift")
        options = self._options
        try:
            if options.to == "spawn":
                stream.spawn(default_blueprint=_layout())
            elif options.to == "connect":
                stream.connect_grpc(options.url, default_blueprint=_layout())
            else:
                stream.save(Path(options.path).expanduser(), default_blueprint=_layout())
        except (OSError, RuntimeError, ValueError) as error:
            raise SinkError(f"Rerun ({options.to}): {' '.join(str(error).split())}") from error
        self._stream = stream
        stream.log("drone", rerun.ViewCoordinates.FLU, static=True)
        if info.camera is not None:
            camera = info.camera
            pinhole = rerun.Pinhole(
                focal_length=(camera.fx, camera.fy),
                principal_point=(camera.cx, camera.cy),
                resolution=(camera.width, camera.height),
                camera_xyz=rerun.ViewCoordinates.RDF,
            )
            stream.log("camera", pinhole, static=True)

    def write(self, report: Report) -> None:
        """See `Sink.write`."""
        stream = self._stream
        if stream is None:
            raise SinkError("Rerun is closed")
        frame, estimate = report.frame, report.estimate
        time_ns = report.time_ns if frame is None else frame.capture_time_ns
        if self._first_ns is None:
            self._first_ns = time_ns
        stream.set_time("capture", duration=(time_ns - self._first_ns) / NS_PER_S)
        if frame is None:
            stream.log("state", self._rerun.TextLog(str(report.state)))
            return
        stream.log("camera/image", self._rerun.Image(frame.image))
        if estimate is not None:
            self._log_estimate(report, estimate)

    def close(self) -> None:
        """See `Sink.close`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.flush()
            stream.disconnect()

    def _log_estimate(self, report: Report, estimate: Estimate) -> None:
        rerun, stream = self._rerun, self._stream
        age_ns = report.age_ns or 0
        answered_large = estimate.answered is NetworkRole.LARGE
        scalars = {
            "decision/signal": estimate.signal,
            "decision/threshold": estimate.threshold,
            "decision/large": float(answered_large),
            "time/age_ms": age_ns / 1e6,
            "time/networks_ms": estimate.times.total / 1e6,
        }
        for component, value in zip(estimate.components, estimate.values, strict=True):
            scalars[f"estimate/{component.name}"] = value
        for path, value in scalars.items():
            if math.isfinite(value):
                stream.log(path, rerun.Scalars(value))
        names = tuple(component.name for component in estimate.components)
        if names != POSE:
            return
        if not all(map(math.isfinite, estimate.values)):
            stream.log("drone/person", rerun.Clear(recursive=False))
            return
        x, y, z, phi = estimate.values
        # phi is 0 when the person faces the drone.
        yaw = phi + math.pi
        stream.log(
            "drone/person",
            rerun.Arrows3D(
                origins=[[x, y, z]],
                vectors=[[ARROW_M * math.cos(yaw), ARROW_M * math.sin(yaw), 0.0]],
                colors=np.array([[230, 120, 20] if answered_large else [40, 120, 220]], np.uint8),
                labels=[f"{report.state}, {estimate.reason}"],
            ),
        )


def _layout() -> Any:
    """What a new viewer shows: image and pose above, decisions and times below."""
    from rerun import blueprint

    return blueprint.Blueprint(
        blueprint.Vertical(
            blueprint.Horizontal(
                blueprint.Spatial2DView(origin="camera", name="camera"),
                blueprint.Spatial3DView(origin="drone", name="person, seen from the drone"),
                blueprint.TimeSeriesView(origin="estimate", name="estimate [m, rad]"),
            ),
            blueprint.Horizontal(
                blueprint.TimeSeriesView(origin="decision", name="signal and choice"),
                blueprint.TimeSeriesView(origin="time", name="milliseconds"),
            ),
        ),
        collapse_panels=True,
    )


PLUGIN = SinkPlugin(
    summary="frames, poses and decisions in Rerun", options=RerunOptions, make=Rerun
)
