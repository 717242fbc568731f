"""Our records as protobuf messages and back: what stands on the topics of a recording."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame
from google.protobuf.timestamp_pb2 import Timestamp

from gearshift.runtime.recordings import recording_pb2
from gearshift.runtime.types import (
    Camera,
    Component,
    Estimate,
    EstimateFlag,
    FloatArray,
    GroundTruth,
    NetworkRole,
    Reason,
    StageTimes,
)

CAMERA_FRAME = "camera"
LEVEL_FRAME = "drone_level"
"""Foxglove frame id of the drone's yaw-levelled FLU frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """An estimate with every network output that fed it, so that the choice can be recomputed."""

    estimate: Estimate
    outputs: Mapping[NetworkRole, FloatArray]


def timestamp(time_ns: int) -> Timestamp:
    """Nanoseconds as protobuf's timestamp."""
    return Timestamp(seconds=time_ns // 1_000_000_000, nanos=time_ns % 1_000_000_000)


def calibration(camera: Camera, stamp: Timestamp) -> CameraCalibration:
    """Intrinsics as Foxglove's schema, without rectification."""
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return CameraCalibration(
        timestamp=stamp,
        frame_id=CAMERA_FRAME,
        width=camera.width,
        height=camera.height,
        distortion_model=_distortion_model(camera),
        D=list(camera.distortion) or [0.0] * 5,
        K=k,
        R=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        P=p,
    )


def _distortion_model(camera: Camera) -> str:
    """The name that ROS and Foxglove have for it."""
    if camera.fisheye:
        return "kannala_brandt"
    return "plumb_bob" if len(camera.distortion) <= 5 else "rational_polynomial"


def pose_in_frame(values: tuple[float, ...], stamp: Timestamp) -> PoseInFrame:
    """Pose components x, y, z [m], phi [rad] as a marker in the yaw-levelled drone frame."""
    x, y, z, phi = values
    # phi is 0 when the person faces the drone, a marker's yaw is 0 along the drone's own x axis.
    yaw = phi + math.pi
    message = PoseInFrame(timestamp=stamp, frame_id=LEVEL_FRAME)
    message.pose.position.x, message.pose.position.y, message.pose.position.z = x, y, z
    message.pose.orientation.z = math.sin(yaw / 2)
    message.pose.orientation.w = math.cos(yaw / 2)
    return message


def encode_truth(truth: GroundTruth) -> recording_pb2.GroundTruth:
    """Ground truth as our message."""
    message = recording_pb2.GroundTruth(
        values=truth.values, visible=truth.visible, head_cell=truth.head_cell
    )
    if truth.head_pixel is not None:
        message.head_u, message.head_v = truth.head_pixel
    return message


def decode_truth(data: bytes) -> GroundTruth:
    """Inverse of `encode_truth`; raises protobuf's DecodeError on damaged bytes."""
    message = recording_pb2.GroundTruth.FromString(data)
    pixel = (message.head_u, message.head_v) if message.HasField("head_u") else None
    return GroundTruth(tuple(message.values), message.visible, pixel, message.head_cell)


def encode_decision(decision: Decision) -> recording_pb2.Decision:
    """A decision as our message."""
    estimate = decision.estimate
    return recording_pb2.Decision(
        sequence=estimate.sequence,
        capture_time_ns=estimate.capture_time_ns,
        publish_time_ns=estimate.publish_time_ns,
        values=estimate.values,
        standard_deviation=estimate.standard_deviation,
        presence=estimate.presence,
        answered=estimate.answered or "",
        networks=list(estimate.networks),
        signal=estimate.signal,
        threshold=estimate.threshold,
        reason=estimate.reason,
        flags=estimate.flags.value,
        aux_ns=estimate.times.aux,
        small_ns=estimate.times.small,
        large_ns=estimate.times.large,
        total_ns=estimate.times.total,
        aux_output=decision.outputs.get(NetworkRole.AUX, ()),
        small_output=decision.outputs.get(NetworkRole.SMALL, ()),
        large_output=decision.outputs.get(NetworkRole.LARGE, ()),
        index=estimate.index,
    )


def decode_decision(data: bytes, components: tuple[Component, ...]) -> Decision:
    """Inverse of `encode_decision`; raises DecodeError or ValueError on damaged bytes."""
    message = recording_pb2.Decision.FromString(data)
    estimate = Estimate(
        sequence=message.sequence,
        capture_time_ns=message.capture_time_ns,
        publish_time_ns=message.publish_time_ns,
        components=components,
        values=tuple(message.values),
        standard_deviation=tuple(message.standard_deviation),
        presence=message.presence if message.HasField("presence") else None,
        answered=NetworkRole(message.answered) if message.answered else None,
        networks=tuple(NetworkRole(name) for name in message.networks),
        signal=message.signal,
        threshold=message.threshold,
        reason=Reason(message.reason),
        times=StageTimes(message.aux_ns, message.small_ns, message.large_ns, message.total_ns),
        flags=EstimateFlag(message.flags),
        index=message.index,
    )
    outputs = {
        role: np.array(values, dtype=np.float32)
        for role, values in (
            (NetworkRole.AUX, message.aux_output),
            (NetworkRole.SMALL, message.small_output),
            (NetworkRole.LARGE, message.large_output),
        )
        if len(values)
    }
    return Decision(estimate, outputs)
