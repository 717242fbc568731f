"""Joint tracks of standing, walking and looking around, and the skinning that applies them.

Sagittal hip, knee and ankle tracks over one stride follow the shape of published normal gait (for
instance D. Winter, Biomechanics and Motor Control of Human Movement); everything else is sines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gearshift.sim.flights.people.makehuman import base_mesh
from gearshift.sim.flights.people.people import bone
from gearshift.sim.flights.shapes.geometry import (
    Float32,
    Float64,
    rotation_about,
    rotation_x,
    rotation_y,
    rotation_z,
)

# Degrees at 0, 10, ... 100 % of the stride, heel strike at 0; flexion positive.
_HIP = np.radians([30, 24, 15, 5, -4, -10, -6, 10, 26, 33, 30])
_KNEE = np.radians([4, 15, 14, 7, 5, 13, 37, 60, 48, 16, 4])
_ANKLE = np.radians([0, -3, 5, 8, 11, 6, -16, -7, 1, 1, 0])


@dataclass(frozen=True, slots=True)
class GaitStyle:
    """How one person moves in one flight: angles in radians, gains around 1."""

    arm_swing: float
    arm_spread: float
    elbow_left: float
    elbow_right: float
    raise_left: float
    raise_right: float
    stance: float
    nod: float
    sway: float


@dataclass(frozen=True, slots=True)
class Stride:
    """Where in the gait a person is: phase in 0..1, amplitude 0 (standing) to 1 (brisk)."""

    phase: float
    amplitude: float
    look: float
    lean: float


def draw_style(rng: np.random.Generator) -> GaitStyle:
    """Draw the manner of moving; now and then an arm is bent (phone, folded, pointing)."""
    bent = [rng.random() < 0.18, rng.random() < 0.18]
    elbows = [rng.uniform(0.9, 2.1) if b else rng.uniform(0.1, 0.5) for b in bent]
    raises = [rng.uniform(0.0, 0.9) if b else rng.normal(0.0, 0.06) for b in bent]
    return GaitStyle(
        arm_swing=float(rng.uniform(0.15, 0.55)),
        arm_spread=float(rng.uniform(0.42, 0.66)),
        elbow_left=float(elbows[0]),
        elbow_right=float(elbows[1]),
        raise_left=float(raises[0]),
        raise_right=float(raises[1]),
        stance=float(rng.uniform(-0.1, 0.03)),
        nod=float(rng.normal(0.03, 0.1)),
        sway=float(rng.uniform(0.5, 1.5)),
    )


def _track(table: Float64, phase: float) -> float:
    """Periodic interpolation of a stride table with a smooth (cosine) blend between its points."""
    position = (phase % 1.0) * 10
    index = int(position)
    blend = 0.5 - 0.5 * math.cos(math.pi * (position - index))
    return float(table[index] * (1 - blend) + table[index + 1] * blend)


def joint_rotations(style: GaitStyle, stride: Stride, joints: Float64) -> dict[int, Float64]:
    """Rotations (3, 3) in the rest frame by bone index; `joints` (bones, 3) of the rest pose."""
    rotations: dict[int, Float64] = {}
    phase, amplitude = stride.phase, stride.amplitude
    for side, sign, shift in (("l", 1.0, 0.0), ("r", -1.0, 0.5)):
        p = phase + shift
        hip, knee = amplitude * _track(_HIP, p), amplitude * _track(_KNEE, p) + 0.03
        rotations[bone(f"thigh_{side}")] = rotation_x(sign * style.stance) @ rotation_y(-hip)
        rotations[bone(f"calf_{side}")] = rotation_y(knee)
        rotations[bone(f"foot_{side}")] = rotation_y(-amplitude * _track(_ANKLE, p))
        swing = -amplitude * style.arm_swing * math.cos(2 * math.pi * p)
        raised = style.raise_left if side == "l" else style.raise_right
        bend = style.elbow_left if side == "l" else style.elbow_right
        upper = rotation_y(-swing - raised) @ rotation_x(-sign * style.arm_spread)
        rotations[bone(f"upperarm_{side}")] = upper
        shoulder, elbow, hand = (
            joints[bone(f"{name}_{side}")] for name in ("upperarm", "lowerarm", "hand")
        )
        arm, forearm = elbow - shoulder, hand - elbow
        axis = np.cross(arm, forearm)
        rest = math.atan2(float(np.linalg.norm(axis)), float(arm @ forearm))
        flex = rotation_about(axis, bend + 0.4 * max(0.0, swing) - rest)
        rotations[bone(f"lowerarm_{side}")] = flex @ rotation_about(forearm, sign * 0.8)
    twist = 0.1 * amplitude * style.sway * math.cos(2 * math.pi * phase)
    roll = 0.04 * amplitude * style.sway * math.sin(2 * math.pi * phase)
    rotations[bone("pelvis")] = rotation_z(-0.6 * twist) @ rotation_x(roll)
    rotations[bone("spine_02")] = rotation_z(twist) @ rotation_y(stride.lean)
    rotations[bone("spine_03")] = rotation_z(0.6 * twist) @ rotation_x(-0.7 * roll)
    nod = rotation_y(0.5 * style.nod - 0.4 * stride.lean)
    rotations[bone("neck_01")] = rotation_z(0.4 * stride.look - 0.5 * twist) @ nod
    rotations[bone("head")] = rotation_z(0.6 * stride.look - 0.5 * twist) @ nod
    return rotations


def bone_matrices(rotations: dict[int, Float64], joints: Float64) -> Float64:
    """(bones, 3, 4) transforms of the rest pose; each bone turns about its joint."""
    parents = base_mesh().parents
    matrices = np.zeros((len(joints), 4, 4))
    for index, joint in enumerate(joints):
        local = np.eye(4)
        rotation = rotations.get(index)
        if rotation is not None:
            local[:3, :3] = rotation
            local[:3, 3] = joint - rotation @ joint
        parent = parents[index]
        matrices[index] = local if parent < 0 else matrices[parent] @ local
    return matrices[:, :3]


def skin(
    vertices: Float32, normals: Float32, weights: Float32, matrices: Float64
) -> tuple[Float32, Float32]:
    """Linear blend skinning: posed positions and normals, each (n, 3), of rest ones (n, 3)."""
    blended = (weights @ matrices.reshape(len(matrices), 12).astype(np.float32)).reshape(-1, 3, 4)
    turn = blended[:, :, :3]
    posed = np.einsum("nij,nj->ni", turn, vertices) + blended[:, :, 3]
    return posed, np.einsum("nij,nj->ni", turn, normals)
